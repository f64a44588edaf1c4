"""Whether given charts are charts of a manifold, and cover it: measured on points of both."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AtlasError
from .base import Manifold
from .charts import Chart
from .locate import some_points

# nodes per axis on which a chart is looked at, by dimension, 4 above: some 200 in all
_NODES = {1: 64, 2: 14, 3: 6}


@torch.no_grad()
def decoded(chart: Chart) -> Float[Tensor, "n D"]:
    """Points of nodes in the domain of a chart."""
    x = chart.decode(chart.domain.grid(_NODES.get(chart.dim, 4))[0])
    return x[~x.isnan().any(-1)]


def require_on(charts: Sequence[Chart], M: Manifold, same: float = 1e-5) -> None:
    """Raise unless the charts decode to points of M, to this share of its size.

    Raises:
        AtlasError: one does not.
    """
    allowed = max(M.tolerance or 0.0, same * M.scale)
    for k, chart in enumerate(charts):
        x = decoded(chart).to(torch.float64)
        with torch.no_grad():
            off = M.residual(x[M.in_domain(x)])
        if off.numel() and not float(off.max()) <= allowed:
            raise AtlasError(
                f"expected charts that decode to points of {type(M).__name__}, but points of "
                f"chart {k} are up to {float(off.max()):.2g} off it (allowed: {allowed:.1g}); "
                "correct decode, or pass the manifold that the charts belong to"
            )


def require_cover(charts: Sequence[Chart], M: Manifold, count: int = 1000) -> None:
    """Raise unless the charts cover M, as far as its points are known.

    Raises:
        AtlasError: they do not cover an exact sample of M, or less than 99 % of other points.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if M.has_sampler:
            x = M.sample_uniform(count, generator)
        else:
            near = torch.cat([decoded(chart).to(torch.float64) for chart in charts])
            x = some_points(M, count, generator, near)
        inside = torch.stack([chart.contains(x) for chart in charts], -1).any(-1)
    missed = x[~inside]
    if len(missed) > (0.0 if M.has_sampler else 0.01) * len(x):
        where = ", ".join(f"{value:.3g}" for value in missed[0].tolist())
        raise AtlasError(
            f"expected charts that cover {type(M).__name__}, but {len(missed) / len(x):.1%} of "
            f"its points lie in none, ({where}) among them; enlarge their domains, add charts, or "
            "leave the manifold out: then it is what the charts cover"
        )


def require_volume(M: Manifold, volume: float, error: float) -> None:
    """Raise unless a volume found on charts is that of M, where it is known, to 2 %.

    Raises:
        AtlasError: it is not.
    """
    known = M.volume
    if known is None or not math.isfinite(known):
        return
    if abs(volume - known) > 0.02 * known + 3 * error:
        raise AtlasError(
            f"expected charts of {type(M).__name__}, of volume {known:.5g}, but theirs is "
            f"{volume:.5g}: parts of it are in no chart, or counted twice; see "
            "topogen.testing.check_atlas"
        )


def warn_of_near_misses(charts: Sequence[Chart], close: float = 0.1) -> None:
    """Warn where a chart passes another one closely, without a common point there."""
    for k, chart in enumerate(charts):
        x = decoded(chart)
        for l, other in enumerate(charts):
            if l == k or not len(x):
                continue
            with torch.no_grad():
                gap, inside = other.gap(x), other.contains(x)
            size = (x.amax(0) - x.amin(0)).norm()
            near = ~inside & (gap < close * size)
            if float(near.double().mean()) > 0.02:
                warnings.warn(
                    f"chart {k} passes chart {l} at distances of {float(gap[near].min()):.2g} to "
                    f"{float(gap[near].max()):.2g}, so that they count as two sheets; if they are "
                    "charts of one manifold, correct them, or pass it: Atlas(charts, manifold)",
                    UserWarning,
                    stacklevel=4,
                )
                return
