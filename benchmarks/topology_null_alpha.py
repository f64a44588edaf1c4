"""The null of the alpha route: the largest death/birth that noise alone gives in alpha bars.

Contractible pieces, so that every bar of degree >= 1 is noise: a ball of R^d (only D = d), the
same ball bent into R^D (a paraboloid in the first further coordinate, a cubic in the others), and
a sheet, flat with normal noise of 3 % of its radius. n uniform points each; per degree k the
largest ratio death/birth of the alpha filtration of all points is kept.
The larger quantiles over the pieces make the table in topogen/topology/persistence/alpha.py.

    python benchmarks/topology_null_alpha.py --repeats 200
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from topogen.topology.persistence.alpha import alpha_diagrams
from topogen.topology.persistence.rips import ratios

LEVELS = (0.5, 0.9, 0.95, 0.99)


def draw(piece: str, n: int, dim: int, D: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform points of one contractible piece of dimension `dim` in R^D."""
    x = rng.standard_normal((n, dim))
    x *= rng.random((n, 1)) ** (1 / dim) / np.linalg.norm(x, axis=1, keepdims=True)
    if piece == "ball":
        return x
    if piece == "sheet":
        return np.c_[x, 0.03 * rng.standard_normal((n, D - dim))]
    bent = [0.5 * (x**2).sum(axis=1), 0.5 * x[:, 0] ** 3, 0.5 * x[:, -1] * x[:, 0] ** 2]
    return np.c_[x, np.stack(bent[: D - dim], axis=1)]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 2500])
    parser.add_argument("--ambient", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--dims", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--seconds", type=float, default=12.0, help="CPU limit per row")
    args = parser.parse_args()
    for D in args.ambient:
        for dim in [d for d in args.dims if d <= D]:
            for n in args.sizes:
                for piece in ("ball",) if dim == D else ("bent", "sheet"):
                    begin, rows, reason = time.process_time(), [], ""
                    for r in range(args.repeats):
                        rng = np.random.default_rng([D, dim, n, r])
                        x = draw(piece, n, dim, D, rng)
                        found = alpha_diagrams(x, (2,), min(dim, D - 1), seed=r)
                        if found.diagrams is None:
                            reason = found.reason
                            break
                        rows.append([np.r_[ratios(b), 1.0].max() for b in found.diagrams[2][1:]])
                        if time.process_time() - begin > args.seconds:
                            break
                    if reason:
                        print(f"D={D} d={dim} n={n:<5} {piece:5s} refused: {reason}", flush=True)
                        continue
                    a = np.array(rows)
                    for k in range(1, a.shape[1] + 1):
                        q = np.quantile(a[:, k - 1], LEVELS)
                        print(
                            f"D={D} d={dim} k={k} n={n:<5} {piece:5s} "
                            + " ".join(
                                f"q{int(100 * v)}={u:.2f}" for v, u in zip(LEVELS, q, strict=True)
                            )
                            + f" max={a[:, k - 1].max():.2f} runs={len(a)}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
