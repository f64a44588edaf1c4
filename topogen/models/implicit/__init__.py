"""Sets learned as zero sets of a network."""

from .neural_implicit import LearnedZeroSet as LearnedZeroSet
from .neural_implicit import NeuralImplicit as NeuralImplicit
from .penalties import random_direction_penalty as random_direction_penalty
from .penalties import spectrum_penalty as spectrum_penalty
from .zero_set_checks import ZeroSetChecks as ZeroSetChecks
