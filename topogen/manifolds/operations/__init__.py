"""New sets from old ones: unions, intersections, restrictions by inequalities, similar copies."""

from .contact import Contact as Contact
from .intersection import Intersection as Intersection
from .intersection import TransversalityError as TransversalityError
from .mayer_vietoris import mayer_vietoris as mayer_vietoris
from .restriction import Restriction as Restriction
from .similarity import Similarity as Similarity
from .union import Union as Union
