"""The volume of M from charts, d <= 3, as that of :class:`~topogen.Uniform` of an atlas.

What is added is what the difference of two levels of quadrature does not see: points of M in no
chart, and points that a chart contains but does not decode.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..distributions.uniform import Uniform
from ..manifolds.atlas import BaseAtlas
from .regions import known_points
from .volume_estimate import VolumeEstimate

# points that the two shares are taken from: one of .1 % shows
_TRIED = 1000


def atlas_volume(
    atlas: BaseAtlas,
    points: Any = None,
    *,
    tol: float = 1e-3,
    generator: torch.Generator | None = None,
) -> VolumeEstimate:
    """H^d(M) by quadrature; its bias is the difference of two levels and the shares of M lost.

    Args:
        atlas: charts of one manifold.
        points: points near M, that tell what share no chart covers; None looks for some.
        tol: refine until two levels agree to this share of the volume, or 200 000 nodes are used.
        generator: source of randomness, for the two shares.

    Raises:
        UnsupportedError: the dimension is above 3.
    """
    distribution = Uniform(atlas, tol=tol)
    value = math.exp(distribution.log_volume)
    lost = undecoded(atlas, distribution.sample((_TRIED,), generator))
    known = known_points(distribution.manifold, points, generator)[:_TRIED]
    bare = float((atlas.multiplicity(known) == 0).double().mean())
    missing = bare + lost
    missing += 2 * math.sqrt(missing * max(1 - missing, 0.0) / _TRIED)  # it is a share of _TRIED
    remarks = [
        f"{share:.1%} of the manifold {what}"
        for share, what in ((bare, "is in no chart"), (lost, "is in a chart but not decoded"))
        if share > 0
    ]
    nodes = 0 if distribution.charted is None else distribution.charted.levels.fine.weights.numel()
    return VolumeEstimate(
        value,
        0.0,
        (distribution.log_z_error + missing / (1 - missing)) * value if missing < 1 else math.inf,
        "atlas",
        draws=nodes,
        found=nodes,
        remark=", ".join(remarks),
    )


def undecoded(atlas: BaseAtlas, x: Float[Tensor, "n D"]) -> float:
    """The share of the partition of unity at x that belongs to charts that do not give x back."""
    scale = atlas.manifold.scale
    weights = atlas.weights(x).nan_to_num(0.0)
    lost = 0.0
    with torch.no_grad():
        for k, chart in enumerate(atlas):
            inside = (weights[:, k] > 0).nonzero().squeeze(-1)
            back = chart.decode(chart.encode(x[inside]))
            same = (back - x[inside]).norm(dim=-1) <= 1e-6 * scale
            lost += float(weights[inside, k][~same].sum())
    return lost / max(x.shape[0], 1)
