"""Inputs after public reports of users of neighbouring libraries: what topogen makes of them.

    python benchmarks/robustness.py            # all
    python benchmarks/robustness.py umap       # those whose name contains a word

Each case builds an input in our own words after one report, says what came out and whether that is
right: an answer that is true, "undetermined", or an error of topogen in one sentence. The exit
status is 1 if one is wrong. docs/robustness.md keeps the log.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import topogen as tg
from topogen import topology
from topogen.errors import TopogenError
from topogen.topology.inference.report import row
from topogen.topology.persistence.differentiable import TopologyLoss

Outcome = tuple[bool, str]
CASES: dict[str, Callable[[], Outcome]] = {}


def case(f: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Run it with the others; its docstring names the report and the input."""
    CASES[str(f.__doc__)] = f
    return f


def rng(seed: int = 0) -> np.random.Generator:
    """A generator."""
    return np.random.default_rng(seed)


def ring(n: int, radius: float, sigma: float, seed: int) -> np.ndarray:
    """Points of a noisy circle."""
    t = rng(seed).uniform(0, 2 * math.pi, n)
    x = radius * np.stack([np.cos(t), np.sin(t)], -1)
    return x + sigma * rng(seed + 100).standard_normal(x.shape)


def betti(x: Any, *true: int) -> Outcome:
    """Whether every Betti number over Z/2 that is stated is the true one."""
    report = tg.check_topology(x)
    said = report.betti[2]
    wrong = [
        b for b, t in zip(said, (*true, *[0] * len(said)), strict=False) if b not in (None, t)
    ]
    return not wrong, f"Betti {row(said)}"


def refused(run: Callable[[], Any]) -> Outcome:
    """Whether it is refused in one sentence."""
    try:
        return False, f"accepted: {run()!r}"[:150]
    except (TopogenError, ValueError) as error:
        words = str(error)
        return "\n" not in words and len(words) > 20, f"{type(error).__name__}: {words}"


@case
def sum_of_circles() -> Outcome:
    """Ripser.py#186: the sum of two shuffled pairs of concentric circles, 100 points."""

    # small circles of radius 1 and .8 whose centres lie on circles of radius 5 and 4
    def circles(seed: int) -> np.ndarray:
        x = np.concatenate([ring(50, 1.0, 0.0, seed), ring(50, 0.8, 0.0, seed + 1)])
        return x[rng(seed).permutation(100)]

    report = tg.check_topology(circles(0) + 5 * circles(7))
    said = report.betti[2]
    return said[1] is None or said[1] >= 1, f"Betti {row(said)}"


@case
def infinite_bars() -> Outcome:
    """Ripser.py#105: reports hold no infinite number that JSON or a distance chokes on."""
    text = json.dumps(tg.check_topology(ring(400, 1.0, 0.0, 0)).to_dict(), allow_nan=False)
    return True, f"{len(text)} characters of strict JSON"


@case
def ball_in_zeros() -> Outcome:
    """Scikit-dimension#10: a ball of dimension 10 in 3072 columns, of which 3062 are 0."""
    g = rng().standard_normal((1024, 10))
    ball = g / np.linalg.norm(g, axis=1, keepdims=True) * rng(1).random((1024, 1)) ** 0.1
    x = np.zeros((1024, 3072))
    x[:, :10] = ball
    summary = tg.inspect(x)
    return summary.dim in (None, 8, 9, 10), f"dim {summary.dim}"


@case
def even_line() -> Outcome:
    """Umap#360: 10 000 evenly spaced points of a line in R^3."""
    x = np.zeros((10_000, 3))
    x[:, 0] = np.arange(10_000)
    return betti(x, 1)


@case
def lattice() -> Outcome:
    """Cechmate#14: a lattice in R^3, where no five points are in general position."""
    return betti(np.stack(np.meshgrid(*[np.arange(11.0)] * 3), -1).reshape(-1, 3), 1)


@case
def segment_by_rounding() -> Outcome:
    """GUDHI#107: sin t against sin(t + pi), a segment up to rounding."""
    t = np.arange(0, 200, 0.1)
    return betti(np.stack([np.sin(t), np.sin(t + math.pi)], -1), 1)


@case
def twenty_points() -> Outcome:
    """Cechmate#10: twenty normal points of the plane."""
    return betti(rng().standard_normal((20, 2)), 1)


@case
def simplex() -> Outcome:
    """Umap#523: points that share nothing: all distances are equal."""
    try:
        return betti(np.eye(300), 1)
    except TopogenError as error:
        return True, f"{type(error).__name__}: {error}"


@case
def two_clusters() -> Outcome:
    """Smile#797: two clusters of 3000 and 300 points in R^3."""
    x = np.concatenate([rng(0).random((3000, 3)), rng(1).random((300, 3)) * 0.4 + [4, 0, 0]])
    return betti(x, 2)


@case
def three_rings() -> Outcome:
    """Cuml#5782: three rings with noise .05."""
    rings = [ring(700, radius, 0.05, i) for i, radius in enumerate((1.0, 2.0, 3.0))]
    return betti(np.concatenate(rings), 3, 3)


