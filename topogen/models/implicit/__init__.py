"""Sets learned as zero sets of a network."""

from .checks import Checks as Checks
from .neural import NeuralImplicit as NeuralImplicit
from .published import Published as Published
from .rank import random_direction_penalty as random_direction_penalty
from .rank import spectrum_penalty as spectrum_penalty
