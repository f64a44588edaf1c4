"""InjectiveFlow: known answers, conformance, files, random seeds, errors."""

import math
import warnings

import pytest
import torch

import topogen as tg
from tests import catalogue
from topogen import serialization
from topogen.errors import InvalidPoints, NotFittedError, TrainingError
from topogen.models.injective import InjectiveFlow, injective_flow
from topogen.models.injective.base_selection import bases_with
from topogen.models.injective.bases import standard

pytestmark = pytest.mark.xdist_group("image")  # the fits of tests/catalogue.py


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(points, dim, base, seed=0, **options):
    flow = InjectiveFlow(dim, points.shape[1], base, **options)
    return flow, tg.fit(flow, points, seed=seed)


@pytest.fixture(scope="module")
def circle_flow():
    shared = catalogue.injective_ellipse()
    return shared.model, shared.result


def test_an_ellipse_has_its_length(circle_flow):
    flow, result = circle_flow
    assert result.status == "converged"
    assert flow.manifold.volume == pytest.approx(9.688448220547675, abs=1e-6)
    assert flow.certificate.accepted
    assert flow.certificate.injectivity.proved is True
    assert "proved" in flow.certificate.reason
    assert flow.manifold.homology == tg.Circle().homology


def test_distribution_on_an_ellipse(circle_flow, ellipse):
    flow, _ = circle_flow
    distribution = flow()
    assert distribution.likelihood == "exact"
    assert distribution.measure == "hausdorff"
    x = ellipse(4000, 1)
    # the angle is uniform: the density is that of 1 / speed; |x / (2, 1)| = 1
    speed = (4 * x[:, 1] ** 2 + x[:, 0] ** 2 / 4).sqrt()
    d = -math.log(2 * math.pi) - speed.log() - distribution.log_prob(x)
    # 3 standard errors: a false alarm in 700
    assert float(d.mean()) < 0.01 + 3 * float(d.std()) / math.sqrt(4000)


def test_projections_are_of_nine_digits(circle_flow):
    M = circle_flow[0].manifold
    p = M.project(M.sample_uniform(100, seeded())).value
    assert float((M.project(p).value - p).norm(dim=-1).max()) < 1e-9


def test_derivatives_of_the_projection_are_those_of_m(circle_flow):
    M = circle_flow[0].manifold
    x = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
    # the curvatures of the ellipse at its ends are a / b^2 and b / a^2
    Q = M.tangent_basis(x).squeeze(-1)
    torch.testing.assert_close(
        Q.abs(), torch.tensor([[0.0, 1], [1, 0]]).double(), atol=1e-6, rtol=0
    )


def test_saved_and_loaded(circle_flow, ellipse, tmp_path):
    flow, _ = circle_flow
    serialization.write(tmp_path / "m.safetensors", flow)
    loaded, _ = serialization.read(tmp_path / "m.safetensors")
    assert isinstance(loaded, InjectiveFlow)
    saved, read = flow.state_dict(), loaded.state_dict()
    assert saved.keys() == read.keys()
    for name, value in saved.items():
        assert torch.equal(value, read[name]) if torch.is_tensor(value) else value == read[name]
    # up to rounding: products of matrices depend on where these lie in memory
    x = ellipse(50, 2)
    torch.testing.assert_close(loaded().log_prob(x), flow().log_prob(x), atol=1e-13, rtol=0)
    samples = [f().sample((20,), generator=seeded(3)) for f in (flow, loaded)]
    torch.testing.assert_close(*samples, atol=1e-13, rtol=0)
    assert loaded.manifold.volume == flow.manifold.volume
    assert loaded.attempts == flow.attempts


def test_its_manifold_is_saved_alone(circle_flow, ellipse, tmp_path):
    M = circle_flow[0].manifold
    tg.save(M, tmp_path / "m.safetensors")
    again = tg.load(tmp_path / "m.safetensors")
    x = ellipse(50, 2)
    torch.testing.assert_close(again.project(1.01 * x).value, M.project(1.01 * x).value)
    assert (again.volume, again.tolerance) == (M.volume, M.tolerance)
    assert again.sample_uniform(0).shape == (0, 2)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(circle_flow, ellipse):
    flow, _ = circle_flow
    again, _ = fitted(ellipse(800), 1, "circle")
    x = ellipse(50, 2)
    torch.testing.assert_close(again().log_prob(x), flow().log_prob(x), atol=1e-11, rtol=0)


@pytest.mark.slow
def test_auto_finds_a_circle(ellipse):
    flow, result = fitted(ellipse(600), 1, "auto")
    assert result.status == "converged"
    assert flow.image.base.name == "S^1"
    assert flow.manifold.volume == pytest.approx(9.688448220547675, abs=1e-5)


@pytest.mark.slow
def test_betti_numbers_that_are_known_are_not_found_again(ellipse, monkeypatch):
    def never(*_, **__):
        raise AssertionError("found again")

    monkeypatch.setattr(injective_flow, "check_topology", never)
    flow, result = fitted(ellipse(600), 1, "auto", betti={2: (1, 1), 3: (1, None)})
    assert result.status == "converged"
    assert flow.image.base.name == "S^1"


def test_bases_are_those_of_the_betti_numbers():
    names = lambda betti, dim=2: [base.name for base in bases_with(betti, dim)]
    assert names({2: (1, 2, 1), 3: (1, 2, 1)}) == ["T^2"]
    assert names({2: (1, 2, None)}) == ["T^2", "Klein bottle"]
    assert names({2: (1, 0)}, 1) == ["[-1, 1]^1"]
    with pytest.raises(TrainingError, match="known base of dimension 2"):
        names({2: (1, 4, 1)})


