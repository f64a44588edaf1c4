"""Tables with few degrees of freedom: the published score of injective flows, and better ones.

    python benchmarks/tabular.py [--cases torus sphere sheet] [--objectives ...] [--seeds 1]
                                 [--steps 1500]

The published tables (POWER, GAS, ...) are scored by the Frechet distance of Gaussians that are
fitted to 10 000 samples and to the training set, features scaled to variance 1. It sees means and
covariances only: the rows of a full Gaussian and of a Gaussian on the first d principal axes say
what it is worth. Beside it: SW, the sliced W_2 distance of samples to fresh data over that of two
fresh sets; and far, the 99 % quantile of the distance from samples to the nearest of 20 000 fresh
points over that of other fresh points. CPU seconds are those of the fit.

Sets of 8000 points, with noise of .01 in every feature. torus: a distribution on T^2 with two
modes, through fixed random combinations of the functions of T^2 of frequency 2 at most, in R^8;
sphere: three von Mises-Fisher distributions on S^2, through random harmonics of degree 2 at most,
in R^12;
sheet: N(0, 1) on R^2 through a fixed random perceptron, in R^8.
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
from topogen.baselines import DescentOptions, PublishedFlow
from topogen.models.injective.bases import Spectrum, standard

_TRAIN, _SAMPLES, _MANY = 8000, 10_000, 20_000
_NOISE = 0.01
_MAP = 12345  # the seed of all maps


def generator(seed: int) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def combined(base: str, b: Tensor, bandwidth: int, D: int) -> Tensor:
    """Random combinations of the functions of a base."""
    phi = Spectrum(standard(base), bandwidth)(b)
    return phi @ normal(phi.shape[1], D, seed=_MAP) / math.sqrt(phi.shape[1])


def torus(n: int, seed: int) -> Tensor:
    """Two modes on T^2, in R^8."""
    g = generator(seed)
    angles = []
    for mean in (0.0, 2.5):
        x = tg.VonMises(mean, 2.0).sample((n,), generator=g)
        angles.append(torch.atan2(x[:, 1], x[:, 0]))
    mode = torch.rand(n, generator=g) < 0.4
    u = torch.where(mode, angles[0], angles[1])
    x = tg.VonMises(0.0, 1.0).sample((n,), generator=g)
    v = torch.atan2(x[:, 1], x[:, 0]) + u
    return combined("torus", torch.stack([u.cos(), u.sin(), v.cos(), v.sin()], -1), 2, 8)


def sphere(n: int, seed: int) -> Tensor:
    """Three modes on S^2, in R^12."""
    g = generator(seed)
    axes = torch.linalg.qr(normal(3, 3, seed=_MAP))[0]
    points = torch.stack(
        [tg.VonMisesFisher(axis, 4.0).sample((n,), generator=g) for axis in axes], 1
    )
    mode = torch.randint(3, (n,), generator=g)
    return combined("sphere", points[torch.arange(n), mode], 2, 12)


def sheet(n: int, seed: int) -> Tensor:
    """A Gaussian on R^2 through a perceptron, in R^8."""
    hidden = torch.tanh(normal(n, 2, seed=seed) @ normal(2, 12, seed=_MAP))
    return hidden @ normal(12, 8, seed=_MAP + 1)


@dataclass(frozen=True)
class Case:
    """A table, and the base that is right for it."""

    data: Callable[[int, int], Tensor]
    base: str


CASES = {
    "torus": Case(torus, "torus"),
    "sphere": Case(sphere, "sphere"),
    "sheet": Case(sheet, "euclidean"),
}
Sampler = Callable[[int], Tensor]


def frechet(x: Tensor, y: Tensor) -> float:
    r"""|m - m'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2) of two clouds."""
    S, R = x.mT.cov(), y.mT.cov()
    values, U = torch.linalg.eigh(S)
    half = U * values.clamp_min(0).sqrt() @ U.mT
    cross = torch.linalg.eigvalsh(half @ R @ half).clamp_min(0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + S.trace() + R.trace() - 2 * cross)


def sliced(x: Tensor, y: Tensor) -> float:
    """Sliced W_2 of two clouds of one size over 256 directions."""
    w = torch.nn.functional.normalize(normal(x.shape[1], 256, seed=0), dim=0)
    return float(((x @ w).sort(0).values - (y @ w).sort(0).values).square().mean().sqrt())


def quantile(x: Tensor, y: Tensor) -> float:
    """The 99 % quantile of the distance from x to the nearest y."""
    from scipy.spatial import KDTree

    return float(torch.from_numpy(KDTree(y.numpy()).query(x.numpy())[0]).quantile(0.99))


def gaussian(x: Tensor, axes: int, seed: int) -> Sampler:
    """The Gaussian of x on its first principal axes."""
    values, U = torch.linalg.eigh(x.mT.cov())
    scale = values.clamp_min(0).sqrt()
    scale[: len(scale) - axes] = 0
    return lambda n: x.mean(0) + normal(n, len(scale), seed=seed) * scale @ U.mT


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument(
        "--objectives",
        nargs="*",
        default=["two_phase", "rectangular", "free_form", "normalizing_autoencoder"],
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| case | model | base | Frechet | SW | far | s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.cases:
        for seed in range(arguments.seeds):
            compare(name, seed, arguments.objectives, arguments.steps)


def compare(name: str, seed: int, objectives: list[str], steps: int) -> None:
    """All models on one table."""
    case = CASES[name]
    raw = case.data(_MANY, _MAP)

    def table(n: int, seed: int) -> Tensor:
        x = (case.data(n, seed) - raw.mean(0)) / raw.std(0)
        return x + _NOISE * normal(*x.shape, seed=seed + 1)

    x, D = table(_TRAIN, 10 * seed), raw.shape[1]
    fresh, other, many = (table(n, 10 * seed + k) for n, k in
                          ((_SAMPLES, 2), (_SAMPLES, 4), (_MANY, 6)))  # fmt: skip
    floor, near = sliced(fresh, other), quantile(other, many)

    def row(model: str, base: str, samples: Tensor, seconds: float) -> None:
        print(
            f"| {name} | {model} | {base} | {frechet(samples, x):.4f} | "
            f"{sliced(samples, fresh) / floor:.2f} | {quantile(samples, many) / near:.2f} | "
            f"{seconds:.0f} |",
            flush=True,
        )

    row("fresh data", "", other, 0)
    row("full Gaussian", f"R^{D}", gaussian(x, D, seed)(_SAMPLES), 0)
    row("Gaussian on 2 axes", "R^2", gaussian(x, 2, seed)(_SAMPLES), 0)
    models: list[tuple[str, tg.InjectiveFlow | PublishedFlow]] = []
    if case.base != "euclidean":
        models.append(("InjectiveFlow", tg.InjectiveFlow(2, D, base=case.base)))
    for base in dict.fromkeys((case.base, "euclidean")):
        for objective in objectives:
            descent = DescentOptions(steps=steps)
            flow = PublishedFlow(2, D, base, objective=objective, descent=descent)
            models.append((objective, flow))
    for model, flow in models:
        start = time.process_time()
        tg.fit(flow, x, seed=seed, progress=False)
        seconds = time.process_time() - start
        samples = flow().sample((_SAMPLES,), generator=generator(seed)).double()
        base = (
            flow.space.name
            if isinstance(flow, PublishedFlow)
            else str(flow.measurements()["base"])
        )
        row(model, base, samples, seconds)


if __name__ == "__main__":
    main()
