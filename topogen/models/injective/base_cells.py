r"""Boxes that cover a base, and are halved where they are too large.

A box is given by coordinates: the angle of a circle, the number of an interval, and for a sphere
S^n a point of the surface of the cube :math:`[-1, 1]^{n+1}`, carried to the sphere by x -> x /
|x|. Where :math:`|x| \ge a` that map lengthens paths by 1/a at most, so a box in a face of the
cube with half-diagonal h is carried into a geodesic ball of radius h / a.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .bases import Base
from .bases.harmonic_factors import HarmonicFactor, RealLine, UnitInterval, UnitSphere


@dataclass(frozen=True)
class Boxes:
    """Boxes of a base.

    Attributes:
        base: B.
        scale: lengths in each factor are multiplied by these.
        middle: their middles, in the coordinates above, side by side for the factors.
        half: half of their sides; 0 across a face of a cube.
    """

    base: Base
    scale: Float[Tensor, " k"]
    middle: Float[Tensor, "m q"]
    half: Float[Tensor, "m q"]

    @property
    def centres(self) -> Float[Tensor, "m w"]:
        """Points c of the cover in them."""
        parts = [
            torch.cat([x.cos(), x.sin()], -1) if f == UnitSphere(1) else f.retract(x)
            for f, x in zip(self.base.factors, self._split(self.middle), strict=True)
        ]
        return torch.cat(parts, -1)

    @property
    def radii(self) -> Float[Tensor, "m k"]:
        """Radii of balls of the factors around c that contain them, one of each factor."""
        columns = []
        halves, middles = self._split(self.half), self._split(self.middle)
        for f, x, h in zip(self.base.factors, middles, halves, strict=True):
            radius = h.norm(dim=-1)
            if _is_cube(f):
                radius = radius / (x.abs() - h).clamp_min(0).norm(dim=-1)
            columns.append(radius)
        return torch.stack(columns, -1) * self.scale

    def halved(self, rows: Int[Tensor, " r"]) -> Boxes:
        """The halves 2i, 2i + 1 of the boxes rows[i], cut across their longest sides."""
        middle, half = self.middle[rows], self.half[rows]
        repeats = torch.tensor([_coordinates(f) for f in self.base.factors])
        longest = (half * self.scale.repeat_interleave(repeats)).argmax(-1, keepdim=True)
        step = torch.zeros_like(half).scatter(-1, longest, half.gather(-1, longest) / 2)
        middle = torch.stack([middle - step, middle + step], 1).flatten(0, 1)
        return Boxes(self.base, self.scale, middle, (half - step).repeat_interleave(2, 0))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split([_coordinates(f) for f in self.base.factors], -1)


def cover(base: Base, count: int, scale: Float[Tensor, " k"]) -> Boxes:
    """Boxes that cover B, of a grid with about `count` over the cover of B.

    Args:
        base: B.
        count: how many boxes; fewer are given of a quotient.
        scale: lengths in each factor are multiplied by these; the boxes are about cubes then.

    Raises:
        ValueError: B has a line.
    """
    if any(f == RealLine() for f in base.factors):
        raise ValueError("expected a compact base for a cover by boxes, got one with a line")
    mu = scale.tolist()
    # faces of cubes are seen under right angles
    sizes = [
        m**f.dim * (2 * f.width * (math.pi / 2) ** f.dim if _is_cube(f) else f.volume)
        for f, m in zip(base.factors, mu, strict=True)
    ]
    side = (math.prod(sizes) / count) ** (1 / base.dim)
    middle = half = torch.zeros(1, 0, dtype=torch.float64)
    for f, m in zip(base.factors, mu, strict=True):
        x, h = _grid(f, side / m)
        x, h = x.repeat(len(middle), 1), h.repeat(len(middle), 1)
        times = len(x) // len(middle)
        middle = torch.cat([middle.repeat_interleave(times, 0), x], -1)
        half = torch.cat([half.repeat_interleave(times, 0), h], -1)
    return _one_of_each_orbit(Boxes(base, scale, middle.to(base.group), half.to(base.group)))


def _is_cube(f: HarmonicFactor) -> bool:
    return isinstance(f, UnitSphere) and f.n > 1


def _coordinates(f: HarmonicFactor) -> int:
    return f.width if _is_cube(f) else 1


def _grid(f: HarmonicFactor, side: float) -> tuple[Tensor, Tensor]:
    """Middles and half-sides of boxes of one factor."""
    quarter = math.ceil(math.pi / 2 / side)
    if f == UnitSphere(1):
        x = math.pi * _middles(4 * quarter)
        return x, torch.full_like(x, math.pi / (4 * quarter))
    if f == UnitInterval():
        x = _middles(math.ceil(2 / side))
        return x, torch.full_like(x, 1 / len(x))
    face = torch.cartesian_prod(*[_middles(quarter)[:, 0]] * f.dim)
    middles, halves = [], []
    for k, end in itertools.product(range(f.width), (-1.0, 1.0)):
        for parts, across, along in ((middles, end, face), (halves, 0.0, face * 0 + 1 / quarter)):
            column = torch.full((len(face), 1), across, dtype=torch.float64)
            parts.append(torch.cat([along[:, :k], column, along[:, k:]], -1))
    return torch.cat(middles), torch.cat(halves)


def _middles(count: int) -> Float[Tensor, "count 1"]:
    """Middles of `count` equal parts of [-1, 1]."""
    return ((2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1).unsqueeze(-1)


def _one_of_each_orbit(boxes: Boxes) -> Boxes:
    """The first box of every orbit, where Gamma permutes boxes: by exchanges and signs only."""
    from scipy.spatial import KDTree

    base = boxes.base
    if len(base.group) == 1 or bool(base.group.frac().any()):
        return boxes
    c = boxes.centres
    gap, place = KDTree(c.numpy()).query(base.orbit(c).numpy())
    if gap.max() > 1e-9:
        return boxes
    first = torch.from_numpy(place).amin(0) == torch.arange(len(c))
    return Boxes(base, boxes.scale, boxes.middle[first], boxes.half[first])
