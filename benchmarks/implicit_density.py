"""Energies learned on sets, against distributions that are known.

    python benchmarks/implicit_density.py [--seeds 3] [--points N] [--set neural|local|exact]
        [--objective nce ...] [--log-z] [--discretised] [NAME ...]

NAME is circle, two_circles, sphere, torus or klein. Every row is over seeds: data, set and energy
are new. Columns: set; objective; CPU seconds of the whole fit (set, charts, energy), mean; NLL
gap, the mean of log p*(x) - log p(x) over 20 000 fresh points x of the true distribution p*, p at
the projection of x onto the learned manifold where that is in a chart, in nats, with its standard
error over seeds, and the worst seed; distance of the data to the learned manifold, median and most
of any seed; mass of the first part of the set (true .5), worst seed; fresh points that lie farther
from the learned manifold than its tolerance, or in a hole of it, to which the distribution gives
density 0, most of any seed; error of log Z stated by quadrature, worst. With --log-z: importance,
bridge and thermodynamic estimates from exact draws of the first seed's distribution, each as its
distance to quadrature over its standard error, and that error in nats. With --discretised (needs
POT): the published score of learned and true distribution, see `discretised`, mean and worst seed;
where the set has two parts, the same of the true distribution with the masses that the data have
on them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import topogen as tg
from topogen.distributions.energy import EnergyDistribution
from topogen.manifolds.base import Manifold
from topogen.models.energy import EnergyModel
from topogen.models.implicit import NeuralImplicit

FRESH = 20_000


@dataclass(frozen=True)
class Case:
    """A distribution on a set, known in closed form or by quadrature on the exact set.

    Attributes:
        space: the set; None where there is no reference space of that shape.
        sample: n points of the distribution.
        log_prob: its log density.
        points: how many to learn from.
        first: whether a point is in the first part of the set.
        even: n points spread evenly over the set, for sets in the plane.
    """

    dim: int
    ambient_dim: int
    space: Manifold | None
    sample: Callable[[int, torch.Generator], Tensor]
    log_prob: Callable[[Tensor], Tensor]
    points: int
    first: Callable[[Tensor], Tensor] | None = None
    even: Callable[[int, torch.Generator], Tensor] | None = None


def of_distribution(distribution: tg.ManifoldDistribution, points: int) -> Case:
    """A case from a distribution on a reference space."""
    M = distribution.manifold

    def sample(n: int, g: torch.Generator) -> Tensor:
        return distribution.sample((n,), g)

    def even(n: int, g: torch.Generator) -> Tensor:
        return tg.Uniform(M).sample((n,), g)

    D = M.ambient_dim
    return Case(M.dim, D, M, sample, distribution.log_prob, points, even=even if D == 2 else None)


def two_circles() -> Case:
    """Von Mises(2) on each of two unit circles about (1.8, 0) and (-1.8, 0)."""
    distribution = tg.VonMises(0.0, 2.0, validate_args=False)
    centre = torch.tensor([1.8, 0.0], dtype=torch.float64)

    def shifted(one: tg.ManifoldDistribution, n: int, g: torch.Generator) -> Tensor:
        side = 2 * torch.randint(2, (n, 1), generator=g) - 1
        return one.sample((n,), g) + side * centre

    def sample(n: int, g: torch.Generator) -> Tensor:
        return shifted(distribution, n, g)

    def even(n: int, g: torch.Generator) -> Tensor:
        return shifted(tg.Uniform(tg.Circle()), n, g)

    def log_prob(x: Tensor) -> Tensor:
        return distribution.log_prob(x - x[:, :1].sign() * centre) - math.log(2)

    return Case(1, 2, None, sample, log_prob, 1000, lambda x: x[:, 0] > 0, even)


def torus_modes(x: Tensor) -> Tensor:
    """Two modes on the ring torus with R = 1, one of them sheared."""
    theta = torch.atan2(x[..., 1], x[..., 0])
    phi = torch.atan2(x[..., 2], x[..., :2].norm(dim=-1) - 1)
    a = 3 * (theta - 0.5).cos() + 2 * (phi - 1).cos()
    b = 3 * (theta + 2).cos() + 2 * (phi + 2).cos() + 1.5 * (theta - phi).sin()
    return torch.logaddexp(a, b)


def klein_waves(x: Tensor) -> Tensor:
    """Several modes on the Klein bottle."""
    return x[..., 0] + 2 * x[..., 2] * x[..., 0] + (3 * x[..., 1]).sin() + 4 * x[..., 3] ** 2


CASES: dict[str, Callable[[], Case]] = {
    "circle": lambda: of_distribution(tg.VonMises(0.0, 2.0, validate_args=False), 1000),
    "two_circles": two_circles,
    "sphere": lambda: of_distribution(
        tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0, validate_args=False), 4000
    ),
    "torus": lambda: of_distribution(
        EnergyDistribution(tg.Torus().atlas(), torus_modes, validate_args=False), 4000
    ),
    "klein": lambda: of_distribution(
        EnergyDistribution(tg.KleinBottle().atlas(), klein_waves, validate_args=False), 4000
    ),
}


def the_set(case: Case, kind: str) -> Manifold:
    """A set to put the distribution on."""
    if kind == "exact":
        if case.space is None:
            raise SystemExit("expected --set neural or local: there is no exact set for this case")
        return case.space
    make = NeuralImplicit if kind == "neural" else tg.LocalPolynomials
    return make(case.dim, case.ambient_dim)


def scores(model: EnergyModel) -> list[str]:
    """Estimates of log Z from exact draws: (estimate - quadrature) / standard error (its size)."""
    exact = float(model.log_z())
    found = [model.log_z(method) for method in ("importance", "bridge", "thermodynamic")]
    return [f"{(z.value - exact) / z.error:+.1f} ({z.error:.3f})" for z in found]


def discretised(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """The score of Ross et al., 2024, of two distributions in the plane, after its description.

    Each distribution is given as points spread evenly over its set, and the density there. A grid
    of 100 x 100 cells covers both; a cell that holds points has the mean of their densities as its
    mass. The score is the least squared distance of transport between the two, over the largest
    squared distance of two cells: not a Wasserstein distance in the units of the data.
    """
    import ot

    low = torch.minimum(a[0].amin(0), b[0].amin(0))
    side = (torch.maximum(a[0].amax(0), b[0].amax(0)) - low) / 100

    def cells(points: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
        index = ((points - low) / side).long().clamp_max(99)
        places, which = torch.unique(index, dim=0, return_inverse=True)
        total = torch.zeros(len(places), dtype=density.dtype).index_add_(0, which, density)
        mean = total / torch.bincount(which)
        return low + (places + 0.5) * side, mean / mean.sum()

    (x, p), (y, q) = cells(*a), cells(*b)
    cost = torch.cdist(x, y).square()
    return float(ot.emd2(p.numpy(), q.numpy(), (cost / cost.max()).numpy()))


def row(name: str, kind: str, objective: str, options: argparse.Namespace) -> str:
    """Fit once for each seed, and measure."""
    case = CASES[name]()
    n = options.points or case.points
    gaps, seconds, missed, split, stated, off, score, luck = ([] for _ in range(8))
    extra = ""
    for seed in range(options.seeds):
        x = case.sample(n, torch.Generator().manual_seed(seed))
        model = EnergyModel(the_set(case, kind), objective=objective)
        start = time.process_time()
        result = tg.fit(model, x, seed=seed, progress=False)
        seconds.append(time.process_time() - start)
        distribution = model()
        fresh = case.sample(FRESH, torch.Generator().manual_seed(10_000 + seed))
        missed.append(int((distribution.log_prob(fresh) == -math.inf).sum()))
        gap = case.log_prob(fresh) - distribution.log_prob(model.manifold.project(fresh).value)
        gaps.append(float(gap[gap.isfinite()].mean()))
        stated.append(distribution.log_z_error)
        moved = (model.manifold.project(x).value - x).norm(dim=-1)
        off.append((float(moved.median()), float(moved.max())))
        if case.first is not None:
            mass = (
                case.first(distribution.levels.fine.points).double()
                * distribution.log_prob(distribution.levels.fine.points).exp()
            )
            split.append(float(distribution.levels.fine.weights @ mass))
        if options.discretised and case.even is not None:
            g = torch.Generator().manual_seed(20_000 + seed)
            even, y = (
                case.even(FRESH, g),
                tg.Uniform(distribution.levels.atlas).sample((FRESH,), g),
            )
            density = case.log_prob(even).exp()
            score.append(discretised((y, distribution.log_prob(y).exp()), (even, density)))
            if case.first is not None:
                share = case.first(x).double().mean()
                uneven = density * torch.where(case.first(even), share, 1 - share)
                luck.append(discretised((even, uneven), (even, density)))
        if result.status != "converged":
            extra += f" seed {seed}: {result.status}"
        if options.log_z and seed == 0:
            extra += "  " + " ".join(scores(model))
    for words, values in (("W", score), ("by the masses of the data", luck)):
        if values:
            extra += f"  {words} {sum(values) / len(values):.1e} ({max(values):.1e})"
    gap = torch.tensor(gaps, dtype=torch.float64)
    error = float(gap.std()) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
    worst = max(split, key=lambda s: abs(s - 0.5), default=math.nan)
    median, most = (max(o[i] for o in off) for i in (0, 1))
    return (
        f"{name:12s} {kind:7s} {objective:22s} {n:5d} {sum(seconds) / len(seconds):6.1f}  "
        f"{float(gap.mean()):.4f} +- {error:.4f}  {float(gap.max()):.4f}  {median:.1e} {most:.1e}"
        f"  {worst:5.3f}  {max(missed):5d}  {max(stated):.1e}{extra}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int)
    parser.add_argument("--set", default="neural", choices=["neural", "local", "exact"])
    parser.add_argument("--objective", nargs="*", default=["nce", "maximum_likelihood"])
    parser.add_argument("--log-z", action="store_true")
    parser.add_argument("--discretised", action="store_true")
    options = parser.parse_args()
    print(
        "case         set     objective                  n  CPU s  NLL gap            worst   "
        "off med off max  split  missed log Z"
        + ("    importance     bridge     thermodynamic" if options.log_z else "")
    )
    for name in options.names:
        for objective in options.objective:
            print(row(name, options.set, objective, options), flush=True)


if __name__ == "__main__":
    main()
