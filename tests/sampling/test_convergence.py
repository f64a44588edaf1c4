"""A wrong distribution raises an alarm; a right one does not; starts are what the user said."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.errors import InvalidPoints, ProjectionError, UnsupportedError
from topogen.sampling import Plan, SamplingError, constrained_hmc, random_walk


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vmf(x: Tensor) -> Tensor:
    return 5 * x[:, 2]


def height(x: Tensor) -> Tensor:
    return x[..., 2]


MEAN_Z = 1 / math.tanh(5) - 1 / 5
TRAP = {"steps": 5, "seed": 0}


class TestTrap:
    """Von Mises-Fisher(5) on the sphere, uniform starts: good acceptance, wrong distribution."""

    @pytest.mark.slow
    def test_it_raises_an_alarm(self) -> None:
        start = tg.Sphere().sample_uniform(500, seeded(1))
        result = constrained_hmc(
            tg.Sphere(), vmf, 25, **TRAP, plan=Plan(step=0.3, chains=500, warmup=0, start=start)
        )
        assert result.acceptance > 0.5  # nothing to see here
        value, error = result.mean(height)
        assert float(value) < MEAN_Z - 10 * float(error)
        assert result.status == "alarm"
        for sign in ("failed to return to M", "never moved", "above half", "drifts", "R-hat"):
            assert sign in (result.alarm or "")
        with pytest.raises(SamplingError, match="failed to return"):
            constrained_hmc(
                tg.Sphere(),
                vmf,
                5,
                throw=True,
                **TRAP,
                plan=Plan(step=0.3, chains=500, warmup=0, start=start),
            )

    @pytest.mark.slow
    def test_annealed_starts_avoid_it_at_the_same_step(self) -> None:
        result = constrained_hmc(
            tg.Sphere(), vmf, 12, **TRAP, plan=Plan(step=0.3, chains=500, warmup=24)
        )
        value, error = result.mean(height)
        assert abs(float(value) - MEAN_Z) < 4 * float(error) < 0.05

    @pytest.mark.slow
    def test_failures_in_a_rare_region_are_seen(self) -> None:
        """A tight neck that few chains visit: the mean failure rate alone is harmless."""
        start = torch.tensor([[0.0, 0.0, 1.0]]).repeat(300, 1)
        start[:12, 2] = -1
        result = constrained_hmc(
            tg.Sphere(),
            vmf,
            30,
            **TRAP,
            plan=Plan(step=0.3, chains=300, reach=100.0, warmup=0, start=start),
        )
        assert result.projection_failures < 0.05
        assert "where the log density is about" in (result.alarm or "") or "never moved" in (
            result.alarm or ""
        )


@pytest.mark.slow
def test_a_right_distribution_raises_none() -> None:
    for seed in (0, 1):
        result = random_walk(tg.Sphere(), vmf, 40, seed=seed, plan=Plan(chains=60, warmup=40))
        assert result.alarm is None
        assert result.status == "ok"


def test_drift_is_seen() -> None:
    north = torch.tensor([[0.0, 0.0, 1.0]])
    result = random_walk(
        tg.Sphere(), n=20, seed=0, plan=Plan(step=0.1, chains=100, start=north, warmup=0)
    )
    assert "drifts" in (result.alarm or "")
    assert "R-hat" in (result.alarm or "")


def test_nan_densities_are_counted() -> None:
    def f(x: Tensor) -> Tensor:
        return torch.where(x[:, 2] < -0.5, math.nan, 0.0)

    start = torch.tensor([[0.0, 0.0, 1.0]])
    result = random_walk(
        tg.Sphere(), f, 20, seed=0, plan=Plan(step=0.5, chains=50, start=start, warmup=5)
    )
    assert "NaN" in (result.alarm or "")
    assert float(result.points[:, 2].min()) >= -0.5
    with pytest.raises(ValueError, match="starts of finite log density"):
        random_walk(
            tg.Sphere(), f, 2, seed=0, plan=Plan(step=0.1, chains=5, start=-start, warmup=0)
        )


def test_a_set_computed_in_single_precision_raises_and_does_not_freeze() -> None:
    """Rounding of 1e-7 inside F, unknown to the solver, whose tolerance is 2e-12."""

    def F(x: Tensor) -> Tensor:
        return ((x.float() * 1.1) ** 2).sum(-1, keepdim=True).to(x.dtype) - 1

    M = tg.ImplicitManifold(F, 2, 3)
    start = tg.Sphere().sample_uniform(50, seeded()) / 1.1
    with pytest.raises(ProjectionError, match="float64"):
        random_walk(M, n=5, seed=0, plan=Plan(start=start, chains=50))


class TestStarts:
    def test_weights_are_for_the_uniform_distribution(self) -> None:
        """Two circles of lengths 1 : 3, with as many starts on each; no chain passes."""
        M = tg.disjoint_union(tg.Circle(1.0), tg.Circle(3.0))
        start = torch.cat([m.sample_uniform(200, seeded()) for m in M.listed()])
        weights = torch.tensor([1.0, 3.0]).repeat_interleave(200)
        plan = Plan(step=0.2, chains=400, warmup=20, start=start)
        weighted = replace(plan, weights=weights)
        outer = lambda x: (x.norm(dim=-1) > 2).double()
        blind = random_walk(M, n=10, plan=plan, seed=0)
        assert abs(float(blind.mean(outer).value) - 0.5) < 0.01
        assert "2 components" in (blind.alarm or "")
        fair = random_walk(M, n=10, plan=weighted, seed=0)
        assert abs(float(fair.mean(outer).value) - 0.75) < 0.01
        assert fair.alarm is None
        # resampled on the way to a density that differs between the circles
        f = lambda x: (x.square().sum(-1) - 1) * math.log(3) / 8  # 3 times as dense outside
        tilted = random_walk(M, f, n=10, plan=weighted, seed=0)
        # systematic resampling of 400 rows: the share is known to about 1 / sqrt(400)
        assert abs(float(tilted.mean(outer).value) - 0.9) < 0.05

    def test_components_carry_masses_and_labels(self) -> None:
        M = tg.disjoint_union(tg.Circle(1.0), tg.Circle(2.0))
        start = torch.cat([m.sample_uniform(50, seeded()) for m in M.listed()])
        labels = torch.tensor([7, 9]).repeat_interleave(50)
        result = random_walk(
            M,
            n=80,
            seed=0,
            plan=Plan(
                step=0.7,
                chains=100,
                start=start,
                components=labels,
                weights=[0.25, 0.75],
                warmup=20,
            ),
        )
        assert result.components is not None
        assert int(result.components.sum()) == 75
        side = result.diagnose(lambda x: (x.norm(dim=-1, keepdim=True) > 1.5).double())
        assert result.rhat < 1.5 < float(side.rhat)  # within components, and across
        assert "2 components" not in (result.alarm or "")

    def test_bad_starts(self) -> None:
        M, x = tg.Sphere(), tg.Sphere().sample_uniform(10, seeded())
        for options, message in (
            ({"weights": torch.ones(10)}, "give start"),
            ({"start": x, "weights": torch.ones(9)}, "10 weights"),
            ({"start": x, "weights": -torch.ones(10)}, "10 weights"),
            ({"start": x, "components": torch.ones(10)}, "whole numbers"),
            (
                {"start": x, "components": torch.arange(10) % 2, "weights": torch.ones(10)},
                "2 weights",
            ),
        ):
            with pytest.raises(ValueError, match=message):
                random_walk(M, n=2, plan=Plan(chains=10, warmup=0, **options))
        with pytest.raises(InvalidPoints, match="NaN"):
            random_walk(M, n=2, plan=Plan(chains=2, start=torch.full((3, 3), math.nan)))
        with pytest.raises(InvalidPoints, match="columns"):
            random_walk(M, n=2, plan=Plan(chains=2, start=torch.ones(3, 2)))
        implicit = tg.ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, 2, 3)
        with pytest.raises(ProjectionError, match="starting points"):
            random_walk(implicit, n=2, plan=Plan(chains=2, start=torch.zeros(3, 3)))

    def test_float32_and_arrays_are_fine_and_results_are_float64(self) -> None:
        x = tg.Sphere().sample_uniform(10, seeded()).float().numpy()
        result = random_walk(
            tg.Sphere(), n=3, seed=0, plan=Plan(chains=10, start=x, step=0.2, warmup=0)
        )
        assert result.samples.dtype == torch.float64
        assert float((result.points.norm(dim=-1) - 1).abs().max()) < 1e-11


def test_one_chain_and_one_draw() -> None:
    result = random_walk(tg.Sphere(), n=1, seed=0, plan=Plan(chains=1, warmup=0))
    assert result.samples.shape == (1, 1, 3)
    assert math.isnan(result.rhat)
    with pytest.raises(UnsupportedError, match="two chains"):
        result.mean(height)


def test_the_same_seed_gives_the_same_chains_and_thin_drops_draws() -> None:
    plan = Plan(step=0.3, chains=5, warmup=3)
    a, b = (random_walk(tg.Sphere(), n=8, seed=4, plan=plan) for _ in range(2))
    assert torch.equal(a.samples, b.samples)
    c = random_walk(tg.Sphere(), n=4, generator=seeded(4), plan=replace(plan, thin=2))
    assert torch.equal(a.samples[:, 1::2], c.samples)
    assert "R-hat" in str(a)


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"chains": 0},
        {"thin": 0},
        {"warmup": -1},
        {"step": 0.0},
        {"reach": -1.0},
        {"accept": 1.0},
        {"seed": 0, "generator": torch.Generator()},
    ],
)
def test_bad_options(options: dict) -> None:
    own = {name: value for name, value in options.items() if name in ("n", "seed", "generator")}
    with pytest.raises(ValueError, match="expected"):
        random_walk(
            tg.Sphere(), plan=Plan(**{k: v for k, v in options.items() if k not in own}), **own
        )


def test_sets_without_a_normal_or_a_tangent_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="normal"):
        random_walk(tg.Euclidean(2), n=2)
