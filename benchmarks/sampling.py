r"""Effective samples per CPU second on mici's own README torus, beside mici 0.4.1.

    python benchmarks/sampling.py            both, mici as in its README: 4 chains, 500 + 2000
    python benchmarks/sampling.py --mici 0   topogen alone

The torus has R = 1, r = .5; the density is proportional to 1 + .9 sin(4 theta) cos(phi) in the two
angles, hence to that over 1 + .5 cos(phi) w.r.t. area. mici runs `sample_constrained_hmc_chains`
(RATTLE with a dynamic trajectory length), one chain after the other in this process; topogen runs
random walks and Hamiltonian chains, started from uniform points, annealed and adapted.

Every row is one run. Columns: CPU seconds, warm-up and diagnostics included; the smallest bulk
effective sample size of cos theta, sin theta, cos phi, sin phi and the log density; that per CPU
second; the largest R-hat; the largest difference of a mean of sin 4 theta, cos phi, cos^2 phi,
sin 4 theta cos phi from its exact value, in standard errors by the effective sample size.

mici is not a dependency: `pip install mici==0.4.1 symnum` (or `autograd` in place of symnum),
in an environment of its own or with `pip install --target DIR` and `--path DIR`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

import topogen as tg
from topogen.sampling import Plan, constrained_hmc, diagnose, random_walk

R, r, ALPHA = 1.0, 0.5, 0.9


def angles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Theta around the axis, phi around the tube."""
    rho = x[..., :2].norm(dim=-1)
    return torch.atan2(x[..., 1], x[..., 0]), torch.atan2(x[..., 2], rho - R)


def log_density(x: Tensor) -> Tensor:
    """Of the distribution w.r.t. area, up to a constant; sin 4 theta as a polynomial."""
    square = x[..., 0] ** 2 + x[..., 1] ** 2
    rho = square.sqrt()
    c, s = x[..., 0] / rho, x[..., 1] / rho
    sin4 = 4 * s * c * (c * c - s * s)
    cos_phi = (rho - R) / r
    return torch.log1p(ALPHA * sin4 * cos_phi) - torch.log1p(r / R * cos_phi)


def statistics(x: Tensor) -> Tensor:
    """What is asked to mix: the sines and cosines of both angles, and the log density."""
    theta, phi = angles(x)
    return torch.stack([theta.cos(), theta.sin(), phi.cos(), phi.sin(), log_density(x)], -1)


def moments(x: Tensor) -> Tensor:
    """Statistics whose means are known: theta and phi have density 1 + .9 sin 4 theta cos phi."""
    theta, phi = angles(x)
    wave = (4 * theta).sin()
    return torch.stack([wave, phi.cos(), phi.cos() ** 2, wave * phi.cos()], -1)


EXACT = torch.tensor([0.0, 0.0, 0.5, ALPHA / 4], dtype=torch.float64)


def row(name: str, run: Callable[[], Tensor]) -> float:
    """Run once, print a row; effective samples per CPU second."""
    start = time.process_time()
    x = run()
    found = diagnose(statistics(x))
    seconds = time.process_time() - start
    ess, rhat = float(found.ess_bulk.min()), float(found.rhat.max())
    values = moments(x)
    effective = diagnose(values).ess_bulk
    error = values.flatten(0, 1).std(0) / effective.sqrt()
    z = float(((values.flatten(0, 1).mean(0) - EXACT) / error).abs().max())
    chains, draws = x.shape[:2]
    print(
        f"{name:28s} {chains:5d} x {draws:5d} {seconds:8.1f} {ess:10.0f} {ess / seconds:10.1f} "
        f"{rhat:7.3f} {z:6.2f}",
        flush=True,
    )
    return ess / seconds


def mici_chains(warm_up: int, draws: int, chains: int, seed: int) -> Tensor:
    """The README example of mici, without its plots."""
    import mici

    try:
        import symnum
        import symnum.numpy as xp

        numpify = symnum.numpify(3)
        backend = "symnum"
    except ImportError:
        import autograd.numpy as xp

        numpify = lambda f: f
        backend = "autograd"

    @numpify
    def constr(q):
        x, y, z = q
        return xp.array([((x**2 + y**2) ** 0.5 - R) ** 2 + z**2 - r**2])

    @numpify
    def neg_log_dens(q):
        x, y, z = q
        theta = xp.arctan2(y, x)
        phi = xp.arctan2(z, x / xp.cos(theta) - R)
        return xp.log1p(r * xp.cos(phi) / R) - xp.log1p(xp.sin(4 * theta) * xp.cos(phi) * ALPHA)

    rng = np.random.default_rng(seed)
    theta, phi = rng.uniform(0, 2 * np.pi, size=(2, chains))
    rho = R + r * np.cos(phi)
    start = np.stack([rho * np.cos(theta), rho * np.sin(theta), r * np.sin(phi)], -1)
    traces = mici.sample_constrained_hmc_chains(
        n_warm_up_iter=warm_up,
        n_main_iter=draws,
        init_states=start,
        neg_log_dens=neg_log_dens,
        constr=constr,
        backend=backend,
        seed=rng,
        n_worker=1,
        trace_funcs=[lambda state: dict(zip("xyz", state.pos, strict=True))],
        display_progress=False,
    )[1]
    return torch.from_numpy(np.stack([np.stack(traces[k]) for k in "xyz"], -1))


def main() -> None:
    """Print the table, and the ratio of the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mici", type=int, default=2000, help="draws of each chain; 0: none")
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--path", help="directory that mici is installed in")
    parser.add_argument("--chains", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1234)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.path:
        sys.path.append(arguments.path)
    M = tg.Torus(R, r)
    chains, seed = arguments.chains, arguments.seed
    print(f"{'':28s} chains x draws  CPU s        ESS      ESS/s   R-hat      z")
    ours = {
        "topogen random walk": partial(
            random_walk, M, log_density, 500, plan=Plan(chains=chains), seed=seed
        ),
        "topogen constrained HMC": partial(
            constrained_hmc,
            M,
            log_density,
            60,
            steps=10,
            jitter=0.3,
            plan=Plan(chains=chains, warmup=100),
            seed=seed,
        ),
    }
    best = max(row(name, lambda f=f: f().samples) for name, f in ours.items())
    if not arguments.mici:
        return
    try:
        import mici  # noqa: F401
    except ImportError:
        sys.exit(
            "mici is not installed: pip install --target DIR mici==0.4.1 symnum, then --path DIR"
        )
    rate = row(
        "mici 0.4.1 (dynamic RATTLE)",
        partial(mici_chains, arguments.warm_up, arguments.mici, 4, arguments.seed),
    )
    print(f"topogen / mici: {best / rate:.0f} times the effective samples per CPU second (bar 20)")


if __name__ == "__main__":
    main()
