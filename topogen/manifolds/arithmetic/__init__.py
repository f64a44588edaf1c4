"""New sets from old ones: unions, intersections, restrictions by inequalities, similar copies."""

from .contact import Contact as Contact
from .homology import mayer_vietoris as mayer_vietoris
from .intersection import Intersection as Intersection
from .intersection import TransversalityError as TransversalityError
from .moved import Moved as Moved
from .restriction import Restriction as Restriction
from .union import Union as Union
