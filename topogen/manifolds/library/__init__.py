"""Reference spaces: sets known exactly, with homology, volume, uniform sampler and atlas."""

from .base import ReferenceSpace as ReferenceSpace
from .combine import DisjointUnion as DisjointUnion
from .flat import Euclidean as Euclidean
from .flat import Interval as Interval
from .genus import Genus as Genus
from .klein import KleinBottle as KleinBottle
from .klein import MobiusBand as MobiusBand
from .knots import HopfLink as HopfLink
from .knots import TorusKnot as TorusKnot
from .product import Product as Product
from .projective import ProjectivePlane as ProjectivePlane
from .projective import RotationGroup as RotationGroup
from .spheres import Circle as Circle
from .spheres import Sphere as Sphere
from .tori import FlatTorus as FlatTorus
from .tori import Torus as Torus
