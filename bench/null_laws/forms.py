"""The forms of reading that a suite or a plan can choose: what reading uses of a scheme, and the law that it has.

Two encodings that differ only in how they write (carrier, thresholds, strength, training) read alike and are one
form. `wrong-key` reads as the scheme that it stands around, so it has its form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.suite import load_suite, suite_names
from cwwm.design.plain import DENSITIES
from cwwm.design.protected import BLOCKS, fewest_blocks
from cwwm.schemes import Scheme, make_scheme
from cwwm.schemes.common.coded import CodedScheme, OuterCoded
from cwwm.schemes.common.outer import LINEAR, POLAR
from cwwm.schemes.common.projected import ProjectedScheme
from cwwm.schemes.neuralmark import NeuralMark
from cwwm.schemes.spread_cwc import SpreadConstantWeight
from cwwm.schemes.tattooed import Tattooed
from cwwm.support.errors import BadInput
from cwwm.support.seeds import canonical_json

OVERLAP, BLOCK, MATCH, CODED, LABEL = (
    "hypergeometric overlap",
    "Binomial(known, 2^-m) blocks",
    "Binomial(k, 1/2) matched bits",
    "Binomial(n, 1/2) coded bits",
    "Binomial(n, 1/C) labels",
)
VACANCY = "hypergeometric vacancy"  # beside overlap and blocks
CORRELATION = "Hoeffding's bound on a sum of fair signs"  # under an outer polar code, or on many weights at once
#: the law of the first statistic of each scheme
LAWS: Mapping[str, str] = {
    "cwc": OVERLAP,
    "protected-cwc": BLOCK,
    **dict.fromkeys(("sign", "none", "sign-repetition", "fixed-weights", "dm-qim"), MATCH),
    **dict.fromkeys(("uchida", "st-dm", "deepsigns", "riga", "structural", "neuralmark"), MATCH),
    **dict.fromkeys(("sign-erasure", "spread-spectrum"), CODED),
    "spread-cwc": CORRELATION,
    **dict.fromkeys(("carriers", "ingrain"), LABEL),
    "tattooed": CORRELATION,
}
#: the law of each statistic that evidence gives
STATISTICS: Mapping[str, str] = {
    "overlap": OVERLAP,
    "vacancy": VACANCY,
    "blocks": BLOCK,
    "matched bits": MATCH,
    "coded bits": CODED,
    "correlation": CORRELATION,
    "carriers": LABEL,
}

_OF_OUTER: Mapping[str, str] = {LINEAR: CODED, POLAR: CORRELATION}  # whatever the scheme is

_OWN: Mapping[str, tuple[str, ...]] = {  # parameters that reading uses as they are given
    "sign-repetition": ("repetition",),
    "fixed-weights": ("repetition",),
    "dm-qim": ("repetition",),
    "st-dm": ("beta",),
    "deepsigns": ("marked_classes", "triggers"),
    "riga": ("hidden",),
    "neuralmark": ("columns", "rounds"),
    "tattooed": ("share", "row_weight", "word"),
    "carriers": ("carriers", "kind", "amplitude", "target_classes"),
    "ingrain": ("carriers", "kind", "amplitude", "target_classes"),
    "structural": ("check_bits", "segment", "parity", "step", "least", "most", "canonicalise"),
}
_OF_CODE: Mapping[str, tuple[str, ...]] = {  # parameters that the code settles
    "cwc": ("length", "weight"),
    "protected-cwc": ("blocks", "block_length", "block_weight", "check_bits"),
    "sign-erasure": ("length",),
    "spread-spectrum": ("length",),
}

_ENDS = (DENSITIES[0], 0.1, DENSITIES[-1])
PLAN_PAYLOADS = {256: DENSITIES, 64: _ENDS, 1024: _ENDS}
_CORNERS = ((16, 1), (1024, 1), (16, 4), (128, 4), (32, 2))
DESIGN_PAYLOADS = {256: _CORNERS, 16: BLOCKS, 1024: ((32, 2), (128, 4))}
_PACKED = 3  # symbols of a generator that cost as much as one of a projection
LOST = (0.5, 0.3, 0.1, 0.0)  # rates of random pruning that a design is asked for, the first that it can stand
#: forms that no suite has, in whose readers there are more branches
BEYOND: tuple[tuple[str, int, Mapping[str, Any]], ...] = (
    ("structural", 8, {"segment": 4, "parity": 2}),
    ("structural", 16, {"step": 3, "most": 0.6}),
    ("structural", 8, {"check_bits": 8}),
    ("carriers", 16, {"target_classes": 4}),
    ("carriers", 64, {"kind": "noise"}),
    ("carriers", 64, {"kind": "content"}),
    ("st-dm", 64, {"beta": 1.0}),
    ("deepsigns", 64, {"marked_classes": 4}),
    ("protected-cwc", 32, {"blocks": 60, "block_length": 24, "block_weight": 1}),
    ("protected-cwc", 32, {"blocks": 60, "block_length": 12, "block_weight": 3}),
    ("cwc", 9, {"length": 12, "weight": 5}),
    ("spread-spectrum", 64, {"outer": "polar"}),
    ("spread-cwc", 64, {"blocks": 32, "rows": 64}),
    ("sign-erasure", 64, {"outer": "polar", "length": 512}),
    ("dm-qim", 64, {"outer": "linear"}),
    ("neuralmark", 16, {"columns": 16, "rounds": 2}),
    ("tattooed", 16, {"word": 24}),
    ("tattooed", 16, {"word": 24, "row_weight": 4, "share": 0.25}),
)


@dataclass(frozen=True)
class Form:
    """One form of reading.

    Attributes:
        scheme: registered name.
        payload_bits: k.
        parameters: those that reading uses.
        origins: who can choose it: names of suites, ``plan``, ``design`` or ``beyond``.
    """

    scheme: str
    payload_bits: int
    parameters: Mapping[str, Any]
    origins: tuple[str, ...] = field(default=(), compare=False)

    @property
    def law(self) -> str:
        """Return the law of the scheme's first statistic, which is that of its outer code if it has another."""
        return _OF_OUTER.get(self.parameters.get("outer", ""), LAWS[self.scheme])

    @property
    def work(self) -> int:
        """Return about what a reading costs: symbols drawn or compared, four for each host weight."""
        scheme = self.build()
        code: Any = getattr(scheme, "code", None)
        coded = scheme.information * code.length // _PACKED if isinstance(scheme, CodedScheme) else 0
        if isinstance(scheme, SpreadConstantWeight):
            coded = 4 * scheme.symbols
        projected = self.payload_bits**2 if isinstance(scheme, ProjectedScheme) else 0
        chips = scheme.symbols * scheme.least // _PACKED if isinstance(scheme, Tattooed) else 0
        keyed = scheme.columns * scheme.payload_bits if isinstance(scheme, NeuralMark) else 0
        return max(4 * scheme.hosts, coded, projected, chips, keyed)

    @property
    def identity(self) -> str:
        """Return a text that only this form has."""
        return canonical_json([self.scheme, self.payload_bits, dict(self.parameters)]).decode()

    def build(self, **writing: Any) -> Scheme:  # noqa: ANN401 (parameters of a scheme)
        """Return a scheme of this form; `writing` are parameters that only embedding uses."""
        return make_scheme(self.scheme, {**self.parameters, **writing, "payload_bits": self.payload_bits})

    def __str__(self) -> str:
        """Return what a table calls it."""
        given = "".join(f", {name.replace('_', ' ')} {value}" for name, value in self.parameters.items() if value)
        return f"{self.scheme}, {self.payload_bits} bits{given}"


