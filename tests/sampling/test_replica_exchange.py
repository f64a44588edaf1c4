"""Replica exchange: components get their masses, wherever the chains start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.manifolds.curvature import shape_operator
from topogen.sampling import Ladder, Plan, random_walk, replica_exchange
from topogen.sampling.constraint_steps import Mover, NormalSolver
from topogen.sampling.replicas import log_jacobian


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def outer(x: Tensor) -> Tensor:
    return (x.norm(dim=-1) > 1.5).double()


def circles() -> tg.Union:
    return tg.disjoint_union(tg.Circle(1.0), tg.Circle(2.0))


@pytest.mark.parametrize("make", [lambda: tg.Torus(1.0, 0.5), tg.SpecialOrthogonal, tg.HopfLink])
def test_the_volume_factor_is_that_of_the_shape_operator(make) -> None:
    M = make()
    mover = Mover(M, NormalSolver())
    at = mover.frames(M.sample_uniform(20, seeded()))
    a = 0.1 * torch.randn(20, at.N.shape[-1], generator=seeded(1), dtype=torch.float64)
    S = shape_operator(M, at.x, at.normal(a))
    expected = torch.logdet(torch.eye(M.dim, dtype=S.dtype) - S)
    torch.testing.assert_close(log_jacobian(mover, at, a), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_circles_of_unequal_length_from_one_of_them() -> None:
    M = circles()
    start = M.listed()[0].sample_uniform(48, seeded())
    result = replica_exchange(M, n=60, seed=0, plan=Plan(start=start, chains=48, warmup=20))
    value, error = result.mean(outer)
    assert float(error) < 0.03
    assert abs(float(value) - 2 / 3) < 4 * float(error)
    assert result.swaps is not None
    assert min(result.swaps) > 0.3
    assert float((result.points.norm(dim=-1) - 1.5).abs().max()) < 0.5 + 1e-9
    # the walk alone never leaves its circle
    alone = random_walk(M, n=30, seed=0, plan=Plan(step=0.3, start=start, chains=48, warmup=0))
    assert float(alone.mean(outer).value) == 0


@pytest.mark.slow
def test_a_density_tilts_the_masses() -> None:
    M = circles()

    def f(x: Tensor) -> Tensor:
        return 0.5 * x[:, 0] - x[:, 1] ** 2

    x = M.sample_uniform(200_000, seeded(1))
    w = f(x).exp()
    truth = float((w * outer(x)).sum() / w.sum())
    start = M.listed()[1].sample_uniform(48, seeded())
    result = replica_exchange(
        M, f, n=120, seed=0, ladder=Ladder(ambient=f), plan=Plan(start=start, chains=48, warmup=30)
    )
    value, error = result.mean(outer)
    assert float(error) < 0.03
    assert abs(float(value) - truth) < 4 * float(error)


@pytest.mark.slow
def test_hopf_link_from_one_ring() -> None:
    M = tg.HopfLink()
    x = M.sample_uniform(200_000, seeded())

    def ring(x: Tensor) -> Tensor:
        return (x[..., 2].abs() > 1e-6).double()

    w = x[:, 0].exp()
    truth = float((w * ring(x)).sum() / w.sum())
    start = x[ring(x) == 0][:64]
    result = replica_exchange(
        M, lambda x: x[:, 0], n=200, seed=0, plan=Plan(start=start, chains=64, warmup=60)
    )
    value, error = result.mean(ring)
    assert abs(float(value) - truth) < 4 * float(error) < 0.06


def test_bad_widths() -> None:
    for widths in ([], [0.2, 0.1], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="widths"):
            replica_exchange(circles(), n=2, ladder=Ladder(widths=widths), plan=Plan(chains=4))
    with pytest.raises(ValueError, match="steps >= 1"):
        replica_exchange(circles(), n=2, ladder=Ladder(steps=0), plan=Plan(chains=4))
