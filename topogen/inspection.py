"""What can be said of a point cloud before anything is learned from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .point_cloud.arrays import as_array, diameter
from .point_cloud.cloud import prepare
from .point_cloud.conventions import recognise
from .topology.inference.check import check_topology
from .topology.inference.outliers import outliers
from .topology.inference.report import TopologyReport, row
from .topology.local.dimension import dimension_of, noise_level
from .topology.local.orientability import orientability


@dataclass(frozen=True)
class Summary:
    """What :func:`inspect` found; prints well.

    Attributes:
        n: number of points.
        ambient_dim: number of columns D.
        dim: estimated dimension of the manifold they lie on.
        betti: Betti numbers {field: (b_0, b_1, ...)}; None per degree where undetermined.
        components: number of connected components; None where undetermined.
        orientable: whether the manifold is; None where undetermined.
        noise: root mean square distance of the points from the manifold, in their units.
        duplicates: how many rows repeat an earlier one.
        diameter: largest distance of two points.
        scale: the length at which the Betti numbers are true; None where unknown.
        outliers: how many points lie off the manifold of the others (with up to half as many of
            the loneliest); all of the above, but n and the duplicates, is of the rest.
        advice: remarks, in plain words.
    """

    n: int
    ambient_dim: int
    dim: int
    betti: dict[int, tuple[int | None, ...]]
    components: int | None
    orientable: bool | None
    noise: float
    duplicates: int
    diameter: float
    scale: float | None = None
    outliers: int = 0
    advice: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Summary:
        """The summary that :meth:`to_dict` described."""
        betti = {int(p): tuple(numbers) for p, numbers in data["betti"].items()}
        return Summary(**{**data, "betti": betti, "advice": tuple(data["advice"])})

    def __str__(self) -> str:
        rows = [
            ("points", f"{self.n} in R^{self.ambient_dim}, diameter {self.diameter:.6g}"),
            ("dimension", str(self.dim)),
            *((f"Betti numbers over Z/{p}", row(b).strip("()")) for p, b in self.betti.items()),
            ("components", "?" if self.components is None else str(self.components)),
            ("orientable", {True: "yes", False: "no", None: "?"}[self.orientable]),
            ("noise", f"{self.noise:.3g}"),
            ("duplicates", str(self.duplicates)),
            ("outliers", str(self.outliers)),
        ]
        lines = [f"{name:<24} {value}" for name, value in rows]
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.advice)])


def inspect(points: Any, *, seed: int = 0, max_seconds: float | None = None) -> Summary:
    """Look at a point cloud: dimension, homology, components, noise, and what to watch out for.

    Args:
        points: array-like of shape (n, D).
        seed: the same seed gives the same summary.
        max_seconds: most wall time for the homology.

    Raises:
        InvalidPoints: not a finite (n, D) array of at least two different points.
    """
    return look(as_array(points, minimum=2), seed=seed, max_seconds=max_seconds)[0]


def look(
    x: np.ndarray, *, seed: int, max_seconds: float | None = None
) -> tuple[Summary, TopologyReport, np.ndarray]:
    """:func:`inspect` of a checked cloud, its topology report, and which rows are no outliers."""
    cloud = prepare(x, seed=seed)
    estimate = dimension_of(cloud, seed=seed)
    off = outliers(cloud.points, estimate.dim, seed)
    regular = cloud.spread(~np.isin(np.arange(len(cloud.points)), off))
    advice = remarks(x, cloud.duplicates)
    count = int((~regular).sum())
    if len(off):
        words = f"{count} of {len(x)} points left out: off the manifold of the others, or lonely"
        cloud = cloud.only(np.flatnonzero(regular[cloud.index]), words, outliers=len(off))
        estimate = dimension_of(cloud, seed=seed)
        rows = ", ".join(str(i) for i in np.flatnonzero(~regular)[:5])
        advice.append(f"{words} (rows {rows}{', ...' if count > 5 else ''})")
    report = check_topology(cloud, seed=seed, max_seconds=max_seconds)
    if not estimate.agree:
        advice.append(
            f"the estimators of the dimension differ: {estimate}; pass dim where you know it"
        )
    if not report.determined:
        advice.append(f"{report.reason} ({report.cause}: {report.advice})")
    summary = Summary(
        n=x.shape[0],
        ambient_dim=x.shape[1],
        dim=estimate.dim,
        betti={p: tuple(numbers) for p, numbers in report.betti.items()},
        components=next(iter(report.betti.values()))[0],
        orientable=orientability(cloud, dim=estimate.dim, seed=seed).orientable,
        noise=noise_level(cloud, seed=seed),
        duplicates=cloud.duplicates,
        diameter=diameter(x[regular]),
        scale=report.scale,
        outliers=count,
        advice=tuple(advice),
    )
    return summary, report, regular


def remarks(x: np.ndarray, repeated: int) -> list[str]:
    """What is unusual about a checked cloud, in plain words."""
    n, D = x.shape
    found = recognise(x)
    if repeated:
        found.append(f"{repeated} of {n} rows repeat an earlier one; each place is used once")
    spread = np.ptp(x, axis=0)
    if (constant := np.flatnonzero(spread == 0)).size:
        found.append(
            f"{constant.size} of {D} columns are constant (first: column {constant[0]}); they "
            "do no harm"
        )
    moving = spread[spread > 0]
    if moving.size and (ratio := moving.max() / moving.min()) > 100:
        found.append(
            f"the widest column spans {ratio:.3g} times the narrowest; distances follow the wide "
            "ones (columns are never rescaled: do it first if their units differ)"
        )
    if D > n:
        found.append(f"more columns ({D}) than points ({n}); all distances are still exact")
    if D > 1 and np.array_equal(x, np.round(x)):
        found.append("all values are whole numbers; a grid this coarse can hide small features")
    return found
