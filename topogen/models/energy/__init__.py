"""Distributions learned as energies, and their normalisers."""

from .energy_model import EnergyModel as EnergyModel
from .mcmc_energy import ChainedEnergy as ChainedEnergy
from .mcmc_energy import estimate_log_z as estimate_log_z
from .partition_function import Draws as Draws
from .partition_function import bridge as bridge
from .partition_function import estimate as estimate
from .partition_function import importance as importance
from .partition_function import thermodynamic as thermodynamic
from .reference_measure import Measure as Measure
from .reference_measure import find_measure as find_measure
