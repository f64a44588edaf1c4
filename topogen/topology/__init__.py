"""Check what a point cloud is: homology with a verdict, dimension, orientability, noise."""

from . import scores as scores
from .compare import Comparison as Comparison
from .compare import compare as compare
from .coordinates import CircularCoordinates as CircularCoordinates
from .coordinates import circular_coordinates as circular_coordinates
from .cost import Cost as Cost
from .cost import estimate_cost as estimate_cost
from .dimension import DimensionEstimate as DimensionEstimate
from .dimension import DimensionScales as DimensionScales
from .dimension import dimension_across_scales as dimension_across_scales
from .dimension import duplicates as duplicates
from .dimension import intrinsic_dimension as intrinsic_dimension
from .dimension import noise_level as noise_level
from .local import ManifoldCheck as ManifoldCheck
from .local import manifold_check as manifold_check
from .orientation import Orientability as Orientability
from .orientation import orientability as orientability
from .pieces import Piece as Piece
from .pieces import components as components
from .pieces import pieces as pieces
from .report import TopologyReport as TopologyReport
from .report import check_topology as check_topology
