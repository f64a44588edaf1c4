"""Check what a point cloud is: homology with a verdict, dimension, orientability, singular points.

The public names, by the question they answer. Differentiable persistence is the one part that
imports torch, and is imported by its own name: `topogen.topology.differentiable`.
"""

# homology: is it what was expected, and what will the answer cost?
from .report import TopologyReport as TopologyReport
from .report import check_topology as check_topology
from .cost import Cost as Cost
from .cost import estimate_cost as estimate_cost

# how stable is the answer?
from .bootstrap import Bootstrap as Bootstrap
from .bootstrap import bootstrap as bootstrap
from .bootstrap import resample as resample

# two clouds: are they alike?
from .compare import Comparison as Comparison
from .compare import compare as compare
from . import scores as scores

# parts: how many components, and what is each?
from .pieces import Piece as Piece
from .pieces import components as components
from .pieces import pieces as pieces

# locally: which dimension, how much noise, where is it no manifold?
from .dimension import DimensionEstimate as DimensionEstimate
from .dimension import DimensionScales as DimensionScales
from .dimension import dimension_across_scales as dimension_across_scales
from .dimension import duplicates as duplicates
from .dimension import intrinsic_dimension as intrinsic_dimension
from .dimension import noise_level as noise_level
from .local import ManifoldCheck as ManifoldCheck
from .local import manifold_check as manifold_check

# globally: can it be oriented, which angles does it have?
from .orientation import Orientability as Orientability
from .orientation import orientability as orientability
from .coordinates import CircularCoordinates as CircularCoordinates
from .coordinates import circular_coordinates as circular_coordinates
