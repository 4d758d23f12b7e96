"""Every command of the README runs, pasted one after the other in a fresh folder; it is short and leads on."""

import re
import sysconfig
import venv
from pathlib import Path

import pytest

from bench.models.registry import ZOO_VARIABLE
from tests.built_wheel import ROOT, installed_wheel
from tests.hurried_zoo import hurried
from tests.pages import Block, Reader, blocks

README = (ROOT / "README.md").read_text()
ACTIVATE = ". .venv/bin/activate"
MOST_LINES = 150


def commands() -> list[str]:
    """Return what is pasted: a line of a block, or one with the text that is fed to it."""
    text = "".join(block.text for block in blocks(README) if block.language == "sh")
    return [found[0] for found in re.finditer(r"^.*<<'END'\n(?:.*\n)*?END$|^.+$", text, re.M)]


def environment(folder: Path, site: Path) -> None:
    """Make the .venv that `make bench` leaves: the wheel's commands, and the packages of this interpreter."""
    venv.create(folder / ".venv", symlinks=True)
    home = {"base": str(folder / ".venv"), "platbase": str(folder / ".venv")}
    packages = Path(sysconfig.get_path("purelib", "venv", home))
    packages.joinpath("here.pth").write_text(f"{site}\n{sysconfig.get_path('purelib')}\n")
    for program in (site / "bin").glob("cwwm*"):
        text = program.read_text().partition("\n")[2]
        pasted = folder / ".venv" / "bin" / program.name
        pasted.write_text(f"#!{folder / '.venv' / 'bin' / 'python'}\n{text}")
        pasted.chmod(0o755)


@pytest.mark.programs
@pytest.mark.first
def test_commands_are_pasted_one_by_one_in_a_fresh_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment(tmp_path, installed_wheel(tmp_path_factory))
    zoo = {ZOO_VARIABLE: str(hurried(tmp_path / "quick.yaml")), "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
    reader = Reader(tmp_path, tmp_path, zoo, quiet=False)  # its commands are found by what is pasted alone
    pasted = [command for command in commands() if not command.startswith("make ")]
    first, *others = pasted
    assert first == ACTIVATE
    said = {command: reader.prints(Block("sh", "", f"{ACTIVATE}\n{command}", None)) for command in others}
    (verdict,) = [text.splitlines()[-1] for command, text in said.items() if command.startswith("cwwm verify")]
    assert verdict.startswith("proven: p = ")
    nights = [command for command in pasted if command.startswith("cwwm-bench nightly")]
    assert len(nights) == 2, "the second one is compared with the first"
    assert {command.split()[0] for command in others} == {"cat", "cwwm", "cwwm-bench", "python"}
    for made in ("marked.commitment.json", "out/leaderboard.html", "results/baseline/mine/accepted.json"):
        assert (tmp_path / made).stat().st_size


def test_make_targets_are_run_by_ci() -> None:
    targets = [command.split()[1] for command in commands() if command.startswith("make ")]
    assert targets == ["bench", "test"]
    assert all(f"timed {target}" in (ROOT / ".ci" / "run").read_text() for target in targets)


def test_it_is_for_a_first_reader() -> None:
    assert len(README.splitlines()) <= MOST_LINES
    assert len(re.findall(r"^!\[", README, re.M)) == 1, "one picture"


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = sorted((ROOT / "docs").rglob("*.md"))
    named = [page.relative_to(ROOT / "docs").as_posix() for page in pages if page.name != "index.md"]
    assert [name for name in named if f"]({name})" not in index] == []


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, heading = target.partition("#")
        assert (ROOT / path).exists(), target
        titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.M) if heading else []
        assert not heading or heading in {title.lower().replace(" ", "-") for title in titles}, target
