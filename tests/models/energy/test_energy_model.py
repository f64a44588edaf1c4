"""EnergyModel: distributions learned as energies, by four objectives, against known answers."""

import math

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.errors import InvalidPoints, NotFittedError, UnsupportedError
from topogen.models.energy import EnergyModel
from topogen.models.energy.network import Energies
from topogen.models.energy.objectives import laplace
from topogen.testing import check_distribution


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def gap(truth, distribution, n=20_000, seed=99):
    """Mean of log p* - log p on fresh points, in nats."""
    x = truth.sample((n,), seeded(seed))
    return float((truth.log_prob(x) - distribution.log_prob(x)).mean())


@pytest.fixture(scope="module")
def learned():
    """Von Mises(2) from 1000 points, on the known circle."""
    truth = tg.VonMises(0.4, 2.0)
    model = EnergyModel(tg.Circle())
    result = tg.fit(model, truth.sample((1000,), seeded(0)), seed=0)
    return model, result, truth


def test_von_mises_within_a_hundredth_of_a_nat(learned):
    model, result, truth = learned
    assert result.status == "converged"
    distribution = model()
    assert (distribution.likelihood, distribution.measure, distribution.dim) == (
        "exact",
        "hausdorff",
        1,
    )
    assert gap(truth, distribution) < 0.01
    assert model.lost == 0


def test_the_free_constant_is_minus_log_z(learned):
    """What NCE says of log Z, against quadrature."""
    model, _, _ = learned
    assert model.constant_error < 0.1
    assert model.constant == pytest.approx(-float(model.log_z()), abs=0.1)


def test_obeys_the_laws_of_a_distribution(learned):
    model, _, _ = learned
    check_distribution(model(), seeded(0), atlas=tg.Circle().atlas())


def test_another_temperature_is_another_distribution_and_has_to_be_named(learned):
    model, _, truth = learned
    distribution, warm = model(), model(temperature=2.0)
    x = truth.sample((2000,), seeded(3))
    ratio = distribution.log_prob(x) - 2 * warm.log_prob(x)
    assert float(ratio.std()) < 1e-4  # p proportional to (p at temperature 2)^2
    assert gap(truth, warm) > 0.05
    check_distribution(warm, seeded(0), atlas=tg.Circle().atlas())
    with pytest.raises(TypeError):
        model(2.0)
    with pytest.raises(ValueError, match="temperature > 0"):
        model(temperature=0.0)


@pytest.mark.parametrize(
    ("objective", "bar"),
    [
        ("maximum_likelihood", 0.01),
        pytest.param("score", 0.04, marks=pytest.mark.slow),
        pytest.param("contrastive_divergence", 0.02, marks=pytest.mark.slow),
    ],
)
def test_other_objectives(objective, bar):
    truth = tg.VonMises(0.4, 2.0)
    model = EnergyModel(tg.Circle(), objective=objective)
    tg.fit(model, truth.sample((1000,), seeded(0)), seed=0)
    found = gap(truth, model())
    assert found < bar
    assert math.isnan(model.constant)
    uniform = tg.Uniform(tg.Circle())
    assert gap(truth, uniform) > 0.5  # negative control


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["maximum_likelihood", "score"])
def test_two_circles_share_the_mass(objective):
    """On disconnected M the masses of the parts are learned as well."""
    M = tg.HopfLink()
    x = M.sample_uniform(4000, seeded(0))
    first = x[:, 2].abs() < 1e-9
    x = torch.cat([x[first][:900], x[~first][:300]])
    model = EnergyModel(M, objective=objective)
    tg.fit(model, x, seed=0)
    y = model().sample((8000,), seeded(1))
    share = float((y[:, 2].abs() < 1e-9).double().mean())
    assert share == pytest.approx(0.75, abs=0.03)


def test_laplace_beltrami_on_the_torus():
    """Of E = z on a ring torus: Lap z = H . e_z, against the formula in the angles."""
    M = tg.Torus(1.0, 0.4)
    x = M.sample_uniform(50, seeded(0))
    Q = M.tangent_basis(x)
    H = M.dim * M.mean_curvature(x)
    y = x.clone().requires_grad_()
    along, found = laplace(lambda v: (v[..., 2] * v[..., 0]).sin(), y, Q, H)
    # Lap f = (R + r cos p)^-2 f_tt + r^-2 [f_pp - r sin p / (R + r cos p) f_p]
    t = torch.atan2(x[:, 1], x[:, 0])
    p = torch.atan2(x[:, 2], x[:, :2].norm(dim=-1) - 1)
    angles = torch.stack([t, p], -1).requires_grad_()
    rho = 1 + 0.4 * angles[:, 1].cos()
    f = (0.4 * angles[:, 1].sin() * rho * angles[:, 0].cos()).sin()
    (df,) = torch.autograd.grad(f.sum(), angles, create_graph=True)
    second = [torch.autograd.grad(df[:, i].sum(), angles, retain_graph=True)[0] for i in (0, 1)]
    exact = second[0][:, 0] / rho**2
    exact = exact + (second[1][:, 1] - 0.4 * angles[:, 1].sin() / rho * df[:, 1]) / 0.16
    torch.testing.assert_close(found, exact, atol=1e-8, rtol=0)
    length = (df[:, 0] / rho) ** 2 + (df[:, 1] / 0.4) ** 2
    torch.testing.assert_close(along.square().sum(-1), length, atol=1e-9, rtol=0)
    # negative control: without the curvature term
    wrong = laplace(lambda v: (v[..., 2] * v[..., 0]).sin(), y, Q, torch.zeros_like(H))[1]
    assert float((wrong - exact).detach().abs().max()) > 0.5


