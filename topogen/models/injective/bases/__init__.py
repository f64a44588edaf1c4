"""Bases of injective flows: spheres, tori, intervals, products, and their free quotients."""

from .base import FIXED as FIXED
from .base import Base as Base
from .base import base_of as base_of
from .base import from_parts as from_parts
from .base import product as product
from .base import standard as standard
from .spectrum import Spectrum as Spectrum
