"""Puts a page together from its parts: one HTML file that asks nothing of a network.

Modules stand in an import map as data URLs, under the names by which they import each other, so that no bundler is
needed. A content security policy names each script by its hash and allows no connection at all.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

_HERE = files("bench.leaderboard.page")
_VENDOR = _HERE / "vendor"
LIBRARIES = ("d3.min.js", "plot.umd.min.js", "tabulator.min.js")
_ENTRY = 'import "page/main.js";'


def assemble(title: str, parts: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        title: of the document; any text.
        parts: JSON values, packed, by the id of the element that holds them.
    """
    scripts = [_script((_HERE / "boot.js").read_text()), *(_script(_library(name)) for name in LIBRARIES)]
    modules, entry = _script(_import_map()), _script(_ENTRY)
    return Template((_HERE / "page.html").read_text()).substitute(
        title=html.escape(title),
        policy=_policy([*scripts, modules, entry]),
        style=_library("tabulator_simple.min.css") + (_HERE / "page.css").read_text(),
        boot=scripts[0],
        libraries="".join(f"<script>{text}</script>\n" for text in scripts[1:]),
        modules=modules,
        entry=entry,
        data="".join(f'<script type="text/plain" id="{name}">{part}</script>\n' for name, part in parts.items()),
    )


def pack(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """Return a JSON value compressed, in base64; equal values give equal text."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _library(name: str) -> str:
    """Return a file from elsewhere, without the comment that makes developer tools ask for its source map."""
    return re.sub(r"//# sourceMappingURL=.*|/\*# sourceMappingURL=.*?\*/", "", (_VENDOR / name).read_text())


def _script(text: str) -> str:
    """Return what may stand in a script element, where only its end tag and comments would be read as HTML."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _import_map() -> str:
    names = sorted(entry.name for entry in (_HERE / "js").iterdir() if entry.name.endswith(".js"))
    urls = {f"page/{name}": _data_url((_HERE / "js" / name).read_bytes()) for name in names}
    return json.dumps({"imports": urls}, indent=0)


def _data_url(source: bytes) -> str:
    return "data:text/javascript;charset=utf-8;base64," + base64.b64encode(source).decode()


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    sources = " ".join(["data:", *(f"'sha256-{digest}'" for digest in hashes)])
    return f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:"
