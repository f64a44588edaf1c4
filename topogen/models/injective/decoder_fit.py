r"""From points to a decoder on a base: seeds, then decoder and base points in turn."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...calculus import log_gram
from ...errors import TrainingError
from ...point_cloud.tensors import nearest_row
from .base_points import seed
from .bases import Base
from .bases.harmonic_factors import UnitInterval, UnitSphere
from .decoder import Decoder, SpectralDecoder
from .interval_ends import stretch
from .nearest_points import foot_points
from .neighbor_graph import Graph, neighbour_graph
from .residual import ResidualDecoder

LADDER = {1: (6, 12, 24, 40), 2: (4, 7, 10, 14), 3: (2, 3, 4, 6, 8)}
MOST_FUNCTIONS = 1000
# ridge, and the share of the error that another round must leave
_SPECTRAL, _RESIDUAL = (1e-10, 0.8), (1e-12, 0.97)
ROUNDS = 12
TOLERANCE = 1e-12
_UNIFORM = 6000  # points of a first image that are seeded again
_STEPS = 20_000  # that the length of a curve is measured in
_GAIN = 0.7  # of held-out distances, that finer functions are worth
_ENOUGH = {1: 1e-8, 2: 1e-8, 3: 1e-6}  # held-out distance that needs no finer level


@dataclass(frozen=True, eq=False)
class Recovered:
    """A decoder with base points of the cloud.

    Attributes:
        decoder: g.
        b: base points of the cloud, shape (n, w).
        held_out: distances of held-out points to the image.
    """

    decoder: SpectralDecoder | ResidualDecoder
    b: Tensor
    held_out: Tensor

    @property
    def score(self) -> float:
        """Not the largest distance: near the edge of a band points may lie beyond M."""
        return float(self.held_out.quantile(0.98))


def recover(
    base: Base, graph: Graph, x: Tensor, held: Tensor, *, count: int, remap: bool
) -> Generator[Mapping[str, float], None, Recovered]:
    r"""Minimise :math:`\sum |x_i - g(b_i)|^2` over g and b_1, ..., b_n, from seeds of b.

    In turn: C by ridge regression, b_i by two Gauss-Newton steps; with functions of higher
    frequency as long as points that were held out get closer.

    Args:
        base: B.
        graph: of the points.
        x: points in units of their size, shape (n, D).
        held: points held out.
        count: landmarks of the seed.
        remap: see :func:`~.seeds.seed`.

    Raises:
        TrainingError: there is no seed.
    """
    start = seed(base, graph, count=count, remap=remap)
    b = torch.from_numpy(np.ascontiguousarray(start.points)).to(x)
    return (yield from _finer_and_finer(base, b, x, held))


def reseeded(
    found: Recovered, x: Tensor, held: Tensor, *, count: int
) -> Generator[Mapping[str, float], None, Recovered]:
    """The same from seeds of uniform points of the image that was found.

    Where the distribution is thin the seeds of the data are crowded, and g stretches; uniform
    points of a first image have no thin parts.

    Args:
        found: the first image.
        x: points in units of their size, shape (n, D).
        held: points held out.
        count: landmarks of the seed.

    Raises:
        TrainingError: there is no seed.
    """
    base, generator = found.decoder.base, torch.Generator().manual_seed(0)
    c = base.sample(10 * _UNIFORM, generator=generator)
    area = log_gram(found.decoder.value_and_jacobian(c)[1]).exp()
    u = found.decoder(c[torch.multinomial(area, _UNIFORM, generator=generator)])
    start = seed(base, neighbour_graph(u.numpy(), base.dim), count=count, remap=True)
    b = torch.from_numpy(np.ascontiguousarray(start.points)).to(x)
    decoder = SpectralDecoder(base, LADDER.get(base.dim, (2,))[0], x.shape[1])
    b = yield from _in_turn(decoder, b, u, *_SPECTRAL)
    return (yield from _finer_and_finer(base, b[nearest_row(u, x)], x, held))


def _finer_and_finer(
    base: Base, b: Tensor, x: Tensor, held: Tensor
) -> Generator[Mapping[str, float], None, Recovered]:
    """Up the ladder of bandwidths, as long as points that were held out get closer."""
    best: Recovered | None = None
    for bandwidth in LADDER.get(base.dim, (2, 3, 4)):
        decoder = SpectralDecoder(base, bandwidth, x.shape[1])
        if decoder.spectrum.count > min(MOST_FUNCTIONS, len(x) // 3):
            break
        b = yield from _in_turn(decoder, b, x, *_SPECTRAL)
        if base.factors == (UnitSphere(1),):
            b = yield from _in_turn(decoder, _at_even_speed(decoder, b), x, *_SPECTRAL)
        found = Recovered(decoder, b, distances(decoder, b, held))
        if best is not None and found.score > _GAIN * best.score:
            break
        best = found
        if best.score < _ENOUGH.get(base.dim, 1e-5):
            break
    if best is None:
        raise TrainingError(
            f"expected more points for a decoder on {base.name}, got {len(x)}; give more"
        )
    return best


def sharpened(
    found: Recovered, x: Tensor, held: Tensor, generator: torch.Generator
) -> Generator[Mapping[str, float], None, Recovered]:
    """With a neural residual, if points that were held out get closer by it."""
    if not isinstance(found.decoder, SpectralDecoder):
        return found
    decoder = ResidualDecoder.of(found.decoder, generator)
    b = foot_points(decoder, x, found.b, tol=TOLERANCE, max_steps=ROUNDS, ends=False).b
    yield from decoder.learn(b, x, generator)
    b = yield from _in_turn(decoder, b, x, *_RESIDUAL)
    better = Recovered(decoder, b, distances(decoder, b, held))
    return better if better.score < _GAIN * found.score else found


def _in_turn(
    decoder: SpectralDecoder | ResidualDecoder, b: Tensor, x: Tensor, ridge: float, gain: float
) -> Generator[Mapping[str, float], None, Tensor]:
    """Regressions and base points, until these gain no more; the decoder is that of the last."""
    base, before = decoder.base, torch.inf
    bounded = any(f == UnitInterval() for f in base.factors)
    for _ in range(ROUNDS):
        decoder.regress(b, x, ridge)
        projections = foot_points(decoder, x, b, tol=TOLERANCE, max_steps=2, ends=False)
        b = stretch(base, projections.b) if bounded else projections.b
        error = float((projections.value - x).square().sum(-1).mean().sqrt())
        yield {"loss": error, "bandwidth": decoder.bandwidth}
        if error > gain * before:
            break
        before = min(before, error)
    decoder.regress(b, x, ridge)
    return b.clone()


def _at_even_speed(decoder: SpectralDecoder, b: Tensor) -> Tensor:
    """Base points of a closed curve moved so that g has one speed: in gaps of the data, too."""
    t = 2 * torch.pi * torch.arange(_STEPS + 1, dtype=b.dtype) / _STEPS
    circle = torch.stack([t.cos(), t.sin()], -1)
    length = (decoder(circle[1:]) - decoder(circle[:-1])).norm(dim=-1).cumsum(0)
    share = np.r_[0.0, (length / length[-1]).numpy()]
    angle = torch.atan2(b[:, 1], b[:, 0]) % (2 * torch.pi)
    s = 2 * torch.pi * torch.from_numpy(np.interp(angle.numpy(), t.numpy(), share)).to(b)
    return torch.stack([s.cos(), s.sin()], -1)


def distances(decoder: Decoder, b: Tensor, x: Tensor) -> Tensor:
    """Distances of points x to the image of g, found from known base points b."""
    projections = foot_points(
        decoder, x, b[nearest_row(decoder(b), x)], tol=TOLERANCE, max_steps=12
    )
    return (projections.value - x).norm(dim=-1)
