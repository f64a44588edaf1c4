"""Grow Monge patches on a cloud of points of a manifold, and cover it with them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import calculus
from ..errors import AtlasError, InvalidPoints
from ..point_cloud.knn import neighbour_graph
from ..point_cloud.landmarks import farthest_points
from .base import Manifold
from .monge import MongeChart
from .monomials import monomial_count, monomials

# A chart reaches as far as its tangent planes keep |det(W^T Q)| above this: the volume is
# distorted by at most its inverse, and no plane is tilted by more than 60 degrees.
_MIN_COSINE = 0.5
# A random gap on a curve is up to log n spacings long, so curves need more to cross it.
_NEIGHBOURS = {1: 30, 2: 12}


def neighbour_count(dim: int) -> int:
    """Neighbours of a point in the graph on which sheets are followed."""
    return _NEIGHBOURS.get(dim, 20)


def cover(
    M: Manifold,
    x: Tensor,
    seeds: Sequence[int],
    wanted: Literal["auto"] | int,
    generator: torch.Generator,
    candidates: int = 400,
) -> Generator[Mapping[str, float], None, list[MongeChart]]:
    """Patches whose cores contain all points x of M: a greedy set cover.

    Args:
        M: the manifold.
        x: different points of M, shape (n, D).
        seeds: rows of x about which patches are put first.
        wanted: how many patches, or "auto".
        generator: source of randomness.
        candidates: how many spread points a patch is tried about, before the points left over.

    Raises:
        InvalidPoints: too few points for a graph of neighbours.
        AtlasError: more patches are needed than wanted.
    """
    needed = 2 * neighbour_count(M.dim)
    if x.shape[0] <= needed:
        raise InvalidPoints(
            f"expected more than {needed} different points on the manifold, "
            f"got {x.shape[0]} that project onto it; give more points"
        )
    patches = Patches(M, x, M.tangent_basis(x))
    uncovered = torch.ones(x.shape[0], dtype=torch.bool)
    chosen: list[MongeChart] = []
    for i in seeds:
        patch = patches.grow(i)
        if patch is not None and bool((patch[1] & uncovered).any()):
            chosen.append(patch[0])
            uncovered &= ~patch[1]
    start = int(torch.randint(x.shape[0], (1,), generator=generator))
    centres, _ = farthest_points(x.numpy(), min(candidates, x.shape[0]), start)
    found: list[tuple[MongeChart, Tensor]] = []
    for j, i in enumerate(centres):
        patch = patches.grow(int(i))
        if patch is not None:
            found.append(patch)
        if j % 50 == 49:
            yield {"candidates": j + 1}
    while bool(uncovered.any()):
        gains = [int((core & uncovered).sum()) for _, core in found]
        best = int(np.argmax(gains)) if any(gains) else -1
        if best < 0:
            left = int(uncovered.nonzero()[0])
            patch = patches.grow(left)
            if patch is None or not bool((patch[1] & uncovered).any()):
                uncovered[left] = False
                continue
            found.append(patch)
            best = len(found) - 1
        chart, core = found.pop(best)
        chosen.append(chart)
        uncovered &= ~core
        yield {"charts": len(chosen), "uncovered": float(uncovered.to(torch.float64).mean())}
    if wanted != "auto":
        if len(chosen) > wanted:
            raise AtlasError(
                f"expected {wanted} charts to cover the manifold, but {len(chosen)} are needed to "
                "keep every chart a graph; ask for at least that many, or charts='auto'"
            )
        found.sort(key=lambda patch: -int(patch[1].sum()))
        chosen += [chart for chart, _ in found[: wanted - len(chosen)]]
    return chosen


def covered(M: Manifold, x: Tensor, generator: torch.Generator) -> list[MongeChart]:
    """What :func:`cover` returns, without its reports."""
    steps = cover(M, x, [], "auto", generator)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class Patches:
    """Grows Monge patches on points of M.

    Args:
        M: the manifold.
        x: points of M, shape (n, D).
        Q: orthonormal tangent bases there, shape (n, D, d).
        degree: the largest of the polynomial graphs.
    """

    def __init__(self, M: Manifold, x: Tensor, Q: Tensor, degree: int = 6) -> None:
        self.M, self.x, self.Q, self.degree = M, x, Q, degree
        self.edges = neighbour_graph(x.numpy(), neighbour_count(M.dim), exact=True)

    def grow(self, i: int) -> tuple[MongeChart, Tensor] | None:
        """The chart about point i and the points of its core; None where there is no room.

        The core is what lies within 0.8 of the radius: every point is to lie in one.
        """
        c, W = self.x[i], self.Q[i]
        upright = (torch.linalg.det(W.T @ self.Q).abs() >= _MIN_COSINE).numpy()
        patch = self._component(i, upright)
        around = (self.edges @ patch > 0) & ~patch
        s = (self.x - c) @ W
        if around.any():
            axes, a = _largest_ellipsoid(s[torch.from_numpy(around)])
        else:
            axes = torch.eye(W.shape[-1], dtype=W.dtype)
            a = 1.02 * s[torch.from_numpy(patch)].norm(dim=-1).max().expand(W.shape[-1])
        W, s = W @ axes, s @ axes
        for _ in range(8):
            # the sheet may come back over its own shadow by a way outside the ellipsoid
            z = s / a
            sheet = self._component(i, patch & (z.norm(dim=-1) < 1.1).numpy())
            chart = self._chart(c, W, a, z, torch.from_numpy(sheet))
            if chart is not None:
                # NaN outside the image
                return chart, chart.encode(self.x).norm(dim=-1) < 0.8
            a = 0.8 * a
        return None

    def _component(self, i: int, keep: np.ndarray) -> np.ndarray:
        from scipy.sparse.csgraph import breadth_first_order

        index = np.flatnonzero(keep)
        edges, start = self.edges[index][:, index], int(np.searchsorted(index, i))
        order = breadth_first_order(edges, start, directed=False, return_predecessors=False)
        part = np.zeros(keep.size, dtype=bool)
        part[index[order]] = True
        return part

    def _chart(
        self, c: Tensor, W: Tensor, a: Tensor, z: Tensor, member: Tensor
    ) -> MongeChart | None:
        """The chart on the ellipsoid a, or None where no graph keeps other sheets apart."""
        below = z.norm(dim=-1) < 1
        z, member = z[below], member[below]
        count, d, degree = int(member.sum()), W.shape[-1], self.degree
        while degree > 1 and count < 3 * monomial_count(d, degree):
            degree -= 1
        if count < 2 * monomial_count(d, degree):
            return None
        off, phi = self.x[below] - c - (z * a) @ W.T, monomials(z, degree)
        normal = off[member] - off[member] @ W @ W.T
        b = torch.linalg.lstsq(phi[member], normal).solution
        error = float((normal - phi[member] @ b).norm(dim=-1).max())
        clearance = 0.3 * float(a.min())
        if not bool(member.all()):
            apart = (off[~member] - phi[~member] @ b).norm(dim=-1).min()
            clearance = min(clearance, 0.5 * float(apart))
        if error > 0.3 * clearance:
            return None
        return MongeChart(self.M, c, W, a, b, degree, clearance)


def _largest_ellipsoid(s: Tensor, aspect: float = 3.0) -> tuple[Tensor, Tensor]:
    """Axes (columns) and semi-axes of a large ellipsoid about 0 without any of the points s.

    The first axis points to the nearest of them; no other is more than `aspect` times as long. For
    a few lengths of it the rest is found among the shadows that the points cast on the other axes.
    """
    reach, first = s.norm(dim=-1).min(0)
    if s.shape[-1] == 1:
        return s.new_ones(1, 1), reach.reshape(1)
    e = (s[first] / reach).unsqueeze(-1)
    E = calculus.complement(e)
    found: list[tuple[Tensor, Tensor]] = []
    for share in (1.0, 0.9, 0.8, 0.7):
        a1 = share * reach
        t, longest = (s @ e).squeeze(-1) / a1, aspect * a1
        facing = t.abs() < 1
        if bool(facing.any()):
            shadow = s[facing] @ E / (1 - t[facing].square()).sqrt().unsqueeze(-1)
            axes, rest = _largest_ellipsoid(shadow)
            rest = rest.clamp_max(longest)
        else:
            axes = torch.eye(E.shape[-1], dtype=s.dtype)
            rest = longest.expand(E.shape[-1])
        found.append((torch.cat([e, E @ axes], dim=-1), torch.cat([a1.reshape(1), rest])))
    return max(found, key=lambda ellipsoid: float(ellipsoid[1].prod()))
