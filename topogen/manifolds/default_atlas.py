"""Charts for any manifold of dimension up to 3 that has some, or knows points of itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import UnsupportedError
from ..point_cloud.tensors import as_tensor, distinct
from .atlas import Atlas
from .base import Manifold
from .charts import Chart
from .locate import arrived
from .monge_cover import covered, neighbour_count

# points of its own on which patches of M are grown, by dimension
_POINTS = {1: 1000, 2: 3000, 3: 6000}


def charts_of(M: Manifold, points: Any = None) -> Atlas:
    """The atlas that M has of its own; else Monge patches on `points`, or on its own points.

    Patches on own points are kept on M until its parameters or buffers change.

    Args:
        M: the manifold.
        points: points all over M, or near it; used where M has no atlas of its own.

    Raises:
        UnsupportedError: M has no charts, and no points to put them on; or d > 3.
    """
    reason = f"{type(M).__name__} has no charts of its own"
    if M.has_atlas:
        try:
            return M.atlas()
        except UnsupportedError as error:
            reason = str(error)
    if M.dim not in _POINTS:
        raise UnsupportedError(
            f"expected an atlas, or dimension 1, 2 or 3 to put charts on M, since {reason}; "
            f"got dimension {M.dim}"
        )
    if points is not None:
        return Atlas(_patches(M, as_tensor(points, ambient_dim=M.ambient_dim)), M, own=True)
    key = [(t.data_ptr(), _version(t)) for t in itertools.chain(M.parameters(), M.buffers())]
    if M.patches is None or M.patches[0] != key:
        x = M.rough_points(_POINTS[M.dim], torch.Generator().manual_seed(0))
        if x is None or len(x) <= 2 * neighbour_count(M.dim):
            raise UnsupportedError(
                f"expected atlas=, since {reason}, nor points enough to put them on; put some on "
                "it: atlas = tg.ProjectedAtlas(M), tg.fit(atlas, points), tg.Uniform(atlas)"
            )
        M.patches = (key, _patches(M, x))
    return Atlas(M.patches[1], M, own=True)


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version


def _patches(M: Manifold, x: Tensor, most: int = 10_000) -> list[Chart]:
    generator = torch.Generator().manual_seed(0)
    x = distinct(arrived(M, x[torch.randperm(len(x), generator=generator)[:most]]))
    with torch.no_grad():
        return list(covered(M, x, generator))


class PartChart(Chart):
    """A chart of a part of M; its image is what that part contains."""

    def __init__(self, chart: Chart, part: Manifold) -> None:
        super().__init__()
        self.chart, self.part = chart, part
        self.domain, self.ambient_dim = chart.domain, chart.ambient_dim

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        return self.chart._decode(z)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z, inside = self.chart._encode(x)
        return z, inside & self.part.contains(x)

    def may_contain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """As the chart itself."""
        return self.chart.may_contain(x)

    def value_and_jacobian(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """As the chart itself."""
        return self.chart.value_and_jacobian(z)

    def jacobian_on(
        self, z: Float[Tensor, "*batch d"], Q: Float[Tensor, "*batch D d"]
    ) -> Float[Tensor, "*batch D d"]:
        """As the chart itself."""
        return self.chart.jacobian_on(z, Q)


def atlas_of_parts(M: Manifold, parts: Sequence[Manifold]) -> Atlas:
    """The charts of all parts of a union M; a point of two parts is in the charts of both.

    Raises:
        UnsupportedError: a part has no charts.
    """
    charts = [PartChart(chart, part) for part in parts for chart in charts_of(part)]
    return Atlas(charts, M, own=True)
