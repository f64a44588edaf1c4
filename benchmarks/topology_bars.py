"""The bars of the topology verdict: right at the bar, never wrong below, no wrong claim accepted.

Every closed space is sampled uniformly by area, at its bar and with 1000 points. A sample is right
when each degree over Z/2 and Z/3 is determined and true, wrong when a determined one is false. The
last column counts the homologies of the other spaces of the same dimension that it would accept.

    python benchmarks/topology_bars.py --seeds 10
"""

from __future__ import annotations

import argparse
import time

import torch

import topogen as tg

CURVE, SURFACE, GENUS, SOLID = 2500, 2500, 5000, 20000
SPACES = {
    "circle": (tg.Circle(), CURVE),
    "trefoil": (tg.TorusKnot(2, 3), CURVE),
    "Hopf link": (tg.HopfLink(), CURVE),
    "sphere": (tg.Sphere(), SURFACE),
    "torus (1, .4)": (tg.Torus(), SURFACE),
    "torus (2, 1)": (tg.Torus(2.0, 1.0), SURFACE),
    "flat torus": (tg.FlatTorus(2), SURFACE),
    "Klein bottle": (tg.KleinBottle(), SURFACE),
    "RP2": (tg.ProjectivePlane(), SURFACE),
    "genus 2": (tg.GenusSurface(2), GENUS),
    "SO(3)": (tg.SpecialOrthogonal(), SOLID),
    "S1 x S2": (tg.Product(tg.Circle(), tg.Sphere()), SOLID),
    "S3": (tg.Sphere(3), SOLID),
}


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), choices=list(SPACES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'space':14s} {'n':>6s} {'right':>6s} {'undet.':>6s} {'wrong':>6s} {'s':>6s} accepts")
    for name in args.spaces:
        space, bar = SPACES[name]
        truth = space.homology
        if truth is None:
            raise SystemExit(f"{name}: homology not known")
        others = [
            s.homology
            for s, _ in SPACES.values()
            if s.dim == space.dim and s.homology is not None and s.homology != truth
        ]
        for n in (1000, bar):
            right = wrong = accepted = 0
            begin = time.perf_counter()
            for seed in range(args.seeds):
                x = space.sample_uniform(n, generator=torch.Generator().manual_seed(seed))
                report = tg.check_topology(x, seed=seed)
                found = [
                    (b, truth.betti_number(k, p))
                    for p, numbers in report.betti.items()
                    for k, b in enumerate(numbers)
                ]
                false = any(b is not None and b != want for b, want in found)
                wrong += false
                right += report.determined and not false
                accepted += sum(report.homology == other for other in others)
            seconds = (time.perf_counter() - begin) / args.seeds
            rest = args.seeds - right - wrong
            print(
                f"{name:14s} {n:6d} {right:6d} {rest:6d} {wrong:6d} {seconds:6.2f} "
                f"{accepted} of {args.seeds * len(others)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
