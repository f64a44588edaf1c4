"""A cloud that is prepared once and handed on: distinct points, scaled, in few coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InvalidPoints
from .arrays import as_array, diameter, first_rows
from .conventions import recognise
from .knn import nearest, neighbour_distance
from .repeats import ROUNDING, first_of_clusters, first_of_places, rounding

LEAST_POINTS = 10  # below these no local statistic means anything
LEAST_SHARE = 0.005  # of a cloud: smaller clusters are stray ones and no components
MOST_POINTS = 50_000  # whose tables of neighbours fit into memory of a laptop


@dataclass(frozen=True)
class Cloud:
    """Points ready for topology: distinct, centred, of diameter about 1, in few coordinates.

    Attributes:
        points: the points, shape (n, D'), in units of `unit`.
        index: the rows of the given array that they come from, shape (n,).
        unit: the length by which the given points were divided.
        given: number of rows given.
        duplicates: rows that repeat an earlier row.
        remarks: what they look like, and what was done to them, in words.
        outliers: points left out because they do not lie on the manifold.
        source: the array-like that was given.
    """

    points: np.ndarray
    index: np.ndarray
    unit: float
    given: int
    duplicates: int
    remarks: tuple[str, ...]
    outliers: int = 0
    source: Any = field(default=None, repr=False)

    @property
    def rows(self) -> np.ndarray:
        """All rows given, shape (given, D)."""
        return as_array(self.source)

    def only(self, rows: np.ndarray, remark: str, outliers: int = 0) -> Cloud:
        """Some of the points, with a remark that says why the others are left out."""
        return replace(
            self,
            points=self.points[rows],
            index=self.index[rows],
            remarks=(*self.remarks, remark),
            outliers=self.outliers + outliers,
        )

    def alone(self) -> Cloud:
        """The points as a cloud of their own: rows count from 0, and 1 is the unit of length."""
        n = len(self.points)
        return Cloud(self.points, np.arange(n), 1.0, n, 0, (), source=self.points)

    def part(self, rows: np.ndarray) -> Cloud:
        """Some of the points, centred and scaled afresh, without remarks."""
        x = self.points[rows] - self.points[rows].mean(axis=0)
        length = diameter(x)
        unit, index = self.unit * length, self.index[rows]
        return replace(self, points=x / length, unit=unit, index=index, remarks=(), outliers=0)

    def spread(self, labels: np.ndarray) -> np.ndarray:
        """Labels of all rows given: a row left out takes that of the nearest one retained.

        Args:
            labels: of the points, shape (n,).
        """
        every = np.empty(self.given, dtype=labels.dtype)
        every[self.index] = labels
        rest = np.setdiff1d(np.arange(self.given), self.index)
        if len(rest):
            rows = self.rows
            every[rest] = labels[nearest(rows[self.index], rows[rest], 1)[1][:, 0]]
        return every


def prepare(
    points: Any, *, trim: float = 0.0, seed: int = 0, name: str = "points", most: int = MOST_POINTS
) -> Cloud:
    """Check, drop repeats, scale, rotate to few coordinates (D > 20), and trim.

    Args:
        points: array-like, shape (n, D); or a cloud of this function, which is only trimmed.
        trim: the fraction of points, those farthest from their 15th neighbour, that is left out.
            Outliers break a farthest-point sample; too much trimming opens holes.
        seed: for the random part that is retained of more than `most` points.
        name: what messages call the cloud.
        most: how many distinct points are used at the most.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: `trim` is not in [0, 0.5).
    """
    if not 0 <= trim < 0.5:
        raise ValueError(f"expected 0 <= trim < 0.5, got {trim}")
    cloud = points if isinstance(points, Cloud) else _prepared(points, seed, name, most)
    if trim == 0:
        return cloud
    order = np.argsort(neighbour_distance(cloud.points, 15), kind="stable")
    n, kept = len(order), math.ceil(len(order) * (1 - trim))
    remark = f"{n - kept} of {n} points trimmed"
    return cloud.only(np.sort(order[:kept]), remark, outliers=n - kept)


def _prepared(points: Any, seed: int, name: str, most: int) -> Cloud:
    x = as_array(points, name=name)  # a copy, so all that follows may happen in place
    given = len(x)
    index = first_rows(x)
    if len(index) < LEAST_POINTS:
        raise InvalidPoints(
            f"{name}: expected at least {LEAST_POINTS} distinct points, got {len(index)} "
            f"({given} rows); give more points"
        )
    remarks = recognise(x)
    if duplicates := given - len(index):
        remarks.append(f"{duplicates} duplicate points left out")
    if len(index) > most:
        remarks.append(f"{most} of {len(index)} distinct points used, drawn at random")
        index = np.sort(np.random.default_rng(seed).choice(index, most, replace=False))
    if len(index) < given:
        x = x[index]
    size = max(float(x.max()), -float(x.min()))  # first, so that squares of huge numbers are safe
    error = rounding(x) / (size or 1.0)
    x /= size or 1.0
    x -= x.mean(axis=0)
    length = diameter(x)
    if length < ROUNDING:
        raise InvalidPoints(
            f"{name}: expected distinct points, got diameter {length * size:.1e} around "
            f"numbers of size {size:.1e}, which is rounding; centre the points in higher precision"
        )
    x /= length
    apart = first_of_places(x, error / length)
    if len(apart) < len(x):
        remarks.append(
            f"{len(x) - len(apart)} points left out that rounding makes equal to others"
        )
        x, index = x[apart], index[apart]
    if len(index) < LEAST_POINTS or not math.isfinite(size * length):
        raise InvalidPoints(
            f"{name}: expected distances that are not lost to rounding or overflow, got numbers "
            f"of size {size:.1e} at distances up to {length * size:.1e}; rescale the points"
        )
    if x.shape[1] > 20:
        x, words = principal_coordinates(x)
        remarks += [words] if words else []
    single = first_of_clusters(x, least_component(len(x)))
    if len(single) < len(x):
        repeats = f"{len(x) - len(single)} points left out that repeat others up to a jitter"
        remarks.append(f"{repeats}: far closer to them than to the rest")
        x, index = x[single], index[single]
    return Cloud(x, index, size * length, given, duplicates, tuple(remarks), source=points)


def least_component(n: int) -> int:
    """How many of n points a component has at least; smaller clusters are stray ones."""
    return max(LEAST_POINTS, math.ceil(LEAST_SHARE * n))


def principal_coordinates(x: np.ndarray) -> tuple[np.ndarray, str]:
    r"""Centred points in their principal axes, without those that are noise or negligible.

    The axes with singular value :math:`s \le \omega(\beta)\, \mathrm{median}(s)` are noise when
    the noise is isotropic, with :math:`\omega(\beta) \approx 0.56\beta^3 - 0.95\beta^2 + 1.82\beta
    + 1.43` and :math:`\beta = D/n` (Gavish and Donoho, 2014, https://arxiv.org/abs/1305.5870). The
    cut is made only for n >= D, where the rest has the flat spectrum of white noise and (unlike a
    bump on a ring of pixels) its distances. Otherwise the last axes are dropped as long as no
    point moves by more than 1 % of the median distance to a nearest neighbour.

    Returns:
        the coordinates, shape (n, D'), and one sentence (empty when nothing noticeable was cut).
    """
    n, D = x.shape
    values, axes = np.linalg.eigh(x @ x.T if n < D else x.T @ x)
    s, axes = np.sqrt(np.maximum(values[::-1], 0)), axes[:, ::-1]
    rank = int((s > 1e-7 * s[0]).sum())
    if n >= D:
        beta = D / n
        omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        above = int((s > omega * np.median(s)).sum())
        rest = s[above:rank]
        # white noise has a flat spectrum; the tail of a curved manifold decays and is signal
        white = len(rest) > 0 and np.quantile(rest, 0.1) > 0.6 * (1 - beta**0.5) * np.median(rest)
        if above and white and _scattered(x[:: 1 + n // 2000] @ axes[:, above:rank]):
            words = f"{above} of {D} principal axes retained, the rest is noise"
            return x @ axes[:, :above], words
    y = axes[:, :rank] * s[:rank] if n < D else x @ axes[:, :rank]
    return y[:, : _noticeable(y)].copy(), ""


def _scattered(y: np.ndarray) -> bool:
    r"""Whether points are about as far from their nearest neighbours as n points of white noise.

    There the median squared distance is :math:`2\sigma^2 F^{-1}(\ln 2 / n)`, F that of chi2_q.
    """
    from scipy.stats import chi2

    n, q = y.shape
    some = y[np.linspace(0, n - 1, min(200, n)).astype(int)]
    close = float(np.median(nearest(y, some, 2)[0][:, 1]))
    apart = float(np.median(nearest(some, some, len(some))[0][:, 1:]))
    return close**2 > 0.5 * apart**2 * float(chi2.ppf(math.log(2) / n, q)) / q


def _noticeable(y: np.ndarray) -> int:
    """How many leading columns determine all points up to 1 % of the nearest neighbours."""
    some = y[np.linspace(0, len(y) - 1, min(200, len(y))).astype(int)]
    spacing = float(np.median(nearest(y, some, 2)[0][:, 1]))
    largest = np.zeros(y.shape[1])  # over points: squared length of the columns j, j+1, ...
    rows = max(1, 2**20 // y.shape[1])
    for i in range(0, len(y), rows):
        tails = np.cumsum(y[i : i + rows, ::-1] ** 2, axis=1)[:, ::-1]
        largest = np.maximum(largest, tails.max(axis=0))
    return max(1, int((largest > (0.01 * spacing) ** 2).sum()))
