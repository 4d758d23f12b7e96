"""torchvision and timm import, whatever the builds of torch and torchvision are."""

import json
import subprocess
import sys


def run(code: str) -> str:
    """Run code in a fresh interpreter, where nothing has been imported yet; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_bench_imports_neither_torch_nor_torchvision() -> None:
    assert run("import sys, bench; print({'torch', 'torchvision'} & set(sys.modules))") == "set()"


def test_missing_torchvision_is_reported_by_python_itself() -> None:
    out = run(
        "import sys, bench\n"
        "sys.path = ['/nowhere']\n"
        "try:\n    import torchvision\n"
        "except ImportError as error:\n    print(error, 'torch' in sys.modules)"
    )
    assert out == "No module named 'torchvision' False"


def test_timm_imports_after_bench_and_only_a_broken_torchvision_is_repaired() -> None:
    out = run(
        "import bench, json, sys, timm, torch\n"
        "from torchvision import extension\n"
        "from torchvision.transforms import v2\n"
        "from bench import torchvision_shim as shim\n"
        "before = len(shim._declared)\n"
        "shim.ensure_torchvision(); shim.install(); shim.ensure_torchvision()\n"
        "print(json.dumps({\n"
        "    'resized': list(v2.Resize(4)(torch.zeros(1, 3, 8, 8)).shape),\n"
        "    'repairs': [before, len(shim._declared)],\n"
        "    'whole': extension._has_ops(),\n"
        "    'declared': hasattr(torch.ops.torchvision, 'nms'),\n"
        "    'finders': sum(type(f).__module__ == shim.__name__ for f in sys.meta_path)}))"
    )
    found = json.loads(out)
    assert found["resized"] == [1, 3, 4, 4]
    assert found["repairs"] == ([0, 0] if found["whole"] else [1, 1])
    assert found["declared"]
    assert found["finders"] == 0
