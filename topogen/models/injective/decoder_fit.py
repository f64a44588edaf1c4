r"""The fit of a decoder to points: initial base points, then decoder and base points in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...calculus import log_gram
from ...errors import TrainingError
from ...point_cloud.tensors import nearest_row
from ..base import Progress
from .base_points import initial_base_points
from .bases import Base
from .bases.harmonic_factors import UnitSphere
from .decoder import Decoder, SpectralDecoder
from .interval_ends import stretch
from .nearest_points import nearest_points
from .neighbor_graph import Graph, neighbour_graph
from .residual import ResidualDecoder

G = TypeVar("G", bound=Decoder, covariant=True)

# a finer decoder is taken where it brings held-out points closer by a third: less may be chance
_GAIN = 0.7


@dataclass(frozen=True, eq=False)
class FittedDecoder(Generic[G]):
    """A decoder with base points of the cloud.

    Attributes:
        decoder: g.
        b: base points of the cloud, shape (n, w).
        held_out: distances of held-out points to the image.
    """

    decoder: G
    b: Tensor
    held_out: Tensor

    @property
    def score(self) -> float:
        """Not the largest distance: near the boundary of a band points may lie beyond M."""
        return float(self.held_out.quantile(0.98))


def fit_decoder(
    base: Base, graph: Graph, x: Tensor, held_out: Tensor, *, count: int, equal_area: bool
) -> Progress[FittedDecoder[SpectralDecoder]]:
    r"""Minimise :math:`\sum |x_i - g(b_i)|^2` over g and b_1, ..., b_n, from initial b.

    In turn: C by ridge regression, b_i by two Gauss-Newton steps; with functions of higher
    frequency as long as points that were held out get closer.

    Args:
        base: B.
        graph: of the points.
        x: points in units of their size, shape (n, D).
        held_out: points held out.
        count: landmarks for the initial base points.
        equal_area: see :func:`~.base_points.initial_base_points`.

    Raises:
        TrainingError: there are no initial base points.
    """
    start = initial_base_points(base, graph, count=count, equal_area=equal_area)
    return (yield from _finer_and_finer(base, x.new_tensor(start), x, held_out))


def refit_decoder(
    found: FittedDecoder, x: Tensor, held_out: Tensor, *, count: int, uniform: int = 6000
) -> Progress[FittedDecoder[SpectralDecoder]]:
    """The same from initial base points of uniform points of the image that was found.

    Where the distribution is thin the initial base points of the data are crowded, and g
    stretches; uniform points of a first image have no thin parts.

    Args:
        found: the first image.
        x: points in units of their size, shape (n, D).
        held_out: points held out.
        count: landmarks for the initial base points.
        uniform: how many points of the image.

    Raises:
        TrainingError: there are no initial base points.
    """
    base, generator = found.decoder.base, torch.Generator().manual_seed(0)
    c = base.sample(10 * uniform, generator=generator)
    area = log_gram(found.decoder.value_and_jacobian(c)[1]).exp()
    u = found.decoder(c[torch.multinomial(area, uniform, generator=generator)])
    start = initial_base_points(base, neighbour_graph(u.numpy(), base.dim), count=count)
    decoder = SpectralDecoder(base, _bandwidths(base.dim)[0], x.shape[1])
    b = yield from _alternate(decoder, x.new_tensor(start), u)
    return (yield from _finer_and_finer(base, b[nearest_row(u, x)], x, held_out))


def _bandwidths(dim: int) -> tuple[int, ...]:
    """Tried in turn: 13 to 81 functions on the circle, 49 to 613 on the torus."""
    return {1: (6, 12, 24, 40), 2: (4, 7, 10, 14), 3: (2, 3, 4, 6, 8)}.get(dim, (2, 3, 4))


def _finer_and_finer(
    base: Base, b: Tensor, x: Tensor, held_out: Tensor
) -> Progress[FittedDecoder[SpectralDecoder]]:
    """Larger and larger bandwidths, as long as points that were held out get closer."""
    best: FittedDecoder[SpectralDecoder] | None = None
    enough = {1: 1e-8, 2: 1e-8, 3: 1e-6}.get(base.dim, 1e-5)
    for bandwidth in _bandwidths(base.dim):
        decoder = SpectralDecoder(base, bandwidth, x.shape[1])
        if decoder.spectrum.count > min(1000, len(x) // 3):
            break
        b = yield from _alternate(decoder, b, x)
        if base.factors == (UnitSphere(1),):
            b = yield from _alternate(decoder, _at_even_speed(decoder, b), x)
        found = FittedDecoder(decoder, b, distances_to_image(decoder, b, held_out))
        if best is not None and found.score > _GAIN * best.score:
            break
        best = found
        if best.score < enough:
            break
    if best is None:
        raise TrainingError(
            f"expected more points for a decoder on {base.name}, got {len(x)}; give more"
        )
    return best


def with_residual(
    found: FittedDecoder[SpectralDecoder], x: Tensor, held_out: Tensor, generator: torch.Generator
) -> Progress[FittedDecoder]:
    """With a neural residual, if points that were held out get closer by it."""
    decoder = ResidualDecoder.of(found.decoder, generator)
    b = nearest_points(decoder, x, found.b, max_steps=12, ends=False).b
    yield from decoder.learn(b, x, generator)
    b = yield from _alternate(decoder, b, x, ridge=1e-12, gain=0.97)
    better = FittedDecoder(decoder, b, distances_to_image(decoder, b, held_out))
    return better if better.score < _GAIN * found.score else found


def _alternate(
    decoder: Decoder, b: Tensor, x: Tensor, *, ridge: float = 1e-10, gain: float = 0.8
) -> Progress[Tensor]:
    """Regressions and base points in turn, until one leaves more of the error than `gain`."""
    before = torch.inf
    for _ in range(12):
        decoder.regress(b, x, ridge)
        projections = nearest_points(decoder, x, b, max_steps=2, ends=False)
        b = stretch(decoder.base, projections.b)
        error = float((projections.value - x).square().sum(-1).mean().sqrt())
        yield {"loss": error, "bandwidth": decoder.bandwidth or 0}
        if error > gain * before:
            break
        before = min(before, error)
    decoder.regress(b, x, ridge)
    return b.clone()


def _at_even_speed(decoder: SpectralDecoder, b: Tensor, steps: int = 20_000) -> Tensor:
    """Base points of a closed curve moved so that g has one speed: in gaps of the data, too."""
    t = 2 * torch.pi * torch.arange(steps + 1, dtype=b.dtype) / steps
    circle = torch.stack([t.cos(), t.sin()], -1)
    length = (decoder(circle[1:]) - decoder(circle[:-1])).norm(dim=-1).cumsum(0)
    share = np.r_[0.0, (length / length[-1]).numpy()]
    angle = torch.atan2(b[:, 1], b[:, 0]) % (2 * torch.pi)
    s = 2 * torch.pi * torch.from_numpy(np.interp(angle.numpy(), t.numpy(), share)).to(b)
    return torch.stack([s.cos(), s.sin()], -1)


def distances_to_image(decoder: Decoder, b: Tensor, x: Tensor) -> Tensor:
    """Distances of points x to the image of g, found from known base points b."""
    projections = nearest_points(decoder, x, b[nearest_row(decoder(b), x)], max_steps=12)
    return (projections.value - x).norm(dim=-1)
