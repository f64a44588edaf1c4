r"""How stable a statistic of a cloud is: the same statistic on resamples, in parallel.

A resample of n distinct points is `size` of them without replacement, or n draws with replacement,
of which the distinct ones, about :math:`(1 - 1/e)\,n`, are used (repeats change nothing).
"""

from __future__ import annotations

import math
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import InvalidPoints, TopogenError
from ..homology import DEFAULT_FIELDS
from ..point_cloud.arrays import as_array, first_rows
from ..point_cloud.cloud import LEAST_POINTS, prepare
from ..point_cloud.knn import distances
from ..point_cloud.landmarks import count_for_radius, farthest_points
from .inference.check import check_topology
from .inference.report import Betti, TopologyReport
from .persistence.rips import Diagrams, truncated_rips

Points = Float[np.ndarray, "_ D"]


@dataclass(frozen=True)
class Bootstrap:
    r"""A statistic of a cloud and of its resamples.

    `counts`, `share`, `diagrams` and `band` belong to the default statistic; another has None.

    Attributes:
        estimate: the statistic of the whole cloud; by default a
            :class:`~topogen.topology.TopologyReport`.
        values: the statistic of each resample, in the order of `seeds`; by default its Betti
            numbers and its bottleneck distances over the diameter, each {p: per degree}.
        seeds: of the resamples; :func:`resample` gives their points.
        size: points of a resample drawn without replacement; None for the rule with replacement.
        counts: {p: one {Betti number: resamples} per degree}; the number None is "undetermined".
        share: {p: per degree, None or the share of resamples with the Betti number of the cloud}.
        diagrams: {p: [(birth, death) by degree]} of the cloud, to degree 2, in its units.
        band: {p: (c_0, c_1, ...)}: bottleneck distances to `diagrams` that a share 1 - `alpha` of
            the resamples have at most: partners for all bars with (death - birth)/2 > c_k.
        alpha: of the band.
        seconds: wall time.

    Example:
        >>> t = np.random.default_rng(0).random(2500) * 2 * np.pi
        >>> b = bootstrap(np.stack([np.cos(t), np.sin(t)], axis=1), repeats=5)
        >>> b.estimate.betti[2], b.counts[2][0]
        ((1, 1), {1: 5})
    """

    estimate: Any
    values: tuple[Any, ...]
    seeds: tuple[int, ...]
    size: int | None
    counts: dict[int, tuple[dict[int | None, int], ...]] | None
    share: dict[int, tuple[float | None, ...]] | None
    diagrams: Diagrams | None = field(repr=False)
    band: dict[int, tuple[float, ...]] | None
    alpha: float
    seconds: float

    def __str__(self) -> str:
        rule = "with replacement" if self.size is None else f"of {self.size} points each"
        lines = [f"bootstrap  {len(self.values)} resamples {rule}, {self.seconds:.1f} s"]
        if self.counts is None or self.share is None or self.band is None:
            return "\n".join([*lines, f"  of the whole cloud: {self.estimate}"])
        for p, per_degree in self.counts.items():
            for k, counts in enumerate(per_degree):
                betti, share = self.estimate.betti[p][k], self.share[p][k]
                seen = ", ".join(f"{_word(b)}: {n}" for b, n in counts.items())
                line = f"  Z/{p} degree {k}  Betti {_word(betti)}"
                line += "" if share is None else f"  share {share:.2f}"
                line += f"  band {self.band[p][k]:.2g}" if k < len(self.band[p]) else ""
                lines.append(f"{line}  ({seen})")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON knows, fields as strings; a statistic of one's own stays as it is."""
        result: dict[str, Any] = {n: getattr(self, n) for n in ("size", "alpha", "seconds")}
        result |= {"repeats": len(self.values), "seeds": list(self.seeds)}
        if self.counts is None or self.share is None or self.band is None:
            return result | {"estimate": self.estimate, "values": list(self.values)}
        return result | {
            "estimate": self.estimate.to_dict(),
            "counts": {
                str(p): [{_word(b): n for b, n in c.items()} for c in per_degree]
                for p, per_degree in self.counts.items()
            },
            "share": {str(p): list(s) for p, s in self.share.items()},
            "band": {str(p): list(c) for p, c in self.band.items()},
        }


def _word(betti: int | None) -> str:
    return "undetermined" if betti is None else str(betti)


