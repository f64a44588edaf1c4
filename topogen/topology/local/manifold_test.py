r"""Where a cloud is no manifold: the homology of small links, and the turn of tangent planes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...plotting import draw_clouds, import_matplotlib
from ...point_cloud.cloud import Cloud, prepare
from ...point_cloud.frames import spectrum
from ...point_cloud.knn import distances, nearest
from ...point_cloud.landmarks import farthest_points
from ..persistence.null_distributions import check_alpha, gumbel_quantile
from ..persistence.rips import rips_bars
from .dimension import dimension_across_scales, dimension_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LinkRule(NamedTuple):
    """How links are sampled and read, by dimension.

    Attributes:
        sizes: numbers of neighbours of the finer and of the coarser link.
        most: points of a link, finer and coarser; more directions are thinned.
        landmarks: how many points are looked at, at first.
        persistent: B(k/3) / B(k), from which a point is singular; 3^(-1/d) where it is curved.
    """

    sizes: tuple[int, int]
    most: tuple[int, int]
    landmarks: int
    persistent: float


# the sizes are those of the null distributions below; the last numbers lie between those of curved
# and of singular points, tests/topology/local/test_manifold_test.py
LINKS = {
    1: LinkRule((40, 64), (40, 64), 400, 0.4),
    2: LinkRule((64, 96), (64, 96), 400, 0.66),
    3: LinkRule((120, 180), (60, 80), 100, 0.75),
}
# median and 99 % quantile of the largest persistence that is noise in the link of a regular point
# (the second largest in degree d-1), by (d, degree), finer and coarser: of uniform and graded
# patches with noise of a tenth of the radius (tests/topology/local/test_manifold_test.py)
NULL = {
    (1, 0): ((0.19, 0.56), (0.19, 0.55)),
    (2, 0): ((0.58, 0.95), (0.48, 0.81)),
    (2, 1): ((0.04, 0.13), (0.06, 0.15)),
    (3, 0): ((0.62, 0.85), (0.55, 0.74)),
    (3, 1): ((0.36, 0.54), (0.33, 0.54)),
    (3, 2): ((0.01, 0.06), (0.02, 0.09)),
}
POINTS_PER_LINK = 3  # a cloud has at least so many times the points of a link: else it is one link
VOTERS = 8  # tested points around each of which at least half must support its label
REGULAR, BOUNDARY, SINGULAR, UNDECIDED = range(4)
NAMES = np.array(["regular", "boundary", "singular", "undecided"])  # in this order


@dataclass(frozen=True)
class ManifoldTest:
    """Where a cloud is a manifold, and where it is not.

    Attributes:
        is_manifold: False where links of many neighbouring points are no spheres, True where
            nearly all are spheres or, on a boundary, half spheres, None where it is undetermined.
        dim: the dimension d that was tested for.
        labels: "regular", "boundary", "singular", "undecided", of the nearest tested point, (n,).
        tested: rows of the points whose links were looked at.
        deviation: B per tested point, see :func:`manifold_test`.
        scale: median radius of the coarser links, in the units of the points.
        alpha: bound on the probability to call a manifold singular, for links as in the null.
        reason: one sentence.
        remarks: what else a reader should know.

    Example:
        >>> t = np.linspace(-1, 1, 400)
        >>> cross = np.concatenate([np.stack([t, 0 * t], 1), np.stack([0 * t, t], 1)])
        >>> test = manifold_test(cross)
        >>> test.is_manifold, float(abs(cross[test.singular]).max().round(1))
        (False, 0.0)
    """

    is_manifold: bool | None
    dim: int
    labels: np.ndarray = field(repr=False)
    tested: np.ndarray = field(repr=False)
    deviation: np.ndarray = field(repr=False)
    scale: float
    alpha: float
    reason: str
    remarks: tuple[str, ...]
    points: np.ndarray = field(repr=False)

    @property
    def singular(self) -> np.ndarray:
        """Rows of the points labelled singular."""
        return np.flatnonzero(self.labels == "singular")

    @property
    def boundary(self) -> np.ndarray:
        """Rows of the points labelled boundary."""
        return np.flatnonzero(self.labels == "boundary")

    def __str__(self) -> str:
        word = {True: "a manifold", False: "not a manifold", None: "undetermined"}
        counts = ", ".join(f"{int((self.labels == name).sum())} {name}" for name in NAMES)
        lines = [
            f"{word[self.is_manifold]}: {self.reason}",
            f"  dimension {self.dim}, scale {self.scale:.3g}, {counts} points, "
            f"{len(self.tested)} links looked at",
        ]
        return "\n".join(lines + [f"  - {remark}" for remark in self.remarks])

    def plot(self) -> Figure:
        """The cloud in its leading axes, coloured by label; beside it where it is not regular."""
        import_matplotlib()
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        palette = ("#b8bec6", "#1f77b4", "#d1495b", "#e9a23b")
        of_label = dict(zip(NAMES.tolist(), palette, strict=True))
        special = np.union1d(self.singular, self.boundary)
        rows = {"all points": np.arange(len(self.points)), "singular and boundary": special}
        colour = np.array([of_label[label] for label in self.labels])
        figure = Figure(figsize=(9.6, 5.4))
        clouds = {name: self.points[i] for name, i in rows.items()}
        colours = {name: colour[i] for name, i in rows.items()}
        draw_clouds(figure, clouds, colours=colours, bottom=0.07, top=0.94)
        marks = [Line2D([], [], ls="", marker="o", color=c, label=n) for n, c in of_label.items()]
        figure.legend(handles=marks, loc="lower center", ncols=4, frameon=False)
        figure.suptitle(self.reason, fontsize=10)
        return figure


def manifold_test(
    points: Any, *, dim: int | None = None, alpha: float = 0.01, seed: int = 0
) -> ManifoldTest:
    r"""Test whether a cloud is a manifold, perhaps with boundary, and where it is not.

    The link of a point x is sampled by the directions :math:`(y - x)/|y - x|` of its k nearest
    points with :math:`r/2 < |y - x| \le r`. It counts as the sphere :math:`S^{d-1}` when its
    Vietoris-Rips diagrams show one reduced class, in degree d-1; as a half sphere, that of a
    boundary point, when none; as singular, where sheets cross or strands branch, when more, or one
    in a lower degree. A bar is a class when its persistence is beyond that of noise in the link of
    a regular point, at level alpha k/n (Bonferroni over n/k disjoint links). Links are looked at
    around farthest-point landmarks, and where the deviation :math:`B = \sqrt{\sum_{i>d}\lambda_i /
    \lambda_d}` from the tangent planes stands out. A point is singular when its links at both k
    say so, when B does not fall with the radius as that of a curved sheet does, and when half of
    its neighbours are singular too. After Stolz et al., 2020
    (https://doi.org/10.1073/pnas.2001741117).

    Args:
        points: array-like, shape (n, D).
        dim: dimension of the manifold, 1 to 3; estimated where not given.
        alpha: bound on the probability to call a manifold singular.
        seed: of the first landmark.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: dim < 1, or alpha not in (0, 0.1].
    """
    if dim is not None and dim < 1:
        raise ValueError(f"expected dim >= 1, got {dim}")
    check_alpha(alpha)
    cloud = prepare(points, seed=seed)
    if dim is not None:
        return _test(cloud, dim, alpha, seed)
    first = _test(cloud, dimension_of(cloud, seed=seed).dim, alpha, seed)
    if first.is_manifold is None:  # noise thickens a cloud: try the dimension at larger scales
        seen = {v for v in dimension_across_scales(cloud, seed=seed).local_pca if v < first.dim}
        for d in sorted(map(int, seen), reverse=True):
            second = _test(cloud, d, alpha, seed)
            if second.is_manifold is not None:
                remark = f"of dimension {first.dim} at small scales: {first.reason}"
                return replace(second, remarks=(*second.remarks, remark))
    return first


def _test(cloud: Cloud, d: int, alpha: float, seed: int) -> ManifoldTest:
    """:func:`manifold_test` for one dimension."""
    if d not in LINKS:
        return _undetermined(cloud, d, alpha, f"links of {d}-manifolds need too many points")
    x = cloud.points
    rng = np.random.default_rng(seed)
    fine, coarse = _sizes(x, d, rng)
    least = POINTS_PER_LINK * coarse
    if len(x) < least:
        words = f"links of {coarse} points need {least} points, got {len(x)}"
        return _undetermined(cloud, d, alpha, words)
    most, most_unclear = LINKS[d].landmarks, 0.5  # of the links, beside a singular set
    links = _Links(x, d, (fine, coarse), alpha, rng.permutation(len(x))[:20_000])
    marks = farthest_points(x, min(most, len(x)), int(rng.integers(len(x))))[0]
    tested = np.append(marks, np.setdiff1d(links.outstanding(), marks))
    label, suspect = links.labels(tested)
    unusual = rng.permutation(np.flatnonzero(label != REGULAR))
    unusual = unusual[np.argsort(~suspect[unusual], kind="stable")][:most]
    if len(unusual) and (label[: len(marks)] == UNDECIDED).mean() < most_unclear:
        around = np.setdiff1d(nearest(x, x[tested[unusual]], VOTERS)[1], tested)
        more = links.labels(around)
        tested = np.append(tested, around)
        label, suspect = np.append(label, more[0]), np.append(suspect, more[1])
    near = nearest(x[tested], x[tested], min(VOTERS, len(tested)))[1]
    supported = 2 * (label[near] == label[:, None]).sum(axis=1) >= near.shape[1]
    label = np.where(supported | (label == REGULAR), label, UNDECIDED)
    suspects = int((suspect & (2 * suspect[near].sum(axis=1) >= near.shape[1])).sum())
    unclear = float((label[: len(marks)] == UNDECIDED).mean())
    singular, boundary = (int((label == kind).sum()) for kind in (SINGULAR, BOUNDARY))
    sphere = {1: "two points", 2: "a circle", 3: "a sphere"}[d]
    verdict: bool | None = None
    if singular and unclear < most_unclear:
        verdict, reason = False, f"{singular} of {len(label)} links are no {d - 1}-spheres"
    elif unclear > 0.05:
        reason = f"{unclear:.0%} of the links are unclear; give more points"
    elif suspects:
        reason = f"{suspects} of {len(label)} links may be singular; give more points"
    elif boundary:
        half = f"half of it at {boundary} of {len(label)} points"
        verdict, reason = True, f"links are {sphere}, or {half}"
    else:
        verdict, reason = True, f"every clear link is {sphere}"
    names = NAMES[cloud.spread(label[nearest(x[tested], x, 1)[1][:, 0]])]
    tested = np.sort(tested)
    deviation = links.spectra[0][links.near(tested)].mean(axis=1)
    scale = float(np.median(nearest(x, x[marks], coarse + 1)[0][:, -1])) * cloud.unit
    return ManifoldTest(
        verdict, d, names, cloud.index[tested], deviation, scale, alpha, reason, cloud.remarks,
        cloud.rows,
    )  # fmt: skip


def _sizes(x: np.ndarray, d: int, rng: np.random.Generator) -> tuple[int, int]:
    """Numbers of neighbours of the two links, larger where noise is as wide as the usual ones.

    Links off the best d-plane by more than 0.16 of the radius are widened until they are thinnest,
    below 0.14, which curved ones never are. A tube is no plane: lambda_d >= lambda_1 / 5.
    """
    fine, coarse = LINKS[d].sizes
    probes = x[rng.permutation(len(x))[:200]]
    most = int(len(x) / (POINTS_PER_LINK * 1.3))
    distance, index = nearest(x, probes, max(most, min(fine, len(x) - 1)) + 1)
    k, best, thinnest = fine, fine, 0.14
    while k <= most:
        y = x[index[:, : k + 1 : 1 + k // 256]]
        values = spectrum(y) / y.shape[1]
        thickness = np.median(np.sqrt(values[:, d:].sum(axis=1)) / distance[:, k])
        if k == fine and thickness <= 0.16:
            return fine, coarse
        if thickness < thinnest and np.median(values[:, d - 1] / values[:, 0]) >= 0.2:
            best, thinnest = k, float(thickness)
        k = round(1.3 * k)
    return best, coarse if best == fine else max(coarse, round(1.3 * best))


def _undetermined(cloud: Cloud, d: int, alpha: float, why: str) -> ManifoldTest:
    labels, none = np.full(cloud.given, "undecided"), np.empty(0, dtype=int)
    return ManifoldTest(
        None, d, labels, none, none.astype(float), math.nan, alpha, why, cloud.remarks, cloud.rows
    )


@dataclass(frozen=True)
class _Links:
    """Links of points of a prepared cloud, at two numbers of neighbours."""

    x: np.ndarray
    d: int
    sizes: tuple[int, int]
    alpha: float
    some: np.ndarray

    @cached_property
    def spectra(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """B at k and at k/3, lambda_{d+1}/lambda_d and lambda_d/lambda_1 at k, of `some`."""
        d, k = self.d, self.sizes[1]
        values = []
        for rows in np.array_split(self.some, 1 + len(self.some) // 500):
            y = self.x[nearest(self.x, self.x[rows], k + 1)[1]]
            both = (spectrum(y), spectrum(y[:, : k // 3 + 1]))
            values.append([np.pad(s, ((0, 0), (0, 1))) + 1e-300 for s in both])
        wide, narrow = (np.concatenate(part) for part in zip(*values, strict=True))
        B = [np.sqrt(s[:, d:].sum(axis=1) / s[:, d - 1]) for s in (wide, narrow)]
        return B[0], B[1], wide[:, d] / wide[:, d - 1], wide[:, d - 1] / wide[:, 0]

    def near(self, at: np.ndarray) -> np.ndarray:
        """Places in `some` of the points nearest to each, shape (len(at), VOTERS)."""
        x = self.x[self.some]
        return nearest(x, self.x[at], min(VOTERS, len(x)))[1]

    def outstanding(self) -> np.ndarray:
        """Points whose deviation, above 0.35, stands out by 3 sigma and is largest nearby."""
        B = self.spectra[0]
        log = np.log(np.maximum(B, 1e-9))
        spread = 1.4826 * float(np.median(np.abs(log - np.median(log))))
        high = max(0.35, math.exp(float(np.median(log)) + 3 * spread))
        peak = B[self.near(self.some)].max(axis=1) <= B
        found = np.flatnonzero(peak & (B >= high))
        return self.some[found[np.argsort(-B[found])][: LINKS[self.d].landmarks]]

    def labels(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels by links and spectra; suspects: singular at one size, regular at none."""
        fine, coarse = self._shape(at, 0), self._shape(at, 1)
        label = np.where(fine == coarse, fine, UNDECIDED)
        label = np.where((fine == REGULAR) & (coarse == BOUNDARY), REGULAR, label)
        for a, b in ((fine, coarse), (coarse, fine)):
            label = np.where((a == UNDECIDED) & ((b == REGULAR) | (b == BOUNDARY)), b, label)
        wide, narrow, normal, tangent = (s[self.near(at)].mean(axis=1) for s in self.spectra)
        # above 1/2 more than d axes carry the points, below 1/50 fewer do
        label[(label == BOUNDARY) & (normal > 0.5)] = UNDECIDED
        curved = (narrow < LINKS[self.d].persistent * wide) & (tangent > 0.02)
        label[(label == SINGULAR) & curved] = UNDECIDED
        singular = (fine == SINGULAR) | (coarse == SINGULAR)
        regular = (fine == REGULAR) | (coarse == REGULAR)
        return label, singular & ~regular & ~curved

    def _shape(self, at: np.ndarray, resolution: int) -> np.ndarray:
        """Sphere, half sphere, neither, or unclear: the reduced homology of the directions."""
        d, k = self.d, self.sizes[resolution]
        top = 2.0 if d == 1 else 1.75  # the Rips complex of a round sphere dies at sqrt(3)
        tables = [distances(v) for v in self._directions(at, k, LINKS[d].most[resolution])]
        level = self.alpha * k / len(self.x)
        singular, unclear, strong, weak = np.zeros((4, len(at)), bool)
        for i, diagrams in enumerate(rips_bars(tables, top, range(d), 2, collapses=int(d > 2))):
            for j, bars in enumerate(diagrams):
                length = np.sort(np.minimum(bars[:, 1], top) - bars[:, 0])[::-1][int(j == 0) :]
                length = np.append(length, (0.0, 0.0))
                null = NULL[d, j][resolution]
                noise, cut = gumbel_quantile(0.05, *null), gumbel_quantile(level, *null)
                if j == d - 1:
                    strong[i], weak[i] = length[0] > cut, length[0] <= noise
                    length = length[1:]
                singular[i] |= length[0] > cut
                unclear[i] |= length[0] > noise
        sphere = np.where(strong, REGULAR, np.where(weak, BOUNDARY, UNDECIDED))
        return np.where(singular, SINGULAR, np.where(unclear, UNDECIDED, sphere))

    def _directions(self, at: np.ndarray, k: int, most: int) -> list[np.ndarray]:
        """The links, unit vectors of shape (at most `most`, D) each."""
        links = []
        for i, r, near in zip(at, *nearest(self.x, self.x[at], k + 1), strict=True):
            v = self.x[near[r > r[-1] / 2]] - self.x[i]
            v = v / np.linalg.norm(v, axis=1, keepdims=True)
            links.append(v[farthest_points(v, most, 0)[0]] if len(v) > most else v)
        return links