@pytest.mark.slow
def test_a_learned_set_gets_charts_and_survives_a_file(tmp_path):
    truth = tg.VonMises(0.0, 1.0)
    x = truth.sample((800,), seeded(0))
    model = EnergyModel(tg.LocalPolynomials(1, 2), networks=1)
    assert [s.name for s in model.stages(x)][-1] == "energy"
    with pytest.raises(NotFittedError):
        model()
    tg.fit(model, x, seed=0)
    assert gap(truth, model()) < 0.02
    y = truth.sample((200,), seeded(5))
    before = model().log_prob(y)
    tg.save(model, tmp_path / "distribution.safetensors")
    again = tg.load(tmp_path / "distribution.safetensors")
    torch.testing.assert_close(again().log_prob(y), before, atol=1e-9, rtol=0)
    assert again.atlas.manifold is again.manifold


def test_gradients_flow_where_they_are_asked_for(learned):
    model, _, truth = learned
    x = truth.sample((50,), seeded(0))
    assert not model().log_prob(x).requires_grad
    model.energy.requires_grad_(True)
    try:
        distribution = model()
        value = distribution.log_prob(x).mean()
        value.backward()
        # log Z is part of the gradient: a constant added to E changes nothing
        last = model.energy.net.W[-1].grad
        assert last is not None
        assert bool(last.isfinite().all())
    finally:
        model.requires_grad_(False)


def test_energies_start_uniform_and_are_row_wise():
    E = Energies(3, 2, width=8, depth=2)
    x = torch.randn(10, 2, dtype=torch.float64, generator=seeded(0))
    E.start(x, seeded(1))
    assert not bool(E(x).any())
    with torch.no_grad():
        E.net.W[-1].normal_(generator=seeded(2))
    torch.testing.assert_close(E(x[:1]), E(x)[:1], atol=1e-12, rtol=0)
    assert E(x.reshape(2, 5, 2)).shape == (2, 5)


def test_wrong_use_is_named():
    with pytest.raises(NotFittedError):
        EnergyModel(tg.Circle())()
    with pytest.raises(tg.errors.InvalidPoints, match="at least 20"):
        tg.fit(EnergyModel(tg.Circle()), torch.ones(5, 2))
    band = EnergyModel(tg.MobiusBand(), objective="score")
    with pytest.raises(UnsupportedError, match="closed manifold"):
        tg.fit(band, tg.MobiusBand().sample_uniform(100, seeded(0)))
    with pytest.raises(ValueError, match="noise_ratio > 0"):
        EnergyModel(tg.Circle(), noise_ratio=0.0)
    with pytest.raises(ValueError, match="manifold=M"):
        EnergyModel(tg.Circle(), tg.Atlas(list(tg.Circle().atlas().charts)))


def test_data_off_the_set_are_counted():
    x = tg.Sphere().sample_uniform(100, seeded(0))
    model = EnergyModel(tg.Sphere(), networks=1)
    tg.fit(model, torch.cat([x, 1.1 * x[:25]]))
    assert (model.off, model.lost) == (0.2, 0.0)
    with pytest.raises(InvalidPoints, match="20 different points"):
        tg.fit(EnergyModel(tg.Sphere(), networks=1), x[:1].repeat(100, 1))


@pytest.mark.slow
def test_a_loaded_distribution_draws_the_same_points(tmp_path):
    torus = tg.Torus(1.0, 0.5)
    x = torus.sample_uniform(2000, seeded(0))
    x = x[x[:, 0] + 0.3 * torch.rand(2000, generator=seeded(1)) > 0.4]
    model = EnergyModel(torus, networks=1)
    tg.fit(model, x)
    serialization.write(tmp_path / "m.safetensors", model)
    loaded = serialization.read(tmp_path / "m.safetensors")[0]
    assert isinstance(loaded, EnergyModel)
    draws = (distribution.sample((50,), seeded(2)) for distribution in (model(), loaded()))
    assert torch.equal(*draws)
