"""Times embedding and extraction of the cwwm that its Python finds, and prints the seconds as JSON; run by path.

Either side of a speed comparison runs this same file, so it asks only for what every version of cwwm has. Its
arguments are names of schemes that mark a finished model.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

import torch

from cwwm import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.weights.view import as_weights

REPEATS, SECONDS = 5, 0.4  # calls at least, and so long at least; the fastest counts, for others are disturbed
PAYLOAD = 256


def network() -> torch.nn.Module:
    """Return the host, of 790,000 weights, always the same."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 256))


def fastest(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls."""
    seconds: list[float] = []
    while len(seconds) < REPEATS or sum(seconds) < SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def timings(name: str) -> Iterator[tuple[str, float]]:
    """Yield the seconds of embedding and of extraction by a scheme with default parameters.

    Raises:
        SystemExit: if the scheme does not read its own mark.
    """
    scheme, key = make_scheme(name, {"payload_bits": PAYLOAD}), Key.for_harness(seed=1)
    message = torch.randint(2, (PAYLOAD,), generator=torch.Generator().manual_seed(2)).numpy().astype("uint8")
    weights, mark = embed(scheme, as_weights(network()), message, key, EmbedContext())
    found = scheme.extract(weights, key, mark)
    if not (found.ok and (found.bits == message).all()):
        raise SystemExit(f"scheme {name} does not read its own mark; its speed would mean nothing")
    yield f"{name}: embed", fastest(lambda: embed(scheme, as_weights(network()), message, key, EmbedContext()))
    yield f"{name}: extract", fastest(lambda: scheme.extract(weights, key, mark))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(dict(pair for name in sys.argv[1:] for pair in timings(name))))
