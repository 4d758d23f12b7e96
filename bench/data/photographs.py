"""The free photographs that ship inside scikit-image and scikit-learn, read without a network."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench.data.source import files_digest
from cwwm.support.errors import EnvironmentFault


@dataclass(frozen=True)
class Photograph:
    """One photograph: the package and the file that hold it, and how many times it is made smaller."""

    file: str
    package: str = "skimage"
    shrink: int = 1

    @property
    def path(self) -> Path:
        """Where the installed package keeps it; raises EnvironmentFault if it does not."""
        folder = {"skimage": "data", "sklearn": "datasets/images"}[self.package]
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise EnvironmentFault(f"photograph {self.file} needs {self.package}: pip install 'cwwm[bench]'")
        path = Path(spec.origin).parent / folder / self.file
        if not path.is_file():
            raise EnvironmentFault(f"photograph {path} is missing: install the version in constraints.txt")
        return path


# The two scans of more than 800 pixels are halved, else a patch of 32 pixels shows one plain colour.
PHOTOGRAPHS = (
    Photograph("astronaut.png"),
    Photograph("brick.png"),
    Photograph("camera.png"),
    Photograph("chelsea.png"),
    Photograph("china.jpg", "sklearn"),
    Photograph("coffee.png"),
    Photograph("flower.jpg", "sklearn"),
    Photograph("grass.png"),
    Photograph("gravel.png"),
    Photograph("hubble_deep_field.jpg", shrink=2),
    Photograph("ihc.png"),
    Photograph("motorcycle_left.png"),
    Photograph("retina.jpg", shrink=2),
    Photograph("rocket.jpg"),
)


@lru_cache(maxsize=len(PHOTOGRAPHS))
def pixels(photograph: Photograph) -> np.ndarray:
    """Return the photograph as uint8 (h, w, 3), grey ones in three equal channels."""
    from PIL import Image

    with Image.open(photograph.path) as image:
        array = np.array(image.convert("RGB"))
    return _shrunk(array, photograph.shrink)


def content() -> str:
    """Return the digest of all the photographs' files, the same on every machine."""
    return files_digest(photograph.path for photograph in PHOTOGRAPHS)


def _shrunk(array: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor x factor pixels, in integers; an incomplete last block is cut off."""
    height, width = (side // factor for side in array.shape[:2])
    blocks = array[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    mean: np.ndarray = blocks.sum(axis=(1, 3), dtype=np.uint32) // factor**2
    return mean.astype(np.uint8)
