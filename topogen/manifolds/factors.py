r"""Coordinates u in [0, 1]^d of a space in which its uniform distribution is that of the cube.

A point of M is a list of unit vectors, one per coordinate: (cos t, sin t) on a circle, (cos theta,
sin theta) for a polar angle, (2u - 1,) on an interval. S^m has m - 1 polar angles and a circle,

.. math:: x = (\sin\theta_1 \cdots \sin\theta_{m-1} (\cos t, \sin t), \dots,
          \sin\theta_1 \cos\theta_2, \cos\theta_1) .
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TAU = 2 * math.pi


@dataclass(frozen=True)
class Coordinate:
    """One coordinate u in [0, 1].

    Attributes:
        kind: "circle" (an angle), "polar" (a polar angle of a sphere) or "interval".
        power: of a polar angle, m in the density proportional to sin(theta)^m.

    Example:
        >>> height = Coordinate("polar", 1)  # of S^2
        >>> height.place(torch.tensor([0.2]))
        tensor([[0.6000, 0.8000]])
        >>> height.rank(torch.tensor([[0.6, 0.8]]))
        tensor([0.2000])
    """

    kind: Literal["circle", "polar", "interval"]
    power: int = 0

    @property
    def size(self) -> int:
        """Length of the vectors e."""
        return 1 if self.kind == "interval" else 2

    def rank(self, e: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
        """The coordinate u of a vector e."""
        if self.kind == "interval":
            return ((e[..., 0] + 1) / 2).clamp(0, 1)
        if self.kind == "circle":
            return torch.remainder(angle(e) / TAU, 1.0)
        if self.power == 1:
            return ((1 - e[..., 0]) / 2).clamp(0, 1)
        return (_mass(e, angle(e), self.power) / _total(self.power)).clamp(0, 1)

    def place(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch k"]:
        """The vector e of a coordinate u."""
        if self.kind == "interval":
            return (2 * u - 1).unsqueeze(-1)
        if self.kind == "polar" and self.power == 1:
            return torch.stack([1 - 2 * u, 2 * (u * (1 - u)).clamp_min(0).sqrt()], -1)
        m = self.power
        t = TAU * u if self.kind == "circle" else _angle_of_mass(u * _total(m), m)
        return torch.stack([t.cos(), t.sin()], -1)


CIRCLE = Coordinate("circle")


@dataclass(frozen=True)
class CoordinateFactor:
    r"""A factor of M: its columns in the points of M, and its coordinates.

    Attributes:
        start: first column.
        width: number of columns.
        centre: of the factor.
        scale: its radius, or half its length.
        coordinates: one per dimension.
    """

    start: int
    width: int
    centre: float
    scale: float
    coordinates: tuple[Coordinate, ...]

    @property
    def poles(self) -> bool:
        """Whether it is a sphere of dimension 2 or more."""
        return len(self.coordinates) > 1

    @property
    def columns(self) -> slice:
        """Where the factor stands in a point of M."""
        return slice(self.start, self.start + self.width)

    def scaled(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch k"]:
        """The factor's part of a point of M, at unit scale."""
        return (x[..., self.columns] - self.centre) / self.scale

    def split(self, y: Float[Tensor, "*batch k"]) -> list[Tensor]:
        """Unit vectors, one per coordinate, of a point at unit scale."""
        parts = []
        for _ in self.coordinates[:-1]:
            rest = y[..., :-1]
            parts.append(_unit(torch.cat([y[..., -1:], _length(rest)], -1)))
            y = _unit(rest)
        return [*parts, y if self.coordinates[-1].kind == "interval" else _unit(y)]

    def join(self, parts: list[Tensor]) -> Float[Tensor, "*batch k"]:
        """The point at unit scale of unit vectors."""
        y = parts[-1]
        for e in reversed(parts[:-1]):
            y = torch.cat([e[..., 1:] * y, e[..., :1]], -1)
        return y


def angle(e: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """The angle of a vector in (-pi, pi], with gradient 0 where the vector is 0."""
    zero = (e == 0).all(-1)
    return torch.atan2(e[..., 1], torch.where(zero, torch.ones_like(e[..., 0]), e[..., 0]))


def _length(y: Tensor) -> Tensor:
    square = (y * y).sum(-1, keepdim=True)
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def _unit(y: Tensor) -> Tensor:
    """Y over its length; where that is 0, the first unit vector."""
    length, first = _length(y), torch.zeros_like(y)
    first[..., 0] = 1
    return torch.where(length == 0, first, y / torch.where(length == 0, 1.0, length))


def _mass(e: Tensor, t: Tensor, m: int) -> Tensor:
    """The integral of sin^m from 0 to the angle t of e = (cos t, sin t)."""
    if m == 0:
        return t
    if m == 1:
        return 1 - e[..., 0]
    c, s = e.unbind(-1)
    return ((m - 1) * _mass(e, t, m - 2) - s ** (m - 1) * c) / m


def _total(m: int) -> float:
    """The integral of sin^m from 0 to pi."""
    return math.sqrt(math.pi) * math.exp(math.lgamma((m + 1) / 2) - math.lgamma(m / 2 + 1))


def _angle_of_mass(mass: Tensor, m: int) -> Tensor:
    """The angle in [0, pi] with a given integral of sin^m: Newton inside a bracket."""
    low, high = torch.zeros_like(mass), torch.full_like(mass, math.pi)
    t = (low + high) / 2
    for _ in range(60):  # halvings alone would end at the rounding
        e = torch.stack([t.cos(), t.sin()], -1)
        over = _mass(e, t, m) - mass
        low, high = torch.where(over < 0, t, low), torch.where(over < 0, high, t)
        new = t - over / (e[..., 1] ** m).clamp_min(1e-300)
        new = torch.where((new > low) & (new < high), new, (low + high) / 2)
        if float((new - t).abs().max() if t.numel() else 0.0) < 1e-15:
            break
        t = new
    return t
