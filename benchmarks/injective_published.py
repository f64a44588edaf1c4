"""Published objectives of injective flows on the same data, on a right base and on R^d.

    python benchmarks/injective_published.py [--cases circle torus noisy] [--objectives ...]
        [--bases right flat] [--steps 1500] [--seeds 1] [--curvature]

Every row is one fit of `PublishedFlow` with its defaults to 8000 points, and counts 4000 fresh
ones. Columns: base; mean of -log p at the nearest points of M, with its standard error, in nats,
beside the entropy of the true distribution where M is known; reconstruction |x - g(f(x))|, mean
and 99 %, over the diameter; share of 4000 samples of the model farther than 2 % of the diameter
from the true set; reconstruction weight as used; CPU seconds of the fit. A likelihood below the
entropy is no merit: it is that of projections onto a set that is not M.

Cases: circle, VM(0, 1) on the unit circle; torus, R = 2, r = .7 with u from VM(pi, 1) and v from
VM(0, .5) (T8 of the tests of injective flows); noisy, x_1 from N(0, 1) and x_2 from N(0, .3^2),
where the best curve is the axis: reconstruction then has the mean .24 and no manifold is right.

With --curvature instead the second pathology of joint likelihoods: a curve through the noisy case
for reconstruction weights 1, 5 and 50 (the bound is 6.1), for the exact joint likelihood, and for
free-form with f' at g(f(x)) and at x. Columns: NLL at the points g(f(x)), as published, and mean
of |x - g(f(x))|^2; NLL at the nearest points of the curve; median and 95 % of its curvature there.
The best line has NLL 1.419 and a mean square of .090.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import topogen as tg
from topogen import calculus
from topogen.baselines import (
    OBJECTIVES,
    DescentOptions,
    NetworkOptions,
    PublishedFlow,
    VolumeOptions,
)
from topogen.point_cloud.arrays import diameter

_TRAIN, _TEST = 8000, 4000
_OFF = 0.02


def generator(seed: int) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def von_mises(n: int, mean: float, concentration: float, g: torch.Generator) -> Tensor:
    """Angles."""
    x = tg.VonMises(mean, concentration).sample((n,), generator=g)
    return torch.atan2(x[:, 1], x[:, 0])


def circle(n: int, seed: int) -> Tensor:
    """VM(0, 1) on the unit circle."""
    return tg.VonMises(0.0, 1.0).sample((n,), generator=generator(seed))


def torus(n: int, seed: int) -> Tensor:
    """The torus of revolution with a distribution that is not uniform."""
    g = generator(seed)
    u, v = von_mises(n, math.pi, 1.0, g), von_mises(n, 0.0, 0.5, g)
    ring = 2 + 0.7 * v.cos()
    return torch.stack([ring * u.cos(), ring * u.sin(), 0.7 * v.sin()], -1)


def torus_entropy() -> float:
    """Of it w.r.t. area: those of the angles, and the mean of log r (R + r cos v)."""
    t = torch.arange(20000).double() * (2 * math.pi / 20000)

    def entropy(k: float) -> float:
        p = (k * t.cos()).exp()
        p = p / p.sum() / (t[1] - t[0])
        return float(-(p * p.log()).sum() * (t[1] - t[0]))

    p = (0.5 * t.cos()).exp()
    log_volume = (0.7 * (2 + 0.7 * t.cos())).log()
    return entropy(1.0) + entropy(0.5) + float((p * log_volume).sum() / p.sum())


def noisy(n: int, seed: int) -> Tensor:
    """A line with noise across it."""
    x = torch.randn(n, 2, generator=generator(seed), dtype=torch.float64)
    return x * torch.tensor([1.0, 0.3])


@dataclass(frozen=True)
class Case:
    """Data, a base that is right, and the truth."""

    dim: int
    data: Callable[[int, int], Tensor]
    base: str
    entropy: float
    distance: Callable[[Tensor], Tensor]


CASES = {
    "circle": Case(1, circle, "circle", 1.627401459, lambda x: (x.norm(dim=-1) - 1).abs()),
    "torus": Case(2, torus, "torus", torus_entropy(), tg.Torus(2.0, 0.7).residual),
    "noisy": Case(1, noisy, "euclidean", 1.418939, lambda x: x[..., 1].abs()),
}
FLAT = ("denoising", "spread")  # objectives for R^d alone


def fitted(flow: PublishedFlow, x: Tensor, seed: int) -> float:
    """Fit, and return the CPU seconds."""
    start = time.process_time()
    tg.fit(flow, x, seed=seed, progress=False)
    return time.process_time() - start


def row(name: str, case: Case, base: str, objective: str, seed: int, steps: int) -> str:
    """One fit, as a line of the table."""
    D, descent = case.data(1, 0).shape[1], DescentOptions(steps=steps)
    flow = PublishedFlow(case.dim, D, base, objective=objective, descent=descent)
    seconds = fitted(flow, case.data(_TRAIN, seed), seed)
    fresh = case.data(_TEST, 1000 + seed)
    score, size = flow.score(fresh), diameter(fresh.numpy())
    samples = flow().sample((_TEST,), generator=generator(seed))
    off = float((case.distance(samples) > _OFF * size).double().mean())
    mean, p99 = (100 * e / size for e in (score.reconstruction, score.reconstruction_p99))
    return (
        f"| {name} | {objective} | {flow.space.name} | {score.nll:.3f} ± {score.nll_error:.3f} | "
        f"{case.entropy:.3f} | {mean:.2f} | {p99:.2f} | {100 * off:.1f} | "
        f"{flow.used_weight:.3g} | {seconds:.0f} |"
    )


def table(
    cases: list[str], objectives: list[str], kinds: list[str], seeds: int, steps: int
) -> None:
    """All of them."""
    print("| case | objective | base | NLL | entropy | rec. % | 99 % | off % | weight | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in cases:
        case = CASES[name]
        for objective in objectives:
            bases = {"right": case.base, "flat": "euclidean"}
            for base in dict.fromkeys(bases[kind] for kind in kinds):
                impossible = base != "euclidean" and (
                    objective in FLAT or (name == "torus" and objective == "conformal")
                )
                if impossible or (objective == "canonical" and case.dim == 1):
                    continue
                for seed in range(seeds):
                    print(row(name, case, base, objective, seed, steps), flush=True)


def curvature(flow: PublishedFlow, x: Tensor) -> Tensor:
    """Of the curve at the nearest points of it, times the unit of the data."""
    b = flow.image.encode(x).b
    V = b.new_ones(*b.shape, 1)
    velocity = calculus.jacobian(flow.pair, b)[..., 0]
    bend = calculus.second_derivative(flow.pair, b, V)[..., 0, 0]
    speed = velocity.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    across = bend - velocity * (bend * velocity).sum(-1, keepdim=True) / speed**2
    return (across.norm(dim=-1) / speed[:, 0] ** 2) / float(flow.image.unit)


def as_published(flow: PublishedFlow, x: Tensor) -> tuple[float, float]:
    """The NLL at the points g(f(x)), and the mean squared reconstruction error."""
    image = flow.image
    b = flow.pair.encode((x - image.centre) / image.unit)
    nll = image.log_volume(b) - flow.distribution.log_prob(b)
    return float(nll.mean()), float((x - image.decode(b)).square().sum(-1).mean())


def curvatures(steps: int, seeds: int) -> None:
    """The table of weights."""
    print("| weight | objective | NLL at f(x) | squared rec. | NLL | curvature | 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kinds = (
        ("exact joint likelihood", "rectangular", "data"),
        ("free-form, f' at g(f(x))", "free_form", "reconstruction"),
        ("free-form, f' at x", "free_form", "data"),
    )
    for weight in (1.0, 5.0, 50.0):
        for name, objective, at in kinds:
            for seed in range(seeds):
                flow = PublishedFlow(
                    1,
                    2,
                    objective=objective,
                    network=NetworkOptions(width=64),
                    density="gaussian",
                    weight=weight,
                    noise=0.0,
                    volume=VolumeOptions(at=at),
                    descent=DescentOptions(steps=steps),
                )
                x, fresh = noisy(_TRAIN, seed), noisy(_TEST, 1000 + seed)
                fitted(flow, x, seed)
                nll, rec = as_published(flow, fresh)
                score, bend = flow.score(fresh), curvature(flow, fresh)
                print(
                    f"| {weight:g} | {name} | {nll:.2f} | {rec:.3f} | {score.nll:.2f} | "
                    f"{float(bend.median()):.2g} | {float(bend.quantile(0.95)):.2g} |",
                    flush=True,
                )


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument(
        "--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES)
    )
    parser.add_argument("--bases", nargs="+", default=["right", "flat"], choices=["right", "flat"])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--curvature", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the rows say what the warnings would
    if arguments.curvature:
        curvatures(arguments.steps, arguments.seeds)
    else:
        table(
            arguments.cases,
            arguments.objectives,
            arguments.bases,
            arguments.seeds,
            arguments.steps,
        )


if __name__ == "__main__":
    main()
