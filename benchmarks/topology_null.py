"""The null of the topology verdict: the largest death/birth that noise alone gives in Rips bars.

A flat ball in R^d has no homology, a sphere S^d none in degrees 0 < k < d: every bar there is
noise. So is every bar of RP^2 over Z/3, and every loop but one of the Klein bottle: the class that
2-torsion leaves behind there lives a little longer than other noise. Farthest-point landmarks with
covering radius c times the hold-out gap are drawn from n uniform points, and the largest ratio
death/birth is kept per degree (degree 0: the largest finite death over the covering radius).
The larger quantiles over spaces and sizes make the table in
topogen/topology/persistence/null_distributions.py.

With other --scales the share of landmarks changes: fewer landmarks (larger c) see less noise.

    python benchmarks/topology_null.py --repeats 100
    python benchmarks/topology_null.py --dims 2 --scales 0.4 0.65 1.0 1.5 2.0
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import topogen as tg
from topogen.point_cloud.knn import distances
from topogen.point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap
from topogen.topology.inference.collect import RESOLUTIONS
from topogen.topology.persistence.landmark_rips import LONGEST_EDGE
from topogen.topology.persistence.rips import ratios, truncated_rips

POINTS = {1: (1000, 4000), 2: (1000, 5000), 3: (3000, 10000), 4: (5000, 20000)}
MOST = {1: 1200, 2: 1600, 3: 1200, 4: 700}
LEVELS = (0.5, 0.9, 0.95, 0.99)


def _draw(space: str, n: int, dim: int, seed: list[int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if space in ("ball", "sheet"):
        x = rng.standard_normal((n, dim))
        x *= rng.random((n, 1)) ** (1 / dim) / np.linalg.norm(x, axis=1, keepdims=True)
        if space == "ball":
            return x
        # noise of 3 % of the radius: locally thick at fine scales
        return np.c_[x, 0.03 * rng.standard_normal(n)]
    manifold = {
        "sphere": lambda: tg.Circle() if dim == 1 else tg.Sphere(dim),
        "RP2": tg.ProjectivePlane,
        "Klein": tg.KleinBottle,
    }[space]()
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return manifold.sample_uniform(n, generator=generator).numpy().astype(float)


def largest(
    x: np.ndarray,
    dim: int,
    scales: tuple[float, ...],
    rng: np.random.Generator,
    real: dict[int, int],
) -> list:
    """Per scale c: (m, [largest noise ratio in degree 0, 1, ..., dim]).

    `real` counts the true classes over Z/3 by degree: they are left out.
    """
    gap = holdout_gap(x, rng)
    index, radius = farthest_points(x, min(MOST[dim], len(x) // 2), int(rng.integers(len(x))))
    rows = []
    for c in scales:
        m = count_for_radius(radius, c * gap)
        if m == len(index):
            rows.append((m, None))
            continue
        epsilon = radius[m - 1]
        D = distances(x[index[:m]])
        threshold = LONGEST_EDGE[dim][0] * epsilon
        bars = truncated_rips(D, threshold, (3,), min(dim, 3))[3]
        finite = np.sort(bars[0][:, 1])[:-1]
        tops = [float(finite.max() / epsilon)]
        tops += [
            float(np.r_[ratios(b)[real.get(k, 0) :], 1.0].max()) for k, b in enumerate(bars[1:], 1)
        ]
        rows.append((m, tops))
    return rows


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--dims", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--scales", type=float, nargs="+", default=None)
    args = parser.parse_args()
    for dim in args.dims:
        scales = tuple(args.scales or RESOLUTIONS[dim])
        for n in POINTS[dim]:
            begin = time.process_time()
            for space in ("ball", "sheet", "sphere", "RP2", "Klein"):
                if (space == "sheet" and dim > 2) or (space in ("RP2", "Klein") and dim != 2):
                    continue
                table: dict[float, list] = {c: [] for c in scales}
                count: dict[float, list] = {c: [] for c in scales}
                for r in range(args.repeats):
                    rng = np.random.default_rng([dim, n, r])
                    x = _draw(space, n, dim, [dim, n, r])
                    for c, (m, tops) in zip(
                        scales,
                        largest(x, dim, scales, rng, {1: 1} if space == "Klein" else {}),
                        strict=True,
                    ):
                        if tops is not None:
                            count[c].append(m)
                            table[c].append(tops)
                for c in scales:
                    if not table[c]:
                        continue
                    a = np.array(table[c])
                    for k in range(a.shape[1]):
                        if space == "sphere" and k == dim:
                            continue
                        q = np.quantile(a[:, k], LEVELS)
                        print(
                            f"d={dim} k={k} c={c:<4} n={n:<6} {space:6s} "
                            f"m={np.mean(count[c]):6.0f} "
                            + " ".join(
                                f"q{int(100 * v)}={u:.2f}" for v, u in zip(LEVELS, q, strict=True)
                            )
                            + f" max={a[:, k].max():.2f} runs={len(a)}",
                            flush=True,
                        )
            print(f"# d={dim} n={n}: {time.process_time() - begin:.0f} s")


if __name__ == "__main__":
    main()
