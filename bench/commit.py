"""Which commit of this project is running."""

import subprocess
from pathlib import Path

from bench.zoo import PACKAGE
from cwwm.errors import BadInput

ROOT = PACKAGE.parent


def current_commit() -> str:
    """Return the commit of this package's work tree, with "+" after it if files differ; "" outside of git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return ""
    return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def resolve(name: str) -> str:
    """Return the full commit that a name of git stands for; BadInput if it stands for none here."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit is None:
        raise BadInput(f"git knows no commit '{name}' here; fetch it, or name another")
    return commit


def _git(*arguments: str, folder: Path = ROOT) -> str | None:
    """Return what git prints, or None where it fails or is missing."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
