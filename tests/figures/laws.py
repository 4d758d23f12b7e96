"""What docs/concepts.md says of the default codes and their laws."""

from cwwm.schemes.protected_cwc import ProtectedConstantWeight
from tests.figures.registry import claim, holds

PAGE, BITS = "docs/concepts.md", 256


@claim(PAGE, "so that a word with 37 ones is lost in six of seven cases at a rate of 5 %.")
def random_pruning() -> list[str]:
    holds(round(7 * (1 - 0.95**37)) == 6, "six of seven words are lost")
    return []


@claim(PAGE, "A block of {} hosts with a single one carries a byte: the place of its largest magnitude.")
def block() -> list[str]:
    code = ProtectedConstantWeight(payload_bits=BITS).code
    holds(code.symbol_bits == 8, "a block carries a byte")
    return [str(code.block_length)]


@claim(PAGE, "{} blocks carry a codeword of which any {} symbols give {} message bits and a {}-bit keyed check.")
def codeword() -> list[str]:
    code = ProtectedConstantWeight(payload_bits=BITS).code
    return [str(code.blocks), str(code.data_symbols), str(BITS), str(code.check_bits)]
