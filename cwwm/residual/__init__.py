"""What a suspect's weights say beside those of the unmarked original: the owner's sharpest way to read.

A mark that is drowned by its host when read blind stands free once the host is subtracted. Derived for this
project; the steps are fit, requantise, whiten, damp (`cwwm.residual.layer`), each of which can be left out.
"""

from cwwm.residual.expected import Expected
from cwwm.residual.layer import ALL_STEPS, Steps, coefficients
from cwwm.residual.weights import ResidualWeights, in_place

__all__ = ["ALL_STEPS", "Expected", "ResidualWeights", "Steps", "coefficients", "in_place"]
