"""Exact laws on circles, tori, spheres, intervals and their products, by spline flows."""

from .model import SplineFlow as SplineFlow
from .model import SplineLaw as SplineLaw

__all__ = ["SplineFlow", "SplineLaw"]
