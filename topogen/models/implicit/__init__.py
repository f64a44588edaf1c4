"""Sets learned as zero sets of a network."""

from .checks import Checks as Checks
from .neural import NeuralImplicit as NeuralImplicit
