r"""The parts of a cloud that are apart: a gap far longer than every link inside either of them.

Two clusters that single linkage joins at a distance e, with longest links :math:`h_1, h_2` inside,
are apart when :math:`\min(e/h_1, e/h_2)` is beyond what connected samples show. Each pair has a
scale of its own, so that small or dense parts beside large or sparse ones are seen. Where a
density is thin on both sides of the gap, few links decide: a cluster of m points that fills its
curve evenly has about :math:`\sqrt m` links longer than half of the longest, and one with c such
links counts as one of :math:`c^2` points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ...point_cloud.cloud import least_component
from ...point_cloud.knn import component_labels
from ...point_cloud.linkage import Merge, long_links, merges, spanning_tree
from ..persistence.null_distributions import NoiseRatio

# of connected samples: 200 pairs of clusters are looked at, and one in doubt leaves all open
LEVEL = 1e-4
# beyond the quantile of connected samples, by which a thin place of a density differs from a
# gap: two modes of a normal mixture are one part until some 8 standard deviations lie between
CLEAR = 1.4
# likewise, for one of two clusters alone: a step of the density, up to 3 times that of a curve
STEP = 2.0
# one link over the next shorter one, beyond any connected sample (not among the few at the ends)
JUMP = 2.0
MOST_PARTS = 12  # more may be components, or as many places that were measured again and again


@dataclass(frozen=True)
class Parts:
    """What is apart in a cloud.

    Attributes:
        label: number of the part of each point, shape (n,).
        p_value: the probability that a connected sample shows the least clear gap; 1 for one part.
        reason: why the number of parts is undetermined, in words; empty where it is not.
    """

    label: np.ndarray
    p_value: float = 1.0
    reason: str = ""

    @property
    def count(self) -> int:
        """Number of parts that are clearly apart."""
        return int(self.label.max()) + 1

    @property
    def rows(self) -> list[np.ndarray]:
        """The points of each part."""
        return [np.flatnonzero(self.label == c) for c in range(self.count)]


def gap_noise(size: int) -> NoiseRatio:
    r"""That of :math:`\min(e/h_1, e/h_2)` in a connected sample, by size of the smaller cluster.

    Samples of curves, the hardest case (benchmarks/topology_gaps.py); surfaces have less.
    """
    return NoiseRatio(1.15 + 1.5 / size, 1.42 + 9.5 / size)


def find_parts(x: np.ndarray, alpha: float) -> Parts:
    """Split a cloud where it is clearly apart.

    Args:
        x: distinct points, shape (n, D).
        alpha: bound on the probability to split a connected sample.
    """
    n, level = len(x), min(alpha, LEVEL)
    tree = spanning_tree(x)

    @cache
    def shown(merge: Merge) -> NoiseRatio:
        """What connected samples show beside such clusters."""
        evenly = gap_noise(merge.sizes[0])
        if max(merge.ratios) <= evenly.cut_off(level):
            return evenly
        return gap_noise(min(merge.sizes[0], long_links(tree, merge) ** 2))

    def apart(merge: Merge) -> bool:
        return min(merge.ratios) > CLEAR * shown(merge).cut_off(level)

    def in_doubt(merge: Merge) -> bool:
        low, high = sorted(merge.ratios)
        noise = shown(merge).cut_off(level)
        clear = CLEAR * gap_noise(merge.sizes[0]).cut_off(level)
        return not apart(merge) and (low > min(noise, clear) or high > STEP * noise)

    found = merges(tree, least_component(n), apart)
    cuts = [merge for merge in found if apart(merge)]
    reason = ""
    for merge in found:
        if in_doubt(merge):
            small, large = merge.sizes
            reason = (
                f"{small} and {large} points are {merge.ratios[0]:.1f} and {merge.ratios[1]:.1f} "
                "times as far apart as points within them, between one component and two"
            )
    links = np.delete(np.arange(n - 1), [merge.edge for merge in cuts])
    label = component_labels(n, tree[0][links], tree[1][links])
    p_value = max((shown(c).p_value(min(c.ratios) / CLEAR) for c in cuts), default=1.0)
    for c in range(label.max() + 1) if not reason else ():
        inside = links[label[tree[0][links]] == c]
        reason = reason or _clusters_among_strays(n, [t[inside] for t in tree])
    if not reason and len(cuts) >= MOST_PARTS:
        reason = (
            f"{len(cuts) + 1} clusters are apart: components, or places that were measured again "
            "and again"
        )
    return Parts(label, p_value, reason)


def _clusters_among_strays(n: int, tree: Sequence[np.ndarray]) -> str:
    """Why links of a part leave open that it is one: clusters joined by points far from any."""
    a, b, lengths = tree
    least = least_component(n)
    jump = lengths[least:-least] / lengths[least - 1 : -least - 1]
    if not len(jump) or jump.max() < JUMP:
        return ""
    short = least + int(jump.argmax())
    sizes = np.bincount(component_labels(n, a[:short], b[:short]))
    clusters = int((sizes >= least).sum())
    if clusters < 2:
        return ""
    return (
        f"{clusters} clusters are joined by points {jump.max():.1f} times as far apart as "
        "those in them: one component, or several beside a part with too few points"
    )
