r"""The nerve of an atlas, and whether its cover is good enough for the nerve to have the homology of M.

The nerve has one vertex per chart and a simplex :math:`\{k_0, \dots, k_q\}` for every nonempty
:math:`U_{k_0} \cap \dots \cap U_{k_q}`. It has the homology of M up to degree d when every intersection of t
charts has vanishing reduced homology up to degree d - t + 1 (Bjoerner 2003, "Nerves, fibers and
homotopy groups", https://doi.org/10.1016/S0097-3165(03)00015-3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..homology import DEFAULT_FIELDS, Homology
from .charts import Chart

# Voxels per axis of the box around an intersection, by dimension; doubled where it looks bad.
_VOXELS = {1: 64, 2: 24, 3: 10}
# Nodes per axis of the grid of a whole chart.
_GRID = {1: 128, 2: 32, 3: 14, 4: 8}


@dataclass(frozen=True)
class Nerve:
    """The nerve of the cover by charts, up to dimension d + 1.

    Attributes:
        dim: the dimension d of M.
        simplices: all simplices of at most d + 2 charts, sorted.
        good_cover: True where every intersection that matters was found acyclic, so that `homology`
            is that of M; False where one clearly is not; None where that cannot be told.
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


def chart_points(charts: Sequence[Chart]) -> Float[Tensor, "n D"]:
    """Points of M from a grid of every chart; nodes that do not decode are left out."""
    with torch.no_grad():
        x = torch.cat([c.decode(c.domain.grid(_GRID.get(c.dim, 5))[0]) for c in charts])
    return x[~x.isnan().any(-1)]


def membership(charts: Sequence[Chart], x: Float[Tensor, "n D"]) -> np.ndarray:
    """Which charts hold which points: a boolean array (n, K)."""
    with torch.no_grad():
        return torch.stack([c.contains(x) for c in charts], dim=-1).cpu().numpy()


def nerve(charts: Sequence[Chart], x: Float[Tensor, "n D"] | None) -> Nerve:
    """See :meth:`Atlas.nerve`."""
    d = charts[0].dim
    own = chart_points(charts)
    x = own if x is None else x
    member = membership(charts, x)
    simplices = _simplices(member, d)
    good, reason = _good_cover(charts, x, member, simplices, own)
    return Nerve(d, tuple(sorted(simplices, key=lambda s: (len(s), s))), good, reason)


def _simplices(member: np.ndarray, d: int) -> set[tuple[int, ...]]:
    """All sets of at most d + 2 charts with a common point: linear in the number of such sets."""
    found: set[tuple[int, ...]] = set()
    for row in np.unique(member, axis=0):
        charts = np.flatnonzero(row).tolist()
        for size in range(1, min(len(charts), d + 2) + 1):
            found.update(itertools.combinations(charts, size))
    return found


def _good_cover(
    charts: Sequence[Chart],
    x: Tensor,
    member: np.ndarray,
    simplices: set[tuple[int, ...]],
    own: Tensor,
) -> tuple[bool | None, str]:
    d = charts[0].dim
    if d not in _VOXELS:
        return None, f"intersections are judged for dimension 1 to 3, not {d}"
    own_member = membership(charts, own)
    missed = _simplices(own_member, d) - simplices
    unclear = [f"the points miss the intersection {min(missed, key=len)}"] if missed else []
    empty = [k for k in range(len(charts)) if (k,) not in simplices]
    unclear += [f"no point in chart {k}" for k in empty]
    points, inside = torch.cat([x, own]), np.concatenate([member, own_member])
    for simplex in sorted((s for s in simplices if 2 <= len(s) <= d + 1), key=len):
        common = points[torch.from_numpy(inside[:, simplex].all(-1))]
        acyclic = _acyclic(charts, simplex, common)
        name = "U_" + " n U_".join(map(str, simplex))
        if acyclic is False:
            return False, f"{name} is not connected, or has a hole"
        if acyclic is None:
            unclear.append(f"{name} is not resolved")
    if unclear:
        return None, unclear[0]
    return True, "every intersection that matters is acyclic"


def _acyclic(charts: Sequence[Chart], simplex: tuple[int, ...], x: Tensor) -> bool | None:
    """Whether an intersection has vanishing reduced homology up to degree d - t + 1.

    It is drawn on a grid of the first chart, thickened by one voxel (a gap or hole must be wider than
    two voxels to count), at two resolutions where the first looks bad.
    """
    chart = charts[simplex[0]]
    d = chart.dim
    low, high = chart.domain.bounding_box()
    z = chart.encode(x)
    margin = (high - low) / _GRID[d]
    lo = torch.maximum(z.amin(0) - margin, low)
    hi = torch.minimum(z.amax(0) + margin, high)
    verdicts = []
    for n in (_VOXELS[d], 2 * _VOXELS[d]):
        betti = _picture_betti([charts[k] for k in simplex], lo, hi, n)
        verdicts.append(betti[0] == 1 and not any(betti[1 : d - len(simplex) + 2]))
        if verdicts[0] or betti[0] == 0:
            break
    if verdicts[0]:
        return True
    return False if len(verdicts) == 2 and not verdicts[1] and betti[0] > 0 else None


def _picture_betti(charts: Sequence[Chart], lo: Tensor, hi: Tensor, n: int) -> list[int]:
    """Betti numbers over Z/2 of the voxels of the box lo..hi that lie in all charts, thickened."""
    import gudhi
    from scipy.ndimage import binary_dilation

    d = lo.numel()
    ticks = (torch.arange(n, dtype=lo.dtype, device=lo.device) + 0.5) / n
    unit = torch.cartesian_prod(*[ticks] * d).reshape(-1, d)
    with torch.no_grad():
        x = charts[0].decode(lo + (hi - lo) * unit)
        mask = ~x.isnan().any(-1)
        for chart in charts[1:]:
            mask[mask.clone()] = chart.contains(x[mask])
    picture = mask.cpu().numpy().reshape((n,) * d)
    if not picture.any():
        return [0] * (d + 1)
    picture = binary_dilation(picture, np.ones((3,) * d))
    voxels = gudhi.CubicalComplex(top_dimensional_cells=np.where(picture, 0.0, 1.0))
    voxels.compute_persistence(homology_coeff_field=2)
    betti = voxels.persistent_betti_numbers(0.5, 0.5)
    return list(betti) + [0] * (d + 1 - len(betti))