@case
def bridge() -> Outcome:
    """Umap#771: two discs that a thin bridge of points joins."""

    def disc(n: int, centre: float, seed: int) -> np.ndarray:
        r, t = np.sqrt(rng(seed).random(n)), rng(seed + 1).uniform(0, 2 * math.pi, n)
        return np.stack([centre + r * np.cos(t), r * np.sin(t)], -1)

    between = np.stack([np.linspace(1, 3, 60), 0.01 * rng(5).standard_normal(60)], -1)
    return betti(np.concatenate([disc(1500, 0, 0), disc(1500, 4, 2), between]), 1)


@case
def both_components() -> Outcome:
    """ManifoldLearning.jl#32: two components of 1000 points, neither dropped."""
    x = np.concatenate([ring(1000, 1.0, 0.0, 0), ring(1000, 1.0, 0.0, 1) + np.array([5.0, 0.0])])
    found = topology.connected_components(x)
    sizes = sorted(len(c.index) for c in found)
    return sizes == [1000, 1000], f"components of {sizes} points"


@case
def empty_loss() -> Outcome:
    """Pytorch-topological#22 and #10: a loss of no point, of one point."""
    loss = TopologyLoss([1, 1])
    outcomes = [refused(lambda n=n: loss(torch.zeros(n, 2))) for n in (0, 1)]
    return all(ok for ok, _ in outcomes), "; ".join(words for _, words in outcomes)


@case
def nested_spheres() -> Outcome:
    """Pytorch-topological#38: ten 100-spheres inside a large one, in R^101."""

    def sphere(n: int, radius: float, seed: int) -> np.ndarray:
        g = rng(seed).standard_normal((n, 101))
        return radius * g / np.linalg.norm(g, axis=1, keepdims=True)

    centres = rng(99).standard_normal((10, 101)) * (10 / math.sqrt(101))
    x = np.concatenate([sphere(200, 5, i) + c for i, c in enumerate(centres)])
    report = tg.check_topology(np.concatenate([x, sphere(2000, 25, 50)]))
    wrong = [b for b in report.betti[2] if b is not None]
    return not wrong, f"Betti {row(report.betti[2])}"


@case
def nan_angles() -> Outcome:
    """Mdtraj#1499: angles that are NaN where atoms lie on a line."""
    angles = rng().uniform(-180, 180, (500, 2))
    angles[[3, 77], 1] = np.nan
    return refused(lambda: tg.inspect(angles))


@case
def wrong_frames() -> Outcome:
    """Mdanalysis#4505: four wrong frames of 2500 of a molecule on a torus."""
    angles = rng().uniform(0, 2 * math.pi, (2500, 2))
    x = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    x[:4] *= 1.6
    return betti(x, 1, 2, 1)


@case
def quaternion_order() -> Outcome:
    """Quaternion#168, scikit-robot#800: quaternions say which column is the scalar."""
    q = rng().standard_normal((1000, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    q[q[:, 3] < 0] *= -1
    words = " ".join(map(str, tg.inspect(q).advice))
    return "quaternion" in words, words[:200] or "no remark"


@case
def infinite_distances() -> Outcome:
    """Scikit-learn#21915: a distance matrix of a graph that falls apart, with infinite entries."""
    d = np.full((60, 60), np.inf)
    d[:30, :30] = d[30:, 30:] = 1.0
    np.fill_diagonal(d, 0.0)
    return refused(lambda: tg.check_topology(d))


@case
def gradients_at_the_base() -> Outcome:
    """Geomstats#982: gradients of exp, log and distance at the base point itself."""
    numbers = []
    for M in (tg.Sphere(), tg.SpecialOrthogonal(3), tg.FlatTorus(2)):
        x = M.sample_uniform(3, torch.Generator().manual_seed(0)).requires_grad_()
        y = x.detach().clone()
        for value in (M.log(x, y).velocity, M.exp(x, torch.zeros_like(x)).end):
            (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
            numbers.append(gradient is not None and bool(gradient.isfinite().all()))
    return all(numbers), f"{sum(numbers)} of {len(numbers)} finite"


@case
def distances_as_points() -> Outcome:
    """Scikit-dimension#36: a square matrix of distances given as points."""
    x = ring(200, 1.0, 0.0, 0)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    words = " ".join(map(str, tg.check_topology(d).remarks))
    return "distance" in words, words[:200] or "no remark"


def main() -> int:
    """Run the cases whose name contains the words given."""
    words = sys.argv[1:]
    wrong = 0
    for source, run in CASES.items():
        if words and not any(word in source for word in words):
            continue
        start = time.process_time()
        try:
            right, outcome = run()
        except Exception as error:  # a traceback from anywhere is what is looked for
            right, outcome = False, f"{type(error).__module__}.{type(error).__name__}: {error}"
        wrong += not right
        spent = time.process_time() - start
        print(
            f"{'right' if right else 'WRONG'}  {spent:6.1f} s  {source}\n    {outcome}", flush=True
        )
    print(f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
