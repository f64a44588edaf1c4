"""Manifolds with topology: learn them, put exact densities on them, check what they are.

The public names, by the question they answer. Everything else is reached through these.
"""

from . import startup as startup  # first, for Ctrl-C during the imports below
from ._version import __version__ as __version__

# sets: what is M?
from .manifolds.base import Manifold as Manifold
from .manifolds.base import OnManifold as OnManifold
from .manifolds.base import Projection as Projection
from .manifolds.curvature import Reach as Reach
from .manifolds.geodesics import Geodesic as Geodesic
from .manifolds.operations import Intersection as Intersection
from .manifolds.operations import Product as Product
from .manifolds.operations import Similarity as Similarity
from .manifolds.operations import Restriction as Restriction
from .manifolds.operations import Union as Union
from .manifolds.operations import disjoint_union as disjoint_union
from .manifolds.implicit import ImplicitManifold as ImplicitManifold
from .manifolds.spaces import Circle as Circle
from .manifolds.spaces import Euclidean as Euclidean
from .manifolds.spaces import FlatTorus as FlatTorus
from .manifolds.spaces import GenusSurface as GenusSurface
from .manifolds.spaces import HopfLink as HopfLink
from .manifolds.spaces import Interval as Interval
from .manifolds.spaces import KleinBottle as KleinBottle
from .manifolds.spaces import MobiusBand as MobiusBand
from .manifolds.spaces import ProjectivePlane as ProjectivePlane
from .manifolds.spaces import SpecialOrthogonal as SpecialOrthogonal
from .manifolds.spaces import Sphere as Sphere
from .manifolds.spaces import Torus as Torus
from .manifolds.spaces import TorusKnot as TorusKnot
from .manifolds.spaces import surface as surface

# charts: coordinates on M
from .manifolds.atlas import Atlas as Atlas
from .manifolds.charts import Ball as Ball
from .manifolds.charts import Box as Box
from .manifolds.charts import Chart as Chart
from .manifolds.charts import FunctionChart as FunctionChart

# distributions: a density on M
from .distributions.base import ManifoldDistribution as ManifoldDistribution
from .distributions.energy import EnergyDistribution as EnergyDistribution
from .distributions.mixture import Mixture as Mixture
from .distributions.pushforward import Pushforward as Pushforward
from .distributions.thickened import NormalNoise as NormalNoise
from .distributions.uniform import Uniform as Uniform
from .distributions.von_mises import VonMises as VonMises
from .distributions.von_mises import VonMisesFisher as VonMisesFisher

# learned: a set, charts, a distribution
from .models.atlas_density import AtlasDensity as AtlasDensity
from .models.energy import EnergyModel as EnergyModel
from .models.flow import SplineFlow as SplineFlow
from .models.implicit import NeuralImplicit as NeuralImplicit
from .models.injective import InjectiveFlow as InjectiveFlow
from .models.local_polynomials import LocalPolynomials as LocalPolynomials
from .models.matching import FlowMatching as FlowMatching
from .models.matching import MatchingOptions as MatchingOptions
from .models.projected_atlas import ProjectedAtlas as ProjectedAtlas
from .training import FitResult as FitResult
from .training import fit as fit

# topology: what a cloud says, and whether it is what was expected
from .homology import Homology as Homology
from .topology.inference.report import TopologyReport as TopologyReport
from .topology.inference.check import check_topology as check_topology

# one call
from .point_cloud.files import load_points as load_points
from .results import LearnResult as LearnResult
from .pipeline import learn as learn
from .serialization import load as load
from .serialization import save as save
from .inspection import Summary as Summary
from .inspection import inspect as inspect

# rooms
from . import baselines as baselines
from . import calculus as calculus
from . import errors as errors
from . import sampling as sampling
from . import testing as testing
from . import topology as topology
