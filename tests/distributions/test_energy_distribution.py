"""EnergyDistribution: log Z by quadrature against closed forms, an exact sampler, gradients."""

import math

import pytest
import torch

import topogen as tg
from topogen.distributions.base import manifold_of
from topogen.distributions.energy import EnergyDistribution, Levels
from topogen.errors import AtlasError, UnsupportedError
from topogen.testing import check_distribution

TAU = 2 * math.pi


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tilt(kappa):
    return lambda x: kappa * x[..., -1]


def waves(x):
    """A log density with several modes on any set."""
    return (3 * x[..., 0]).sin() + 0.7 * (2 * x[..., 1] + 1).cos()


@pytest.mark.parametrize("kappa", [0.0, 0.5, 5.0, 50.0])
def test_log_z_of_von_mises_fisher(kappa):
    """4 pi sinh(kappa) / kappa; kappa = 5 gives 5.22839."""
    q = EnergyDistribution(tg.Sphere().atlas(), tilt(kappa))
    exact = math.log(4 * math.pi)
    if kappa:
        exact += math.log(-math.expm1(-2 * kappa) / (2 * kappa)) + kappa
    assert float(q.log_z) == pytest.approx(exact, abs=2e-4)
    assert abs(float(q.log_z) - exact) <= max(q.log_z_error, 1e-6)
    assert (q.likelihood, q.measure, q.dim) == ("exact", "hausdorff", 2)


def test_log_prob_is_that_of_the_closed_form():
    truth = tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0)
    q = EnergyDistribution(tg.Sphere().atlas(), tilt(5.0))
    x = truth.sample((500,), generator=seeded(0))
    torch.testing.assert_close(q.log_prob(x), truth.log_prob(x), atol=2e-4, rtol=0)


def projected_normal(x):
    """Log density of z / |z| for z normal with mean (-1, -1, 0) and covariance 1, on S^2."""
    t = -x[..., 0] - x[..., 1]
    Phi = torch.special.ndtr(t)
    phi = (-0.5 * t * t).exp() / math.sqrt(TAU)
    return -1.5 * math.log(TAU) - 1 + (t + (1 + t * t) * Phi / phi).log()


@pytest.mark.parametrize(
    ("M", "log_f", "log_z", "entropy"),
    [
        (tg.Circle(), lambda x: x[..., 0], math.log(TAU * 1.2660658777520084), 1.627401459019989),
        (tg.Circle(), lambda x: 3 * x[..., 0], None, 0.993228806353252),
        (tg.Circle(), lambda x: 5 * x[..., 0], None, 0.675643157011453),
        (tg.Sphere(), tilt(10.0), None, 0.535291930131072),
        (tg.Sphere(), projected_normal, 0.0, 1.836925168662),
        (
            # exp(3 cos(s - pi) + 5 cos(t - s)) in the angles s, t
            tg.FlatTorus(),
            lambda x: -3 * x[..., 0] + 5 * (x[..., 0] * x[..., 2] + x[..., 1] * x[..., 3]),
            None,
            1.668871963364705,
        ),
    ],
    ids=["VM 1", "VM 3", "VM 5", "vMF 10", "projected normal", "correlated angles"],
)
def test_entropies_of_the_literature(M, log_f, log_z, entropy):
    """Targets of published flows: the entropy is -E log p, here by quadrature."""
    q = EnergyDistribution(M.atlas(), log_f)
    if log_z is not None:
        assert float(q.log_z) == pytest.approx(log_z, abs=1e-4)
    nodes = M.atlas().quadrature(400 if M.dim == 1 else 96)
    log_p = q.log_prob(nodes.points)
    assert -float(nodes.weights @ (log_p.exp() * log_p)) == pytest.approx(entropy, abs=1e-4)


