"""Closed curves, followed point by point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Manifold

# a step is halved until the tangent turns by less than this angle
_TURN = 0.15
_LONGEST = 0.1
_SHORTEST = 1e-7
_MAX_POINTS = 20_000


@dataclass(frozen=True)
class Curve:
    """A closed curve.

    Attributes:
        points: in order, shape (n, D); the last is followed by the first.
        tangents: unit tangents, shape (n, D).
        length: its length.
        error: of the length, from twice the step.
    """

    points: Float[Tensor, "n D"]
    tangents: Float[Tensor, "n D"]
    length: float
    error: float


def trace(M: Manifold, starts: Float[Tensor, "n D"]) -> list[Curve] | None:
    """The closed curves of a set M of dimension 1 that hold the given points of it.

    None where a curve does not close: it has an end, or more than 20 000 steps.
    """
    left, curves = starts, []
    while left.shape[0]:
        curve = _follow(M, left[0])
        if curve is None:
            return None
        curves.append(curve)
        left = left[1:][~_on(curve, left[1:])]
    return curves


def _on(curve: Curve, x: Tensor) -> Tensor:
    """Which points lie on the curve, told by the nearest of its points and the tangent there."""
    step = (curve.points - curve.points.roll(1, 0)).norm(dim=-1)
    distance, k = torch.cdist(x, curve.points).min(-1)
    way = x - curve.points[k]
    t = curve.tangents[k]
    across = (way - (way * t).sum(-1, keepdim=True) * t).norm(dim=-1)
    size = torch.maximum(step, step.roll(-1))[k]
    return (distance <= size) & (across <= _TURN * size)


def _follow(M: Manifold, start: Tensor) -> Curve | None:
    points, tangents = [start], [M.tangent_basis(start)[..., 0]]
    h = longest = _LONGEST * M.scale
    while len(points) < _MAX_POINTS:
        x, t = points[-1], tangents[-1]
        home = start - x
        if len(points) > 2 and home.norm() <= h and _agree(x, t, start, tangents[0]):
            return _curve(torch.stack(points), torch.stack(tangents))
        p = M.project(x + h * t)
        u = M.tangent_basis(p.value)[..., 0]
        u = u * (1.0 if float(u @ t) >= 0 else -1.0)
        if not bool(p.converged) or not _agree(x, t, p.value, u):
            h /= 2
            if h < _SHORTEST * M.scale:
                return None
            continue
        points.append(p.value)
        tangents.append(u)
        h = min(1.5 * h, longest)
    return None


def _agree(x: Tensor, t: Tensor, y: Tensor, u: Tensor) -> bool:
    """Whether a short arc can lead from x with tangent t to y with tangent u."""
    way = y - x
    size = float(way.norm())
    if size == 0:
        return False
    turn = math.cos(_TURN)
    return min(float(t @ u), float(way @ t) / size, float(way @ u) / size) > turn


def _curve(x: Tensor, t: Tensor) -> Curve:
    fine = _length(x, t)
    coarse = _length(x[::2], t[::2])
    return Curve(x, t, fine, abs(fine - coarse) / 15 + 1e-12 * fine)


def _length(x: Tensor, t: Tensor) -> float:
    """Chords c and turns a of the tangent: exact for circles, c (a/2) / sin(a/2)."""
    chord = (x.roll(-1, 0) - x).norm(dim=-1)
    half = ((t.roll(-1, 0) - t).norm(dim=-1) / 2).clamp_max(1.0).asin()
    return float((chord * torch.where(half > 1e-9, half / half.sin(), 1.0)).sum())
