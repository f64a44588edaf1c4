"""Check what a point cloud is: homology with a verdict, dimension, orientability, singular points.

The public names, by the question they answer. `topogen.topology.persistence.differentiable`, the
one part that imports torch, is imported by its own name.
"""

# homology: is it what was expected, and what will the answer cost?
from .inference.check import CheckOptions as CheckOptions, check_topology as check_topology
from .inference.report import TopologyReport as TopologyReport
from .inference.cost import Cost as Cost, estimate_cost as estimate_cost

# how stable is the answer?
from .stability import Bootstrap as Bootstrap, bootstrap as bootstrap, resample as resample

# two clouds: are they alike?
from .comparison import Comparison as Comparison, compare as compare
from . import scores as scores

# parts: how many components, and what is each?
from .connectivity import ConnectedComponent as ConnectedComponent
from .connectivity import components as components, connected_components as connected_components

# locally: which dimension, how much noise, where is it no manifold?
from .local.dimension import DimensionEstimate as DimensionEstimate
from .local.dimension import DimensionScales as DimensionScales
from .local.dimension import dimension_across_scales as dimension_across_scales
from .local.dimension import duplicates as duplicates, noise_level as noise_level
from .local.dimension import intrinsic_dimension as intrinsic_dimension
from .local.manifold_test import ManifoldTest as ManifoldTest, manifold_test as manifold_test

# globally: can it be oriented, which angles does it have?
from .local.orientability import Orientability as Orientability, orientability as orientability
from .circle_maps import CircularCoordinates as CircularCoordinates
from .circle_maps import circular_coordinates as circular_coordinates
