"""Reference spaces: sets known exactly, with homology, volume, uniform sampler and atlas."""

from collections.abc import Callable

from .base import ReferenceSpace as ReferenceSpace
from .euclidean import Euclidean as Euclidean
from .euclidean import Interval as Interval
from .genus import GenusSurface as GenusSurface
from .gluing import surface as surface
from .klein import KleinBottle as KleinBottle
from .klein import MobiusBand as MobiusBand
from .knots import HopfLink as HopfLink
from .knots import TorusKnot as TorusKnot
from .projective import ProjectivePlane as ProjectivePlane
from .projective import SpecialOrthogonal as SpecialOrthogonal
from .spheres import Circle as Circle
from .spheres import Sphere as Sphere
from .tori import FlatTorus as FlatTorus
from .tori import Torus as Torus

# what `topogen check --expect` and the demos call a space; a new one is a line here
SPACES: dict[str, Callable[[], ReferenceSpace]] = {
    "circle": Circle,
    "sphere": Sphere,
    "torus": Torus,
    "klein": KleinBottle,
    "projective-plane": ProjectivePlane,
    "so3": SpecialOrthogonal,
    "genus2": GenusSurface,
    "trefoil": TorusKnot,
    "hopf": HopfLink,
    "mobius": MobiusBand,
    "flat-torus": FlatTorus,
    "sphere3": lambda: Sphere(3),
    "torus3": lambda: FlatTorus(3),
}
