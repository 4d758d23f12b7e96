"""Hook of mkdocs: takes files of the repository into the site that pages link to, so that one link serves both.

Pages under docs/ point at results, say, as ``../results/smoke/leaderboard.md``, which a reader of the repository
can follow. In the site these files lie beside the pages, and the leading ``../`` is taken off.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(\]\()([^)\s#]+)")  # of Markdown, without its anchor
_WHOLE = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)\)")  # with its words


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add every file that a page links to outside docs/, and what these link to in turn."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    waiting = [docs / file.src_uri for file in files.documentation_pages()]
    known = set(waiting)
    while waiting:
        for target in _targets(waiting.pop(), root):
            if target not in known and not target.is_relative_to(docs):
                known.add(target)
                files.append(_file(target, root, config))
                waiting += [target] if target.suffix == ".md" else []
    return files


def _file(path: Path, root: Path, config: MkDocsConfig) -> File:
    return File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path))


def _targets(page: Path, root: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page links to; what is not there is left to mkdocs to report."""
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = Path(os.path.normpath(page.parent / unquote(match[2])))
        if target.is_file() and target.is_relative_to(root):
            yield target


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:  # noqa: ANN401 (what mkdocs gives besides)
    """Point links of a page under docs/, or into docs/, at where the files lie in the site; folders are in none."""
    depth = page.file.src_uri.count("/")
    here = Path(str(page.file.abs_src_path)).parent
    markdown = _WHOLE.sub(lambda link: link[1] if (here / link[2]).is_dir() else link[0], markdown)
    inside = page.file.generated_by is None

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if inside and target.startswith("../" * (depth + 1)):
            target = target.removeprefix("../")
        elif not inside:
            target = re.sub(r"^((?:\.\./)*)docs/", r"\1", target)
        return match[1] + target

    return _LINK.sub(moved, markdown)
