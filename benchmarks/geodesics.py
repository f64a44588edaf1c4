"""Geodesics in closed form against the solver for any manifold, in one run.

    python benchmarks/geodesics.py [--pairs 1000] [--spaces circle sphere ...]

CPU time of exp, log and distance on all pairs at once: the median of nine runs of the formulas,
one run of the solver (half a minute to five minutes a space), their ratio, and the largest
difference of the two where the solver converged.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from topogen.manifolds import geodesics, shooting
from topogen.manifolds.spaces import SPACES

NAMES = ("circle", "sphere", "flat-torus", "projective-plane", "so3")


def timed(f: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Median CPU seconds, and the last result."""
    seconds, result = [], None
    for _ in range(runs):
        start = time.process_time()
        result = f()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def main() -> None:
    """Print one row per space and operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--spaces", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| space | operation | formula, ms | solver, s | ratio | largest difference |")
    print("|---|---|---|---|---|---|")
    for name in args.spaces:
        M, generator = SPACES[name](), torch.Generator().manual_seed(0)
        x, y = (M.sample_uniform(args.pairs, generator) for _ in range(2))
        v = M.tangent_basis(x)[..., 0]
        jobs: list[tuple[str, Callable[[], Any], Callable[[], Any], str]] = [
            ("exp", lambda: M.exp(x, v), lambda: geodesics.exp(M, x, v), "end"),  # noqa: B023
            ("log", lambda: M.log(x, y), lambda: shooting.log(M, x, y), "velocity"),  # noqa: B023
        ]
        for operation, formula, solver, field in jobs:
            quick, found = timed(formula, 9)
            slow, solved = timed(solver, 1)
            ok = found.converged & solved.converged
            # where the solver found a longer geodesic there is nothing to compare
            ok = ok & (solved.length <= found.length + 1e-6)
            apart = float((getattr(found, field) - getattr(solved, field))[ok].abs().max())
            row = f"{1e3 * quick:.2f} | {slow:.2f} | {slow / quick:.0f} | {apart:.0e} |"
            print(f"| {name} | {operation} | {row}", flush=True)
        quick, _ = timed(lambda: M.distance(x, y), 9)  # noqa: B023
        print(f"| {name} | distance | {1e3 * quick:.2f} | {slow:.2f} | {slow / quick:.0f} | |")


if __name__ == "__main__":
    main()