def test_torus_density_of_the_literature():
    """1 + alpha sin(4 theta) cos(phi), a density in the angles; its integral is (2 pi)^2."""
    M = tg.Torus(1.0, 0.5)

    def f(x):
        rho = x[..., :2].norm(dim=-1)
        theta, phi = torch.atan2(x[..., 1], x[..., 0]), torch.atan2(x[..., 2], rho - 1)
        return (1 + 0.9 * (4 * theta).sin() * phi.cos()).log() - (0.5 * rho).log()

    q = EnergyDistribution(M.atlas(), f)
    assert float(q.log_z) == pytest.approx(2 * math.log(TAU), abs=2e-4)
    x = q.sample((20_000,), generator=seeded(0))
    rho = x[:, :2].norm(dim=-1)
    c = (4 * torch.atan2(x[:, 1], x[:, 0])).sin() * (rho - 1) / 0.5
    # E[sin 4 theta cos phi] = alpha / 4, of variance below 1/4; 4.5 s.e.
    assert float(c.mean()) == pytest.approx(0.9 / 4, abs=4.5 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize(
    "space",
    [
        tg.Circle(2.0),
        tg.Torus(),
        tg.HopfLink(),
        pytest.param(tg.KleinBottle(), marks=pytest.mark.slow),
        pytest.param(tg.Sphere(3), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_obeys_the_laws_of_a_distribution(space):
    check_distribution(EnergyDistribution(space.atlas(), waves, validate_args=False))


def test_negative_control_a_wrong_normaliser_is_seen():
    q = EnergyDistribution(tg.Circle().atlas(), waves, validate_args=False)
    honest = q.log_z
    object.__setattr__(honest, "value", honest.value + 0.01)
    with pytest.raises(tg.testing.LawViolation, match="integrates to 1"):
        check_distribution(q)


def test_samples_follow_a_narrow_density():
    """kappa = 300: the cosine is 1 - Exp / kappa; rejections are reported, bounds hold."""
    q = EnergyDistribution(tg.Sphere().atlas(), tilt(300.0))
    drawn = q.draw(20_000, seeded(1))
    u = 300 * (1 - drawn.points[:, 2])
    assert float(u.mean()) == pytest.approx(1, abs=4.5 / math.sqrt(20_000))
    assert drawn.proposed > 20_000
    assert drawn.raised < 5


def test_bounds_that_are_too_small_are_raised():
    """A coarse grid still gives the right distribution: bounds are raised where exceeded."""
    q = EnergyDistribution(tg.Circle().atlas(), lambda x: 4 * (6 * x[..., 0]).sin(), per_axis=64)
    q._cells.bounds *= 0.2
    drawn = q.draw(4000, seeded(0))
    assert drawn.raised > 0
    exact = q.atlas.integrate(lambda x: q.log_prob(x).exp() * x[:, 0])
    assert float(drawn.points[:, 0].mean()) == pytest.approx(
        float(exact), abs=4.5 * float(drawn.points[:, 0].std()) / math.sqrt(4000)
    )


def test_what_quadrature_cannot_resolve_is_estimated():
    levels = Levels.of(tg.Sphere().atlas(), 8)
    q = EnergyDistribution(levels.atlas, tilt(60.0), levels=levels, max_nodes=100)
    assert q.likelihood == "estimated"
    assert q.log_z_error > 1e-3
    refined = EnergyDistribution(levels.atlas, tilt(60.0), per_axis=8)
    assert refined.likelihood == "exact"


def test_gradients_are_those_of_the_log_likelihood():
    """d log p / d kappa = z - (coth kappa - 1 / kappa), twice, so no graph is used up."""
    kappa = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    q = EnergyDistribution(tg.Sphere().atlas(), lambda x: kappa * x[..., 2])
    x = tg.Sphere().sample_uniform(5, generator=seeded(0))
    for _ in range(2):
        (gradient,) = torch.autograd.grad(q.log_prob(x).sum(), kappa)
        exact = x[:, 2].sum() - 5 * (1 / math.tanh(2) - 1 / 2)
        assert float(gradient) == pytest.approx(float(exact), abs=1e-5)


def test_a_distribution_lives_on_what_the_charts_cover():
    cap = list(tg.Sphere().atlas().charts)[:1]
    with pytest.raises(AtlasError, match="of its points lie in none"):
        tg.Atlas(cap, manifold=tg.Sphere())
    atlas = tg.Atlas(cap)
    q = EnergyDistribution(atlas, lambda x: x.new_zeros(x.shape[:-1]), validate_args=False)
    x = tg.Sphere().sample_uniform(200, generator=seeded(0))
    assert torch.equal(q.log_prob(x).isfinite(), atlas.multiplicity(x) > 0)
    assert bool((atlas.multiplicity(x) == 0).any())
    check_distribution(q, atlas=atlas)


def test_density_zero_on_a_part():
    """-inf is allowed: the half sphere z >= 0.2 has area 2 pi 0.8."""

    def f(x):
        return torch.where(x[..., 2] >= 0.2, 0.0, -math.inf).to(x)

    q = EnergyDistribution(tg.Sphere().atlas(), f, validate_args=False)
    assert float(q.log_z) == pytest.approx(math.log(TAU * 0.8), abs=5e-3)
    x = q.sample((2000,), generator=seeded(0))
    assert float(x[:, 2].min()) >= 0.2
    assert float(x[:, 2].mean()) == pytest.approx(0.6, abs=4.5 * 0.231 / math.sqrt(2000))


def test_wrong_use_is_named():
    atlas = tg.Circle().atlas()
    with pytest.raises(ValueError, match="NaN or inf"):
        EnergyDistribution(atlas, lambda x: x[..., 0] * math.nan)
    with pytest.raises(ValueError, match="values \\(n,\\)"):
        EnergyDistribution(atlas, lambda x: x)
    with pytest.raises(ValueError, match="finite somewhere"):
        EnergyDistribution(atlas, lambda x: torch.full_like(x[..., 0], -math.inf))
    with pytest.raises(AtlasError, match="of the atlas itself"):
        EnergyDistribution(atlas, waves, levels=Levels.of(tg.Circle().atlas()))
    with pytest.raises(UnsupportedError, match="dimension 1, 2 or 3"):
        EnergyDistribution(tg.FlatTorus(4).atlas(), waves)


def test_an_atlas_and_its_uniform_distribution_draw_alike():
    atlas = tg.Torus().atlas()
    q = tg.Uniform(atlas, tol=0.01)
    assert atlas.sample_uniform(500, seeded(0)).equal(q.sample((500,), generator=seeded(0)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (tg.Torus(), r"got Torus; pass M.atlas\(\)"),
        (tg.Torus, "got the class Torus; pass an Atlas"),
        (torch.zeros(4, 3), "got Tensor; pass an Atlas"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_atlas_is_named(given, words):
    with pytest.raises(AtlasError, match=words):
        manifold_of(given)  # which everything that takes an atlas asks
