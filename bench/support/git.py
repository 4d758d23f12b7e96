"""Which commit of this project is running."""

import subprocess
from pathlib import Path

from cwwm.support.errors import BadInput

PACKAGE = Path(__file__).resolve().parent.parent  # bench, with its data files
ROOT = PACKAGE.parent
_PATIENCE = 20  # seconds


def current_commit() -> str | None:
    """Return the commit of this checkout, with "+" where tracked files differ from it; None outside of git.

    Results do not count: what one run publishes does not change the source of the next.
    """
    tracked = _git("ls-files", "--error-unmatch", str(Path(__file__).relative_to(ROOT)))
    commit = _git("rev-parse", "HEAD") if tracked else None
    edited = commit and _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return commit and commit + ("+" if edited else "")


def resolve(name: str) -> str:
    """Return the full commit that a name of git stands for; BadInput if it stands for none here."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit is None:
        raise BadInput(f"git knows no commit '{name}' here; fetch it, or name another")
    return commit


def _git(*arguments: str) -> str | None:
    """Return what git prints here, or None where it fails or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
