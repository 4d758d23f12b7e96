"""The 1,797 handwritten digits inside scikit-learn: grey, 8x8, ten classes, no network."""

import numpy as np

from bench.data.source import Raw, Request, hashed, split_from_arrays


def read(request: Request) -> Raw:
    """Return 1,347 digits to train and 450 to test, alike in their classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)  # 0 to 16
    held_out = test_indexes(digits.target.tolist())
    chosen = np.isin(np.arange(len(images)), held_out)
    return Raw(
        split_from_arrays(images[~chosen], digits.target[~chosen]),
        split_from_arrays(images[chosen], digits.target[chosen]),
        classes=10,
    )


def test_indexes(labels: list[int]) -> list[int]:
    """Return every fourth index, counted class by class in an order given by a hash."""
    order = sorted(range(len(labels)), key=lambda index: (labels[index], hashed("digits", index)))
    return sorted(order[::4])