def form_of(scheme: Scheme, origin: str) -> Form:
    """Return the form in which a scheme reads, or the one that it stands around."""
    inner = scheme.encoding
    if inner.name not in LAWS:
        raise BadInput(f"no null law is known for scheme '{inner.name}'; add it to bench.null_laws.forms")
    used = {name: getattr(inner, name) for name in _OWN.get(inner.name, ())}
    code: Any = getattr(inner, "code", None)
    used |= {name: getattr(code, name) for name in _OF_CODE.get(inner.name, ())}
    if isinstance(inner, SpreadConstantWeight):
        used |= {"blocks": code.symbols, "rows": code.rows}
    if isinstance(inner, OuterCoded) and inner.outer != inner.codes[0]:
        used |= {"outer": inner.outer, "length": inner.symbols}
    return Form(inner.name, inner.payload_bits, used, (origin,))


def suite_forms() -> Iterator[Form]:
    """Yield the form of every scheme of every suite at every payload."""
    for name in suite_names():
        suite = load_suite(name)
        for entry in suite.schemes:
            for payload in suite.payloads_of(entry):
                yield form_of(entry.build(payload), name)


def plan_forms() -> Iterator[Form]:
    """Yield plain codes that `cwwm.design.plan` offers: all densities for 256 bits, ends and middle for others."""
    for payload, densities in PLAN_PAYLOADS.items():
        for density in densities:
            yield form_of(make_scheme("cwc", {"payload_bits": payload, "density": density}), "plan")


def design_forms() -> Iterator[Form]:
    """Yield protected codes that `cwwm.design.design` offers: all kinds of blocks for 16 bits, corners for others.

    Each with the fewest blocks that stand the largest of `LOST`; kinds of blocks that carry no such payload, which
    no design can choose, are left out.
    """
    for payload, kinds in DESIGN_PAYLOADS.items():
        for length, weight in kinds:
            blocks = designed_blocks(payload, length, weight)
            if blocks is not None:
                given = {"blocks": blocks, "block_length": length, "block_weight": weight}
                yield form_of(make_scheme("protected-cwc", {"payload_bits": payload, **given}), "design")


def designed_blocks(payload: int, length: int, weight: int) -> int | None:
    """Return the number of blocks of a design, or None where these blocks cannot carry the payload."""
    for lost in LOST:
        found = fewest_blocks(length, weight, payload, 1 << 16, 1 - (1 - lost) ** weight, 0.0)
        if found is not None:
            return found[0]
    return None


def all_forms() -> list[Form]:
    """Return every form once, law by law, with all that can choose it."""
    found: dict[str, Form] = {}
    for form in (*suite_forms(), *plan_forms(), *design_forms(), *_beyond()):
        known = found.get(form.identity)
        origins = dict.fromkeys((*(known.origins if known else ()), *form.origins))
        found[form.identity] = Form(form.scheme, form.payload_bits, form.parameters, tuple(origins))
    order = list(dict.fromkeys(STATISTICS.values()))
    return sorted(found.values(), key=lambda form: order.index(form.law))


def _beyond() -> Iterator[Form]:
    for name, payload, given in BEYOND:
        yield form_of(make_scheme(name, {"payload_bits": payload, **given}), "beyond")
