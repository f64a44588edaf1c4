"""Error rate and power of the topology verdict, over many seeds.

The null: clouds that are contractible, so that every class reported is false. The error rate is
the share of reports with a Betti number above (1, 0, 0, ...) in some degree over Z/2 or Z/3; it
should not exceed alpha. Power: area-uniform samples of closed spaces; a report is right when every
degree over both fields is determined and true, wrong when a determined one is false. Intervals are
those of Clopper and Pearson at 95 %.

    python benchmarks/topology_calibration.py --trials 1000 --jobs 2            # both tables
    python benchmarks/topology_calibration.py --only null --cases "swiss roll"
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import topogen as tg
from topogen import Homology

POINT = Homology((1,))


def _rotated(x: np.ndarray, D: int, rng: np.random.Generator) -> np.ndarray:
    """The same points in R^D, in a random orthonormal frame."""
    frame = np.linalg.qr(rng.standard_normal((D, x.shape[1])))[0]
    return x @ frame.T


def ball(rng: np.random.Generator, n: int, d: int, D: int) -> np.ndarray:
    """Uniform in the unit ball of R^d."""
    x = rng.standard_normal((n, d))
    x *= rng.random((n, 1)) ** (1 / d) / np.linalg.norm(x, axis=1, keepdims=True)
    return _rotated(x, D, rng)


def swiss_roll(rng: np.random.Generator, n: int, D: int) -> np.ndarray:
    """Uniform by area: (s(t) cos t, h, s(t) sin t) with arc length as the distribution of t."""
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 4000)
    length = np.concatenate([[0], np.cumsum(np.hypot(1, t[1:]) * np.diff(t))])
    u = np.interp(rng.random(n) * length[-1], length, t)
    x = np.stack([u * np.cos(u), 21 * rng.random(n), u * np.sin(u)], axis=1)
    return _rotated(x, D, rng) if D > 3 else x


def noisy_line(rng: np.random.Generator, n: int, D: int, noise: float = 0.02) -> np.ndarray:
    """A segment of length 1 with isotropic Gaussian noise in R^D."""
    x = _rotated(rng.random((n, 1)), D, rng)
    return x + noise * rng.standard_normal((n, D)) / np.sqrt(D)


NULLS: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], str]] = {
    "segment in R^2": (partial(ball, n=2500, d=1, D=2), "2500"),
    "segment in R^50": (partial(ball, n=2500, d=1, D=50), "2500"),
    "disc in R^2": (partial(ball, n=2500, d=2, D=2), "2500"),
    "disc in R^10": (partial(ball, n=2500, d=2, D=10), "2500"),
    "disc in R^50": (partial(ball, n=2500, d=2, D=50), "2500"),
    "ball in R^3": (partial(ball, n=5000, d=3, D=3), "5000"),
    "ball in R^50": (partial(ball, n=5000, d=3, D=50), "5000"),
    "swiss roll": (partial(swiss_roll, n=2500, D=3), "2500"),
    "swiss roll in R^50": (partial(swiss_roll, n=2500, D=50), "2500"),
    "noisy line in R^2": (partial(noisy_line, n=2500, D=2), "2500"),
    "noisy line in R^10": (partial(noisy_line, n=2500, D=10), "2500"),
    "noisy line in R^50": (partial(noisy_line, n=2500, D=50), "2500"),
    "disc in R^3, 1000": (partial(ball, n=1000, d=2, D=3), "1000"),
    "swiss roll, 1000": (partial(swiss_roll, n=1000, D=3), "1000"),
}

SPACES: dict[str, Callable[[], tg.Manifold]] = {
    "circle": tg.Circle,
    "trefoil": lambda: tg.TorusKnot(2, 3),
    "Hopf link": tg.HopfLink,
    "sphere": tg.Sphere,
    "torus (1, .4)": tg.Torus,
    "torus (2, 1)": lambda: tg.Torus(2.0, 1.0),
    "flat torus": lambda: tg.FlatTorus(2),
    "Klein bottle": tg.KleinBottle,
    "RP2": tg.ProjectivePlane,
    "genus 2": lambda: tg.GenusSurface(2),
    "SO(3)": tg.SpecialOrthogonal,
    "S1 x S2": lambda: tg.Product(tg.Circle(), tg.Sphere()),
}
SIZES = {"genus 2": (5000,), "RP2": (2500,), "SO(3)": (10000,), "S1 x S2": (10000,)}


@dataclass(frozen=True)
class Outcome:
    """What one report said: right, wrong (a determined number is false), a class too many."""

    right: bool
    wrong: bool
    false_class: bool
    seconds: float


def trial(name: str, n: int, seed: int, alpha: float) -> Outcome:
    """One report on a fresh cloud."""
    torch.set_num_threads(1)
    if name in NULLS:
        x, truth = NULLS[name][0](np.random.default_rng([seed, len(name)])), POINT
    else:
        space = SPACES[name]()
        x = space.sample_uniform(n, generator=torch.Generator().manual_seed(seed)).numpy()
        truth = space.homology
    begin = time.process_time()
    report = tg.check_topology(x, seed=seed, alpha=alpha)
    seconds = time.process_time() - begin
    found = [
        (b, truth.betti_number(k, p))
        for p, numbers in report.betti.items()
        for k, b in enumerate(numbers)
    ]
    return Outcome(
        right=all(b == t for b, t in found),
        wrong=any(b is not None and b != t for b, t in found),
        false_class=any(b is not None and b > t for b, t in found),
        seconds=seconds,
    )


def interval(count: int, trials: int) -> str:
    """The share, with its 95 % Clopper-Pearson interval."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, trials - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, trials - count) if count < trials else 1.0
    return f"{count / trials:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Run and print the tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--only", choices=["null", "power"])
    parser.add_argument("--cases", nargs="+", choices=[*NULLS, *SPACES])
    args = parser.parse_args()
    jobs = [(name, int(n)) for name, (_, n) in NULLS.items() if args.only != "power"]
    if args.only != "null":
        jobs += [(name, n) for name in SPACES for n in SIZES.get(name, (1000, 2500))]
    print("| case | n | false class | wrong | right | undetermined | CPU s |")
    print("|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, n in jobs:
            if args.cases and name not in args.cases:
                continue
            run = partial(trial, name, n, alpha=args.alpha)
            seeds = range(args.first, args.first + args.trials)
            done = list(pool.map(run, seeds, chunksize=4))
            right, wrong, false = (
                sum(getattr(o, what) for o in done) for what in ("right", "wrong", "false_class")
            )
            print(
                f"| {name} | {n} | {interval(false, len(done))} | {wrong} | "
                f"{interval(right, len(done))} | {len(done) - right - wrong} | "
                f"{np.median([o.seconds for o in done]):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
