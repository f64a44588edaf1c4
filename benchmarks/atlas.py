"""The atlas family against known answers: geometry, density, normalisation, orientation, verdict.

    python benchmarks/atlas.py [--seeds 3] [--points 8000] [NAME ...]

NAME is circle, sphere, modes, torus, klein or alanine.

Every row is one fit to fresh data. Columns: number of charts K; seconds of the fit; distance of
4000 samples to the true set, median and 99 %, in % of the diameter; NLL gap in nats with its
standard error (4000 fresh points of the true distribution); integral of p by quadrature; E_p[1/p]
over the true volume, with its standard error; orientable, found (true); topology verdict of the
samples against the true homology; samples that are not on the learned manifold; fresh points
without a density.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

import topogen as tg
from topogen.demos import DEMOS, Demo
from topogen.point_cloud.arrays import diameter


def modes() -> Demo:
    """Four von Mises-Fisher modes of concentration 20 at the corners of a tetrahedron."""
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    distribution = tg.Mixture(
        torch.full((4,), 0.25, dtype=torch.float64),
        [tg.VonMisesFisher(corner / math.sqrt(3), 20.0) for corner in corners],
    )
    base = DEMOS["sphere"]()
    return Demo(
        "modes",
        "four von Mises-Fisher modes on the sphere",
        lambda n, g: distribution.sample((n,), generator=g),
        distribution.log_prob,
        base.distance,
        base.homology,
        base.orientable,
        base.volume,
    )


def row(demo: Demo, n: int, seed: int) -> str:
    """Fit once and measure."""
    x = demo.points(n, seed)
    dim = tg.topology.intrinsic_dimension(x).dim
    M = tg.LocalPolynomials(dim, x.shape[1])
    atlas = tg.ProjectedAtlas(M)
    model = tg.AtlasDensity(atlas)
    start = time.perf_counter()
    status = tg.fit(model, x, seed=seed, progress=False).status
    seconds = time.perf_counter() - start
    distribution = model()
    samples = distribution.sample((4000,), generator=torch.Generator().manual_seed(seed + 1))
    off = 100 * demo.distance(samples) / diameter(x.numpy())
    lost = int((~M.contains(samples, 1e-9 * M.scale)).sum())
    fresh = demo.sample(4000, torch.Generator().manual_seed(seed + 2))
    gap = demo.log_prob(fresh) - distribution.log_prob(fresh)
    missed = int((~gap.isfinite()).sum())
    gap = gap[gap.isfinite()]
    nodes = atlas.quadrature(max(6, round((20_000 / len(atlas.charts)) ** (1 / dim))))
    total = float(nodes.weights @ distribution.log_prob_on(nodes.points, nodes.frame).exp())
    inverse = (-distribution.log_prob(samples)).exp() / demo.volume
    orientable = atlas.orientation(M.project(x).value).orientable
    report = tg.check_topology(samples, expected=demo.homology, seed=seed)
    return (
        f"{demo.name:8s} {seed:4d} {dim:2d} {len(atlas.charts):3d} {seconds:6.1f} {status:10s} "
        f"{off.median():.1e} {off.quantile(0.99):.1e}  {gap.mean():.4f} +- "
        f"{gap.std() / math.sqrt(gap.numel()):.4f}  {total:.5f}  {inverse.mean():.4f} +- "
        f"{inverse.std() / math.sqrt(inverse.numel()):.4f}  {orientable!s:5s} "
        f"({demo.orientable!s:5s}) "
        f"{report.verdict:12s} {lost:d} {missed:d}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=["circle", "sphere", "modes", "torus", "klein", "alanine"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int, default=8000)
    arguments = parser.parse_args()
    print(
        "case     seed  d   K      s status     off med  off 99%  NLL gap           int p    "
        "E[1/p]/vol        orientable     verdict      off-M missed"
    )
    for name in arguments.names:
        demo = modes() if name == "modes" else DEMOS[name]()
        for seed in range(arguments.seeds):
            print(row(demo, arguments.points, seed), flush=True)


if __name__ == "__main__":
    main()
