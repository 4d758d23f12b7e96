"""YAML is read strictly: no key twice, no version's own readings, bounded aliases; every refusal names the line."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.support.strict_yaml import dump_yaml, parse, read_yaml
from cwwm.support.errors import BadInput

PARSERS = [yaml.BaseLoader, *([yaml.CBaseLoader] if yaml.__with_libyaml__ else [])]
HERE = Path("mine.yaml")
BOMB = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)
])  # fmt: skip

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
WORDS = st.sampled_from(
    ["no", "On", "08", "010", "1e3", "1_000", "1:30", "2024-01-01", "~", "", "<<", "=", ".inf", "0x1"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**29), 10**29) | st.floats(allow_nan=False) | TEXTS | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | WORDS, inner, max_size=4)
)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice, first in line 1"),
        ("a: {b: 1,\n b: 2}", "line 2: 'b' is given twice"),
        ("a: {1: x, 1.0: y}", "line 1: '1.0' is given twice"),
        ("a: {x: 1, 'x': 2}", "'x' is given twice"),
        ("a: 1\n<<: {b: 2}", "line 2: merge keys"),
        (BOMB, "more than 100,000 values"),
        ("a: &a [*a]", "alias *a has no anchor"),
        ("a: *b", "alias *b has no anchor"),
        ("a: " + "[" * 100_000, "nested deeper than 32"),
        ("a:\n" + "".join(" " * n + "- \n" for n in range(1, 60)), "nested deeper than 32"),
        ("? [1]\n: 2", "a key is a name or a number"),
        ("a: !!python/object:os.system x", "tag python/object:os.system is not taken"),
        ("a: !!int x", "tag int is not taken"),
        ("a: 1\n---\nb: 2", "line 2: a second document"),
        ("a: [", "is not YAML"),
        ("a: b: c", "put quotes round a text with a colon"),
        ("a: 1\nb: \x07", "line 2 holds a control character (0x07)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_one_line(text: str, said: str, parser: object) -> None:
    with pytest.raises(BadInput) as refusal:
        parse(text, HERE, parser)
    message = str(refusal.value)
    assert message.startswith("mine.yaml, line ")
    assert "\n" not in message
    assert said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("description: caf\xe9".encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        (b"a: 1\nb: \xff", "line 2: byte 0xff is not UTF-8"),
        ("a: 1".encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b"\0" * 4, "holds a control character"),
        (b"", "holds no mapping"),
        (b"- 1", "holds no mapping"),
        (b"just words", "holds no mapping"),
        (b"# " + b"x" * (16 << 20), "16,777,216"),
    ],
)
def test_a_file_of_another_kind_is_told_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refusal:
        read_yaml(path)
    assert f"{path}" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [("no/such.yaml", "no YAML file at no/such.yaml"), (".", "cannot read YAML file .: it is a folder, a pipe")],
)
def test_a_file_that_cannot_be_read_is_named(path: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_yaml(Path(path))


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("08", "08"), ("010", "010"), ("0x10", "0x10"), ("1_000", "1_000"), ("1:30", "1:30"), ("=", "="),
        ("2024-01-01", "2024-01-01"), ("1e-3", 1e-3), ("2E4", 2e4), (".5e-1", 0.05), ("1e3", 1000.0), ("e3", "e3"),
        ("1e", "1e"), ("1.", 1.0), ("+7", 7), ("-0.5", -0.5), ("-.inf", -math.inf), ("no", False), ("On", True),
        ("'no'", "no"), ('"1"', "1"), ("~", None), ("", None), ("nO", "nO"), ("9" * 40, "9" * 40), ("0,9", "0,9"),
        ("{x: &n [1], y: *n}", {"x": [1], "y": [1]}),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(text: str, value: object, parser: object) -> None:
    found = parse(f"a: {text}\n", HERE, parser)["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes("a: é".encode("utf-8-sig"))
    assert read_yaml(tmp_path / "mine.yaml") == {"a": "é"}


@given(value=st.dictionaries(TEXTS | WORDS, VALUES, max_size=5))
def test_what_is_dumped_is_read_alike_by_both_parsers(value: dict[str, object]) -> None:
    text = dump_yaml(value)
    for parser in PARSERS:
        assert repr(parse(text, HERE, parser)) == repr(value)
