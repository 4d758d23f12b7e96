"""Walks a message of the protobuf format without building anything of it."""

from collections.abc import Iterator


def messages_in(data: memoryview, most: int | None = None) -> Iterator[tuple[int, memoryview]]:
    """Yield the messages, texts and packed lists directly in a message of the protobuf format, by field number.

    Raises:
        ValueError, IndexError: if these bytes are no message, or one of more than `most` fields.
    """
    at = count = 0
    while at < len(data):
        count += 1
        if most is not None and count > most:
            raise ValueError(f"more than {most:,} fields")
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError("a message is longer than what holds it")
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of kind {kind}")
    if at > len(data):
        raise ValueError("a number is cut off")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next begins."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number has too many bytes")
