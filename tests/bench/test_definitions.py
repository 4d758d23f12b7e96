"""How names are followed: each case is a little package, an edit, and whether what it makes may differ by it."""

from pathlib import Path

import pytest

from bench.support.fingerprint import Fingerprints
from bench.support.modules import Modules

ROOT = "cwwm.made:make"
BASE = {
    "cwwm/__init__.py": "",
    "cwwm/parts/__init__.py": "from cwwm.parts.one import shared\n",
    "cwwm/parts/one.py": "LIMIT = 3\ndef shared():\n    return LIMIT\n",
    "cwwm/parts/two.py": "def other():\n    return 1\n",
}
SAME = "from math import floor\ndef make(x):\n    return floor("
MADE, ONE, TWO = "cwwm/made.py", "cwwm/parts/one.py", "cwwm/parts/two.py"
LIMIT = (ONE, "LIMIT = 3", "LIMIT = 4")
OTHER = (TWO, "return 1", "return 2")
USE = "from cwwm.parts.two import other\n"
SHARED = "from {} import shared\ndef make():\n    return shared()\n"
Edit = tuple[str, str, str]

CASES: list[tuple[str, str, Edit, bool]] = [
    ("an import", SHARED.format("cwwm.parts.one"), LIMIT, True),
    ("a package", SHARED.format("cwwm.parts"), LIMIT, True),
    ("a package passes the rest over", SHARED.format("cwwm.parts"), OTHER, False),
    ("a module", "from cwwm.parts import two\ndef make():\n    return two.other()\n", OTHER, True),
    ("a full name", "import cwwm.parts.two\ndef make():\n    return cwwm.parts.two.other()\n", OTHER, True),
    ("a late import", "def make():\n    from cwwm.parts.two import other\n    return other()\n", OTHER, True),
    ("a relative import", "from .parts.two import other as o\ndef make():\n    return o()\n", OTHER, True),
    ("a star", "from cwwm.parts.two import *\ndef make():\n    return other()\n", OTHER, True),
    ("a module as a value", "from cwwm.parts import two\ndef make():\n    return vars(two)\n", OTHER, True),
    ("a late import without a name", "def make():\n    import cwwm.parts.two\n    return 1\n", OTHER, True),
    ("a type", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cwwm.parts.two import other\n"
     "def make(x: 'other') -> 'other':\n    return x\n", OTHER, False),
    ("a local name", USE + "def make(other):\n    return other()\n", OTHER, False),
    ("an assigned name", USE + "def make():\n    other = 1\n    return other\n", OTHER, False),
    ("a global name", USE + "def make():\n    global other\n    other = other()\n", OTHER, True),
    ("a comprehension's name stays there", USE + "def make(x):\n"
     "    return [other for other in x], other\n", OTHER, True),
    ("an iterable", USE + "def make():\n    return [other for other in other()]\n", OTHER, True),
    ("a default of a lambda", USE + "make = lambda other=other: other()\n", OTHER, True),
    ("a default", USE + "def make(other=other):\n    return other()\n", OTHER, True),
    ("a name read in a class before it is bound", USE + "class make:\n"
     "    other = staticmethod(other)\n", OTHER, True),
    ("a base", "from cwwm.parts import two\nclass make(two.other()):\n    pass\n", OTHER, True),
    ("a decorator", USE + "@other\ndef make():\n    return 1\n", OTHER, True),
    ("an import that may fail", f"try:\n    {USE}except ImportError:\n    other = None\n"
     "def make():\n    return other()\n", OTHER, True),
    ("a nested function", USE + "def make():\n    def inner():\n        return other()\n"
     "    return inner\n", OTHER, True),
    ("a script", USE + "if __name__ == '__main__':\n    other()\ndef make():\n    return 1\n",
     OTHER, False),
    ("each other", "def make(n):\n    return odd(n)\ndef odd(n):\n    return n and even(n - 1)\ndef even(n):\n"
     "    return not n or make(n - 1) + 5\n", (MADE, "5", "6"), True),
    ("a field of a dataclass", "class make:\n    scheme: int = 3\ndef scheme():\n    pass\n",
     (MADE, "scheme: int", "design: int"), True),
    ("a field that becomes the class's", "class make:\n    scheme: int = 3\n",
     (MADE, "scheme: int", "scheme: ClassVar[int]"), True),
    ("a type of a field", "class make:\n    scheme: int = 3\n", (MADE, "scheme: int", "scheme: str"), False),
    ("a type of a model", "from pydantic import BaseModel\nclass Part(BaseModel):\n    pass\nclass make(Part):\n"
     "    scheme: int = 3\n", (MADE, "scheme: int", "scheme: str"), True),
    ("another function of the same library", "from math import floor as f\ndef make(x):\n    return f(x)\n",
     (MADE, "import floor", "import ceil"), True),
    ("the same function by another name", "from math import floor as f\ndef make(x):\n    return f(x)\n",
     (MADE, "floor as f\ndef make(x):\n    return f(", "floor\ndef make(x):\n    return floor("), False),
    ("a library as a whole", "import math as m\ndef make(x):\n    return m.floor(x)\n",
     (MADE, "import math as m\ndef make(x):\n    return m.floor(", SAME), False),
    ("a number for one that equals it", "def make():\n    return 1\n", (MADE, "1", "1.0"), True),
    ("an item that is set", "make = {}\nmake['a'] = 1\n", (MADE, "1", "2"), True),
    ("an item of another that is set", "def make():\n    pass\nx = {}\nx['a'] = 1\n", (MADE, "1", "2"), False),
    ("a call in a package around", "def make():\n    pass\n", ("cwwm/__init__.py", "", "print(1)\n"), True),
]  # fmt: skip


def written(folder: Path, made: str) -> None:
    for name, text in {**BASE, MADE: made}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(("made", "edit", "differs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_edit_counts_where_it_is_reached(made: str, edit: Edit, differs: bool, tmp_path: Path) -> None:
    written(tmp_path, made)
    before = Fingerprints(Modules(tmp_path), {}).of([ROOT])
    name, old, new = edit
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    assert (Fingerprints(Modules(tmp_path), {}).of([ROOT]) != before) == differs


def test_functions_that_call_each_other_may_be_renamed_and_reordered(tmp_path: Path) -> None:
    made = (
        "def make(n):\n    return {a}(n)\ndef {a}(n):\n    return {b}(n - 1)\ndef {b}(n):\n    return {a}(n) + 5\n"
    )
    digests = []
    for a, b in (("odd", "even"), ("zzz", "aaa")):
        written(tmp_path, made.format(a=a, b=b))
        digests.append(Fingerprints(Modules(tmp_path), {}).of([ROOT]))
    assert digests[0] == digests[1]


def test_what_is_stopped_at_is_named_and_not_followed(tmp_path: Path) -> None:
    written(tmp_path, USE + "def make():\n    return other()\n")
    stopped = {label: Fingerprints(Modules(tmp_path), {"cwwm.parts.two:other": label}) for label in ("one", "two")}
    assert stopped["one"].reached([ROOT]) == {ROOT}
    assert stopped["one"].of([ROOT]) != stopped["two"].of([ROOT])
    assert stopped["one"].reached(["cwwm.parts.two:other"]) == {"cwwm.parts.two:other"}
    with pytest.raises(LookupError, match="no third"):
        Fingerprints(Modules(tmp_path), {"cwwm.parts.two:third": "third"})
