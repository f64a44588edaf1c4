r"""The nerve of an atlas, and whether its cover is good: then it has the homology of M.

The nerve has one vertex per chart and a simplex :math:`\{k_0, \dots, k_q\}` for every nonempty
:math:`U_{k_0} \cap \dots \cap U_{k_q}`. It has the homology of M up to degree d when every
intersection of t charts has vanishing reduced homology up to degree d - t + 1 (Bjoerner 2003,
"Nerves, fibers and homotopy groups", https://doi.org/10.1016/S0097-3165(03)00015-3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..homology import DEFAULT_FIELDS, Homology
from .charts import Chart, midpoints

# voxels per axis of the picture of a whole chart, by dimension
_VOXELS = {1: 128, 2: 32, 3: 20}


@dataclass(frozen=True)
class Nerve:
    """The nerve of the cover by charts, up to dimension d + 1.

    Attributes:
        dim: the dimension d of M.
        simplices: all simplices of at most d + 2 charts, sorted.
        good_cover: True where every intersection that matters is acyclic, so that `homology` is
            that of M; False where one clearly is not; None where that is not resolved.
        reason: which intersection decided, in words.
    """

    dim: int
    simplices: tuple[tuple[int, ...], ...]
    good_cover: bool | None
    reason: str

    def homology(self, fields: Sequence[int] = DEFAULT_FIELDS) -> Homology:
        """Homology of the nerve in degrees 0 to d; that of M only where the cover is good."""
        full = Homology.of_complex(self.simplices, fields)
        return Homology({p: numbers[: self.dim + 1] for p, numbers in full.betti.items()})


def decode_box(
    chart: Chart, lo: Tensor, hi: Tensor, n: int
) -> tuple[Float[Tensor, "m D"], np.ndarray]:
    """The points of M in a box of the chart, and which of the n^d voxels they belong to."""
    with torch.no_grad():
        x = chart.decode(midpoints(lo, hi, n))
    found = ~x.isnan().any(-1)
    return x[found], found.cpu().numpy()


def chart_points(charts: Sequence[Chart]) -> Float[Tensor, "n D"]:
    """Points of M from a grid of every chart; nodes that do not decode are left out."""
    n = _VOXELS.get(charts[0].dim, 6)
    return torch.cat([decode_box(c, *c.domain.bounding_box(), n)[0] for c in charts])


def membership(charts: Sequence[Chart], x: Float[Tensor, "n D"]) -> np.ndarray:
    """Which charts contain which points: a boolean array (n, K)."""
    with torch.no_grad():
        return torch.stack([c.contains(x) for c in charts], dim=-1).cpu().numpy()


def nerve(charts: Sequence[Chart], x: Float[Tensor, "n D"] | None) -> Nerve:
    """See :meth:`Atlas.nerve`."""
    d = charts[0].dim
    if d not in _VOXELS:
        member = membership(charts, chart_points(charts) if x is None else x)
        reason = f"intersections are judged for dimension 1 to 3, not {d}"
        return Nerve(d, _simplices(member, d), None, reason)
    cover = _Cover(charts)
    members = cover.member if x is None else [*cover.member, membership(charts, x)]
    simplices = _simplices(np.concatenate(members), d)
    return Nerve(d, simplices, *_good_cover(cover, x, simplices))


def _simplices(member: np.ndarray, d: int) -> tuple[tuple[int, ...], ...]:
    """All sets of at most d + 2 charts with a common point, sorted; no face above is listed."""
    found: set[tuple[int, ...]] = set()
    for row in np.unique(member, axis=0):
        charts = np.flatnonzero(row).tolist()
        for size in range(1, d + 3):
            found.update(itertools.combinations(charts, size))
    return tuple(sorted(found, key=lambda s: (len(s), s)))


class _Cover:
    """Pictures of the intersections of charts, drawn in the coordinates of their first chart."""

    def __init__(self, charts: Sequence[Chart]) -> None:
        self.charts, self.dim, self.n = charts, charts[0].dim, _VOXELS[charts[0].dim]
        drawn = [decode_box(c, *c.domain.bounding_box(), self.n) for c in charts]
        self.points, self.found = [x for x, _ in drawn], [found for _, found in drawn]
        self.member = [membership(charts, x) for x in self.points]

    def picture(self, simplex: tuple[int, ...]) -> np.ndarray:
        """The intersection on the grid of the whole first chart."""
        k = simplex[0]
        return self._drawn(self.n, self.found[k], self.member[k][:, simplex[1:]])

    def _drawn(self, n: int, found: np.ndarray, member: np.ndarray) -> np.ndarray:
        """The n^d voxels, True where one of those found is in all of the charts."""
        full = np.zeros(n**self.dim, dtype=bool)
        full[found] = member.all(-1)
        return full.reshape((n,) * self.dim)

    def common(self, simplex: tuple[int, ...], x: Tensor | None) -> Float[Tensor, "n D"]:
        """The points of x, and of the grids of the charts, that lie in the intersection."""
        own, points = np.concatenate(self.member)[:, simplex].all(-1), torch.cat(self.points)
        seen = points[torch.from_numpy(own).to(points.device)]
        if x is None:
            return seen
        inside = torch.from_numpy(membership([self.charts[j] for j in simplex], x).all(-1))
        return torch.cat([seen, x[inside.to(x.device)].to(seen)])

    def enlarged(self, simplex: tuple[int, ...], seen: Tensor, n: int) -> np.ndarray:
        """The intersection on a grid of the smallest box about its points that have been seen."""
        chart, *others = (self.charts[k] for k in simplex)
        low, high = chart.domain.bounding_box()
        z, margin = chart.encode(seen), 1.5 * (high - low) / self.n
        lo = torch.maximum(z.amin(0) - margin, low)
        hi = torch.minimum(z.amax(0) + margin, high)
        points, found = decode_box(chart, lo, hi, n)
        return self._drawn(n, found, membership(others, points))

    def acyclic(self, simplex: tuple[int, ...], x: Tensor | None) -> bool | None:
        """Whether an intersection of t charts has no reduced homology up to degree d - t + 1.

        A picture of enough voxels that looks good decides; else it is enlarged, and what looks bad
        must do so at twice the resolution as well.
        """
        top = self.dim - len(simplex) + 1
        whole = self.picture(simplex)
        if whole.sum() >= 4**self.dim and _looks_acyclic(whole, top):
            return True
        seen = self.common(simplex, x)
        for n in (self.n, 2 * self.n):
            picture = self.enlarged(simplex, seen, n)
            if not picture.any():
                return None
            if _looks_acyclic(picture, top):
                return True if n == self.n else None
        return False


def _good_cover(
    cover: _Cover, x: Tensor | None, simplices: Sequence[tuple[int, ...]]
) -> tuple[bool | None, str]:
    unresolved = None
    for simplex in (s for s in simplices if 2 <= len(s) <= cover.dim + 1):
        acyclic = cover.acyclic(simplex, x)
        name = "U_" + " n U_".join(map(str, simplex))
        if acyclic is False:
            return False, f"{name} is not connected, or has a hole"
        if acyclic is None and unresolved is None:
            unresolved = f"{name} is not resolved"
    if unresolved is not None:
        return None, unresolved
    return True, "every intersection that matters is acyclic"


def _looks_acyclic(picture: np.ndarray, top: int) -> bool:
    """Whether a picture, without its specks, is connected and acyclic up to degree `top`."""
    d = picture.ndim
    # components and holes of at most 2^d voxels are rounding at sharp corners
    speck = min(2**d, picture.sum() / 4)
    parts, _ = _components(picture, corners=True)
    picture = np.pad((np.bincount(parts.ravel())[parts] > speck) & picture, 1)
    gaps, _ = _components(~picture, corners=False)
    picture = picture | (np.bincount(gaps.ravel())[gaps] <= speck)
    betti = picture_betti(picture)
    return betti[0] == 1 and not any(betti[1 : top + 1])


def _components(picture: np.ndarray, *, corners: bool) -> tuple[np.ndarray, int]:
    """The number of its component at every voxel (0 outside), and how many there are.

    Closed voxels touch at corners, those of the open complement only through faces.
    """
    from scipy.ndimage import generate_binary_structure, label

    d = picture.ndim
    return cast("Any", label(picture, generate_binary_structure(d, d if corners else 1)))


def picture_betti(picture: np.ndarray) -> tuple[int, ...]:
    """Betti numbers, degrees 0 to d - 1, of a union of closed voxels in R^d, d <= 3; no torsion.

    Components and, by Alexander duality, gaps are counted; the Euler characteristic does the rest.
    """
    d, picture = picture.ndim, np.pad(picture, 1)
    parts = _components(picture, corners=True)[1]
    gaps = _components(~picture, corners=False)[1] - 1
    if d == 1:
        return (parts,)
    if d == 2:
        return (parts, gaps)
    chi = 0
    for flat in itertools.product((False, True), repeat=d):
        # a face that is flat along some axes is there when a voxel on one of its sides is
        cells = picture
        for axis in np.flatnonzero(flat):
            cells = np.moveaxis(cells, axis, 0)
            cells = np.moveaxis(cells[:-1] | cells[1:], 0, axis)
        chi += (-1) ** (d - sum(flat)) * int(cells.sum())
    return (parts, parts + gaps - chi, gaps)
