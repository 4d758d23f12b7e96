"""The zoo with small images and one epoch a phase, which say as well whether a command runs."""

import re
from pathlib import Path

from tests.built_wheel import ROOT


def hurried(path: Path) -> Path:
    """Write it to a file and return that."""
    zoo = re.sub(r"\bepochs: \d+", "epochs: 1", (ROOT / "models.yaml").read_text())
    path.write_text(re.sub(r"\bsize: 32\b", "size: 16", zoo))
    return path
