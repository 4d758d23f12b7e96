"""Documents say what is: links lead somewhere, columns and records are described, versions and licence agree."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from bench.attacks import ATTACKS
from bench.records.schema_page import page
from bench.suite import suite_names
from cwwm.schemes import SCHEMES
from docs.registered import on_page_markdown

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *ROOT.glob("*.md"),
    *DOCS.rglob("*.md"),
    *(ROOT / "examples").glob("*.md"),
    *(ROOT / "results").glob("*.md"),
]
KNOWN = ("schema", "accept-baseline", "results", "restamp", "archive", "pack")  # commands that pages name
#: what the pages of the reference ask mkdocstrings for
DIRECTIVES = Counter(
    name
    for page in (DOCS / "reference").glob("*.md")
    for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def anchors(path: Path) -> set[str]:
    """Return what a link into a Markdown page may name: its headings in lower case, blanks as hyphens."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_of_every_page_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        found = path.parent / target if target else path
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def site(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Build a small site of this one's making, whose first page has this text."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    (folder / "docs").mkdir()
    for name in config["hooks"]:
        shutil.copy(ROOT / name, folder / name)
    (folder / "mkdocs.yml").write_text(yaml.safe_dump({key: config[key] for key in config.keys() - {"nav"}}))
    (folder / "results").mkdir()
    (folder / "results" / "a.md").write_text("# A\n\n## Rows\n\n[back](../docs/index.md) [b](b.csv)\n")
    (folder / "results" / "b.csv").write_text("x\n")
    (folder / "results" / "a.png").write_bytes(b"")
    (folder / "docs" / "other.md").write_text("# Other\n\n## A heading\n")
    (folder / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_site_takes_linked_files_along(tmp_path: Path) -> None:
    links = "[a](other.md#a-heading) [b](../results/a.md#rows) ![c](../results/a.png) [d](../results)"
    done = site(tmp_path, links)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "build" / "docs"
    assert {path.name for path in (built / "results").iterdir()} == {"a.html", "a.png", "b.csv"}
    assert 'href="results/a.html#rows"' in (built / "index.html").read_text()
    assert "d</p>" in (built / "index.html").read_text(), "the words of a link to a folder"
    assert 'href="../index.html"' in (built / "results" / "a.html").read_text()


def test_the_site_refuses_broken_links(tmp_path: Path) -> None:
    broken = ["another.md", "other.md#no-heading", "../results/none.md", "../results/a.md#columns", "/absolute.md"]
    done = site(tmp_path, " ".join(f"[a]({link})" for link in broken))
    assert done.returncode == 1
    assert [link for link in broken if f"'{link.removeprefix('../')}'" not in done.stderr] == []


@pytest.mark.parametrize(
    "package", ["cwwm", "cwwm.schemes", "cwwm.testing", "bench", "bench.attacks", "bench.testing"]
)
def test_the_reference_has_every_public_name(package: str) -> None:
    module = import_module(package)
    public = [getattr(module, name) for name in module.__all__]
    named = {f"{one.__module__}.{one.__qualname__}" for one in public if hasattr(one, "__qualname__")}
    assert named
    assert named <= DIRECTIVES.keys()
    assert all(DIRECTIVES[name] == 1 for name in named), "once, on one page"


@pytest.mark.parametrize(("what", "registry"), [("schemes", SCHEMES), ("attacks", ATTACKS)])
def test_the_reference_has_every_scheme_and_attack(what: str, registry: Mapping[str, type[object]]) -> None:
    written = on_page_markdown((DOCS / "reference" / f"{what}.md").read_text())
    assert {name for name in registry if f"\n### `{name}`\n" in written} == registry.keys()


def test_the_page_on_records_is_what_the_schema_says() -> None:
    assert (DOCS / "record-schema.md").read_text() == page(), "cwwm-bench schema --page > docs/record-schema.md"


#: sections whose columns are named by attacks, models or strengths
NAMED_BY_RECORDS = ("Whole", "Capacity", "Median removal loss", "Survival by attack", "True positives by attack")


def test_every_column_of_the_leaderboards_is_explained() -> None:
    text = (DOCS / "leaderboard.md").read_text()
    for path in ROOT.glob("results/*/leaderboard.*"):
        if path.suffix == ".md":
            parts = [part for part in path.read_text().split("\n## ") if not part.startswith(NAMED_BY_RECORDS)]
            heads = re.findall(r"^(\|.*\|)\n\|-", "\n".join(parts), re.M)
            missing = {c.strip() for head in heads for c in head.strip("|").split("|") if c.strip() not in text}
        elif path.suffix == ".csv":
            missing = {
                column for column in path.read_text().splitlines()[0].split(",") if f"`{column}`" not in text
            }
        else:
            continue
        assert not missing, path
        assert {part.splitlines()[0] for part in path.read_text().split("\n## ")[1:]} <= set(
            re.findall(r"^## (.+)$", text, re.M)
        )


def test_the_path_for_those_who_begin_to_read_is_short() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where to begin to read")[2].partition("\n## ")[0]
    files = [ROOT / name for name in re.findall(r"\]\((\S+\.py)\)", text)]
    assert len(files) >= 8
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1300


def test_commands_of_the_results_and_of_the_reproduction_exist() -> None:
    text = (DOCS / "reproduction.md").read_text() + (ROOT / "results" / "README.md").read_text()
    commands = [shlex.split(command) for command in re.findall(r"`((?:make|cwwm-bench|python) [^`]+)`", text)]
    assert len(commands) > 10
    targets = (ROOT / "Makefile").read_text()
    for program, *arguments in commands:
        if program == "make":
            assert f"\n{arguments[0]}:" in targets
            assert all(a.removeprefix("SUITE=") in suite_names() for a in arguments if a.startswith("SUITE="))
        elif program == "python":
            assert find_spec(arguments[1]), arguments
        elif arguments[0] == "run":
            assert arguments[1] in suite_names() or (ROOT / arguments[1]).exists()
        elif arguments[0] in ("check", "leaderboard"):
            assert (ROOT / arguments[1]).exists()
        else:
            assert arguments[0] in KNOWN, arguments


def test_the_citation_says_what_the_project_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
