"""Text of strangers, made harmless where it is shown: on terminals, in Markdown, spreadsheets and pictures."""

import re
from typing import TextIO

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = "=+-@\t\r"  # begin a formula in a spreadsheet


def plain(text: str) -> str:
    """Return a text with everything but printable characters and line ends escaped, as Python writes it.

    So it can neither move a cursor, nor colour or hide anything, nor turn the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def show(text: str, file: TextIO | None = None) -> None:
    """Print a text, `plain`, on standard output or another stream."""
    print(plain(text), file=file, flush=file is not None)


def in_markdown(text: str) -> str:
    """Return a text as one line that Markdown shows as it is: no HTML, link, picture or cell of a table in it."""
    if not text.isprintable():
        text = plain(" ".join(text.split()))
    text = _TAG.sub("&lt;", text.replace("|", "&#124;"))
    return text.replace("![", "!&#91;").replace("](", "]&#40;").replace("][", "]&#91;")


def in_picture(text: str) -> str:
    """Return a text that matplotlib draws as it is: no formula in it, however many dollars."""
    return plain(text).replace("$", r"\$")


def in_spreadsheet(cell: object) -> object:
    """Return a cell of a CSV file; text that a spreadsheet would take for a formula is led by an apostrophe."""
    if not isinstance(cell, str):
        return cell
    text = plain(cell)
    return f"'{text}" if text[:1] in tuple(_FORMULA) and text != "-" and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
