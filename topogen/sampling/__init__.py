"""Points of a distribution on M: uniform ones without a chain, Markov chains, and their worth."""

from .chains import ChainResult as ChainResult
from .chains import SamplingError as SamplingError
from .coarea import coarea_volume as coarea_volume
from .constraint_steps import NormalSolver as NormalSolver
from .diagnostics import Diagnostics as Diagnostics
from .diagnostics import diagnose as diagnose
from .mcmc import constrained_hmc as constrained_hmc
from .mcmc import langevin as langevin
from .mcmc import random_walk as random_walk
from .random_lines import Rays as Rays
from .records import Plan as Plan
from .replicas import Ladder as Ladder
from .replicas import replica_exchange as replica_exchange
from .tube import Tube as Tube
from .volume_estimate import VolumeEstimate as VolumeEstimate
from .volume_methods import VolumeComparison as VolumeComparison
from .volume_methods import compare_volumes as compare_volumes
from .volume_methods import uniform as uniform
from .volume_methods import volume as volume
