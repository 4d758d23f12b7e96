"""The laboratory: it marks models with every scheme, attacks them, and ranks what survives."""

from bench.support import torchvision_shim

torchvision_shim.install()
