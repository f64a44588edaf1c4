"""Exact distributions on circles, tori, spheres, intervals and their products, by spline flows."""

from .spline_flow import SplineDistribution as SplineDistribution
from .spline_flow import SplineFlow as SplineFlow
