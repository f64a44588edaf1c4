"""The intrinsic dimension of a cloud, and how far its points scatter around their manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ...plotting import import_matplotlib
from ...point_cloud.arrays import as_array, first_rows
from ...point_cloud.cloud import Cloud, prepare
from ...point_cloud.frames import spectrum
from ...point_cloud.knn import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# numbers of neighbours, two per octave
SCALES = (6, 8, 12, 16, 24, 32, 48, 64, 96)
WIDE_SCALES = (*SCALES, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


@dataclass(frozen=True)
class DimensionScales:
    """The dimension of a cloud as it looks at each radius, by three estimators.

    A curve with noise looks thick below the size of its noise, and 1-dimensional above it.

    Attributes:
        neighbours: number k of neighbours of each scale.
        radius: median distance to the k-th neighbour, in the units of the points.
        local_pca: number of axes before the widest gap (3 or more) of the covariance, or NaN.
        levina_bickel: maximum likelihood from the k neighbours.
        two_nn: from the two nearest neighbours in the cloud thinned to about n/k points.

    Example:
        >>> t = np.linspace(0, 6, 400)
        >>> x = np.stack([np.cos(t), np.sin(t)], axis=1)
        >>> set(dimension_across_scales(x).dims)
        {1}
    """

    neighbours: tuple[int, ...]
    radius: tuple[float, ...]
    local_pca: tuple[float, ...]
    levina_bickel: tuple[float, ...]
    two_nn: tuple[float, ...]

    @property
    def _answers(self) -> list[np.ndarray]:
        table = np.array([self.local_pca, self.levina_bickel, self.two_nn])
        return [column[~np.isnan(column)] for column in table.T]

    @property
    def dims(self) -> tuple[int, ...]:
        """Per scale, the median of the estimators that have an answer, rounded; 0 without any."""
        return tuple(
            max(1, math.floor(np.median(c) + 0.5)) if len(c) else 0 for c in self._answers
        )

    @property
    def disagreement(self) -> tuple[float, ...]:
        """Per scale, largest minus smallest estimate; NaN with fewer than two of them."""
        return tuple(float(np.ptp(c)) if len(c) > 1 else math.nan for c in self._answers)

    def __str__(self) -> str:
        runs = groupby(zip(self.dims, self.radius, strict=True), key=lambda scale: scale[0])
        radii = [(dim, [radius for _, radius in run]) for dim, run in runs]
        words = "; ".join(
            f"{dim or '?'} at radius {r[0]:.2g}" + (f" to {r[-1]:.2g}" if len(r) > 1 else "")
            for dim, r in radii
        )
        worst = np.array(self.disagreement)
        if np.isnan(worst).all():
            return f"dimension {words}"
        i = int(np.nanargmax(worst))
        most = f"by {worst[i]:.1f}, at radius {self.radius[i]:.2g}"
        return f"dimension {words}; the estimators differ most, {most}"

    def plot(self) -> Figure:
        """The three estimates against the radius."""
        import_matplotlib()
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter

        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        ax = figure.subplots()
        ax.semilogx(self.radius, self.local_pca, "o-", color="#1f77b4", label="local PCA")
        ax.semilogx(self.radius, self.levina_bickel, "s-", color="#d1495b", label="Levina-Bickel")
        ax.semilogx(self.radius, self.two_nn, "^-", color="#2a9d55", label="TwoNN, thinned")
        ax.step(self.radius, self.dims, where="mid", color="0.6", lw=4, alpha=0.4, label="median")
        ax.set(xlabel="radius", ylabel="dimension", ylim=0)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.legend(frameon=False)
        return figure


@dataclass(frozen=True)
class DimensionEstimate:
    """What three estimators say of the dimension of a cloud.

    Attributes:
        dim: the consensus, an integer >= 1; local PCA decides where its gap is clear.
        estimates: "local_pca", "levina_bickel", "two_nn"; NaN where one has no answer.
        agree: whether all three round to `dim`.
        gap: ratio of the eigenvalues d and d+1 at the scale that local PCA chose (1: no gap seen).
        neighbours: the number of neighbours at that scale.
        scales: the same estimators at every scale, where asked for.

    Example:
        >>> t = np.linspace(0, 6, 200)
        >>> str(intrinsic_dimension(np.stack([np.cos(t), np.sin(t)], axis=1)))
        'dimension 1 (local PCA 1, Levina-Bickel 1.1, TwoNN undefined)'
    """

    dim: int
    estimates: dict[str, float]
    agree: bool
    gap: float
    neighbours: int
    scales: DimensionScales | None = field(default=None, repr=False)

    def __int__(self) -> int:
        return self.dim

    def __str__(self) -> str:
        names = {"local_pca": "local PCA", "levina_bickel": "Levina-Bickel", "two_nn": "TwoNN"}
        words = []
        for key, name in names.items():
            value = self.estimates[key]
            words.append(f"{name} undefined" if math.isnan(value) else f"{name} {value:.2g}")
        return f"dimension {self.dim} ({', '.join(words)})"


def intrinsic_dimension(points: Any, *, seed: int = 0) -> DimensionEstimate:
    r"""Estimate the dimension of the manifold that the points sample.

    Local PCA: the geometric mean over centres of the eigenvalues :math:`\lambda_1 \ge \lambda_2
    \ge \dots` of the covariance of k neighbours, for several k; the dimension is the d with the
    largest :math:`\lambda_d / \lambda_{d+1}` over all k, among those with :math:`\lambda_d \ge
    \lambda_1 / 20`. Small k sees noise, large k curvature; the gap is widest between them. Without
    a gap of 3 the cloud fills its (principal) coordinates. The estimators of
    :func:`dimension_across_scales` see noise as dimension: they are evidence, not the judge.

    Args:
        points: array-like, shape (n, D).
        seed: of the centres, where there are more than 400 points.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
    """
    cloud = prepare(points, seed=seed)
    scales = dimension_across_scales(cloud, seed=seed)
    return replace(dimension_of(cloud, seed=seed), scales=scales)


def dimension_of(cloud: Cloud, *, seed: int = 0) -> DimensionEstimate:
    """:func:`intrinsic_dimension` of a prepared cloud."""
    x = _spanned(cloud.points)
    centres = _centres(x, seed)
    dim, gap, used = _local_pca(x, centres)
    r = nearest(x, centres, min(21, len(x)))[0][:, 1:]
    r = r[r[:, 0] > 0]
    two_nn, levina_bickel = (_two_nn(r), _levina_bickel(r)) if len(r) >= 5 else 2 * (math.nan,)
    local = float(dim) if dim else math.nan
    if dim == 0:
        dim = min(x.shape[1], max(1, round(levina_bickel)) if levina_bickel > 0 else x.shape[1])
    estimates = {"local_pca": local, "levina_bickel": levina_bickel, "two_nn": two_nn}
    agree = all(not math.isnan(v) and round(v) == dim for v in estimates.values())
    return DimensionEstimate(dim, estimates, agree, gap, used)


def _spanned(x: np.ndarray) -> np.ndarray:
    """Coordinates in the subspace that centred points span: beyond it no gap means anything."""
    values, axes = np.linalg.eigh(x.T @ x)
    spanned = values > 1e-14 * values[-1]
    return x if spanned.all() else x @ axes[:, spanned]


def _centres(x: np.ndarray, seed: int) -> np.ndarray:
    return x[np.random.default_rng(seed).permutation(len(x))[:400]]


def local_spectra(x: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """Eigenvalues of local covariances, shape (c, min(k+1, D))."""
    index = nearest(x, centres, min(k + 1, len(x)))[1]
    count = index.shape[1]
    rows = max(1, 2**21 // (count * x.shape[1]))  # a few MB at a time
    parts = (x[index[i : i + rows]] for i in range(0, len(index), rows))
    return np.concatenate([spectrum(y) for y in parts]) / count


def _widest_gap(values: np.ndarray, k: int) -> tuple[int, float]:
    """(d, ratio above 3 of eigenvalues d, d+1) of the spectra of k neighbours, or (0, 1)."""
    log = np.log(np.maximum(values, 1e-14 * np.maximum(values[:, :1], 1e-300))).mean(axis=0)
    # tangent eigenvalues are alike, within a factor of 20; those of curvature are far smaller
    usable = min(len(log) - 1, k // 3, int((log > log[0] - math.log(20.0)).sum()))
    if usable < 1:
        return 0, 1.0
    gaps = np.exp(log[:usable] - log[1 : usable + 1])
    d = int(gaps.argmax()) + 1
    return (d, float(gaps[d - 1])) if gaps[d - 1] > 3 else (0, 1.0)


def _local_pca(x: np.ndarray, centres: np.ndarray) -> tuple[int, float, int]:
    """(d, gap, k) at the scale with the widest gap; d = 0 where D is too large to judge."""
    n, D = x.shape
    best = (1 if D == 1 else 0, 1.0, 0)
    for k in SCALES:
        if k > max(6, n // 8) or k >= n or (k < 12 and n >= 100):
            continue
        d, gap = _widest_gap(local_spectra(x, centres, k), k)
        if gap > best[1]:
            best = (d, gap, k)
    return (D, 1.0, 0) if best[0] == 0 and D <= 4 else best


def _levina_bickel(r: np.ndarray) -> float:
    """From sorted distances to k neighbours, shape (c, k), k >= 3; 10 to 20 of them are usual."""
    logs = np.log(r[:, -1:] / r[:, :-1])
    mean = float(logs.mean()) * (r.shape[1] - 1) / max(r.shape[1] - 2, 1)
    return 1 / mean if mean > 1e-9 else math.nan


def _two_nn(r: np.ndarray) -> float:
    """From sorted distances, shape (c, >= 2): a line through the distribution of their ratio."""
    mu = np.sort(np.log(r[:, 1] / r[:, 0]))
    low = mu[: int(0.9 * len(mu))]
    weights = -np.log1p(-np.arange(1, len(mu) + 1) / (len(mu) + 1))[: len(low)]
    square = float(low @ low)
    return float(low @ weights) / square if square > 1e-9 * len(low) else math.nan


def dimension_across_scales(points: Any, *, seed: int = 0) -> DimensionScales:
    r"""Estimate the dimension at every radius, from 6 neighbours to a quarter of the points.

    Levina-Bickel: :math:`1/\hat d = \frac{1}{k-2} \sum_{j<k} \ln(r_k / r_j)` (2004,
    https://papers.nips.cc/paper/2577), averaged over centres as MacKay and Ghahramani do (2005,
    http://www.inference.org.uk/mackay/dimension). TwoNN (Facco et al., 2017,
    https://doi.org/10.1038/s41598-017-11873-y): the slope through 0 of :math:`-\ln(1 - F(\mu))`
    against :math:`\ln \mu`, :math:`\mu = r_2/r_1`, with the cloud thinned for larger scales.

    Args:
        points: array-like, shape (n, D).
        seed: of the centres and the thinning.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
    """
    cloud = prepare(points, seed=seed)
    x = _spanned(cloud.points)
    n = len(x)
    centres = _centres(x, seed)
    ks = [k for k in WIDE_SCALES if k <= max(8, n // 4) and k < n]
    distance, index = nearest(x, centres, ks[-1] + 1)
    rng = np.random.default_rng(seed)
    table = []
    for k in ks:
        y = x[index[:200, : k + 1]][:, :: 1 + k // 256]  # enough for a covariance
        pca = 1 if x.shape[1] == 1 else _widest_gap(spectrum(y), k)[0]
        r = distance[:, 1 : k + 1]
        bickel = _levina_bickel(r[r[:, 0] > 0])
        radius = float(np.median(distance[:, k])) * cloud.unit
        table.append((radius, float(pca or math.nan), bickel, _thinned(x, k, rng)))
    return DimensionScales(tuple(ks), *zip(*table, strict=True))


def _thinned(x: np.ndarray, k: int, rng: np.random.Generator) -> float:
    """TwoNN of about 400 pairs of distances in clouds of n / (k/2) points."""
    m = max(20, round(2 * len(x) / k))
    parts = (x[rng.permutation(len(x))[:m]] for _ in range(max(1, min(8, round(400 / m)))))
    r = np.concatenate([nearest(thin, thin[:400], 3)[0][:, 1:] for thin in parts])
    r = r[r[:, 0] > 0]
    return _two_nn(r) if len(r) >= 5 else math.nan


def noise_level(points: Any, dim: int | None = None, *, seed: int = 0) -> float:
    r"""Root-mean-square distance of the points from the manifold they scatter around.

    The part N of a local covariance that is normal to the leading `dim` axes grows with the radius
    r of the neighbourhood: as :math:`r^2` inside the noise, as :math:`\sigma^2 + c\, r^4` beyond
    it. A line in :math:`r^4` through the four neighbouring radii between which N grows least gives
    :math:`\sigma^2` at r = 0, within a fifth where noise is well below the radii of curvature.

    Args:
        points: array-like, shape (n, D).
        dim: dimension of the manifold; by default that of the smallest neighbourhoods, where they
            are thin, and else the smallest that larger ones show.
        seed: of the centres.

    Returns:
        sigma, in the units of the points; 0 where dim >= D or no noise is seen.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: dim < 1.
    """
    if dim is not None and dim < 1:
        raise ValueError(f"expected dim >= 1, got {dim}")
    cloud = prepare(points, seed=seed)
    x = _spanned(cloud.points)
    n, D = x.shape
    ks = [k for k in WIDE_SCALES if 12 <= k <= max(16, n // 4) and k < n]
    if not ks:
        return 0.0
    distance, index = nearest(x, _centres(x, seed)[:100], ks[-1] + 1)
    parts = [x[index[:, : k + 1 : 1 + k // 200]] for k in ks]  # enough for a covariance
    spectra = [spectrum(y) / y.shape[1] for y in parts]
    seen = [_widest_gap(values, k)[0] for values, k in zip(spectra, ks, strict=True)]
    d: int = dim or seen[0] or min((gap for gap in seen if gap), default=D)
    usable = [i for i, y in enumerate(parts) if y.shape[1] >= 2 * (d + 2)]
    if d >= D or len(usable) < 2:
        return 0.0
    # the fitted plane takes `dim` degrees of freedom
    freedom = np.array([y.shape[1] / (y.shape[1] - 1 - d) for y in parts])
    normal = np.array([np.median(values[:, d:].sum(axis=1)) for values in spectra]) * freedom
    normal, r = np.maximum(normal, 1e-30)[usable], np.median(distance[:, ks], axis=0)[usable]
    distinct = np.r_[True, np.diff(r) > 0]  # on lattices neighbourhoods share their radius
    normal, r = normal[distinct], r[distinct]
    if len(r) < 2:
        return 0.0
    width = min(4, len(r))
    first = range(len(r) - width + 1)
    growth = [math.log(normal[i + width - 1] / normal[i]) / math.log(r[i + width - 1] / r[i])
              for i in first]  # fmt: skip
    i = int(np.argmin(growth))
    flat = slice(i, i + width)  # relative errors are alike
    line = np.polynomial.Polynomial.fit(r[flat] ** 4, normal[flat], 1, w=1 / normal[flat])
    return math.sqrt(max(float(line(0.0)), 0.0)) * cloud.unit


def duplicates(points: Any) -> int:
    """The number of rows that repeat an earlier row.

    Args:
        points: array-like, shape (n, D).

    Raises:
        InvalidPoints: not a finite (n, D) array.
    """
    x = as_array(points)
    return len(x) - len(first_rows(x))
