"""What a learned zero set is measured by: its spectrum, its spurious zeros, its components."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...point_cloud.knn import component_labels, nearest
from .normal_orientation import turned
from .tubular_neighborhood import TubularNeighborhood, box
from .zero_set import ZeroSet

_STARTS = 4000  # of the searches for spurious zeros: a share of 1e-3 is seen to a half of itself


@dataclass(frozen=True)
class ZeroSetChecks:
    r"""Numbers of a learned manifold; lengths are in units of the rms radius of the data.

    Attributes:
        smallest: least singular value of DF of rank k over the projections, at its 0.1 % quantile.
        largest: largest singular value over the projections, at its 99.9 % quantile.
        next: s_{k+1}, at its 99.9 % quantile (residual form; else 0).
        median: of the distance of the projections to M.
        p99: its 99 % quantile.
        worst: its maximum.
        far: share of uniform points of the bounding box (and 15 %) that converge in it outside the
            domain of validity.
        near: share that converge inside the domain of validity, away from the projections.
        tube: share of random points of the domain of validity that do so.
        off: share of the data farther than the tolerance of M, or outside its domain of validity.
        turned: share of neighbouring projections between which DF loses rank and turns the normal
            space over (regular form; else 0).
        ends: how many places were found at which M ends, at the boundary of the data.
        components: connected components of M in the domain of validity.
        expected: connected components of the data.
        problems: what is wrong, a sentence each.
    """

    smallest: float
    largest: float
    next: float
    median: float
    p99: float
    worst: float
    far: float
    near: float
    tube: float
    off: float
    turned: float
    ends: int
    components: int
    expected: int
    problems: tuple[str, ...]

    def numbers(self) -> dict[str, float]:
        """All but the problems."""
        return {k: float(v) for k, v in asdict(self).items() if k != "problems"}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "problems": list(self.problems)}

    @staticmethod
    def from_dict(state: dict[str, Any]) -> ZeroSetChecks:
        """What :meth:`to_dict` gave."""
        return ZeroSetChecks(**{**state, "problems": tuple(state["problems"])})


def inspect_zero_set(
    M: ZeroSet,
    geometry: TubularNeighborhood,
    *,
    off: float,
    tolerance: float,
    generator: torch.Generator,
) -> ZeroSetChecks:
    """Measure a zero set against the projections that it was fitted to.

    Args:
        M: the zero set.
        geometry: the projections, and the tube around them.
        off: share of the data that M does not contain.
        tolerance: how far from M these are, in the units of the data, for the sentence.
        generator: source of the points that look for spurious zeros.
    """
    p, k = geometry.p, M.k
    J = torch.cat([M.net.linearize(z)[1] for z in p.split(4096)])
    s = torch.linalg.svdvals(J)
    on, found = M.zeros(p)
    distance = (on - p).norm(dim=-1)[found]
    turn = turned(geometry, J, generator) if M.regular else 0.0
    median, p99, worst = distance.quantile(torch.tensor([0.5, 0.99, 1.0], dtype=p.dtype)).tolist()

    around = box(geometry, _STARTS, generator)
    low, high = around.aminmax(dim=0)
    z, arrived = M.zeros(around)
    z = z[arrived]
    near = len(M.spurious(geometry, z)) / _STARTS
    z = z[((z >= low) & (z <= high)).all(-1)]
    checks = ZeroSetChecks(
        smallest=float(s[:, k - 1].quantile(0.001)),
        largest=float(s[:, 0].quantile(0.999)),
        next=float(s[:, k].quantile(0.999)) if s.shape[1] > k else 0.0,
        median=median,
        p99=p99,
        worst=worst,
        far=int((~M.in_domain(z)).sum()) / _STARTS,
        near=near,
        tube=len(M.spurious_zeros(geometry, M.region.draw(_STARTS, generator))) / _STARTS,
        off=off,
        turned=turn,
        ends=len(M.boundary),
        components=_component_count(on[found], geometry.h[found]),
        expected=_component_count(p, geometry.h),
        problems=(),
    )
    return replace(checks, problems=tuple(_problems(checks, k, M.gap, tolerance)))


def _problems(c: ZeroSetChecks, k: int, gap: float, tolerance: float) -> list[str]:
    """What is wrong, a sentence each."""
    spurious = max(c.near, c.tube)
    sentences = (
        (
            c.smallest < 0.25,
            f"DF almost loses rank on M (0.1 % quantile of s_{k}: {c.smallest:.3f}); give more "
            "points or features, or take constraints='residual'",
        ),
        (
            c.turned > 2e-3,
            f"DF loses rank between projections ({100 * c.turned:.2f} % of neighbours see the "
            "normal space turned over), as it must where the data are not orientable; take "
            "constraints='residual'",
        ),
        (
            c.next > gap,
            f"DF has no spectral gap on M (99.9 % quantile of s_{k + 1}: {c.next:.3f}); give more "
            "points or features",
        ),
        (
            spurious > 1e-3,
            f"spurious zeros inside the domain of validity ({100 * c.near:.2f} % of the box, "
            f"{100 * c.tube:.2f} % of the domain of validity converge there)",
        ),
        (
            c.off > 1e-3,
            f"{100 * c.off:.2f} % of the data are farther than {tolerance:.2g} from M, or where M "
            "is not stated; give more points, or look for outliers",
        ),
        (
            c.components != c.expected,
            f"M has {c.components} connected components inside the domain of validity, the data "
            f"have {c.expected}",
        ),
    )
    return [sentence for wrong, sentence in sentences if wrong]


def _component_count(p: Tensor, h: Tensor) -> int:
    """Connected components of the graph that joins points closer than 1.5 times their spacing."""
    n = p.shape[0]
    if n == 0:
        return 0
    distance, j = nearest(p.numpy(), p.numpy(), min(13, n), exact=True)
    linked = distance <= 1.5 * h.numpy()[:, None]
    return 1 + int(component_labels(n, np.nonzero(linked)[0], j[linked]).max())
