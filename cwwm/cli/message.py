"""The message of a mark, from the three options that give it."""

from cwwm.codes import Bits
from cwwm.ownership.message import hex_to_bits, read_text, text_to_bits
from cwwm.support.errors import BadInput


def message_of(text: str | None, file: str | None, digits: str | None, payload_bits: int) -> Bits:
    """Return the message, bool (payload_bits,), of the one option that is given; BadInput unless one is."""
    if sum(given is not None for given in (text, file, digits)) != 1:
        raise BadInput("give the message once: --message TEXT or --hex DIGITS, or --message-file FILE")
    if digits is not None:
        return hex_to_bits(digits, payload_bits)
    return text_to_bits(read_text(file) if file is not None else text or "", payload_bits)
