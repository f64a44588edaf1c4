"""Clouds that no set fits well are fitted, or refused in a sentence: never with a traceback."""

import pytest
import torch

import topogen as tg
from topogen.errors import InvalidPoints, TopogenError
from topogen.models import atlas_density


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def lattice(seed, D=2, size=5):
    return torch.randint(0, size, (300, D), generator=seeded(seed))


def on_a_line(seed, D=3):
    t = torch.randn(200, 1, generator=seeded(seed), dtype=torch.float64)
    return t * torch.tensor([1.0, 2.0, -1.0])[:D]


MODELS = {
    "implicit": lambda d, D: tg.NeuralImplicit(d, D, features=50, width=16),
    "local": tg.LocalPolynomials,
    "charts": lambda d, D: tg.ProjectedAtlas(tg.LocalPolynomials(d, D)),
    "density": lambda d, D: tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(d, D))),
    "injective": lambda d, D: tg.InjectiveFlow(d, D, base="auto"),
}
CLOUDS = {
    "lattice": (1, lattice(1)),
    "25 points": (1, tg.Circle().sample_uniform(25, seeded(0))),
    "two points": (1, torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(100, 1)),
    "tiny": (1, 1e-8 * tg.Circle().sample_uniform(300, seeded(0)).double()),
    "huge": (1, 1e8 * tg.Circle().sample_uniform(300, seeded(0)).double()),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("model", ["implicit", "local", "charts"])
def test_fitted_or_refused(model, cloud):
    d, x = CLOUDS[cloud]
    learnable = MODELS[model](d, x.shape[1])
    refused = ""
    try:
        tg.fit(learnable, x)
    except TopogenError as error:
        refused = str(error)
    assert learnable.fitted or "expected" in refused


@pytest.mark.slow
def test_grids_of_integers_have_too_few_projections():
    """25 different points: a set of dimension 1 agrees with hardly any of them."""
    M = tg.NeuralImplicit(1, 2, features=50, width=32)
    with pytest.raises(InvalidPoints, match=r"grid of integers.*give more different points"):
        tg.fit(M, lattice(2))


def test_charts_without_room_for_bumps(monkeypatch):
    """Charts on points of a line that pass for a surface: no bump fits."""
    monkeypatch.setattr(atlas_density, "_shrink", lambda chart, z, L: L * float("nan"))
    with pytest.raises(InvalidPoints, match=r"room for bumps.*another dimension"):
        tg.fit(MODELS["density"](1, 2), tg.Circle().sample_uniform(100, seeded(0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", MODELS)
def test_many_weird_clouds(model, seed):
    circle = tg.Circle().sample_uniform(300, seeded(seed)).double()
    for d, x in (
        (1, lattice(seed)),
        (2, lattice(seed, 3, 4)),
        (1, on_a_line(seed, 2)),
        (2, on_a_line(seed)),
        (1, torch.cat([circle, torch.tensor([[1e6, 0.0]])])),
    ):
        learnable = MODELS[model](d, x.shape[1])
        try:
            tg.fit(learnable, x, steps=150 if model == "injective" else None)
        except (TopogenError, ValueError) as error:
            message = str(error)
            assert message.startswith("expected")
        else:
            assert learnable.fitted
