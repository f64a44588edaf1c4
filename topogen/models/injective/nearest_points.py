"""Nearest points of the image of a decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ... import calculus
from .bases.harmonic_factors import UnitInterval
from .decoder import Decoder


@dataclass(frozen=True)
class NearestPoints:
    """Base points of the nearest points of the image of a decoder.

    Attributes:
        b: on the cover, shape (n, w).
        value: g(b), shape (n, D).
        residual: length of the tangential part of x - g(b): how far the search is from its end.
        converged: whether that is below the tolerance.
        steps: Gauss-Newton steps taken.
    """

    b: Float[Tensor, "n w"]
    value: Float[Tensor, "n D"]
    residual: Float[Tensor, " n"]
    converged: Bool[Tensor, " n"]
    steps: Int[Tensor, " n"]


def newton_direction(
    decoder: Decoder, b: Tensor, J: Tensor, offset: Tensor, *, ends: bool = True
) -> tuple[Tensor, Tensor]:
    r"""The tangent vector :math:`E J^+ (x - g(b))` of the cover, and the tangential part's length.

    At the end of an interval, directions that leave it are left out of J.
    """
    v, along = _least_squares(decoder, b, J, offset)
    for _ in range(sum(f == UnitInterval() for f in decoder.base.factors) * ends):
        out = decoder.base.blocked(b, v)
        J = torch.where(out.unsqueeze(-2), 0.0, J)
        v, along = _least_squares(decoder, b, J, offset)
    return v, along


def _least_squares(
    decoder: Decoder, b: Tensor, J: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    Q, diagonal = calculus.orthonormalize(J)
    along = Q.mT @ offset.unsqueeze(-1)
    floor = (1e-12 * diagonal.amax(-1) + 1e-300)[..., None, None]
    R = Q.mT @ J + floor * torch.eye(J.shape[-1], dtype=J.dtype, device=J.device)
    v = torch.linalg.solve_triangular(R, along, upper=True)
    return (decoder.base.frame(b) @ v).squeeze(-1), along.squeeze(-1).norm(dim=-1)


def nearest_points(
    decoder: Decoder,
    x: Float[Tensor, "n D"],
    b: Float[Tensor, "n w"],
    *,
    tol: float = 1e-12,
    max_steps: int,
    ends: bool = True,
    longest_step: float = 0.3,
) -> NearestPoints:
    r"""The b next to given ones at which :math:`|x - g(b)|` is least, by damped Gauss-Newton.

    A step v of :math:`\min |x - g(b) - J v|` is of bounded length, and halved until the distance
    does not grow. At the end of an interval the step that stays there is taken.

    Args:
        decoder: g.
        x: targets.
        b: first base points.
        tol: tangential part at which a row stops.
        max_steps: most steps per row.
        ends: whether intervals end at -1 and 1; else the image is continued beyond.
        longest_step: in lengths of B, whose circles and spheres have radius 1.
    """
    base = decoder.base
    b = b.clone()
    value, J = decoder.value_and_jacobian(b)
    residual = x.new_full((len(x),), torch.inf)
    steps = torch.zeros(len(x), dtype=torch.long, device=x.device)
    live = torch.arange(len(x), device=x.device)
    for k in range(max_steps + 1):
        offset = x[live] - value[live]
        direction, residual[live] = newton_direction(decoder, b[live], J, offset, ends=ends)
        go = ~(residual[live] <= tol)
        if k == max_steps or not bool(go.any()):
            break
        live, direction, here = live[go], direction[go], b[live[go]]
        size = direction.norm(dim=-1, keepdim=True)
        direction = direction * (longest_step / size.clamp_min(longest_step))
        moved = base.move(here, direction, ends=ends)
        rounding = 8 * torch.finfo(x.dtype).eps * x[live].norm(dim=-1)
        limit = offset[go].norm(dim=-1) + rounding
        trial, slope = decoder.value_and_jacobian(moved)
        worse = (x[live] - trial).norm(dim=-1) > limit
        fraction = 1.0
        while bool(worse.any()) and fraction > 2**-8:
            fraction /= 2
            moved[worse] = base.move(here[worse], fraction * direction[worse], ends=ends)
            trial[worse], slope[worse] = decoder.value_and_jacobian(moved[worse])
            worse = (x[live] - trial).norm(dim=-1) > limit
        steps[live] += 1
        still = ~worse
        b[live[still]], value[live[still]] = moved[still], trial[still]
        live, J = live[still], slope[still]
        if not len(live):
            break
    return NearestPoints(b, value, residual, residual <= tol, steps)


def attached(decoder: Decoder, x: Float[Tensor, "n D"], found: NearestPoints) -> NearestPoints:
    r"""The same points, with a derivative in x: that of two more Gauss-Newton steps.

    It is :math:`Db = J^+` for x on M, and off by the square of (distance / radius of curvature)
    elsewhere.
    """
    b = found.b
    for _ in range(2):
        value, J = decoder.value_and_jacobian(b)
        b = decoder.base.move(b, newton_direction(decoder, b, J, x - value)[0])
    b = found.b + (b - b.detach())
    value = decoder(b)
    return replace(found, b=b, value=found.value + (value - value.detach()))
