"""The uniform distribution of a manifold without charts: H^d(M) with an error, and draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InvalidPoints, UnsupportedError
from ...manifolds.base import Manifold
from ...sampling.random_lines import Rays
from ...sampling.tube import Tube
from ...sampling.volume_estimate import VolumeEstimate


@dataclass(frozen=True)
class Measure:
    """What stands for H^d on M.

    Attributes:
        points: uniform draws of M.
        effective: how many independent draws they are worth.
        volume: H^d(M).
        error: half-width of a 95 % interval for it.
    """

    points: Float[Tensor, "N D"]
    effective: float
    volume: float
    error: float

    def halves(self) -> tuple[Measure, Measure]:
        """Two halves of the draws, independent of each other but for one line at most."""
        n = self.points.shape[0] // 2
        whole = replace(self, effective=self.effective / 2)
        return replace(whole, points=self.points[:n]), replace(whole, points=self.points[n:])


def find_measure(M: Manifold, points: Float[Tensor, "n D"], generator: torch.Generator) -> Measure:
    """The volume of M and uniform draws, by random lines where they apply, else by the tube.

    Args:
        M: the manifold.
        points: points near M, all over it.
        generator: source of randomness.

    Raises:
        UnsupportedError: neither applies; the message says why.
    """
    try:
        rays = Rays(M, points, generator=generator)
    except (UnsupportedError, InvalidPoints) as error:
        return _by_tube(M, points, generator, f"lines: {error}")
    found = rays.cast(20_000)
    order = found.line.argsort(stable=True)
    effective = float((found.hits > 0).sum())
    return _checked(found.points[order], effective, rays.measured(found))


def _by_tube(M: Manifold, points: Tensor, generator: torch.Generator, before: str) -> Measure:
    codim = M.ambient_dim - M.dim
    if codim > 6:  # hardly a point of the region lies in the tube
        raise UnsupportedError(
            f"expected codimension <= 6 for the tube about M, got {codim}; {before}"
        )
    try:
        tube = Tube(M, points=points, generator=generator)
        found = tube.cast(10_000)
        volume = tube.measured(found)
    except (UnsupportedError, InvalidPoints) as error:
        raise UnsupportedError(f"{before}; tube: {error}") from None
    w = found.weights
    accepted = torch.rand(w.shape, generator=generator, dtype=w.dtype) * w.max() < w
    return _checked(found.points[accepted], float(accepted.sum()), volume)


def _checked(points: Tensor, effective: float, volume: VolumeEstimate) -> Measure:
    if not (effective >= 500 and 0 < volume.error < volume.value):
        raise UnsupportedError(
            f"expected a volume with an error below it and 500 draws, got {volume} and "
            f"{effective:.0f}"
        )
    return Measure(points, effective, volume.value, volume.error)
