"""Spline flows on base spaces, against exact log densities.

    python benchmarks/base_flows.py [--seeds 3] [--cases corr ala300 ...] [--flows-only] [--zuko]

Every row is 8000 points and default settings; data and initialisation both change with the seed.
NLL gap: mean of log p* - log q over 20 000 fresh points, mean and range over the seeds, in nats.
Change at 2e-4, 2e-6: the largest change of log q over so many rad across a cut (circles, tori), or
between points half as far from a pole of one of the maps (spheres), worst seed: a slope falls by
100 from the first to the second, a jump stays. ESS: of samples of q weighted by p*/q.
CPU s: of the fit, mean. On the torus also two baselines: a von Mises kernel density with its
concentration, and a mixture of products of von Mises distributions (EM) with its size, both chosen
on a held-out tenth. --zuko fits the circular flow of zuko (pip install "topogen[zuko]") on the
tori instead, and prints its gap, its largest change at 2e-4 and 2e-6 across a cut, and its CPU
seconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from importlib.resources import as_file, files

import numpy as np
import torch
from torch import Tensor

import topogen as tg
from topogen.datasets import alanine

TAU = 2 * math.pi
N, FRESH = 8000, 20_000
WIDTHS = (2e-4, 2e-6)
ZUKO_STEPS = 4000
LogDensity = Callable[[Tensor], Tensor]


def generator(seed: int) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def circle(t: Tensor) -> Tensor:
    """(cos t, sin t)."""
    return torch.stack([t.cos(), t.sin()], -1)


class Known:
    """A distribution of the library on its manifold."""

    def __init__(self, distribution: tg.ManifoldDistribution, manifold: tg.Manifold) -> None:
        self.distribution, self.manifold, self.log_prob = (
            distribution,
            manifold,
            distribution.log_prob,
        )

    def sample(self, n: int, seed: int) -> Tensor:
        """Independent points."""
        return self.distribution.sample((n,), generator(seed))


class OnTorus:
    """A distribution on T^2 by a log density of the angles, up to a constant; its maximum."""

    manifold = tg.FlatTorus(2)

    def __init__(self, log_density: LogDensity, top: float) -> None:
        self.f, self.top = log_density, top
        # 8 Gauss points in each of 36 x 36 cells: exact to rounding for what is smooth in cells
        x, w = np.polynomial.legendre.leggauss(8)
        edges = -math.pi + TAU / 36 * np.arange(36)[:, None]
        axis = torch.from_numpy((edges + TAU / 72 * (x + 1)).ravel())
        weight = torch.from_numpy(np.tile(w * TAU / 72, 36))
        mass = self.f(torch.cartesian_prod(axis, axis)).exp()
        self.log_z = math.log(float((mass * torch.cartesian_prod(weight, weight).prod(-1)).sum()))

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact, w.r.t. area."""
        return self.f(self.manifold.coordinates(x)) - self.log_z

    def sample(self, n: int, seed: int) -> Tensor:
        """By rejection."""
        g, kept = generator(seed), torch.empty(0, 2, dtype=torch.float64)
        while len(kept) < n:
            u = torch.rand(100_000, 3, generator=g, dtype=torch.float64)
            t = TAU * u[:, :2] - math.pi
            kept = torch.cat([kept, t[u[:, 2].log() < self.f(t) - self.top]])
        return self.manifold.parametrize(kept[:n])


