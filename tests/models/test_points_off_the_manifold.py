"""What a fit does with points that are not on the known manifold they are fitted on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import topogen as tg
from tests import catalogue
from topogen.errors import InvalidPoints
from topogen.manifolds.base import rounding


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_flow(M: tg.Manifold) -> tg.SplineFlow:
    return tg.SplineFlow(M, bins=4, width=8, depth=1, networks=1)


X = tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0).sample((300,), seeded())


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (lambda x: 6371 * x, r"300 of 300 .* divide them by 6371 \(kilometres, on the Earth"),
        (lambda x: 6.371e6 * x, r"divide them by 6\.371e\+06 \(metres"),
        (lambda x: 1.2 * x, r"divide them by 1\.2"),
        (lambda x: x + torch.tensor([5.0, 0.0, 0.0]).double(), "farther from it than 0.15"),
        (lambda x: torch.cat([x, 3 * x[:2]]), "got 2 of 302"),
    ],
)
@pytest.mark.parametrize(
    "model", [small_flow, lambda M: tg.AtlasDensity(M.atlas()), tg.EnergyModel, tg.FlowMatching]
)
def test_far_points_are_refused_with_the_likely_unit(
    points: Callable[[Tensor], Tensor], said: str, model: Callable[[tg.Manifold], tg.SplineFlow]
) -> None:
    with pytest.raises(InvalidPoints, match=said):
        tg.fit(model(tg.Sphere()), points(X))


def test_a_moved_set_is_told_its_centre() -> None:
    x = tg.Sphere().sample_uniform(2000, seeded()) + torch.tensor([5.0, 0.0, 0.0])
    x = torch.cat([x, 2 * torch.tensor([5.0, 0.0, 0.0]) - x])  # evenly about its centre
    with pytest.raises(InvalidPoints, match=r"subtract their centre \(5, "):
        tg.fit(small_flow(tg.Sphere()), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounded_points_are_points_of_m(dtype: torch.dtype) -> None:
    """Points that were stored in less precision, and read as float64, have a density."""
    x = X.to(dtype).double()
    for q in (tg.Uniform(tg.Sphere()), tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0)):
        assert bool(q.log_prob(x).isfinite().all())  # it would raise
    assert bool(tg.Sphere().contains(x).all())
    assert bool((tg.Sphere().distance(x[:5], x[5:10]) > 0).all())
    # negative control: farther off than its rounding, in the same precision
    off = (x * (1 + 8 * torch.finfo(dtype).eps)).to(dtype).double()
    assert not bool(tg.Sphere().contains(off).any())
    with pytest.raises(ValueError, match="farther away"):
        tg.Uniform(tg.Sphere()).log_prob(off)


def test_copies_contain_their_points_rounded() -> None:
    A = torch.linalg.qr(torch.randn(4, 2, generator=seeded()).double())[0]
    for M in (
        tg.Similarity(tg.Circle(), [3.0, 0.0], factor=2.0),
        tg.Similarity(tg.Circle(), [1.0, 0.0, 0.0, 2.0], rotation=A),
    ):
        x = M.sample_uniform(500, seeded()).float().double()
        assert bool(M.contains(x).all())
        off = M.shift + (1 + 3e-6) * (x - M.shift)  # negative control: a larger circle
        assert not bool(M.contains(off).any())


def test_the_rounding_of_a_row() -> None:
    x = torch.tensor([[0.1, 0.2], [0.5, 0.25]], dtype=torch.float64)
    x = torch.cat([x, x[:1].float().double(), x[:1].half().double()])
    size = x.norm(dim=-1)
    eps = torch.tensor([0.0, 2**-7, 2**-23, 2**-10], dtype=torch.float64)
    torch.testing.assert_close(rounding(x), 0.5 * eps * size, rtol=1e-3, atol=1e-12)


@pytest.mark.slow
def test_a_flow_has_a_density_at_the_points_it_was_fitted_to() -> None:
    """Rounded to four digits, or noisy: a fit says how far it moved them, and allows as much."""
    for x, far in (
        (X.round(decimals=4), 1e-4),
        (X * (1 + 0.02 * torch.randn(300, 1, generator=seeded()).double()), 0.1),
    ):
        model = small_flow(tg.Sphere())
        result = tg.fit(model, x, steps=20)
        assert "moved onto the manifold, by up to" in result.message
        q = model() if model.fitted else None
        moved = float(tg.Sphere().residual(x).max())
        assert model.atol == pytest.approx(2 * moved)
        assert moved < far
        model.fitted = True
        q = model()
        assert bool(q.log_prob(x).isfinite().all())
        assert bool(q.log_prob(2 * x).isinf().all())
    result = tg.fit(model := small_flow(tg.Sphere()), X, steps=2)
    assert "moved" not in result.message
    assert model.atol is None


# -- precision and processes ----------------------------------------------------------------------

MODELS = {
    "local": lambda: catalogue.local_ellipse().model,
    "image": lambda: catalogue.injective_ellipse().model,
    "splines": lambda: catalogue.spline_circle().model,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("narrow", ["float", "half", "bfloat16"])
def test_a_model_keeps_its_precision(name: str, narrow: str) -> None:
    model = MODELS[name]()
    x = model().sample((20,), seeded())
    other = getattr(copy.deepcopy(model), narrow)()
    torch.testing.assert_close(other().log_prob(x), model().log_prob(x))
    torch.testing.assert_close(
        other().log_prob(x.float()).double(), model().log_prob(x), atol=1e-3, rtol=1e-3
    )
    assert bool(other().log_prob(other().sample((20,), seeded())).isfinite().all())
    again = copy.deepcopy(model).to(torch.float32).double()
    torch.testing.assert_close(again().log_prob(x), model().log_prob(x))


@pytest.mark.parametrize("name", MODELS)
def test_off_m_every_model_gives_minus_infinity_and_all_can_be_pickled(name: str) -> None:
    q = MODELS[name]()()
    x = torch.cat([q.sample((3,), seeded()), torch.full((1, 2), 9.0).double()])
    value = pickle.loads(pickle.dumps(q)).log_prob(x)
    assert value.isinf().tolist() == [False, False, False, True]
    torch.testing.assert_close(value, q.log_prob(x))


def test_an_energy_on_a_space_can_be_pickled() -> None:
    model = tg.EnergyModel(tg.Circle(), networks=1, width=4, depth=1)
    tg.fit(model, tg.Circle().sample_uniform(100, seeded()), steps=3)
    model.fitted = True
    x = tg.Circle().sample_uniform(5, seeded())
    torch.testing.assert_close(
        pickle.loads(pickle.dumps(model())).log_prob(x), model().log_prob(x)
    )
