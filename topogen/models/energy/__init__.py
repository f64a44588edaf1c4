"""Laws learned as energies, and their normalisers."""

from .chained import ChainedEnergy as ChainedEnergy
from .chained import estimate_log_z as estimate_log_z
from .density import ImplicitDensity as ImplicitDensity
from .measure import Measure as Measure
from .measure import find_measure as find_measure
from .partition import Draws as Draws
from .partition import bridge as bridge
from .partition import estimate as estimate
from .partition import importance as importance
from .partition import thermodynamic as thermodynamic