class ProjectedNormal:
    """Directions of N(mu, I) in R^3."""

    manifold = tg.Sphere()
    mu = torch.tensor([-1.0, -1.0, 0.0], dtype=torch.float64)

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the integral over the length."""
        t = x @ self.mu
        mills = (torch.special.log_ndtr(t) + t * t / 2).exp() * math.sqrt(TAU)
        constant = -1.5 * math.log(TAU) - float(self.mu @ self.mu) / 2
        return (t + (1 + t * t) * mills).log() + constant

    def sample(self, n: int, seed: int) -> Tensor:
        """Normal vectors over their lengths."""
        x = self.mu + torch.randn(n, 3, generator=generator(seed), dtype=torch.float64)
        return x / x.norm(dim=-1, keepdim=True)


def correlated() -> OnTorus:
    """exp(3 cos(t1 - pi) + 5 cos(t2 - t1))."""
    return OnTorus(lambda t: 3 * (t[:, 0] - math.pi).cos() + 5 * (t[:, 1] - t[:, 0]).cos(), 8.0)


def dipeptide(table: np.ndarray, kelvin: float, cap: float) -> OnTorus:
    """The Boltzmann distribution of a periodic energy table in kJ/mol, interpolated bilinearly."""
    E = torch.from_numpy(table.astype(np.float64))
    E = (E - E.min()).clamp_max(cap) / (8.31446261815324e-3 * kelvin)

    def f(t: Tensor) -> Tensor:
        u = torch.remainder((t + math.pi) * (36 / TAU), 36)
        low = u.floor()
        (a, b), i = (u - low).unbind(-1), low.long() % 36
        (i, k), (j, m) = i.unbind(-1), ((i + 1) % 36).unbind(-1)
        lower = E[i, k] * (1 - a) + E[j, k] * a
        return -(lower * (1 - b) + (E[i, m] * (1 - a) + E[j, m] * a) * b)

    return OnTorus(f, 0.0)


def four_modes() -> Known:
    """Target of Rezende et al. 2020, table 1: four von Mises-Fisher distributions, kappa 10."""
    angles = [(0.7, 1.5), (-1.0, 1.0), (0.6, 5.0), (-0.7, 4.0)]
    means = [
        (math.cos(a) * math.cos(b), math.cos(a) * math.sin(b), -math.sin(a)) for a, b in angles
    ]
    distributions = [tg.VonMisesFisher(m, 10.0) for m in means]
    return Known(tg.Mixture([1.0] * 4, distributions), tg.Sphere())


def glycine() -> np.ndarray:
    """The energy table of glycine dipeptide."""
    resource = files("topogen.datasets") / "glycine_dipeptide_fes.npz"
    with as_file(resource) as path, np.load(path) as archive:
        return archive["energy_kj_mol"]


CASES: dict[str, Callable[[], Known | OnTorus | ProjectedNormal]] = {
    "vm1": lambda: Known(tg.VonMises(0.3, 1.0), tg.Circle()),
    "vm3": lambda: Known(tg.VonMises(0.3, 3.0), tg.Circle()),
    "vm5": lambda: Known(tg.VonMises(0.3, 5.0), tg.Circle()),
    "vmf10": lambda: Known(tg.VonMisesFisher([0.0, 0.0, 1.0], 10.0), tg.Sphere()),
    "projected normal": ProjectedNormal,
    "four modes": four_modes,
    "corr": correlated,
    "ala1500": lambda: dipeptide(alanine._file()["energy_kj_mol"], 1500.0, 40.0),
    "ala300": lambda: dipeptide(alanine._file()["energy_kj_mol"], 300.0, 40.0),
    "gly1500": lambda: dipeptide(glycine(), 1500.0, math.inf),
    "gly300": lambda: dipeptide(glycine(), 300.0, math.inf),
}


def across(log_prob: LogDensity, width: float) -> float:
    """The largest change of log q across the cuts of T^2, over this width."""
    t = torch.linspace(-3.14, 3.14, 2001, dtype=torch.float64)
    sides = [torch.full_like(t, s * (math.pi - width / 2)) for s in (1, -1)]
    changes = []
    for order in (0, 1):
        pairs = [torch.stack((s, t) if order else (t, s), -1) for s in sides]
        a, b = (log_prob(tg.FlatTorus(2).parametrize(p)) for p in pairs)
        changes.append(float((a - b).abs().max()))
    return max(changes)


def change(model: tg.SplineFlow, width: float) -> float:
    """The largest change of log q across a cut, or around a pole, over this width."""
    distribution, M = model(), model.manifold
    t = torch.linspace(-3.14, 3.14, 2001, dtype=torch.float64)
    if isinstance(M, tg.Sphere):
        ring = torch.cat([width / 2 * circle(t), torch.ones(2001, 1, dtype=torch.float64)], -1)
        ring = ring / ring.norm(dim=-1, keepdim=True)
        worst = 0.0
        for frame in model.flows.frames:
            for side in (1.0, -1.0):
                values = distribution.log_prob(side * ring @ frame.mT)
                worst = max(worst, float(values.max() - values.min()))
        return worst
    if isinstance(M, tg.Circle):
        a, b = (
            distribution.log_prob(circle(s * t.new_tensor([math.pi - width / 2]))) for s in (1, -1)
        )
        return float((a - b).abs())
    return across(distribution.log_prob, width)


def kernel_density(x: Tensor, seed: int) -> LogDensity:
    """Products of von Mises kernels of one concentration at the points."""

    def log_density(centres: Tensor, kappa: float) -> LogDensity:
        log_c = 2 * (math.log(TAU) + float(torch.special.i0e(torch.tensor(kappa)).log()))

        def f(y: Tensor) -> Tensor:
            parts = [(kappa * (p @ centres.mT - 2)).logsumexp(-1) for p in y.split(2000)]
            return torch.cat(parts) - log_c - math.log(len(centres))

        return f

    order = torch.randperm(len(x), generator=generator(seed))
    held, rest = x[order[: len(x) // 10]], x[order[len(x) // 10 :]]
    grid = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0]
    best = max(grid, key=lambda kappa: float(log_density(rest, kappa)(held).mean()))
    return log_density(x, best)


def mixture(x: Tensor, seed: int) -> LogDensity:
    """Products of von Mises distributions, by EM; size and steps are those that do best."""
    g = generator(seed)
    order = torch.randperm(len(x), generator=g)
    held, rest = x[order[: len(x) // 10]], x[order[len(x) // 10 :]]

    def joint(y: Tensor, eta: Tensor, log_pi: Tensor) -> Tensor:
        kappa = eta.unflatten(-1, (2, 2)).norm(dim=-1)
        log_c = (math.log(TAU) + torch.special.i0e(kappa).log() + kappa).sum(-1)
        return y @ eta.mT - log_c + log_pi

    best: tuple[float, Tensor, Tensor] = (-math.inf, x, x)
    for size in (8, 16, 32, 64):
        eta = 5.0 * rest[torch.randperm(len(rest), generator=g)[:size]]
        log_pi = torch.full((size,), -math.log(size), dtype=torch.float64)
        for _ in range(150):
            r = joint(rest, eta, log_pi).softmax(-1)
            total = r.sum(0)
            log_pi = (total / len(rest)).log()
            mean = ((r.mT @ rest) / total[:, None]).unflatten(-1, (2, 2))
            R = mean.norm(dim=-1, keepdim=True).clamp(1e-6, 1 - 1e-4)
            kappa = R * (2 - R * R) / (1 - R * R)
            for _ in range(3):
                A = torch.special.i1e(kappa) / torch.special.i0e(kappa)
                kappa = (kappa - (A - R) / (1 - A * A - A / kappa)).clamp(1e-6, 1e4)
            eta = (kappa * mean / mean.norm(dim=-1, keepdim=True)).flatten(-2)
            score = float(joint(held, eta, log_pi).logsumexp(-1).mean())
            if score > best[0]:
                best = (score, eta, log_pi)
    return lambda y: joint(y, best[1], best[2]).logsumexp(-1)


def zuko_flow(x: Tensor, seed: int) -> LogDensity:
    """NCSF on the angles: three circular spline transforms, those best on a held-out tenth."""
    import zuko

    torch.manual_seed(seed)
    angles = tg.FlatTorus(2).coordinates
    t = angles(x).float()
    held, rest = t[: len(t) // 10], t[len(t) // 10 :]
    flow = zuko.flows.NCSF(features=2, transforms=3, hidden_features=(64, 64))
    optimiser = torch.optim.Adam(flow.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, ZUKO_STEPS)
    best, kept = -math.inf, flow.state_dict()
    for step in range(ZUKO_STEPS):
        loss = -flow().log_prob(rest[torch.randint(len(rest), (512,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            with torch.no_grad():
                score = float(flow().log_prob(held).mean())
            if score > best:
                best, kept = score, {k: v.clone() for k, v in flow.state_dict().items()}
    flow.load_state_dict(kept)
    flow = flow.double()

    @torch.no_grad()
    def log_prob(y: Tensor) -> Tensor:
        return flow().log_prob(angles(y))

    return log_prob


def zuko_row(name: str, case: OnTorus, seeds: int) -> str:
    """Gap, changes across the cuts and seconds."""
    gaps, changes, seconds, missed = [], [], [], 0
    for seed in range(seeds):
        x, fresh = case.sample(N, seed), case.sample(FRESH, 1000 + seed)
        start = time.process_time()
        fitted = zuko_flow(x, seed)
        seconds.append(time.process_time() - start)
        gap = case.log_prob(fresh) - fitted(fresh)
        missed += int((~gap.isfinite()).sum())
        gaps.append(float(gap[gap.isfinite()].mean()))
        changes.append([across(fitted, width) for width in WIDTHS])
    wide, narrow = np.max(changes, axis=0)
    return (
        f"zuko's NCSF on {name}: gap {spread(gaps)}, change {wide:.1e} and {narrow:.1e}, "
        f"{np.mean(seconds):.0f} s, {missed} points without a density"
    )


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--flows-only", action="store_true", help="no other estimates")
    parser.add_argument("--zuko", action="store_true", help="zuko's flow on the tori instead")
    options = parser.parse_args()
    if options.zuko:
        for name in options.cases:
            if isinstance(case := CASES[name](), OnTorus):
                print(zuko_row(name, case, options.seeds), flush=True)
        return
    shown = " | ".join(f"change at {width:.0e}" for width in WIDTHS)
    print(f"| distribution | flow: NLL gap | {shown} | ESS | CPU s | kernel density | mixture |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in options.cases:
        case = CASES[name]()
        gaps: dict[str, list[float]] = {"flow": [], "kernel": [], "mixture": []}
        changes, seconds, ess = [], [], []
        for seed in range(options.seeds):
            x, fresh = case.sample(N, seed), case.sample(FRESH, 1000 + seed)
            model = tg.SplineFlow(case.manifold)
            start = time.process_time()
            tg.fit(model, x, seed=seed, progress=False)
            seconds.append(time.process_time() - start)
            distribution, truth = model(), case.log_prob(fresh)
            gaps["flow"].append(float((truth - distribution.log_prob(fresh)).mean()))
            changes.append([change(model, width) for width in WIDTHS])
            y = distribution.sample((FRESH,), generator(2000 + seed))
            w = (case.log_prob(y) - distribution.log_prob(y)).exp()
            ess.append(float(w.sum() ** 2 / (w * w).sum()) / FRESH)
            if isinstance(case, OnTorus) and not options.flows_only:
                for row, fitted in (("kernel", kernel_density), ("mixture", mixture)):
                    gaps[row].append(float((truth - fitted(x, seed)(fresh)).mean()))
        worst = np.max(changes, axis=0)
        others = [spread(gaps[r]) if gaps[r] else "" for r in ("kernel", "mixture")]
        print(
            f"| {name} | {spread(gaps['flow'])} | {worst[0]:.1e} | {worst[1]:.1e} "
            f"| {np.mean(ess):.2f} "
            f"| {np.mean(seconds):.0f} | {others[0]} | {others[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
