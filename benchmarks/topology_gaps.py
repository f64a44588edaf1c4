"""The null of the number of components: how far apart clusters of connected samples are.

Single linkage joins two clusters at a distance e, with longest links h_1 and h_2 inside. The
largest min(e/h_1, e/h_2) of a sample is kept, by size of the smaller cluster; curves have the
largest. The quantiles are those of `gap_noise` in topogen/topology/inference/parts.py.

    python benchmarks/topology_gaps.py --repeats 300
"""

from __future__ import annotations

import argparse

import numpy as np

from topogen.point_cloud.cloud import least_component, prepare
from topogen.point_cloud.linkage import merges, spanning_tree

SIZES = (10, 15, 25, 50, 100, 200)
LEVELS = (0.5, 0.95, 0.99, 0.999)


def draw(space: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n points of a connected space."""
    t = 2 * np.pi * rng.random(n)
    circle = np.stack([np.cos(t), np.sin(t)], axis=1)
    if space == "circle":
        return circle
    if space == "normal":
        return rng.standard_normal((n, 1))
    if space == "noisy circle":
        return circle + 0.05 * rng.standard_normal((n, 2))
    return circle * np.sqrt(rng.random((n, 1)))  # disc


def largest(x: np.ndarray) -> list[float]:
    """The largest ratio of a sample, by size of the smaller cluster; 1 where there is none."""
    found = merges(spanning_tree(x), least_component(len(x)), lambda merge: False)
    ends = (*SIZES[1:], len(x))
    return [
        max((min(m.ratios) for m in found if low <= m.sizes[0] < high), default=1.0)
        for low, high in zip(SIZES, ends, strict=True)
    ]


def main() -> None:
    """Simulate and print the quantiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    args = parser.parse_args()
    for space in ("circle", "normal", "noisy circle", "disc"):
        for n in (300, 1000, 2500):
            rng = np.random.default_rng(n)
            table = [largest(prepare(draw(space, n, rng)).points) for _ in range(args.repeats)]
            for size, column in zip(SIZES, np.quantile(table, LEVELS, axis=0).T, strict=True):
                row = " ".join(f"q{q:g}={u:.2f}" for q, u in zip(LEVELS, column, strict=True))
                print(f"{space:12s} n={n:<5} size>={size:<4} {row}", flush=True)


if __name__ == "__main__":
    main()