def resample(points: Any, seed: int, size: int | None = None) -> Points:
    """The distinct points of one resample, shape (m, D), in the order of the given ones.

    Args:
        points: array-like, shape (n, D).
        seed: of the draw.
        size: points drawn without replacement; None draws n with replacement.

    Raises:
        InvalidPoints: not a finite (n, D) array.
        ValueError: `size` is not between 1 and the number of distinct points.
    """
    x = _distinct(points, size)
    return x[_draw(len(x), seed, size)]


def _distinct(points: Any, size: int | None) -> Points:
    x = as_array(points)
    x = x[first_rows(x)]
    _check_size(size, 1, len(x))
    return x


def _draw(n: int, seed: int, size: int | None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n, size=n) if size is None else rng.choice(n, size, replace=False)
    return np.unique(drawn)


def _check_size(size: int | None, least: int, n: int) -> None:
    if size is not None and not least <= size <= n:
        raise ValueError(f"expected {least} <= size <= {n} distinct points, got {size}")


def bootstrap(
    points: Any,
    statistic: Callable[[np.ndarray], Any] | None = None,
    *,
    repeats: int = 100,
    size: int | None = None,
    alpha: float = 0.05,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    seed: int = 0,
    executor: Any = None,
    workers: int | None = None,
) -> Bootstrap:
    r"""Run a statistic on resamples of a cloud, on threads, processes or a cluster.

    The default statistic is :func:`~topogen.topology.check_topology`, and beside it the bottleneck
    distance :math:`W_\infty(\hat D^*, \hat D)` between the Vietoris-Rips diagrams of resample and
    cloud, both of farthest-point landmarks at the covering radius :math:`\epsilon` of up to 200 of
    the cloud, with edges up to :math:`5\epsilon`, or the lower quartile of the distances if less.
    The band

    .. math:: P\big(W_\infty(\hat D^*, \hat D) \le c_k\big) \ge 1 - \alpha

    is the quantile over the resamples, as Chazal et al., 2014 (https://arxiv.org/abs/1311.0376)
    bootstrap the diagrams of density estimates. It is no test for noise, as the p-values of the
    report are: short bars that every set of landmarks has may lie beyond it.

    Args:
        points: array-like, shape (n, D); duplicates are left out.
        statistic: a function of points (m, D), float64; for processes or a cluster one that can be
            imported there (no lambda).
        repeats: number of resamples.
        size: points drawn without replacement; None draws n with replacement.
        alpha: of the band.
        fields: primes p, of the default statistic.
        max_dim: largest degree of the default statistic; by default the dimension of the cloud.
        seed: of everything random; same seed, same result, whatever the executor.
        executor: anything whose `map(f, seeds)` gives results or futures: of concurrent.futures, a
            pool of multiprocessing or Ray, a Client of dask.distributed. It is not shut down.
        workers: threads, where there is no executor; by default one per processor.

    Raises:
        InvalidPoints: not a finite (n, D) array; for the default statistic also fewer than 30
            distinct points with replacement, or 10 without.
        ValueError: an argument out of range, or both executor and workers.
        TopogenError: the statistic failed on a resample (seed in the message), or the executor.
    """
    begin = time.monotonic()
    if repeats < 1:
        raise ValueError(f"expected repeats >= 1, got {repeats}")
    if not 0 < alpha < 1:
        raise ValueError(f"expected 0 < alpha < 1, got {alpha}")
    if executor is not None and workers is not None:
        raise ValueError("expected an executor or a number of workers, got both")
    if workers is not None and workers < 1:
        raise ValueError(f"expected workers >= 1, got {workers}")
    if executor is not None and not callable(getattr(executor, "map", None)):
        raise ValueError(
            f"expected an executor with a method map, got {type(executor).__name__}; give one of "
            "concurrent.futures, or a dask.distributed.Client"
        )
    seeds = tuple(int(s) for s in np.random.SeedSequence(seed).generate_state(repeats))
    if statistic is None:
        cloud = prepare(points, seed=seed)
        x, unit = cloud.points, cloud.unit
        _check_size(size, LEAST_POINTS, len(x))
        if size is None and len(x) < 3 * LEAST_POINTS:
            raise InvalidPoints(
                f"points: expected at least {3 * LEAST_POINTS} distinct points to draw from with "
                f"replacement, got {len(x)}; give more points, or a size"
            )
        check = partial(check_topology, fields=fields, max_dim=max_dim, seed=seed, progress=False)
        estimate: Any = check(cloud)
        statistic = _Topology.of(x, size, estimate)
    else:
        x, unit = _distinct(points, size), 1.0
        estimate = statistic(x)
    task = partial(_evaluate, x, statistic, size)
    own = executor is None
    with ThreadPoolExecutor(workers or os.cpu_count()) if own else nullcontext(executor) as pool:
        values = tuple(_collect(pool, task, seeds))
    counts = share = diagrams = band = None
    if isinstance(statistic, _Topology):
        counts, share, band = _summary(values, estimate, alpha, unit)
        diagrams = {p: [unit * b for b in bars] for p, bars in statistic.reference.items()}
    return Bootstrap(
        estimate, values, seeds, size, counts, share, diagrams, band, alpha,
        time.monotonic() - begin,
    )  # fmt: skip


