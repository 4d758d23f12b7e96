"""The 1,797 handwritten digits inside scikit-learn: grey, 8x8, ten classes, no network; in seven folds."""

import numpy as np

from bench.data.source import Raw, Request, hashed, split_from_arrays

FOLDS = 7


def read(request: Request) -> Raw:
    """Return 1,283 digits or so to train, and 257 or so each to validate and to test, alike in their classes.

    The request's fold is for testing and the next one, in a circle, for validation: seven in a row test each digit
    once.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)  # 0 to 16
    fold = np.array(folds(digits.target.tolist()))
    test, validation = fold == request.fold % FOLDS, fold == (request.fold + 1) % FOLDS
    parts = (~(test | validation), validation, test)
    train, chosen_on, measured_on = (split_from_arrays(images[part], digits.target[part]) for part in parts)
    return Raw(train, measured_on, classes=10, validation=chosen_on)


def folds(labels: list[int]) -> list[int]:
    """Return the fold, 0 to 6, of each digit: counted class by class in an order given by a hash."""
    order = sorted(range(len(labels)), key=lambda index: (labels[index], hashed("digits", index)))
    found = [0] * len(labels)
    for place, index in enumerate(order):
        found[index] = place % FOLDS
    return found
