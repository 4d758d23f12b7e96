"""Seeds and identities from hashes of named parts: adding one thing never moves another's seed."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 (any JSON value)
    """Return the one byte string that stands for a JSON value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def identity(**parts: Any) -> str:  # noqa: ANN401
    """Return 32 hex digits that name these parts (any JSON values)."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:32]


def derive_seed(**parts: Any) -> int:  # noqa: ANN401
    """Return a seed in [0, 2**63) from named parts (any JSON values)."""
    return int.from_bytes(hashlib.sha256(canonical_json(parts)).digest()[:8], "little") >> 1