@dataclass(frozen=True)
class _Replicate:
    """What a worker sends back. An error is text: not every exception survives the way."""

    seed: int
    value: Any = None
    error: str | None = None
    where: str = ""


def _evaluate(
    x: Points, statistic: Callable[[np.ndarray], Any], size: int | None, seed: int
) -> _Replicate:
    """The statistic of the resample with this seed; runs in a worker."""
    try:
        return _Replicate(seed, statistic(x[_draw(len(x), seed, size)]))
    except Exception as error:  # _collect raises it again, with the seed
        words = f"{type(error).__name__}: {error}"
        return _Replicate(seed, error=words, where=traceback.format_exc())


def _collect(pool: Any, task: Callable[[int], _Replicate], seeds: Sequence[int]) -> Iterator[Any]:
    """The values in order; the pool's map gives replicates or futures of them."""
    done = 0
    try:
        for item in pool.map(task, seeds):
            replicate = item if isinstance(item, _Replicate) else item.result()
            if replicate.error is not None:
                failed = TopogenError(
                    f"the statistic failed on the resample with seed {replicate.seed} "
                    f"({replicate.error}); resample(points, {replicate.seed}, size) has its points"
                )
                failed.add_note(f"In the worker:\n{replicate.where}")
                raise failed
            yield replicate.value
            done += 1
    except TopogenError:
        raise
    except Exception as error:
        raise TopogenError(
            f"expected the executor to run {len(seeds)} resamples, {done} came back before it "
            f"failed with {type(error).__name__}: {error}; processes and clusters need a "
            "statistic that they can import, defined at the top of a module"
        ) from error


@dataclass(frozen=True)
class _Topology:
    """The default statistic: Betti numbers, and the distance of the diagrams to the cloud's."""

    fields: tuple[int, ...]
    max_dim: int
    seed: int
    epsilon: float
    threshold: float
    reference: Diagrams

    @staticmethod
    def of(x: Points, size: int | None, report: TopologyReport) -> _Topology:
        """With the scale and the diagrams of the whole cloud."""
        distinct = round((1 - math.exp(-1)) * len(x)) if size is None else size
        m = min(200, max(LEAST_POINTS, distinct // 4), len(x))
        index, radius = farthest_points(x, m, 0)
        D, epsilon = distances(x[index]), float(radius[-1])
        threshold = min(5 * epsilon, float(np.quantile(D[np.triu_indices(m, 1)], 0.25)))
        reference = truncated_rips(D, threshold, report.fields, min(report.max_dim, 2))
        return _Topology(report.fields, report.max_dim, report.seed, epsilon, threshold, reference)

    def __call__(self, x: Points) -> tuple[Betti, dict[int, tuple[float, ...]]]:
        from gudhi.hera import bottleneck_distance

        report = check_topology(
            x, fields=self.fields, max_dim=self.max_dim, seed=self.seed, progress=False
        )
        index, radius = farthest_points(x, min(len(x), 400), 0)
        D = distances(x[index[: count_for_radius(radius, self.epsilon)]])
        ours = truncated_rips(D, self.threshold, self.fields, min(self.max_dim, 2))
        pairs = {p: zip(ours[p], self.reference[p], strict=True) for p in self.fields}
        return report.betti, {
            p: tuple(float(bottleneck_distance(a, b)) for a, b in pair)
            for p, pair in pairs.items()
        }


def _summary(
    values: Sequence[Any], estimate: TopologyReport, alpha: float, unit: float
) -> tuple[dict, dict, dict]:
    """Counts, shares and band per field and degree."""
    counts, share, band = {}, {}, {}
    for p, numbers in estimate.betti.items():
        seen = [Counter(betti[p][k] for betti, _ in values) for k in range(len(numbers))]
        counts[p] = tuple(dict(c.most_common()) for c in seen)
        share[p] = tuple(
            None if b is None else c[b] / len(values) for b, c in zip(numbers, seen, strict=True)
        )
        moved = np.array([distance[p] for _, distance in values]) * unit
        band[p] = tuple(np.quantile(moved, 1 - alpha, axis=0, method="higher").tolist())
    return counts, share, band
