"""New manifolds from old ones: products, unions, intersections, restrictions, similar copies."""

from .contact import Contact as Contact
from .intersection import Intersection as Intersection
from .intersection import TransversalityError as TransversalityError
from .product import Product as Product
from .restriction import Restriction as Restriction
from .similarity import Similarity as Similarity
from .union import Union as Union
from .union import disjoint_union as disjoint_union
from .union_homology import mayer_vietoris as mayer_vietoris
