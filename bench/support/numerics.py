"""Which floating-point kernels a process uses: the fastest of its processor, or those that all x86-64 ones have.

Libraries choose their kernels by processor, when they are loaded: sums are taken in another order, last bits
differ, and training carries that into everything. Two settings are told apart. ``native``: each library chooses.
``portable``: every one is held to AVX2, and to code paths that are the same for all makers, so that digests should
agree between x86-64 processors. It costs a tenth of the time or so, and its results are not those of ``native``.
"""

import os
import platform
import sys
from pathlib import Path

from cwwm.support.errors import BadInput

NATIVE, PORTABLE = "native", "portable"

#: what libraries read once, when they are loaded: PyTorch's own kernels, oneDNN, MKL, OpenBLAS and NumPy
VARIABLES = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": (  # the groups of NumPy 2.4, and the single features of those before
        "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    ),
}
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile")  # kernels ask for
_X86 = ("x86_64", "AMD64")


def numerics() -> str:
    """Return what holds in this process: ``"native"``, ``"portable"``, or the variables that somebody else set."""
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if found == VARIABLES:
        return PORTABLE
    return " ".join(f"{name}={value!a:.40}" for name, value in found.items()) or NATIVE


def processor_facts() -> dict[str, str]:
    """Return what the last bits of results depend on: ``numerics``, ``processor`` and ``instruction_set``.

    Portable numerics depend on no processor, so it is none that they name.
    """
    if (setting := numerics()) == PORTABLE:
        return {"numerics": setting, "processor": "x86-64", "instruction_set": "AVX2"}
    return {"numerics": setting, "processor": _processor(), "instruction_set": _instruction_set()}


def processor_name() -> str:
    """Return the name of this machine's processor, as it says itself."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def begin(setting: str) -> None:
    """Start this command again with a setting, unless it holds: libraries that are loaded have chosen already.

    Raises:
        BadInput: for another setting than native and portable, and for a processor without AVX2.
    """
    if setting not in (NATIVE, PORTABLE):
        raise BadInput(f"numerics are native or portable, not '{setting}'")
    if (setting == PORTABLE) == (numerics() == PORTABLE):
        return
    if setting == PORTABLE and not _can_be_portable():
        raise BadInput(f"portable numerics need an x86-64 processor with AVX2, not {processor_name()}")
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(
        sys.executable, [sys.executable, *sys.orig_argv[1:]], others | (VARIABLES if setting == PORTABLE else {})
    )


def _can_be_portable() -> bool:
    flags = _cpuinfo().get("flags")
    return platform.machine() in _X86 and (flags is None or "avx2" in flags.split())


def _processor() -> str:
    """Return maker, family, model and stepping beside the name: virtual machines give many the same name."""
    found = _cpuinfo()
    numbers = [found[key] for key in ("vendor_id", "cpu family", "model", "stepping") if key in found]
    return " ".join([processor_name(), f"({' '.join(numbers)})"] if numbers else [processor_name()])


def _instruction_set() -> str:
    """Return what PyTorch's kernels use, and what of the rest the processor offers to other libraries."""
    import torch

    flags = set(_cpuinfo().get("flags", "").split())
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(flag for flag in _FLAGS if flag in flags)])


def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first processor; empty outside of Linux."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
