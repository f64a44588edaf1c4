"""Laws of an Atlas."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from ..manifolds.atlas import BaseAtlas
from ..manifolds.charted import ChartedManifold
from ..manifolds.nerve import chart_points
from .laws import Laws, gap, seeded, uniform_points


def check_atlas(
    atlas: BaseAtlas,
    points: Float[Tensor, "n D"] | None = None,
    generator: torch.Generator | None = None,
    *,
    tol: float = 1e-6,
) -> dict[str, float]:
    r"""Check cover, weights, transitions, and what is known of M; returns the numbers, by law.

    Args:
        atlas: the atlas.
        points: points of M that the charts must cover; None takes a uniform sample of M or, blind
            to gaps between the charts, of the atlas.
        generator: source of randomness; None takes a fixed seed.
        tol: how exact transitions are, relative to the size of M; 1e-3 for the volume.

    Raises:
        LawViolation: a law is broken; the message names it, with the number and the tolerance.

    Example:
        >>> from topogen.manifolds.spaces import Circle
        >>> M = Circle()
        >>> check_atlas(M.atlas(), M.sample_uniform(100))["volume"] < 1e-9
        True
    """
    laws, generator = Laws(atlas), seeded(generator)
    if points is None:
        points = uniform_points(atlas.manifold, 256, generator)
    if points is None:
        points = uniform_points(atlas, 256, generator)
    x = (chart_points(list(atlas)) if points is None else points).to(torch.float64)
    size = float((x.amax(0) - x.amin(0)).norm())
    _cover(atlas, x, laws)
    _boundaries(atlas, laws)
    _overlaps(atlas, x, size, tol, laws)
    _known(atlas, laws)
    y = uniform_points(atlas, 64, generator)
    if y is not None:
        laws.holds("sampler", atlas.multiplicity(y) >= 1, "charts cover the sample of the atlas")
        laws.holds("sampler", atlas.manifold.contains(y), "M contains the atlas's sample")
    return laws.measured


def _cover(atlas: BaseAtlas, x: Tensor, laws: Laws) -> None:
    laws.holds("cover", atlas.multiplicity(x) >= 1, "every point of M lies in some chart")
    rho = atlas.weights(x)
    laws.equal("shapes", tuple(rho.shape), (x.shape[0], len(atlas)), "weights give (n, K)")
    laws.at_most("partition of unity", (rho.sum(-1) - 1).abs(), 1e-12, "weights sum to 1")
    laws.at_most("partition of unity", (-rho).clamp_min(0), 0.0, "weights are >= 0")
    laws.equal("dtype kept", atlas.weights(x.float()).dtype, torch.float32, "weights of float32")


def _boundaries(atlas: BaseAtlas, laws: Laws) -> None:
    """At the boundary of its chart a weight has vanished: the partition is continuous there."""
    # charts alone are read as those of a closed manifold
    M = atlas.manifold
    closed = isinstance(M, ChartedManifold) or M.closed
    for k, chart in enumerate(atlas):
        x = chart.decode(chart.domain.near_boundary(32, torch.Generator().manual_seed(k)))
        x = x[~x.isnan().any(-1)]
        shared = atlas.multiplicity(x) > 1
        if closed:
            laws.holds("chart boundaries", shared, f"that of chart {k} lies inside other charts")
        thin = shared & (chart.domain.depth(chart.encode(x)) < 2e-2)
        rho = atlas.weights(x)[thin, k]
        laws.at_most("weights vanish", rho, 1e-3, f"rho_{k} is 0 at its boundary")


def _overlaps(atlas: BaseAtlas, x: Tensor, size: float, tol: float, laws: Laws) -> None:
    member = torch.stack([chart.contains(x) for chart in atlas], dim=-1)
    for (k, first), (l, second) in itertools.combinations(enumerate(atlas), 2):
        both = x[member[:, k] & member[:, l]]
        if len(both) == 0:
            continue
        z = first.encode(both)
        w = atlas.transition(k, l, z)
        name = f"charts {k} and {l}"
        laws.at_most("one M", gap(second.decode(w), both), tol * size, f"{name} give one point")
        back = first.decode(atlas.transition(l, k, w))
        laws.at_most("transitions", gap(back, both), tol * size, f"{name}: there and back")
        P, Q = (calculus.tangent_basis(c.jacobian(v)) for c, v in ((first, z), (second, w)))
        tilt = 1 - torch.linalg.det(P.mT @ Q).abs()
        laws.at_most("one tangent space", tilt, 1e-4, f"{name} have one tangent space")
    error = atlas.cocycle_error(x)
    said = "k to l to m and back to k is the identity"
    laws.at_most("cocycle", error[~error.isnan()], tol, said)


def _known(atlas: BaseAtlas, laws: Laws) -> None:
    M = atlas.manifold
    if M is None:
        return
    if M.volume is not None and math.isfinite(M.volume) and atlas.dim <= 3:
        found = atlas.volume()
        error = abs(float(found) - M.volume) / M.volume
        allowed = 1e-3 + (float(found.error) + (M.volume_error or 0.0)) / M.volume
        laws.at_most("volume", error, allowed, "the integral of 1 is the volume of M")
        laws.at_most("volume error", float(found.error) / M.volume, 1e-2, "quadrature converges")
    verdict = atlas.orientation().orientable
    if M.orientable is not None and verdict is not None:
        laws.equal("orientable", verdict, M.orientable, "orientation of the charts and of M")
    if M.homology is not None and atlas.dim <= 3:
        nerve = atlas.nerve()
        if nerve.good_cover:
            found = nerve.homology(M.homology.fields)
            laws.equal("nerve", str(found) if found != M.homology else "", "", "homology of M")
