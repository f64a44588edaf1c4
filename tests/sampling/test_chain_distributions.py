"""Chains against known distributions, and what they give when they are broken.

Every test is seeded; bounds are 4 standard errors over independent chains, which a right sampler
misses with probability 6e-5 each.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.baselines.constrained_langevin import uncorrected_constrained_langevin
from topogen.sampling import (
    ChainResult,
    NormalSolver,
    Plan,
    constrained_hmc,
    langevin,
    random_walk,
)

SIGMAS = 4.0
MEAN_Z = 1 / math.tanh(5) - 1 / 5  # von Mises-Fisher of concentration 5: .80009


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vmf(x: Tensor) -> Tensor:
    return 5 * x[:, 2]


def close(result: ChainResult, g, expected: float, most: float) -> None:
    """E g is as expected, and known to better than `most`."""
    value, error = result.mean(g)
    assert float(error) < most
    assert abs(float(value) - expected) < SIGMAS * float(error), (float(value), float(error))


class TestSphere:
    def test_uniform(self) -> None:
        north = torch.tensor([[0.0, 0.0, 1.0]])
        result = random_walk(
            tg.Sphere(), n=20, seed=0, plan=Plan(step=0.8, chains=1500, start=north, warmup=25)
        )
        for power, expected in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
            close(result, lambda x, p=power: x[..., 2] ** p, expected, 0.02)
        # Archimedes: z is uniform; the chains' last states are independent
        z = result.samples[:, -1, 2].sort().values
        n = z.numel()
        gap = (torch.arange(n) + 0.5) / n - (z + 1) / 2
        assert float(gap.abs().max()) * math.sqrt(n) < 1.95  # 0.1 % critical value

    @pytest.mark.slow
    def test_von_mises_fisher_by_hamiltonian_chains(self) -> None:
        result = constrained_hmc(
            tg.Sphere(), vmf, 12, steps=10, seed=0, plan=Plan(step=0.1, chains=600, warmup=20)
        )
        assert result.acceptance > 0.98
        assert result.status == "ok"
        close(result, lambda x: x[..., 2], MEAN_Z, 0.006)

    @pytest.mark.parametrize(
        "sampler",
        [
            random_walk,
            pytest.param(partial(constrained_hmc, steps=4), marks=pytest.mark.slow),
            langevin,
        ],
    )
    def test_von_mises_fisher_by_default(self, sampler) -> None:
        result = sampler(tg.Sphere(), vmf, 30, seed=1, plan=Plan(chains=500, warmup=60))
        assert result.alarm is None
        close(result, lambda x: x[..., 2], MEAN_Z, 0.02)

    @pytest.mark.slow
    def test_inner_moves_and_jitter(self) -> None:
        result = constrained_hmc(
            tg.Sphere(),
            vmf,
            20,
            steps=3,
            inner=2,
            jitter=0.5,
            seed=0,
            plan=Plan(step=0.2, chains=500, warmup=30),
        )
        close(result, lambda x: x[..., 2], MEAN_Z, 0.01)

    def test_the_published_langevin_chain_is_biased(self) -> None:
        plan = Plan(step=0.5, chains=600, warmup=20)
        published = uncorrected_constrained_langevin(
            tg.Sphere(), vmf, 30, step=0.5, plan=plan, seed=0
        )
        fair = langevin(tg.Sphere(), vmf, 30, plan=plan, seed=0)
        assert published.status == "uncorrected"
        value, error = published.mean(lambda x: x[..., 2])
        assert float(value) < MEAN_Z - 0.05 < MEAN_Z - 5 * float(error)
        close(fair, lambda x: x[..., 2], MEAN_Z, 0.01)

    def test_hemisphere_by_a_guard(self) -> None:
        """x_3 >= .2, by refusal: x_3 is uniform on (.2, 1)."""

        class Cap(tg.ImplicitManifold):
            def in_domain(self, x: Tensor) -> Tensor:
                return x[..., 2] >= 0.2

        cap = Cap(lambda x: (x * x).sum(-1, keepdim=True) - 1, 2, 3)
        start = torch.tensor([[0.0, 0.6, 0.8]])
        result = random_walk(
            cap, n=20, seed=0, plan=Plan(step=0.5, chains=1000, start=start, warmup=25)
        )
        assert float(result.points[:, 2].min()) >= 0.2
        assert result.outside > 0.1
        close(result, lambda x: x[..., 2], 0.6, 0.01)
        close(result, lambda x: (x[..., 2] - 0.6) ** 2, 0.8**2 / 12, 0.004)


class TestTorus:
    @staticmethod
    def walk(known, check: bool) -> ChainResult:
        start = tg.Torus(1.0, 0.5).sample_uniform(5000, seeded(3))
        return random_walk(
            known.torus(),
            n=40,
            seed=0,
            plan=Plan(
                step=0.5,
                chains=5000,
                start=start,
                warmup=20,
                solver=NormalSolver(reverse_check=check),
            ),
        )

    @staticmethod
    def cos_phi(x: Tensor) -> Tensor:
        return (x[..., :2].norm(dim=-1) - 1) / 0.5

    @pytest.mark.slow
    def test_the_random_walk_is_unbiased(self, known) -> None:
        result = self.walk(known, check=True)
        assert 0.63 < result.acceptance < 0.70
        assert 0.25 < result.projection_failures < 0.31
        assert 0.01 < result.reverse_failures < 0.04
        close(result, self.cos_phi, 0.25, 0.0065)

    @pytest.mark.slow
    def test_without_the_reverse_check_it_is_not(self, known) -> None:
        result = self.walk(known, check=False)
        value, error = result.mean(self.cos_phi)
        assert float(value) > 0.25 + 0.02
        assert float(value) - 0.25 > 4 * float(error)

    @pytest.mark.slow
    def test_hamiltonian_chains(self) -> None:
        result = constrained_hmc(
            tg.Torus(1.0, 0.5), n=5, steps=8, seed=0, plan=Plan(step=0.1, chains=1200, warmup=0)
        )
        assert result.acceptance > 0.98
        close(result, self.cos_phi, 0.25, 0.02)

    @pytest.mark.slow
    def test_adaptation_reaches_its_target(self) -> None:
        M = tg.Torus(1.0, 0.5)

        def f(x: Tensor) -> Tensor:
            return 4 * x[:, 0]

        result = random_walk(M, f, n=10, seed=0, plan=Plan(accept=0.7, chains=300, warmup=40))
        assert abs(result.acceptance - 0.7) < 0.04
        assert result.step < result.reach
        slow = constrained_hmc(
            M, f, n=2, steps=1, seed=0, plan=Plan(chains=100, warmup=20, reach=0.1)
        )
        # bounded by the reach, whatever the acceptance
        assert slow.step * 2 < 0.1
        assert slow.acceptance > 0.95


def test_clifford_torus() -> None:
    start = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    result = random_walk(
        tg.FlatTorus(2), n=20, seed=0, plan=Plan(step=0.8, chains=1000, start=start, warmup=25)
    )
    for g, expected in (
        (lambda x: x[..., 0], 0.0),
        (lambda x: x[..., 0] ** 2, 0.5),
        (lambda x: x[..., 0] * x[..., 2], 0.0),
        (lambda x: (x[..., 1] * x[..., 3]) ** 2, 0.25),
    ):
        close(result, g, expected, 0.03)


@pytest.mark.slow
def test_rotations_are_haar_and_never_turn_into_reflections(known) -> None:
    M = known.orthogonal()  # both components of O(3)
    start = torch.eye(3, dtype=torch.float64).reshape(1, 9)
    result = random_walk(M, n=8, seed=0, plan=Plan(step=0.8, chains=1200, start=start, warmup=20))
    A = result.samples.unflatten(-1, (3, 3))
    assert bool((torch.linalg.det(A) > 0.5).all())

    def trace(power: int):
        return lambda x: (x[..., 0] + x[..., 4] + x[..., 8]) ** power

    for power, expected, most in ((1, 0.0, 0.03), (2, 1.0, 0.04), (4, 3.0, 0.3)):
        close(result, trace(power), expected, most)


@pytest.mark.slow
def test_klein_bottle_by_over_determined_equations() -> None:
    M = tg.KleinBottle(1.0, 0.5)
    assert M.defining is None
    exact = M.sample_uniform(100_000, seeded(5))
    # uniform angles: too many points where the tube is short
    t = 2 * math.pi * torch.rand(300, 2, generator=seeded(), dtype=torch.float64)
    start = M.parametrize(t)
    result = random_walk(M, n=8, seed=0, plan=Plan(step=0.4, chains=300, start=start, warmup=8))
    radius = start[:, :2].norm(dim=-1)
    assert abs(float(radius.mean() - exact[:, :2].norm(dim=-1).mean())) > 0.08
    assert float(M.residual(result.points).max()) < 1e-9
    for g in (
        lambda x: x[..., 0],
        lambda x: x[..., :2].norm(dim=-1),
        lambda x: x[..., 2] ** 2,
        lambda x: x[..., 2] * x[..., 3] * x[..., 1],
    ):
        close(result, g, float(g(exact).mean()), 0.06)


@pytest.fixture(scope="module")
def learned() -> tg.LocalPolynomials:
    x = tg.Torus(1.0, 0.5).sample_uniform(3000, seeded())
    M = tg.LocalPolynomials(2, 3)
    tg.fit(M, x, progress=False)
    return M


@pytest.mark.slow
def test_a_learned_torus_keeps_its_chains(learned: tg.LocalPolynomials) -> None:
    start = tg.Torus(1.0, 0.5).sample_uniform(80, seeded(1))
    result = random_walk(
        learned, n=6, seed=0, plan=Plan(step=0.3, chains=80, start=start, warmup=0)
    )
    assert float(learned.residual(result.points).max()) < 1e-9
    assert bool(learned.in_domain(result.points).all())
    assert result.acceptance > 0.7
    assert float(tg.Torus(1.0, 0.5).residual(result.points).max()) < 0.01
    close(result, TestTorus.cos_phi, 0.25, 0.09)


@pytest.mark.slow
def test_a_learned_torus_has_the_right_distribution(learned: tg.LocalPolynomials) -> None:
    start = tg.Torus(1.0, 0.5).sample_uniform(1000, seeded(1))
    result = random_walk(
        learned, n=60, seed=0, plan=Plan(step=0.4, chains=1000, start=start, warmup=20)
    )
    close(result, TestTorus.cos_phi, 0.25, 0.01)
