"""Known distributions on manifolds."""

from .base import ManifoldDistribution as ManifoldDistribution
from .base import require_comparable as require_comparable
from .mixture import Mixture as Mixture
from .uniform import Uniform as Uniform
from .von_mises import VonMises as VonMises
from .von_mises import VonMisesFisher as VonMisesFisher
