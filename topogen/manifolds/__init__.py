"""Manifolds, their geometry and their charts."""
