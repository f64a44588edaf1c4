"""Time and memory of a verdict on 10 000 points, beside the plain gudhi call that gives the same.

Each row runs in a process of its own, on one thread. Memory is the peak above what is in use after
the imports and the drawing of the points. The plain call is `RipsPersistence` on all points, cut
at the shortest edge length that shows the class of degree 2 (the coarsest hole of the set), with
its own edge collapse; it is stopped after --limit seconds, so its times are then lower bounds.

    OMP_NUM_THREADS=1 python benchmarks/topology_speed.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import topogen as tg

POINTS = 10_000
TRUTH = {2: (1, 2, 1), 3: (1, 2, 1)}


def cloud(D: int, n: int = POINTS) -> np.ndarray:
    """A ring torus in R^3; else a flat torus turned into R^D, with noise from D = 50 on."""
    generator = torch.Generator().manual_seed(0)
    if D == 3:
        return tg.Torus(2.0, 1.0).sample_uniform(n, generator=generator).numpy()
    rng = np.random.default_rng(0)
    x = tg.FlatTorus(2).sample_uniform(n, generator=generator).numpy()
    x = x @ np.linalg.qr(rng.standard_normal((D, 4)))[0].T
    return x + (0.01 * rng.standard_normal(x.shape) if D >= 50 else 0.0)


def verdict(x: np.ndarray) -> dict[int, Any]:
    """Betti numbers by topogen."""
    return tg.check_topology(x).betti


def plain(x: np.ndarray) -> dict[int, Any]:
    """Betti numbers by Rips persistence of all points, degree 2, as a user would call it."""
    from gudhi.sklearn.rips_persistence import RipsPersistence

    betti = {}
    for p in (2, 3):
        rips = RipsPersistence([0, 1, 2], threshold=1.8, homology_coeff_field=p)
        bars = rips.fit_transform([x])[0]
        betti[p] = tuple(int((b[:, 1] - b[:, 0] > 0.5).sum()) for b in bars)
    return betti


def _worker(run: Callable[[np.ndarray], Any], D: int, n: int, pipe: Any) -> None:
    torch.set_num_threads(1)
    tg.check_topology(np.random.default_rng(0).random((50, 2)))  # imports
    x = cloud(D, n)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before = _peak()
    begin, cpu = time.perf_counter(), time.process_time()
    try:
        result = run(x)
    except MemoryError:
        result = "out of memory"
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    pipe.send((result, wall, cpu, _peak() - before))


def _peak() -> float:
    """Largest resident memory of this process so far, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(
    run: Callable[[np.ndarray], Any], D: int, n: int, limit: float
) -> tuple[Any, float, float, float] | None:
    """(result, wall seconds, CPU seconds, MiB) in a fresh process; None when it takes too long."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_worker, args=(run, D, n, theirs))
    process.start()
    answer = mine.recv() if mine.poll(limit) else None
    process.kill()
    process.join()
    return answer


def main() -> None:
    """Run and print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[3, 9, 50, 784])
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[POINTS])
    args = parser.parse_args()
    print("| D | n | verdict | wall s | CPU s | MiB | plain Rips, wall s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for D in args.dims:
        for n in args.sizes:
            ours = measure(verdict, D, n, 600.0)
            theirs = measure(plain, D, n, args.limit)
            if ours is None:
                raise SystemExit(f"no answer for D = {D} in 600 s")
            result, wall, cpu, peak = ours
            right = "right" if result == TRUTH else f"{result}"
            row = f"| {D} | {n} | {right} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |"
            if theirs is None:
                row += f" > {args.limit:.0f} | > {args.limit / wall:.0f} |"
            elif isinstance(theirs[0], str):
                row += f" {theirs[0]} | |"
            else:
                what = "right" if theirs[0] == TRUTH else f"{theirs[0]}"
                row += f" {theirs[1]:.1f} ({what}, {theirs[3]:.0f} MiB) | {theirs[1] / wall:.0f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
