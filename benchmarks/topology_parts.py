"""Random clouds of several parts: no verdict against the truth.

    python benchmarks/topology_parts.py --clouds 200 --seed 0

Each cloud has one to four parts (segments, circles, discs, spheres, tori) in R^3 in a row, each
apart from the next by at least half its size; sizes differ by up to 20 times, numbers of points of
one shape by up to 5. Clouds are measured again and again (each place up to 4 times), with a jitter
of 0, 1e-14 or 1e-7 of the size, and some are rounded to float32. The true homology is claimed, or
a false one (a part or a loop more, a part or a loop less). Printed are the verdicts; the exit
status is 1 if the true claim "disagrees" or a false one "agrees".
"""

from __future__ import annotations

import argparse
import collections
import sys

import numpy as np

import topogen as tg

TRUTH = {
    "segment": (1, 0, 0),
    "circle": (1, 1, 0),
    "disc": (1, 0, 0),
    "sphere": (1, 0, 1),
    "torus": (1, 2, 1),
}
REACH = {"segment": 1.0, "circle": 1.0, "disc": 1.0, "sphere": 1.0, "torus": 1.5}
POINTS = {"segment": 150, "circle": 150, "disc": 500, "sphere": 500, "torus": 1500}


def shape(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform points of a shape, randomly turned."""
    t, s = rng.uniform(0, 2 * np.pi, (2, n))
    if name == "segment":
        x = np.stack([rng.uniform(-1, 1, n), 0 * t, 0 * t], -1)
    elif name == "circle":
        x = np.stack([np.cos(t), np.sin(t), 0 * t], -1)
    elif name == "disc":
        r = np.sqrt(rng.random(n))
        x = np.stack([r * np.cos(t), r * np.sin(t), 0 * t], -1)
    elif name == "sphere":
        g = rng.standard_normal((n, 3))
        x = g / np.linalg.norm(g, axis=1, keepdims=True)
    else:
        keep = rng.random(4 * n) < (1 + 0.5 * np.cos(u := rng.uniform(0, 2 * np.pi, 4 * n))) / 1.5
        s = u[keep][:n]
        r = 1 + 0.5 * np.cos(s)
        x = np.stack([r * np.cos(t), r * np.sin(t), 0.5 * np.sin(s)], -1)
    return x @ np.linalg.qr(rng.standard_normal((3, 3)))[0]


def cloud(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...], str]:
    """Points, Betti numbers and a description."""
    names = rng.choice(list(TRUTH), rng.integers(1, 5)).tolist()
    parts, at, words = [], 0.0, []
    for name in names:
        size = 20.0 ** rng.random()
        n = int(POINTS[name] * 5.0 ** rng.random())
        reach = REACH[name] * size
        at += reach
        parts.append(size * shape(name, n, rng) + np.array([at, 0.0, 0.0]))
        at += reach + (0.5 + rng.random()) * size
        words.append(f"{name} {size:.1f} x{n}")
    x = np.concatenate(parts)
    times, jitter = int(rng.integers(1, 5)), float(rng.choice([0.0, 1e-14, 1e-7]))
    x = np.repeat(x, times, axis=0)
    x += jitter * np.abs(x).max() * rng.standard_normal(x.shape)
    if rng.random() < 0.3:
        x, jitter = x.astype(np.float32).astype(float), 6e-8
    truth = tuple(np.sum([TRUTH[name] for name in names], axis=0).tolist())
    return x[rng.permutation(len(x))], truth, f"{', '.join(words)}; x{times}, jitter {jitter:g}"


def main() -> int:
    """Check clouds; 1 if a verdict is against the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    wrong = 0
    for i in range(given.clouds):
        rng = np.random.default_rng([given.seed, i])
        x, truth, words = cloud(rng)
        b0, b1, b2 = truth
        claims = {"true": truth, "a loop more": (b0, b1 + 1, b2), "a part more": (b0 + 1, b1, b2)}
        claims |= {"a loop less": (b0, b1 - 1, b2)} if b1 else {}
        claims |= {"a part less": (b0 - 1, b1, b2)} if b0 > 1 else {}
        kind = "true" if i % 2 else str(rng.choice([k for k in claims if k != "true"]))
        report = tg.check_topology(x, expected=claims[kind])
        counts[kind == "true", report.verdict] += 1
        if report.verdict == ("disagrees" if kind == "true" else "agrees"):
            wrong += 1
            print(f"WRONG {i}: {words}; truth {truth}, claim {kind}: {report.verdict}")
    for (true, verdict), count in sorted(counts.items()):
        print(f"{'true' if true else 'false'} claim {verdict}: {count}")
    print(f"{wrong} of {given.clouds} against the truth")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
