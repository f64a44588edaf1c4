"""Whether the manifold that a cloud samples is orientable, from signs between tangent frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...point_cloud.cloud import prepare
from ...point_cloud.frames import principal_axes
from ...point_cloud.knn import nearest, neighbour_graph
from ...point_cloud.landmarks import farthest_points
from ...point_cloud.orientation import forest_signs, frustration, reversing_cycle
from .dimension import dimension_of

# ratios of eigenvalues below which a cloud may be orientable, and above which it may be not: 0 and
# 1/4 or more in theory, with what sampling adds (tests/topology/local/test_orientability.py)
ORIENTABLE_BELOW, NON_ORIENTABLE_ABOVE = 0.10, 0.18


@dataclass(frozen=True)
class Orientability:
    r"""Whether the manifold that a cloud samples is orientable.

    The answer carries a certificate: where it is True, `signs` that make every edge as strong as
    those of a maximal spanning forest consistent, :math:`\sigma_i \sigma_j \det_{ij} > 0`; where
    it is False, a closed walk `cycle` whose signs multiply to -1.

    Attributes:
        orientable: True, False, or None where the signs do not decide.
        margin: True: the least |det| on the maximal spanning forest minus the largest |det| of an
            edge that contradicts `signs` (0 if none does); False: the least |det| on `cycle`; both
            in (0, 1]. None: NaN.
        ratio: lambda_0 (signed) / lambda_1 (unsigned), largest over components; 0 when orientable.
        frames: fraction of edges whose tangent frames match, |det| > 1/2.
        dim: the dimension d of the tangent frames.
        reason: one sentence.
        landmarks: rows of the points whose frames were compared, shape (m,).
        edges: pairs of places in `landmarks`, shape (e, 2).
        det: det T_i^T T_j per edge, shape (e,); its signs are the sign cocycle.
        signs: +1 or -1 per landmark.
        cycle: places in `landmarks` along a reversing walk; empty if none was found.

    Example:
        >>> t = np.random.default_rng(0).random(400) * 2 * np.pi
        >>> o = orientability(np.stack([np.cos(t), np.sin(t)], axis=1))
        >>> o.orientable, bool((o.det * o.signs[o.edges].prod(axis=1) > 0).all())
        (True, True)
    """

    orientable: bool | None
    margin: float
    ratio: float
    frames: float
    dim: int
    reason: str
    landmarks: np.ndarray = field(repr=False)
    edges: np.ndarray = field(repr=False)
    det: np.ndarray = field(repr=False)
    signs: np.ndarray = field(repr=False)
    cycle: np.ndarray = field(repr=False)

    def consistent_with(
        self, betti: Mapping[int, Sequence[int | None]]
    ) -> tuple[bool | None, str]:
        r"""Whether the signs and the homology can be those of one closed manifold.

        On a closed d-manifold :math:`\beta_d(p) \le \beta_d(2) = \beta_0` for odd primes p, with
        equality iff all components are orientable.

        Args:
            betti: {p: (b_0, b_1, ...)}, None where undetermined.

        Returns:
            True, False (they contradict each other), or None (nothing to compare); one sentence.
        """
        d = self.dim
        tops = {p: numbers[d] if d < len(numbers) else None for p, numbers in betti.items()}
        if self.orientable is None:
            return None, f"orientability is undetermined: {self.reason}"
        if 2 not in betti or len(betti) < 2:
            return None, f"the fields {tuple(betti)} lack 2 or an odd prime"
        components, top = betti[2][0], tops.pop(2)
        if components is None or top is None or None in tops.values():
            return None, f"the homology is undetermined in degree 0 or {d}"
        if top != components:
            return None, (
                f"{top} classes of degree {d} over Z/2 in {components} components: no closed "
                f"{d}-manifold, so nothing to compare"
            )
        said, other = "orientable", "a non-orientable"
        if not self.orientable:
            said, other = "non-orientable", "an orientable"
        for p, found in tops.items():
            if (found == components) != self.orientable:
                return False, (
                    f"the signs say {said} (margin {self.margin:.2f}), but {components} "
                    f"components have {found} classes of degree {d} over Z/{p}: {other} manifold "
                    "has that; one of the two is not resolved"
                )
        counts = ", ".join(f"{found} over Z/{p}" for p, found in tops.items())
        return True, f"{top} classes of degree {d} over Z/2 and {counts}, as the signs say"


def orientability(points: Any, *, dim: int | None = None, seed: int = 0) -> Orientability:
    r"""Test orientability by the signed Laplacian of tangent frames.

    At landmarks i the d leading principal axes :math:`T_i` of the nearest points span the tangent
    plane; an edge carries the weight :math:`w_{ij} = |\det T_i^T T_j|^3` and the sign
    :math:`s_{ij} = \mathrm{sign} \det T_i^T T_j`. The manifold is orientable iff s is a
    coboundary, :math:`s_{ij} = \sigma_i \sigma_j`, iff the least eigenvalue :math:`\lambda_0` of
    the signed normalised Laplacian :math:`1 - D^{-1/2} (s w) D^{-1/2}` is zero. Over
    :math:`\lambda_1` of the unsigned one it is 0 up to sampling, or 1/4 (a long Moebius band) and
    more. The answer is given only with its certificate; a `cycle` needs edges with |det| > 1/2.
    After Singer and Wu, 2011 (https://arxiv.org/abs/1001.0736).

    Args:
        points: array-like, shape (n, D).
        dim: dimension of the manifold; estimated where not given.
        seed: of the first landmark.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: dim < 1.
    """
    cloud = prepare(points, seed=seed)
    x = cloud.points
    d = dimension_of(cloud, seed=seed).dim if dim is None else dim
    if d < 1:
        raise ValueError(f"expected dim >= 1, got {dim}")
    if d >= x.shape[1]:
        none = np.empty(0, dtype=int)
        return Orientability(
            True, 1.0, 0.0, 1.0, d, f"an open part of R^{x.shape[1]} inherits its orientation",
            none, none.reshape(0, 2), none.astype(float), none, none,
        )  # fmt: skip
    n = len(x)
    m = min(1000, max(10, n // 4))  # eigenvalues of m x m matrices take a second
    chosen = farthest_points(x, m, int(np.random.default_rng(seed).integers(n)))[0]
    marks = x[chosen]
    k_frame = min(n - 1, max(3 * d + 6, min(40, round(2.5 * n / m))))
    frame = principal_axes(x[nearest(x, marks, k_frame + 1)[1]], d)[1]
    k_edge = min(m - 1, {1: 2, 2: 7, 3: 12}.get(d, 16))
    i, j = np.nonzero(np.triu(neighbour_graph(marks, k_edge).toarray(), 1))
    det = np.linalg.det(frame[i] @ frame[j].transpose(0, 2, 1))
    frames = float((np.abs(det) > 0.5).mean())
    ratio = frustration(m, i, j, det)
    signs, weakest, against = forest_signs(m, i, j, det)
    cycle, least = reversing_cycle(m, i, j, det, against)
    orientable, margin = None, math.nan
    if frames < 0.95:
        match = f"only {frames:.0%} of neighbouring tangent frames match"
        reason = f"{match}: too few points, or no manifold"
    elif ratio < ORIENTABLE_BELOW and against < weakest:
        orientable, margin = True, weakest - against
        reason = f"the signs are consistent (ratio {ratio:.3f}, margin {margin:.2f})"
    elif ratio > NON_ORIENTABLE_ABOVE and least > 0.5:
        orientable, margin = False, least
        reason = (
            f"no choice of signs is consistent (ratio {ratio:.2f}): a cycle of {len(cycle)} "
            f"landmarks with |det| >= {least:.2f} reverses orientation"
        )
    else:
        between = f"{ORIENTABLE_BELOW} to {NON_ORIENTABLE_ABOVE}"
        reason = (
            f"the ratio {ratio:.2f} is inconclusive ({between}), or signs of strength "
            f"{against:.2f} contradict it; give more points"
        )
    return Orientability(
        orientable, margin, ratio, frames, d, reason,
        cloud.index[chosen], np.stack([i, j], axis=1), det, signs, cycle,
    )  # fmt: skip
