"""Which commit results name: a plus says that the source was edited, and results are not source."""

import subprocess
from pathlib import Path

import pytest

from bench.support import git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository of one commit pass for this one."""
    for name in (Path(git.__file__).relative_to(git.ROOT), Path("results/page.md")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as committed")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "all")):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    monkeypatch.setattr(git, "__file__", str(tmp_path / Path(git.__file__).relative_to(git.ROOT)))
    monkeypatch.setattr(git, "ROOT", tmp_path)
    return tmp_path


def test_only_edited_source_shows_in_the_commit(checkout: Path) -> None:
    clean = git.current_commit()
    assert clean == git.resolve("HEAD")
    (checkout / "new.txt").write_text("not tracked")
    (checkout / "results/page.md").write_text("another result")
    assert git.current_commit() == clean
    (checkout / "bench/support/git.py").write_text("edited")
    assert git.current_commit() == f"{clean}+"
