"""Blended local graphs (`LocalPolynomials`) under noise, uneven sampling, and at edges.

    python benchmarks/local.py [--seeds 5] [NAME ...]

Closed sets: n points of the uniform distribution, or of one whose density varies by a factor of
30, with Gaussian noise of a part of the diameter. Columns: fits that converged; root mean square
distance from projected data to the true set, over that of the noise (of clean data: over the
diameter), mean and worst seed; places at which M ends, which a closed set has none of, in all
seeds; CPU seconds of a fit.

Sets with an edge: volume of M by quadrature on charts over the true volume, mean and worst seed;
the spacing of the points along the edge over the true volume, which is what the data leave open;
share of fresh true points for which M says that they are not on it.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from injective import uneven
from torch import Tensor

import topogen as tg
from topogen.manifolds.spaces.base import ReferenceSpace
from topogen.point_cloud.arrays import diameter

CLOSED: dict[str, tuple[Callable[[], ReferenceSpace], int]] = {
    "circle": (tg.Circle, 1000),
    "dense circle": (tg.Circle, 4000),
    "sphere": (tg.Sphere, 4000),
    "torus": (tg.Torus, 4000),
    "sparse torus": (tg.Torus, 1000),
    "klein": (tg.KleinBottle, 4000),
    "genus2": (lambda: tg.GenusSurface(2), 4000),
    "t3": (lambda: tg.FlatTorus(3), 4000),
    "so3": (tg.SpecialOrthogonal, 4000),
}
NOISE = (0.0, 0.005, 0.02)
HEIGHT = 0.2


def arc(n: int, generator: torch.Generator) -> Tensor:
    """A part of the circle, of 2.5 rad."""
    t = 2.5 * torch.rand(n, generator=generator, dtype=torch.float64)
    return torch.stack([t.cos(), t.sin()], -1)


def cap(n: int, generator: torch.Generator) -> Tensor:
    """The part z >= .2 of the sphere."""
    x = tg.Sphere().sample_uniform(4 * n, generator=generator)
    return x[x[:, 2] >= HEIGHT][:n]


def disc(n: int, generator: torch.Generator) -> Tensor:
    """The unit disc in R^3."""
    t = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    r = torch.rand(n, generator=generator, dtype=torch.float64).sqrt()
    return torch.stack([r * t.cos(), r * t.sin(), 0 * t], -1)


def band(n: int, generator: torch.Generator) -> Tensor:
    """The Moebius band."""
    return tg.MobiusBand().sample_uniform(n, generator=generator)


# dimension, points, volume, length of the edge
EDGED: dict[str, tuple[Callable[[int, torch.Generator], Tensor], int, int, float, float]] = {
    "arc": (arc, 1, 300, 2.5, 2.0),
    "cap": (cap, 2, 2000, 2 * math.pi * (1 - HEIGHT), 2 * math.pi * math.sqrt(1 - HEIGHT**2)),
    "disc": (disc, 2, 2000, math.pi, 2 * math.pi),
    "band": (band, 2, 2000, math.nan, math.nan),
}


def closed(name: str, distribution: str, noise: float, seeds: int) -> str:
    """Fits to one closed set."""
    make, n = CLOSED[name]
    M = make()
    off, ends, seconds, converged = [], 0, [], 0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        if distribution == "uniform":
            x = M.sample_uniform(n, generator=generator)
        else:
            x = uneven(M).sample((n,), generator)
        unit = diameter(x.numpy())
        step = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = x + noise * unit * step
        learned = tg.LocalPolynomials(M.dim, M.ambient_dim)
        start = time.process_time()
        converged += tg.fit(learned, x, seed=seed, progress=False).status == "converged"
        seconds.append(time.process_time() - start)
        p = learned.project(x)
        y = p.value[p.converged]
        far = float((M.project(y).value - y).square().sum(-1).mean().sqrt())
        # noise in the D - d normal directions
        normal = noise * unit * math.sqrt(M.ambient_dim - M.dim)
        off.append(far / (normal or unit))
        ends += len(learned.boundary)
    return (
        f"| {name} | {n} | {distribution} | {noise:g} | {converged} of {seeds} "
        f"| {np.mean(off):.2g} "
        f"({max(off):.2g}) | {ends} | {np.mean(seconds):.1f} |"
    )


def edged(name: str, seeds: int) -> str:
    """Fits to one set with an edge."""
    sample, d, n, volume, edge = EDGED[name]
    if name == "band":
        M = tg.MobiusBand()
        volume = M.volume or math.nan
        t = torch.linspace(0, 4 * math.pi, 4001, dtype=torch.float64)
        rim = M.parametrize(torch.stack([t, torch.full_like(t, M.width / 2)], -1))
        edge = float((rim[1:] - rim[:-1]).norm(dim=-1).sum())
    ratio, missed, places = [], [], []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        x = sample(n, generator)
        learned = tg.LocalPolynomials(d, x.shape[1])
        atlas = tg.ProjectedAtlas(learned)
        tg.fit(atlas, x, seed=seed, progress=False)
        ratio.append(float(atlas.volume().value) / volume)
        fresh = sample(4000, generator)
        missed.append(float((~learned.contains(fresh)).double().mean()))
        places.append(len(learned.boundary))
    worst = max(ratio, key=lambda v: abs(v - 1))
    spacing = (volume / n) ** (1 / d) * edge / volume
    return (
        f"| {name} | {n} | {np.mean(ratio):.4f} ({worst:.4f}) | {spacing:.4f} | "
        f"{100 * np.mean(missed):.1f} % | {min(places)} to {max(places)} |"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*CLOSED, *EDGED])}")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = options.names or [*CLOSED, *EDGED]
    print("| set | points | distribution | noise | converged | distance | ends | CPU s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in (name for name in names if name in CLOSED):
        for distribution in ("uniform", "uneven") if name != "genus2" else ("uniform",):
            for noise in NOISE:
                print(closed(name, distribution, noise, options.seeds), flush=True)
    print("\n| set | points | volume | spacing | missed | places |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in (name for name in names if name in EDGED):
        print(edged(name, options.seeds), flush=True)


if __name__ == "__main__":
    main()
