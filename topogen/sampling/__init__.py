"""Points of a law on a set: uniform laws without a chain, chains, and what they are worth."""

from .chains import ChainResult as ChainResult
from .chains import SamplingError as SamplingError
from .coarea import coarea_volume as coarea_volume
from .diagnostics import Diagnostics as Diagnostics
from .diagnostics import diagnose as diagnose
from .estimate import VolumeEstimate as VolumeEstimate
from .exchange import replica_exchange as replica_exchange
from .hamiltonian import constrained_hmc as constrained_hmc
from .langevin import langevin as langevin
from .moves import NormalSolver as NormalSolver
from .oracles import VolumeComparison as VolumeComparison
from .oracles import compare_volumes as compare_volumes
from .oracles import uniform as uniform
from .oracles import volume as volume
from .random_walk import random_walk as random_walk
from .rays import Rays as Rays
from .tube import Tube as Tube
