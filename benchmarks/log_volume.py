"""Time of the log volume and its gradient, against other ways to differentiate.

    python benchmarks/log_volume.py [--repeats 30] [--batch 256]

The map is a perceptron d - 128 - 128 - D with SiLU units, in float32, on one thread; a pass is
1/2 log det J^T J of a batch, and its gradient with respect to the weights. Columns: median
CPU milliseconds of `calculus.log_volume(mode="double")`, then the medians of the others over it,
each run in turn with it (below 1: faster), and in the last column the ratio to the fastest, which
should be at most 1.1. All but the first two take a QR factorisation of LAPACK of J:

- default: `calculus.log_volume`, which is in forward mode;
- jacfwd, jacrev: `vmap` of `torch.func.jacfwd` or `jacrev` over rows;
- columns: d forward-mode passes of the batch, one after the other;
- geomstats: 1/2 log det of the matrix of the pullback metric of geomstats 2.8 with the PyTorch
  backend, where it can be imported. It takes Jacobian matrices without a graph, so its matrix has
  no gradient with respect to the weights: here it is given the same loop over points with
  `create_graph=True`, and both are timed with the gradient;
- value only: geomstats as it is, both without the gradient.

Geomstats loops over the points, so its time for slow cases is taken on 16 of them and scaled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("GEOMSTATS_BACKEND", "pytorch")

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian as autograd_jacobian
from torch.func import functional_call, jacfwd, jacrev, jvp, vmap

from topogen import calculus

SIZES = ((2, 3), (2, 50), (10, 50), (2, 784))
Way = Callable[[nn.Module, Tensor], Tensor]


def by_qr(J: Tensor) -> Tensor:
    """1/2 log det J^T J."""
    return torch.linalg.qr(J)[1].diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def ours(g: nn.Module, z: Tensor) -> Tensor:
    """This library."""
    return calculus.log_volume(g, z, mode="double")


def default(g: nn.Module, z: Tensor) -> Tensor:
    """This library, in its default mode."""
    return calculus.log_volume(g, z)


def forward(g: nn.Module, z: Tensor) -> Tensor:
    """Row by row, forward mode."""
    parameters = dict(g.named_parameters())
    return by_qr(vmap(jacfwd(lambda row: functional_call(g, parameters, (row,))))(z))


def reverse(g: nn.Module, z: Tensor) -> Tensor:
    """Row by row, reverse mode."""
    parameters = dict(g.named_parameters())
    return by_qr(vmap(jacrev(lambda row: functional_call(g, parameters, (row,))))(z))


def columns(g: nn.Module, z: Tensor) -> Tensor:
    """One pass per direction."""
    eye = torch.eye(z.shape[-1])
    return by_qr(
        torch.stack([jvp(g, (z,), (e.expand(z.shape).contiguous(),))[1] for e in eye], -1)
    )


def pullback() -> tuple[Way, Way] | None:
    """Geomstats, where it works: with a graph, and as it is."""
    try:
        import geomstats.backend as gs
        from geomstats.geometry.euclidean import Euclidean
        from geomstats.geometry.pullback_metric import PullbackMetric
    except Exception as error:
        print(f"geomstats cannot be imported: {type(error).__name__}: {error}")
        return None
    torch.set_default_dtype(torch.float32)  # it sets float64 for the whole process
    if "pytorch" not in gs.__name__:
        print(f"geomstats has the backend {gs.__name__}")
        return None

    def way(g: nn.Module, z: Tensor, graph: bool) -> Tensor:
        from geomstats.geometry.base import ImmersedSet

        d, D = z.shape[-1], g(z[:1]).shape[-1]

        class Image(ImmersedSet):
            def __init__(self) -> None:
                super().__init__(dim=d, equip=False)

            def immersion(self, point: Tensor) -> Tensor:
                return g(point)

            def jacobian_immersion(self, base_point: Tensor) -> Tensor:
                if not graph:
                    return super().jacobian_immersion(base_point)
                rows = [autograd_jacobian(g, p, create_graph=True) for p in base_point]
                return torch.stack(rows)

            def _define_embedding_space(self) -> Euclidean:
                return Euclidean(D)

        space = Image()
        space.equip_with_metric(PullbackMetric)
        return 0.5 * torch.logdet(space.metric.metric_matrix(z))

    return partial(way, graph=True), partial(way, graph=False)


def seconds(way: Way, g: nn.Module, z: Tensor, *, backward: bool = True) -> float:
    """Of one pass."""
    g.zero_grad()
    start = time.process_time()
    value = way(g, z).mean()
    if backward:
        value.backward()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--batch", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Way] = {
        "default": default,
        "jacfwd": forward,
        "columns": columns,
        "jacrev": reverse,
    }
    extra = pullback()
    if extra is not None:
        ways["geomstats"], ways["value only"] = extra
    print(f"| d, D | ours, ms | {' | '.join(ways)} | ours / fastest |")
    print("| --- " * (len(ways) + 3) + "|")
    for d, D in SIZES:
        torch.manual_seed(0)
        g = nn.Sequential(
            nn.Linear(d, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, D)
        )
        z = torch.randn(arguments.batch, d)
        expected = ours(g, z).detach()
        own: list[float] = []
        shown, fastest = [], 0.0
        for name, way in ways.items():
            loops = name in ("geomstats", "value only")
            # a loop over points takes as long for each
            share = len(z) // 16 if loops and D > 3 else 1
            some = z[: len(z) // share]
            back = name != "value only"
            try:
                found = way(g, some).detach().to(expected)
                assert (found - expected[: len(some)]).abs().max() < 1e-3, name
                few = 3 if (loops and D > 100) or (name == "jacrev" and D > 100) else 6
                slow = (loops and d * D > 6) or few == 3
                pairs = [
                    (
                        seconds(ours, g, z, backward=back),
                        share * seconds(way, g, some, backward=back),
                    )
                    for _ in range(few if slow else arguments.repeats)
                ][1:]
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                print(f"{name} at ({d}, {D}): {type(error).__name__}: {str(error)[:100]}")
                shown.append("-")
                continue
            own += [a for a, _ in pairs] if back else []
            ratio = statistics.median(b / a for a, b in pairs)
            fastest = fastest if loops else max(fastest, 1 / ratio)
            shown.append(f"{ratio:.2f}")
        mine = 1000 * statistics.median(own)
        print(f"| {d}, {D} | {mine:.1f} | {' | '.join(shown)} | {fastest:.2f} |", flush=True)


if __name__ == "__main__":
    main()
