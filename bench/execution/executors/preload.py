"""What a worker takes seconds to import: the fork server imports it once, before any worker is asked for."""

import contextlib

import timm  # noqa: F401

import bench.execution.executors.worker  # noqa: F401

with contextlib.suppress(ImportError):  # only some data sets need it
    import sklearn.datasets  # noqa: F401
