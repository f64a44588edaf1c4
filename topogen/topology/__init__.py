"""Check what a point cloud is: homology with a verdict, dimension, orientability, singular points.

The public names, by the question they answer. Differentiable persistence is the one part that
imports torch, and is imported by its own name: `topogen.topology.persistence.differentiable`.
"""

# homology: is it what was expected, and what will the answer cost?
from .inference.check import CheckOptions as CheckOptions
from .inference.check import check_topology as check_topology
from .inference.report import TopologyReport as TopologyReport
from .inference.cost import Cost as Cost
from .inference.cost import estimate_cost as estimate_cost

# how stable is the answer?
from .stability import Bootstrap as Bootstrap
from .stability import bootstrap as bootstrap
from .stability import resample as resample

# two clouds: are they alike?
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from . import scores as scores

# parts: how many components, and what is each?
from .connectivity import ConnectedComponent as ConnectedComponent
from .connectivity import components as components
from .connectivity import connected_components as connected_components

# locally: which dimension, how much noise, where is it no manifold?
from .local.dimension import DimensionEstimate as DimensionEstimate
from .local.dimension import DimensionScales as DimensionScales
from .local.dimension import dimension_across_scales as dimension_across_scales
from .local.dimension import duplicates as duplicates
from .local.dimension import intrinsic_dimension as intrinsic_dimension
from .local.dimension import noise_level as noise_level
from .local.manifold_test import ManifoldTest as ManifoldTest
from .local.manifold_test import manifold_test as manifold_test

# globally: can it be oriented, which angles does it have?
from .local.orientability import Orientability as Orientability
from .local.orientability import orientability as orientability
from .circle_maps import CircularCoordinates as CircularCoordinates
from .circle_maps import circular_coordinates as circular_coordinates
