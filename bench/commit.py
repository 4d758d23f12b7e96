"""The commit of the checkout that this source stands in."""

import subprocess
from pathlib import Path


def commit() -> str | None:
    """Return the commit, with "+" where tracked files differ from it; None outside a checkout of this project."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    found = _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+") if tracked else None
    return found or None


def _git(*arguments: str) -> str | None:
    """Return what git says here, None if it refuses or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
