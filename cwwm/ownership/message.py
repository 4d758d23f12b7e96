"""Text and hexadecimal messages as bits: byte by byte, b_0 the least significant bit of the first byte."""

import sys
import unicodedata
from pathlib import Path

import numpy as np

from cwwm.codes import Bits
from cwwm.support.errors import BadInput
from cwwm.support.files import read_bounded

_MOST_BYTES = 1 << 17  # of a message


def read_text(file: str) -> str:
    """Return the text of a message file, or of standard input for ``"-"``, without the line end that closes it.

    Raises:
        BadInput: if it is no regular file, longer than any message, or not UTF-8.
    """
    if file == "-":
        data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin else b""
        if len(data) > _MOST_BYTES:
            raise BadInput(f"the message on standard input has more than {_MOST_BYTES:,} bytes")
    else:
        data = read_bounded(Path(file), "message file", _MOST_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"the message in {file} is not UTF-8: {error}; give raw bytes with --hex") from error
    return text.removesuffix("\n").removesuffix("\r")


def bytes_to_bits(data: bytes, payload_bits: int) -> Bits:
    """Return `data` as uint8 (payload_bits,), filled up with zeros; BadInput if it is too long."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if len(bits) > payload_bits:
        raise BadInput(
            f"the message has {len(bits)} bits, the payload {payload_bits}; shorten it or ask for "
            f"--payload-bits {len(bits)}"
        )
    return np.concatenate([bits, np.zeros(payload_bits - len(bits), np.uint8)])


def text_to_bits(text: str, payload_bits: int) -> Bits:
    """Return the UTF-8 bits of a text in normal form C; BadInput if it is empty, too long or holds a NUL."""
    if not text or "\0" in text:
        raise BadInput("a text message is not empty and holds no NUL character; give raw bytes with --hex")
    try:
        data = unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError as error:  # an argument that is no text in the locale's encoding
        raise BadInput(f"the message is not Unicode text: {error.reason}; give raw bytes with --hex") from error
    return bytes_to_bits(data, payload_bits)


def hex_to_bits(digits: str, payload_bits: int) -> Bits:
    """Return the bits of hexadecimal digits, two a byte; BadInput if there are none, others, or too many."""
    if not digits.strip():
        raise BadInput("the message is empty; --hex takes at least one byte, two digits 0-9a-f")
    try:
        return bytes_to_bits(bytes.fromhex(digits), payload_bits)
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"'{digits}' is not hexadecimal: two digits 0-9a-f a byte") from error


def bits_to_hex(bits: Bits) -> str:
    """Return the bits as hexadecimal digits, the last byte filled up with zeros."""
    return np.packbits(bits, bitorder="little").tobytes().hex()


def bits_to_text(bits: Bits) -> str | None:
    """Return the text that the bits spell, or None if they spell none; it may hold line ends and controls."""
    try:
        text = np.packbits(bits, bitorder="little").tobytes().rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text else None