@pytest.mark.slow
def test_duplicates_and_far_away_units_are_fine(circle_flow, ellipse):
    x = ellipse(800)
    doubled, _ = fitted(torch.cat([x, x[:400]]), 1, "circle")
    assert doubled.manifold.volume == pytest.approx(9.688448220547675, abs=1e-6)
    moved, result = fitted(1e4 * x + 1e6, 1, "circle")
    assert result.status == "converged"
    assert moved.manifold.volume == pytest.approx(96884.48220547675, rel=1e-6)
    y = ellipse(200, 5)
    found = moved().log_prob(1e4 * y + 1e6) + math.log(1e4)
    assert float((found - circle_flow[0]().log_prob(y)).abs().max()) < 0.3


@pytest.mark.slow
def test_a_reference_space_may_be_the_base(ellipse):
    flow, _ = fitted(ellipse(500), 1, tg.Circle())
    assert flow.image.base.name == "S^1"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="expected a base among"):
        InjectiveFlow(2, 3, "pretzel")
    with pytest.raises(ValueError, match="expected a base of dimension 1"):
        InjectiveFlow(1, 3, "klein")
    with pytest.raises(ValueError, match="1 <= dim < ambient_dim"):
        InjectiveFlow(3, 3, "torus")
    with pytest.raises(ValueError, match="expected a base of dimension 1"):
        InjectiveFlow(1, 3, tg.Sphere())


def test_points_are_checked(ellipse):
    with pytest.raises(InvalidPoints, match="at least 100 distinct points, got 50"):
        fitted(ellipse(50), 1, "circle")
    with pytest.raises(InvalidPoints, match="at least 100 distinct points, got 50"):
        fitted(ellipse(50).repeat(4, 1), 1, "circle")
    invalid = ellipse(300)
    invalid[7, 1] = math.nan
    with pytest.raises(InvalidPoints):
        fitted(invalid, 1, "circle")
    with pytest.raises(InvalidPoints):
        tg.fit(InjectiveFlow(1, 3, "circle"), ellipse(300))


def test_use_before_the_fit():
    flow = InjectiveFlow(2, 3, "torus")
    with pytest.raises(NotFittedError, match="not fitted"):
        flow()
    with pytest.raises(NotFittedError, match="not fitted"):
        _ = flow.manifold


def test_two_circles_are_refused(ellipse):
    x = torch.cat([ellipse(300), ellipse(300, 1) + 10])
    with pytest.raises(TrainingError, match="apart from the first"):
        fitted(x, 1, "circle")


def t8(n, seed):
    """u ~ VM(pi, 1), v ~ VM(0, .5) on the ring torus R = 2, r = .7, and log p w.r.t. area."""
    torch.manual_seed(seed)
    distribution = torch.distributions.VonMises(
        torch.tensor([math.pi, 0.0]).double(), torch.tensor([1.0, 0.5]).double()
    )
    a = distribution.sample((n,))
    rho = 2 + 0.7 * a[:, 1].cos()
    x = torch.stack([rho * a[:, 0].cos(), rho * a[:, 0].sin(), 0.7 * a[:, 1].sin()], -1)
    return x, distribution.log_prob(a).sum(-1) - (0.7 * rho).log()


@pytest.fixture(scope="module")
def torus_flow():
    return fitted(t8(4000, 0)[0], 2, "torus")


@pytest.mark.slow
def test_learned_torus(torus_flow):
    flow, result = torus_flow
    assert result.status == "converged"
    assert flow.certificate.accepted
    assert abs(round(float(torch.tensor(flow.certificate.winding).double().det()))) == 1
    assert flow.manifold.volume == pytest.approx(4 * math.pi**2 * 2 * 0.7, rel=1e-4)
    x, truth = t8(4000, 1)
    gap = truth - flow().log_prob(x)
    assert bool(gap.isfinite().all())
    # 3 standard errors: a false alarm in 700
    assert abs(float(gap.mean())) < 0.01 + 3 * float(gap.std()) / math.sqrt(4000)
    assert float(flow.manifold.residual(x).quantile(0.99)) < 1e-4


@pytest.mark.slow
def test_learned_torus_obeys_the_laws(torus_flow):
    flow, _ = torus_flow
    tg.testing.check_manifold(flow.manifold)
    tg.testing.check_distribution(flow())


@pytest.mark.slow
def test_learned_klein_bottle_has_its_area():
    M = tg.KleinBottle(R=2.0, r=0.7)
    flow, result = fitted(M.sample_uniform(4000, generator=seeded()), 2, "klein")
    assert result.status == "converged"
    assert flow.manifold.volume == pytest.approx(55.70403617296361, rel=1e-4)
    assert not flow.manifold.orientable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("M", "name"), [(tg.Torus(R=2.0, r=0.8), "T^2"), (tg.Sphere(), "S^2")], ids=["torus", "sphere"]
)
def test_auto_finds_surfaces(M, name):
    flow, result = fitted(M.sample_uniform(2500, generator=seeded()), 2, "auto")
    assert result.status == "converged"
    assert flow.image.base.name == name
    assert flow.manifold.volume == pytest.approx(M.volume, rel=1e-3)


@pytest.mark.slow
def test_a_wrong_base_is_said_to_be_wrong():
    x = tg.Sphere().sample_uniform(1000, generator=seeded())
    flow = InjectiveFlow(2, 3, "torus")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = tg.fit(flow, x)
        except TrainingError:
            return
    assert result.status != "converged"
    assert any("no embedding of T^2" in str(w.message) for w in caught)
    assert flow.certificate.accepted is False


def test_standard_names_of_bases_are_those_of_the_flow():
    for name in ("circle", "torus", "sphere", "projective", "klein", "mobius", "cylinder"):
        dim = standard(name).dim
        assert InjectiveFlow(dim, 5, name).base == name
