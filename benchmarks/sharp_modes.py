"""Mixtures of sharp modes: where data thin out, fresh points keep a density.

    python benchmarks/sharp_modes.py [--laws 10] [--points 8000] [SPACE ...]

SPACE is circle, sphere, torus or klein (the torus has radii 2 and 1). A law has two to four modes:
its density is proportional to the sum of w_j k_j^(d/2) exp(-k_j |x - m_j|^2 / 2), m_j uniform on
the space, w_j between 1/2 and 1, k_j from 8 to 60. Each row is one fit of an `AtlasDensity` on
`LocalPolynomials` to fresh data. Columns: modes; places at which M ends, and those of them where
data thin out; of 20 000 fresh points, how many have no density; NLL gap in nats to the true
density, with its standard error, over those that have one; seconds of the fit.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

import topogen as tg
from topogen.manifolds.spaces.base import ReferenceSpace

SPACES: dict[str, Callable[[], ReferenceSpace]] = {
    "circle": tg.Circle,
    "sphere": tg.Sphere,
    "torus": lambda: tg.Torus(2.0, 1.0),
    "klein": tg.KleinBottle,
}
FRESH = 20_000


def law(M: ReferenceSpace, seed: int) -> tuple[tg.EnergyDistribution, int]:
    """A mixture of sharp modes, and their number."""
    g = torch.Generator().manual_seed(seed)
    J = int(torch.randint(2, 5, (), generator=g))
    m = M.sample_uniform(J, generator=g)
    w = 0.5 + 0.5 * torch.rand(J, generator=g, dtype=torch.float64)
    k = 8 * (60 / 8) ** torch.rand(J, generator=g, dtype=torch.float64)

    def log_density(x: Tensor) -> Tensor:
        squares = (x.unsqueeze(-2) - m).square().sum(-1)
        return (w.log() + M.dim / 2 * k.log() - k * squares / 2).logsumexp(-1)

    return tg.EnergyDistribution(M.atlas(), log_density), J


def row(name: str, n: int, seed: int) -> str:
    """Fit once and measure."""
    M = SPACES[name]()
    true, J = law(M, seed)
    x = true.sample((n,), generator=torch.Generator().manual_seed(1000 + seed))
    learned = tg.LocalPolynomials(M.dim, M.ambient_dim)
    model = tg.AtlasDensity(tg.ProjectedAtlas(learned))
    start = time.perf_counter()
    status = tg.fit(model, x, seed=seed, progress=False).status
    seconds = time.perf_counter() - start
    fresh = true.sample((FRESH,), generator=torch.Generator().manual_seed(2000 + seed))
    gap = true.log_prob(fresh) - model().log_prob(fresh)
    lost = int((~gap.isfinite()).sum())
    gap = gap[gap.isfinite()]
    places = learned.boundary
    return (
        f"{name:7s} {seed:3d} {J:5d} {len(places):6d} {int(places.thin.sum()):5d} {lost:5d}  "
        f"{gap.mean():.4f} +- {gap.std() / math.sqrt(len(gap)):.4f} {seconds:6.1f} {status}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SPACES))
    parser.add_argument("--laws", type=int, default=10)
    parser.add_argument("--points", type=int, default=8000)
    arguments = parser.parse_args()
    print("space  law modes places  thin  lost  gap                    s status")
    for name in arguments.names:
        for seed in range(arguments.laws):
            print(row(name, arguments.points, seed), flush=True)


if __name__ == "__main__":
    main()
