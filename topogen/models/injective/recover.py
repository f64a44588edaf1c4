r"""From points to a decoder on a base: seeds, then decoder and base points in turn."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import TrainingError
from ...manifolds.bases import Base
from ...manifolds.bases.factors import Segment
from ...manifolds.library.base import nearest_row
from .decoder import SpectralDecoder
from .edges import stretch
from .feet import foot_points
from .graph import Graph
from .seeds import seed

LADDER = {1: (6, 12, 24, 40), 2: (4, 7, 10, 14), 3: (2, 3, 4, 6, 8)}
MOST_FUNCTIONS = 1000
RIDGE = 1e-10
ROUNDS = 12
TOLERANCE = 1e-12
_ENOUGH = {1: 1e-8, 2: 1e-8, 3: 1e-6}  # held-out distance that needs no finer level


@dataclass(frozen=True, eq=False)
class Recovered:
    """A decoder with base points of the cloud.

    Attributes:
        decoder: g.
        b: base points of the cloud, shape (n, w).
        held_out: distances of held-out points to the image.
    """

    decoder: SpectralDecoder
    b: Tensor
    held_out: Tensor


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
    best: tuple[float, SpectralDecoder, Tensor, Tensor] | None = None
    bounded = any(f == Segment() for f in base.factors)
    for bandwidth in LADDER.get(base.dim, (2, 3, 4)):
        decoder = SpectralDecoder(base, bandwidth, x.shape[1])
        if decoder.spectrum.count > min(MOST_FUNCTIONS, len(x) // 3):
            break
        before = torch.inf
        for _ in range(ROUNDS):
            decoder.regress(b, x, RIDGE)
            feet = foot_points(decoder, x, b, tol=TOLERANCE, max_steps=2, ends=False)
            b = stretch(base, feet.b) if bounded else feet.b
            error = float((feet.value - x).square().sum(-1).mean().sqrt())
            yield {"loss": error, "bandwidth": bandwidth}
            if error > 0.8 * before:
                break
            before = min(before, error)
        decoder.regress(b, x, RIDGE)
        off = distances(decoder, b, held)
        # not the largest: near the edge of a band points that were held out may lie beyond M
        score = float(off.quantile(0.98))
        if best is not None and score > 0.7 * best[0]:
            break
        best = (score, decoder, b.clone(), off)
        if score < _ENOUGH.get(base.dim, 1e-5):
            break
    if best is None:
        raise TrainingError(
            f"expected more points for a decoder on {base.name}, got {len(x)}; give more"
        )
    _, decoder, b, off = best
    return Recovered(decoder, b, off)


def distances(decoder: SpectralDecoder, b: Tensor, x: Tensor) -> Tensor:
    """Distances of points x to the image of g, found from known base points b."""
    feet = foot_points(decoder, x, b[nearest_row(decoder(b), x)], tol=TOLERANCE, max_steps=12)
    return (feet.value - x).norm(dim=-1)
