"""Volumes and uniform draws without a chain: every method on every space that it fits.

    python benchmarks/volumes.py [--draws 40000] [--points 4000] [SPACE ...]

SPACE is one of those listed in the first column; "learned" and "network" are a torus learned from
4000 points, by LocalPolynomials and by NeuralImplicit. Columns: the method; the volume, the
half-width of its 95 % interval, the exact volume, the relative error in %, CPU seconds; and of a
sample of `--points` uniform points the mean of a statistic with a known mean, its distance to that
in standard errors, and CPU seconds. The sets behind "torus" to "half sphere" are told by equations
alone: only "atlas" looks at a parametrization.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import topogen as tg
from topogen.errors import TopogenError
from topogen.manifolds.operations import Restriction
from topogen.sampling import Rays, Tube, coarea_volume, uniform
from topogen.sampling.quadrature import atlas_volume

METHODS = ("atlas", "rays", "tube", "coarea")


@dataclass
class Case:
    """A set, its volume, and a statistic whose mean under the uniform distribution is known."""

    M: tg.Manifold
    exact: float
    statistic: Callable[[Tensor], Tensor]
    mean: float
    atlas: tg.Atlas | None = None
    points: Any = None


def zero_set(M: Any) -> tg.ImplicitManifold:
    """The zero set of the defining function of a reference space."""
    return tg.ImplicitManifold(M.defining, M.dim, M.ambient_dim, scale=M.scale)


def ring(x: Tensor) -> Tensor:
    """Cosine of the tube angle of the torus R = 1, r = 1/2: mean r / 2R."""
    return 2 * (x[:, :2].norm(dim=-1) - 1)


def sphere(dim: int) -> Case:
    """The unit sphere; x_1^4."""
    M = tg.Sphere(dim)
    mean = 3 / ((dim + 1) * (dim + 3))
    return Case(zero_set(M), M.volume or math.nan, lambda x: x[:, 0] ** 4, mean, M.atlas())


def orthogonal() -> Case:
    """O(3), both components; tr^2."""
    i, j = torch.triu_indices(3, 3)

    def F(x: Tensor) -> Tensor:
        A = x.unflatten(-1, (3, 3))
        return (A.mT @ A - torch.eye(3, dtype=x.dtype))[..., i, j]

    M = tg.ImplicitManifold(F, 3, 9, scale=1.7)
    return Case(M, 2**2.5 * 8 * math.pi**2, lambda x: x[:, [0, 4, 8]].sum(-1) ** 2, 1.0)


def klein() -> Case:
    """A Klein bottle in R^4, by equations of rank 2; E x_1 x_2 = 0."""
    M = tg.KleinBottle()
    return Case(M, M.volume or math.nan, lambda x: x[:, 0] * x[:, 1], 0.0, M.atlas())


def learned(network: bool) -> Case:
    """A torus learned from 4000 points."""
    T = tg.Torus(1.0, 0.5)
    x = T.sample_uniform(4000, generator=torch.Generator().manual_seed(0))
    if network:
        from topogen.models.implicit import NeuralImplicit

        M: Any = NeuralImplicit(2, 3)
    else:
        M = tg.LocalPolynomials(2, 3)
    atlas = tg.ProjectedAtlas(M)
    start = time.process_time()
    tg.fit(atlas, x, progress=False)
    print(f"learned in {time.process_time() - start:.1f} s: {len(atlas)} charts")
    return Case(M, T.volume or math.nan, ring, 0.25, atlas, x)


CASES: dict[str, Callable[[], Case]] = {
    "torus": lambda: Case(
        zero_set(tg.Torus(1.0, 0.5)), 2 * math.pi**2, ring, 0.25, tg.Torus(1.0, 0.5).atlas()
    ),
    "S^2": lambda: sphere(2),
    "S^4": lambda: sphere(4),
    "S^7": lambda: sphere(7),
    "genus 2": lambda: Case(
        zero_set(tg.GenusSurface(2)), tg.GenusSurface(2).volume or math.nan, lambda x: x[:, 0], 0.0
    ),
    "half sphere": lambda: Case(
        Restriction(zero_set(tg.Sphere()), lambda x: 0.2 - x[..., 2]),
        1.6 * math.pi,
        lambda x: x[:, 2],
        0.6,
    ),
    "trefoil": lambda: Case(
        tg.TorusKnot(2, 3),
        tg.TorusKnot(2, 3).volume or math.nan,
        lambda x: x[:, 0] * x[:, 1],
        0.0,
        tg.TorusKnot(2, 3).atlas(),
    ),
    "Clifford": lambda: Case(
        tg.ImplicitManifold(lambda x: x.square().unflatten(-1, (2, 2)).sum(-1) - 1, 2, 4),
        4 * math.pi**2,
        lambda x: x[:, 0] * x[:, 2],
        0.0,
        tg.FlatTorus(2).atlas(),
    ),
    "Klein bottle": klein,
    "SO(3)": lambda: Case(
        tg.SpecialOrthogonal(),
        2**1.5 * 8 * math.pi**2,
        lambda x: x[:, [0, 4, 8]].sum(-1) ** 2,
        1.0,
        tg.SpecialOrthogonal().atlas(),
    ),
    "O(3)": orthogonal,
    "learned": lambda: learned(network=False),
    "network": lambda: learned(network=True),
}


def estimate(case: Case, method: str, draws: int, generator: torch.Generator) -> Any:
    """The volume of a case by a method."""
    if method == "atlas":
        if case.atlas is None:
            raise tg.errors.UnsupportedError("no atlas")
        return atlas_volume(case.atlas, case.points, generator=generator)
    if method == "rays":
        return Rays(case.M, case.points, generator=generator).volume(5 * draws)
    tube = Tube(case.M, points=case.points, generator=generator)
    return tube.volume(draws) if method == "tube" else coarea_volume(tube, 5 * draws)


def row(name: str, case: Case, method: str, draws: int, points: int) -> None:
    """Measure and print."""
    generator = torch.Generator().manual_seed(1)
    start = time.process_time()
    try:
        v = estimate(case, method, draws, generator)
    except TopogenError as error:
        print(f"{name:13s} {method:7s} -- {str(error)[:70]}", flush=True)
        return
    seconds = time.process_time() - start
    off = 100 * (v.value / case.exact - 1)
    text = (
        f"{name:13s} {method:7s} {v.value:10.5f} +- {v.error:.1e}  {case.exact:10.5f} "
        f"{off:+8.4f} % {seconds:6.1f} s"
    )
    if method != "coarea":
        start = time.process_time()
        M = case.M if method != "atlas" else (case.atlas or case.M)
        x = uniform(M, points, method, points=case.points, generator=generator)
        seconds = time.process_time() - start
        s = case.statistic(x)
        z = (float(s.mean()) - case.mean) / (float(s.std()) / math.sqrt(points))
        text += f"   {float(s.mean()):8.4f} ({case.mean:.4f}) {z:+5.1f} {seconds:6.1f} s"
    print(text + (f"  {v.remark}" if v.remark else ""), flush=True)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="SPACE")
    parser.add_argument("--draws", type=int, default=40_000)
    parser.add_argument("--points", type=int, default=4000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.cases or CASES:
        case = CASES[name]()
        for method in METHODS:
            row(name, case, method, args.draws, args.points)


if __name__ == "__main__":
    main()
