"""Exact laws on circles, tori, spheres, intervals and their products, by spline flows."""

from .spline_flow import SplineFlow as SplineFlow
from .spline_flow import SplineLaw as SplineLaw

__all__ = ["SplineFlow", "SplineLaw"]
