"""Data sets by name, as normalised tensors on the device: load, shuffle, augment."""

from bench.data.dataset import Dataset, Split
from bench.data.registry import DATASETS, Source, load

__all__ = ["DATASETS", "Dataset", "Source", "Split", "load"]
