"""Injective flows on their bases, against known answers.

    python benchmarks/injective.py [NAME ...] [--distributions uniform uneven] [--seeds 3] [--first
    0]
                                   [--points 10000] [--auto] [--noise 0.02]
    python benchmarks/injective.py --controls [NAME ...] [--points 6000] [--levels 0 0.02]
    python benchmarks/injective.py --table FILE

Every row is one fit to 10 000 fresh points (--points) with the default settings, the base named
(or "auto"). The uneven distribution has the density exp(1.3 x_1/s + 0.8 x_2 x_D / s^2) / Z w.r.t.
area, s the size of the space; alanine has its own distribution. Columns: case, distribution, seed,
base found, bandwidth of the decoder, CPU seconds of the fit; distance of 20 000 fresh true points
to M, 99 % / largest, in diameters; volume of M over the true one; NLL gap in nats with its
standard error; fresh points without a density; SW, the sliced W_2 of samples to true samples over
that of two true samples (20 draws of 4000), and the same of the data drawn with replacement, which
is what the luck of the data costs; largest over least singular value of Dg; "proved" where g was
proved to be injective; whether g is one to one on H_1 over Z/2 and Z/3 (- where nothing is to
check, ? where the data do not tell); topology verdict over Z/2 and Z/3 of uniform points of M.
--controls fits wrong bases, which the certificate must reject, to clean data and under noise, and
the plane to a torus (two-phase training of networks), which can only fail: reconstruction of fresh
points (mean, 99 %, in diameters), share of samples farther than 2 % of the diameter from the true
torus, topology verdict of the samples. --noise adds Gaussian noise of this part of the diameter to
the data; distances and gaps are then those of M against the true distribution.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import topogen as tg
from topogen.datasets import alanine
from topogen.errors import TrainingError
from topogen.manifolds.spaces.base import ReferenceSpace
from topogen.point_cloud.arrays import diameter

Sampler = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Case:
    """A set to learn: its base, true distribution, volume and homology."""

    dim: int
    base: str | tg.Manifold
    volume: float
    homology: tg.Homology
    sample: Sampler
    log_prob: Callable[[Tensor], Tensor]


def uneven(M: ReferenceSpace) -> tg.EnergyDistribution:
    """A smooth distribution on a reference space whose density varies by a factor of about 30."""
    s = M.scale
    return tg.EnergyDistribution(
        M.atlas(), lambda x: 1.3 * x[..., 0] / s + 0.8 * x[..., 1] * x[..., -1] / s**2
    )


POINTS, FRESH = 10_000, 20_000
ROUND = tg.Product(tg.Circle(), tg.Sphere())
SPACES: dict[str, tuple[Callable[[], ReferenceSpace], str | tg.Manifold]] = {
    "circle": (tg.Circle, "circle"),
    "torus": (tg.Torus, "torus"),
    "sphere": (tg.Sphere, "sphere"),
    "klein": (tg.KleinBottle, "klein"),
    "rp2": (tg.ProjectivePlane, "projective"),
    "mobius": (tg.MobiusBand, "mobius"),
    "t3": (lambda: tg.FlatTorus(3), "torus"),
    "s1xs2": (lambda: ROUND, ROUND),
    "so3": (tg.SpecialOrthogonal, "projective"),
}
OTHERS = {"genus2": lambda: tg.GenusSurface(2), "s3": lambda: tg.Sphere(3)}
WRONG: tuple[tuple[str, str | tg.Manifold], ...] = (
    ("circle", "interval"),
    ("klein", "torus"), ("torus", "klein"), ("torus", "sphere"), ("sphere", "torus"),
    ("klein", "projective"), ("genus2", "torus"), ("rp2", "klein"), ("rp2", "sphere"),
    ("sphere", "projective"), ("mobius", "cylinder"), ("genus2", "sphere"), ("torus", "cylinder"),
    ("sphere", "interval"), ("so3", "sphere"), ("t3", "sphere"), ("t3", ROUND),
    ("s1xs2", "sphere"), ("s1xs2", "torus"), ("s3", "projective"), ("so3", ROUND),
)  # fmt: skip


def case(name: str, distribution: str) -> Case:
    """The case of a name and a distribution."""
    if name == "alanine":
        torus = tg.Homology({2: (1, 2, 1), 3: (1, 2, 1)})

        def log_prob(x: Tensor) -> Tensor:
            return alanine.log_prob(alanine.nearest(x)[0])

        def sample(n: int, g: torch.Generator) -> Tensor:
            return alanine.embed(alanine.sample_torsions(n, g))

        return Case(2, "torus", alanine.AREA, torus, sample, log_prob)
    make, base = SPACES[name]
    M = make()
    q = tg.Uniform(M) if distribution == "uniform" else uneven(M)
    volume, homology = M.volume, M.homology
    if volume is None or homology is None:
        raise ValueError(f"{name} has no known volume or homology")
    return Case(M.dim, base, volume, homology, lambda n, g: q.sample((n,), g), q.log_prob)


def sliced(x: Tensor, y: Tensor, generator: torch.Generator) -> float:
    """Sliced W_2 of two clouds of one size over 128 directions."""
    w = torch.randn(x.shape[1], 128, generator=generator, dtype=x.dtype)
    w = w / w.norm(dim=0)
    return float(((x @ w).sort(0).values - (y @ w).sort(0).values).square().mean().sqrt())


def row(
    name: str, distribution: str, seed: int, *, points: int, auto: bool, noise: float, draws: int
) -> str:
    """Fit once and measure."""
    truth = case(name, distribution)
    generator = torch.Generator().manual_seed(seed)
    x = truth.sample(points, generator)
    size = diameter(x.numpy())
    x = x + noise * size * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    flow = tg.InjectiveFlow(truth.dim, x.shape[1], base="auto" if auto else truth.base)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = tg.fit(flow, x, seed=seed, progress=False).status
    seconds = time.process_time() - start
    M, found = flow.image, flow.certificate
    if M is None or found is None or M.volume is None:
        raise RuntimeError("the fit left no manifold")
    fresh = truth.sample(FRESH, generator)
    off = (M.project(fresh).value - fresh).norm(dim=-1) / size
    q = flow()
    if noise:
        # the points of M nearest to true points
        gap = truth.log_prob(fresh) - q.log_prob(M.project(fresh).value)
    else:
        q = type(q)(q.image, q.distribution, validate_args=False)
        gap = truth.log_prob(fresh) - q.log_prob(fresh)
    missed = int((~gap.isfinite()).sum())
    gap = gap[gap.isfinite()]
    sums = torch.zeros(3)
    for _ in range(draws):
        a, b = truth.sample(4000, generator), truth.sample(4000, generator)
        again = x[torch.randint(len(x), (4000,), generator=generator)]
        clouds = (b, q.sample((4000,), generator), again)
        sums += torch.tensor([sliced(cloud, a, generator) for cloud in clouds])
    sw, data = (sums[1:] / sums[0].clamp_min(1e-300)).tolist()
    cloud = M.sample_uniform(10_000 if M.dim == 3 else 4000, generator)
    verdict = tg.check_topology(cloud, expected=truth.homology, seed=seed).verdict
    marks = {True: "yes", False: "no", None: "?"}
    onto = "/".join(marks[fine] for fine in found.one_to_one.values()) or "-"
    words = "proved" if found.injectivity.proved else "checked" if found.accepted else "refused"
    return (
        f"{name:8s} {distribution:8s} {seed:3d} {M.base.name.replace(' ', '_'):14s} {status:10s} "
        f"{flow.bandwidth:3d} {seconds:6.1f}  {off.quantile(0.99):.1e}/{off.max():.1e}  "
        f"{M.volume / truth.volume:.5f}  "
        f"{gap.mean():8.5f} +- {gap.std() / math.sqrt(len(gap)):.5f} {missed:3d}  "
        f"{sw:.2f}/{data:.2f}  {found.condition:6.1f} {words:8s} {onto:7s} {verdict}"
    )


def noisy(M: ReferenceSpace, n: int, noise: float) -> Tensor:
    """Uniform points with Gaussian noise of this part of the diameter."""
    generator = torch.Generator().manual_seed(0)
    x = M.sample_uniform(n, generator=generator)
    scale = noise * diameter(x.numpy())
    return x + scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def control(name: str, base: str | tg.Manifold, points: int, noise: float) -> str:
    """A fit to a wrong base."""
    M = OTHERS[name]() if name in OTHERS else SPACES[name][0]()
    x = noisy(M, points, noise)
    flow = tg.InjectiveFlow(M.dim, M.ambient_dim, base=base)
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tg.fit(flow, x, progress=False)
        found = flow.certificate
        if found is None:
            raise RuntimeError("the fit left no certificate")
        words = f"{'ACCEPTED' if found.accepted else 'refused'}  {found.reason}"
    except TrainingError as error:
        words = f"refused  no seed: {error}"
    wrong = base if isinstance(base, str) else "S^1 x S^2"
    seconds = time.process_time() - start
    return f"{name:8s} as {wrong:10s} noise {noise:.2f} {seconds:5.1f} s  {words}"


def plane(points: int, noise: float) -> str:
    """A torus as the image of the plane."""
    M = tg.Torus()
    x = noisy(M, points, noise)
    size = diameter(x.numpy())
    flow = tg.InjectiveFlow(2, 3, base="euclidean")
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = tg.fit(flow, x, progress=False).status
    seconds = time.process_time() - start
    generator = torch.Generator().manual_seed(1)
    fresh = M.sample_uniform(4000, generator)
    off = (flow.manifold.project(fresh).value - fresh).norm(dim=-1) / size
    y = flow().sample((4000,), generator=generator).to(torch.float64)
    far = float(((M.project(y).value - y).norm(dim=-1) > 0.02 * size).double().mean())
    report = tg.check_topology(y, expected=M, progress=False)
    words = "holds" if report.verdict == "agrees" and far < 1e-3 else "FAILS"
    return (
        f"torus    as R^2        noise {noise:.2f} {seconds:5.1f} s  {words}  status {status}; "
        f"reconstruction {off.mean():.1e}, 99 % {off.quantile(0.99):.1e}; {far:.1%} of samples "
        f"farther than 2 % of the diameter from the torus; topology {report.verdict}, Betti "
        f"{report.betti}"
    )


def table(path: Path) -> None:
    """Rows printed earlier, summed up as Markdown: the worst seed, and medians of seconds."""
    rows = [line.split() for line in path.read_text().splitlines() if " +- " in line]
    print(
        "| case | distribution | bases | CPU s | true points to M, 99 % | volume "
        "| NLL gap, mean (worst) | no density | SW, mean (worst) | of the data | cond | proved "
        "| H_1 | converged | agrees |"
    )
    print("|" + "---|" * 15)
    for key in dict.fromkeys((r[0], r[1]) for r in rows):
        mine = [r for r in rows if (r[0], r[1]) == key]
        n = len(mine)
        seconds = sorted(float(r[6]) for r in mine)[n // 2]
        off = max(float(r[7].split("/")[0]) for r in mine)
        volume = max((float(r[8]) for r in mine), key=lambda v: abs(v - 1))
        gaps = [float(r[9]) for r in mine]
        sw, data = zip(*(map(float, r[13].split("/")) for r in mine), strict=True)
        counts = [
            sum(r[i] == word for r in mine)
            for i, word in ((15, "proved"), (4, "converged"), (17, "agrees"))
        ]
        lost = sum("no" in r[16] for r in mine)
        print(
            f"| {key[0]} | {key[1]} | {', '.join(sorted({r[3].replace('_', ' ') for r in mine}))}"
            f" | {seconds:.0f} | {off:.0e} | {volume:.5f} | {sum(gaps) / n:.4f} ({max(gaps):.4f})"
            f" | {max(int(r[12]) for r in mine)} | {sum(sw) / n:.2f} ({max(sw):.2f})"
            f" | {sum(data) / n:.2f} ({max(data):.2f})"
            f" | {max(float(r[14]) for r in mine):.0f} | {counts[0]} of {n}"
            f" | {'right' if not lost else f'{lost} wrong'} | {counts[1]} of {n}"
            f" | {counts[2]} of {n} |"
        )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--distributions", nargs="+", default=["uniform", "uneven"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--points", type=int, help="of the data; 10 000, of controls 6000")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.02])
    parser.add_argument("--auto", action="store_true")
    parser.add_argument("--controls", action="store_true", help="wrong bases")
    parser.add_argument("--table", type=Path, help="rows printed earlier: sum them up and stop")
    arguments = parser.parse_args()
    if arguments.table is not None:
        table(arguments.table)
        return
    if arguments.controls:
        for noise in arguments.levels:
            for name, base in WRONG:
                if name in (arguments.names or (name,)):
                    print(control(name, base, arguments.points or 6000, noise), flush=True)
            if "torus" in (arguments.names or ("torus",)):
                print(plane(arguments.points or 6000, noise), flush=True)
        return
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        for name in arguments.names or [*SPACES, "alanine"]:
            for distribution in ("own",) if name == "alanine" else arguments.distributions:
                try:
                    line = row(
                        name, distribution, seed, points=arguments.points or POINTS,
                        auto=arguments.auto, noise=arguments.noise, draws=arguments.draws,
                    )  # fmt: skip
                except TrainingError as error:
                    line = f"{name:8s} {distribution:8s} {seed:3d} FAILED {error}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
