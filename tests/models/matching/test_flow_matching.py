"""FlowMatching: distributions that are learned."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import (
    InvalidPoints,
    NotFittedError,
    SaveError,
    TrainingError,
    UnsupportedError,
)
from topogen.models.matching.pairs import Examples

NETWORK = {"width": 32, "depth": 2, "features": 4, "finest": 2.0}
SMALL = {**NETWORK, "options": tg.MatchingOptions(steps=300, batch=256)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def vmf():
    return tg.VonMisesFisher([0.0, 0.6, 0.8], 6.0, validate_args=False)


@pytest.fixture(scope="module")
def learned():
    x = vmf().sample((2000,), seeded())
    model = tg.FlowMatching(tg.Sphere(), **SMALL)
    return model, tg.fit(model, x, seed=0), x


@pytest.mark.slow
def test_close_to_the_truth_and_normalised(learned):
    model, result, _ = learned
    distribution = model()
    assert result.status == "converged"
    assert distribution.likelihood == "exact"
    assert distribution.log_z_error < 1e-3
    fresh = vmf().sample((500,), seeded(1))
    value = distribution.log_prob(fresh)
    gap = float((vmf().log_prob(fresh) - value).mean())
    assert gap < 0.06
    assert float(value.mean()) + math.log(4 * math.pi) > 0.5
    q = tg.Sphere().atlas().quadrature(30)
    assert float(q.weights.sum()) == pytest.approx(4 * math.pi, abs=1e-3)
    assert float(q.weights @ distribution.log_prob(q.points).exp()) == pytest.approx(1, abs=1e-3)
    assert -model.score == pytest.approx(float(-value.mean()), abs=0.2)
    assert (model.lost, model.lost_pairs) == (0, 0)


@pytest.mark.slow
def test_obeys_the_laws_of_a_distribution(learned):
    tg.testing.check_distribution(learned[0](), seeded(), n=2000)


def test_save_and_load(learned, tmp_path):
    model, _, x = learned
    tg.save(model, tmp_path / "flow.safetensors")
    again = tg.load(tmp_path / "flow.safetensors")
    assert torch.equal(again().log_prob(x[:50]), model().log_prob(x[:50]))
    assert torch.equal(again().sample((5,), seeded()), model().sample((5,), seeded()))
    assert (again.score, again.integration_error) == (model.score, model.integration_error)


@pytest.mark.slow
def test_a_seed_fixes_the_fit_and_short_fits_say_so():
    x = vmf().sample((300,), seeded())
    small = {**NETWORK, "options": tg.MatchingOptions(steps=12, batch=256, held_out=0.0)}
    models = [tg.FlowMatching(tg.Sphere(), **small) for _ in range(2)]
    results = [tg.fit(m, x, seed=1) for m in models]
    values = [m().log_prob(x[:20]) for m in models]
    torch.testing.assert_close(values[0], values[1], atol=1e-10, rtol=0.0)
    assert results[0].status in ("converged", "max_steps")
    cut = tg.FlowMatching(tg.Sphere(), **small)
    assert tg.fit(cut, x, steps=5).status == "max_steps"
    assert not cut.fitted


def test_what_is_refused():
    with pytest.raises(UnsupportedError, match="MobiusBand, which has a boundary"):
        tg.FlowMatching(tg.MobiusBand())
    with pytest.raises(UnsupportedError, match="HopfLink with 2 components"):
        tg.FlowMatching(tg.HopfLink())
    with pytest.raises(ValueError, match="expected width"):
        tg.FlowMatching(tg.Sphere(), width=0)
    with pytest.raises(ValueError, match="expected tol > 0"):
        tg.FlowMatching(tg.Sphere(), tol=0.0)
    with pytest.raises(ValueError, match="expected pairing"):
        tg.MatchingOptions(pairing="nearest")
    with pytest.raises(ValueError, match="expected steps, batch >= 1"):
        tg.MatchingOptions(held_out=1.0)
    with pytest.raises(ValueError, match="base distribution on this manifold"):
        tg.FlowMatching(tg.Sphere(), base=tg.Uniform(tg.Sphere()))
    with pytest.raises(ValueError, match="atlas of this manifold"):
        tg.FlowMatching(tg.Sphere(), tg.Atlas(list(tg.Sphere().atlas().charts)))
    with pytest.raises(TypeError, match="a fitted distribution, got InjectiveFlow; fit it first"):
        tg.FlowMatching(tg.InjectiveFlow(1, 2, "circle"))
    with pytest.raises(NotFittedError):
        tg.FlowMatching(tg.Sphere())()
    few = tg.Sphere().sample_uniform(10, seeded())
    with pytest.raises(InvalidPoints, match="at least 20 different points"):
        tg.fit(tg.FlowMatching(tg.Sphere(), **SMALL), few)


def test_atlases_and_fitted_distributions_stand_for_their_sets(learned):
    atlas = tg.Sphere().atlas()
    model = tg.FlowMatching(atlas)
    assert model.manifold is atlas.manifold
    assert model.atlas is atlas
    charts = tg.ProjectedAtlas(tg.LocalPolynomials(1, 2))
    assert tg.FlowMatching(charts).atlas is charts
    assert tg.FlowMatching(learned[0]).manifold is learned[0].manifold


def test_a_descent_without_pairs_ends(monkeypatch):
    x = vmf().sample((300,), seeded())
    odd = {**NETWORK, "options": tg.MatchingOptions(steps=2, batch=300)}  # no whole block
    assert tg.fit(tg.FlowMatching(tg.Sphere(), **odd), x).status in ("converged", "max_steps")
    monkeypatch.setattr(Examples, "batches", lambda *_: iter(()))
    with pytest.raises(TrainingError, match="at least 300 pairs of points with a path"):
        tg.fit(tg.FlowMatching(tg.Sphere(), **odd), x)


@pytest.mark.slow
def test_on_an_image_it_is_saved(tmp_path):
    t = 2 * math.pi * torch.rand(400, generator=seeded()).double()
    x = torch.stack([2 * t.cos(), t.sin()], -1)
    flow = tg.InjectiveFlow(1, 2, "circle")
    tg.fit(flow, x)
    model = tg.FlowMatching(
        flow, **NETWORK, options=tg.MatchingOptions(steps=12, batch=64, held_out=0.0)
    )
    assert model.manifold is flow.manifold
    tg.fit(model, x)
    tg.save(model, tmp_path / "m.safetensors")
    again = tg.load(tmp_path / "m.safetensors")
    torch.testing.assert_close(again().log_prob(x[:20]), model().log_prob(x[:20]))


@pytest.mark.slow
def test_on_the_image_of_an_injective_flow():
    truth = tg.EnergyDistribution(tg.Torus().atlas(), lambda x: x[..., 0])
    x = truth.sample((2000,), seeded())
    flow = tg.InjectiveFlow(2, 3, "torus")
    tg.fit(flow, x)
    model = tg.FlowMatching(flow.manifold, width=64, options=tg.MatchingOptions(steps=500))
    assert tg.fit(model, x).status == "converged"
    distribution = model()
    fresh = model.manifold.project(truth.sample((500,), seeded(1))).value
    gap = truth.log_prob(tg.Torus().project(fresh).value) - distribution.log_prob(fresh)
    assert bool(gap.isfinite().all())
    assert float(gap.mean()) < 0.05
    # the mass, by quadrature on the base: another seed gave .9977, .9994, .9998 at 10, 20, 30
    image = flow.manifold
    b, w = image.base.nodes(30)
    density = (distribution._log_prob(image.decode(b)) + image.log_volume(b)).exp()
    assert float(image.base.volume * (w @ density)) == pytest.approx(1, abs=1e-3)


def test_a_base_of_ones_own_is_used_and_cannot_be_saved(tmp_path):
    M = tg.Sphere()
    base = tg.VonMisesFisher([0.0, 0.0, 1.0], 3.0, validate_args=False)
    model = tg.FlowMatching(
        base.manifold,
        base=base,
        **NETWORK,
        options=tg.MatchingOptions(steps=12, batch=256, held_out=0.0),
    )
    tg.fit(model, vmf().sample((300,), seeded()))
    assert model().base is base
    with pytest.raises(SaveError, match="base"):
        tg.save(model, tmp_path / "m.safetensors")
    assert M.dim == model().dim


@pytest.mark.slow
@pytest.mark.parametrize("make", [tg.Torus, tg.KleinBottle, tg.ProjectivePlane])
def test_every_surface(make):
    """A tilted distribution on each: close to it, and normalised."""
    M = make()
    truth = tg.EnergyDistribution(M.atlas(), lambda x: 2 * x[..., 0] + 3 * x[..., 1] * x[..., 2])
    x = truth.sample((3000,), seeded())
    model = tg.FlowMatching(M, options=tg.MatchingOptions(steps=1500))
    tg.fit(model, x)
    distribution = model()
    fresh = truth.sample((2000,), seeded(1))
    assert distribution.likelihood == "exact"
    assert float((truth.log_prob(fresh) - distribution.log_prob(fresh)).mean()) < 0.05
    total = M.atlas().integrate(lambda x: distribution.log_prob(x).exp(), 5e-4)
    assert float(total.value) == pytest.approx(1, abs=1e-3)
    assert model.lost_pairs < 0.01


@pytest.mark.slow
def test_on_a_learned_torus():
    truth = tg.EnergyDistribution(tg.Torus().atlas(), lambda x: x[..., 0])
    x = truth.sample((3000,), seeded())
    model = tg.FlowMatching(tg.NeuralImplicit(2, 3), options=tg.MatchingOptions(steps=600))
    tg.fit(model, x)
    distribution = model()
    fresh = model.manifold.project(truth.sample((300,), seeded(1))).value
    gap = truth.log_prob(tg.Torus().project(fresh).value) - distribution.log_prob(fresh)
    assert float(gap[gap.isfinite()].mean()) < 0.08
    assert float(gap.isfinite().double().mean()) > 0.98
