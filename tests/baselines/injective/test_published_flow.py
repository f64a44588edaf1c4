"""Published injective flows as models: known answers, guards, files, conformance."""

import math
import warnings

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.baselines import (
    OBJECTIVES,
    DescentOptions,
    HeldOutScore,
    NetworkOptions,
    PublishedFlow,
    VolumeOptions,
    check_weight,
    least_weight,
)
from topogen.baselines.injective.autoencoder import FreeAutoencoder
from topogen.baselines.injective.base_densities import RankSplineBase
from topogen.baselines.injective.objectives import ObjectiveContext, free_form, rectangular
from topogen.errors import InvalidPoints, NotFittedError, TrainingError, UnsupportedError
from topogen.models.injective import image_manifold
from topogen.models.injective.bases import product, standard
from topogen.models.injective.image_manifold import require_share

TINY = {"steps": 400, "width": 32}


def small(*arguments, steps=3000, width=96, depth=2, layers=8, network="auto", **options):
    networks = NetworkOptions(network, width=width, depth=depth, layers=layers)
    descent = DescentOptions(steps=steps)
    return PublishedFlow(*arguments, network=networks, descent=descent, **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def circle(n, seed=0):
    return tg.VonMises(0.0, 1.0).sample((n,), generator=seeded(seed))


@pytest.fixture(scope="module")
def flow():
    """Two-phase training on a circle with a circle as its base."""
    model = small(1, 2, "circle", **TINY)
    result = tg.fit(model, circle(1500))
    return model, result


@pytest.mark.slow
def test_distribution_on_a_circle(flow):
    model, result = flow
    assert result.status == "converged"
    distribution = model()
    assert distribution.likelihood == "exact"
    score = model.score(circle(2000, 1))
    # the entropy of the data; 4 standard errors, a false alarm in 15 000
    assert abs(score.nll - 1.627401459) < 4 * score.nll_error + 0.01
    assert score.reconstruction_median < 0.01 * score.diameter
    assert model.image.volume == pytest.approx(2 * math.pi, rel=0.01)


@pytest.mark.slow
def test_conformance(flow):
    measured = tg.testing.check_distribution(flow[0](), n=1000)
    assert measured["support"] == 0


@pytest.mark.slow
def test_saved_and_loaded(flow, tmp_path):
    model, _ = flow
    serialization.write(tmp_path / "m.safetensors", model)
    loaded, _ = serialization.read(tmp_path / "m.safetensors")
    assert isinstance(loaded, PublishedFlow)
    x = circle(20, 2)
    assert torch.equal(loaded().log_prob(x), model().log_prob(x))
    assert loaded.numbers == model.numbers
    assert torch.equal(
        loaded().sample((5,), generator=seeded(3)), model().sample((5,), generator=seeded(3))
    )


@pytest.mark.slow
@pytest.mark.parametrize(("density", "gap"), [("von_mises", 0.01), ("mixture", 0.02)])
def test_parametric_densities(density, gap):
    model = small(1, 2, "circle", density=density, **TINY)
    tg.fit(model, circle(1500))
    score = model.score(circle(2000, 1))
    # 4 standard errors: a false alarm in 15 000
    assert abs(score.nll - 1.627401459) < 4 * score.nll_error + gap


@pytest.mark.slow
def test_sampling_a_distribution_that_is_not_normalised_ends(monkeypatch):
    P = tg.Product(tg.Circle(), tg.Interval(-1.0, 1.0))
    model = small(2, 3, P, steps=60, width=16)
    x = P.sample_uniform(1500, generator=seeded())
    with pytest.warns(UserWarning, match="reconstructed worse"):
        assert tg.fit(model, x).status == "max_steps"
    with pytest.warns(UserWarning, match="in the median"):
        distribution = model()
    assert distribution.likelihood == "estimated"
    require_share(20, 2_000_000)
    with pytest.raises(UnsupportedError, match="got 19 of 2000000"):
        require_share(19, 2_000_000)
    monkeypatch.setattr(image_manifold, "_TRIES", 50_000)
    with pytest.raises(UnsupportedError, match=r"got 0 of \d+"):
        distribution.sample((50,), generator=seeded())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "base", "network"),
    [
        (1, "circle", "free"),
        (1, "euclidean", "coupling"),
        (1, "euclidean", "conformal"),
        (1, "euclidean", "trumpet"),
        (1, "circle", "star"),
        (1, "euclidean", "graph"),
    ],
)
def test_images_are_saved(dim, base, network, tmp_path):
    M = small(dim, dim + 1, base, network=network, width=8, layers=2).image
    M.decoder.start(seeded())
    M.anchor(M.base.sample(10, generator=seeded()))
    M.fitted, M.scale, M.tolerance = True, 1.0, 0.1
    tg.save(M, tmp_path / "m.safetensors")
    again = tg.load(tmp_path / "m.safetensors")
    x = torch.randn(20, dim + 1, generator=seeded()).double()
    assert torch.equal(M.project(x).value, again.project(x).value)


def test_wrong_base_warns_though_its_likelihood_is_better():
    model = small(1, 2, "euclidean", steps=300, width=16, density="gaussian", depth=1)
    with pytest.warns(UserWarning, match="reconstructed worse than"):
        tg.fit(model, circle(1000))
    with pytest.warns(UserWarning, match=r"expected points reconstructed to 2 % .* got \d"):
        model()
    score = model.score(circle(2000, 1))
    assert not score.trustworthy
    assert "reconstruction" in str(score)


def linear(objective, weight, *, tilt, rate, steps):
    """Descent of a linear pair from near the wrong axis of N(0, diag(1, .3^2)).

    Returns the cosine with the right one, and the NLL at g(f(x)) and at the nearest points.
    """
    x = torch.randn(200, 2, generator=seeded()).double()
    # whitened, so that the answer is exact
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.mT)).mT)
    x = x * torch.tensor([1.0, 0.3])
    pair = FreeAutoencoder(standard("euclidean", 1), 2, width=1, depth=0)
    axis = torch.tensor([math.cos(tilt), math.sin(tilt)]).double()
    with torch.no_grad():
        pair.decoder.W[0][1] = 0.3 * axis
        pair.encoder.W[0][:, 0] = axis / 0.3

    def log_prob(b):
        return -0.5 * b.square().sum(-1) - 0.5 * math.log(2 * math.pi)

    s = ObjectiveContext(pair, log_prob, seeded(1), weight=weight)
    optimiser = torch.optim.Adam(pair.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        loss = objective(s, x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        g, c = pair.decoder.W[0][1], pair.decoder.b[0]
        nearest = ((x - c) @ g / (g @ g)).unsqueeze(-1)
    pair.requires_grad_(False)
    own, right = [
        float((pair.log_volume(b) - log_prob(b)).mean()) for b in (pair.encode(x), nearest)
    ]
    return abs(float(g[0] / g.norm())), own, right


ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [free_form, rectangular])
def test_linear_case_finds_the_principal_axis_above_the_bound(objective):
    weight = 4 * least_weight(0.3**2)
    cosine, own, right = linear(objective, weight, tilt=1.2, rate=0.1, steps=300)
    assert cosine > 0.99
    assert right == pytest.approx(ENTROPY, abs=0.02)
    if objective is rectangular:
        # |x|^2 k^2 / 2 - log |J| - weight (1 - k)^2 is best at k (1 - k) = 1 / (2 weight), where
        # g(f(x)) = k x: the likelihood at those points gains log k
        k = 0.5 + math.sqrt(0.25 - 1 / (2 * weight))
        assert own == pytest.approx(ENTROPY + math.log(k), abs=0.02)


def test_linear_case_is_lost_below_the_bound_at_a_better_likelihood():
    weight = 0.2 * least_weight(0.3**2)
    cosine, own, right = linear(rectangular, weight, tilt=1.5, rate=0.05, steps=100)
    assert cosine < 0.99
    assert own < ENTROPY - 1
    assert right > ENTROPY + 1


def test_weights_below_the_bound_warn_and_are_refused_at_a_tenth():
    assert least_weight(0.1) == pytest.approx(5.0)
    check_weight(5.1, 0.1)
    with pytest.warns(UserWarning, match=r"1 / \(2 sigma\^2\) = 5 .* got 1:"):
        check_weight(1.0, 0.1)
    with pytest.raises(TrainingError, match=r"at least 1 / \(2 sigma\^2\) = 5 .* got 0.4"):
        check_weight(0.4, 0.1)
    with pytest.raises(TrainingError, match="residuals of standard deviation"):
        tg.fit(
            small(1, 2, "circle", objective="rectangular", weight=0.1, steps=90, width=8),
            circle(300),
        )


def test_score_is_a_likelihood_with_its_reconstruction():
    score = HeldOutScore(1.0, 0.1, 0.5, 0.4, 0.9, 0.3, 10.0)
    assert str(score).startswith("NLL 1.000 +- 0.100 nats at reconstruction 5.00 %")
    assert set(score.to_dict()) >= {"nll", "reconstruction", "reconstruction_p99"}
    with pytest.warns(UserWarning, match="got 4.0 % in the median"):
        score.warn()


@pytest.mark.slow
def test_splines_distribution_is_normalised_and_samples_what_it_says():
    distribution = RankSplineBase(standard("euclidean", 2))
    distribution.start(seeded())
    z = torch.randn(2000, 2, generator=seeded(1)).double()
    z[:, 1] = z[:, 1] + z[:, 0].square()
    for _ in distribution.fit(z, seeded(2), steps=200):
        pass
    t, u = torch.linspace(-7, 7, 300).double(), torch.linspace(-10, 25, 300).double()
    grid = torch.stack(torch.meshgrid(t, u, indexing="ij"), -1)
    total = distribution.log_prob(grid).exp().sum() * (t[1] - t[0]) * (u[1] - u[0])
    assert float(total) == pytest.approx(1, abs=2e-3)
    drawn = distribution.sample(4000, seeded(3))
    # mean of z_2 is 1, of variance 3 / 4000: 5 standard errors, plus the fit's
    assert abs(float(drawn[:, 1].mean()) - 1) < 0.25


def test_errors():
    x = circle(100)
    with pytest.raises(ValueError, match=r"expected an objective among .* got 'magic'"):
        PublishedFlow(1, 2, objective="magic")
    with pytest.raises(ValueError, match="got dim=3 and ambient_dim=2"):
        PublishedFlow(3, 2)
    with pytest.raises(ValueError, match=r"expected a network among .* got 'resnet'"):
        small(1, 2, network="resnet")
    with pytest.raises(ValueError, match=r"expected a density among .* got 'kde'"):
        PublishedFlow(1, 2, density="kde")
    with pytest.raises(ValueError, match="width, layers >= 1"):
        NetworkOptions(width=0)
    with pytest.raises(ValueError, match="at least 1 step"):
        DescentOptions(steps=0)
    with pytest.raises(ValueError, match="probes >= 1"):
        VolumeOptions(probes=0)
    with pytest.raises(ValueError, match="'exact' or 'stochastic', got 'both'"):
        VolumeOptions("both")
    with pytest.raises(ValueError, match="'data' or 'reconstruction', got 'x'"):
        VolumeOptions(at="x")
    with pytest.raises(ValueError, match="noise > 0 for objective='spread', got 0"):
        PublishedFlow(1, 2, objective="spread", noise=0.0)
    with pytest.raises(ValueError, match=r"expected a base of dimension dim=2, got S\^1"):
        PublishedFlow(2, 3, tg.Circle())
    with pytest.raises(UnsupportedError, match="dim >= 2 for objective='canonical'"):
        PublishedFlow(1, 2, objective="canonical")
    with pytest.raises(UnsupportedError, match="no continuous encoder"):
        PublishedFlow(2, 4, "klein", objective="free_form")
    with pytest.raises(UnsupportedError, match="global coordinates"):
        PublishedFlow(2, 3, "sphere", objective="principal")
    with pytest.raises(UnsupportedError, match="base='euclidean' for objective='denoising'"):
        PublishedFlow(1, 2, "circle", objective="denoising")
    with pytest.raises(UnsupportedError, match=r"at most 3 numbers .* got T\^2 with 4"):
        small(2, 3, "torus", network="coupling")
    with pytest.raises(UnsupportedError, match=r"the base S\^2 for NetworkOptions\('star'\)"):
        small(2, 3, "torus", network="star")
    with pytest.raises(UnsupportedError, match=r"finite volume, or R\^d, got S\^1 x R\^1"):
        PublishedFlow(2, 3, tg.Product(tg.Circle(), tg.Euclidean(1)))
    with pytest.raises(UnsupportedError, match=r"finite volume, got S\^1 x R\^1.*PublishedFlow"):
        tg.InjectiveFlow(2, 3, tg.Product(tg.Circle(), tg.Euclidean(1)))
    with pytest.raises(UnsupportedError, match=r"finite volume, got R\^1.*PublishedFlow"):
        tg.InjectiveFlow(1, 2, "euclidean")
    with pytest.warns(UserWarning, match="expected noise > 0 for objective='free_form', got 0"):
        PublishedFlow(1, 2, "circle", objective="free_form", noise=0.0)
    with pytest.raises(UnsupportedError, match="pass density='spectral'"):
        PublishedFlow(1, 2, "circle", density="splines")
    with pytest.raises(NotFittedError, match="not fitted"):
        PublishedFlow(1, 2)()
    with pytest.raises(InvalidPoints, match="at least 20 different points"):
        tg.fit(PublishedFlow(1, 2), x[:5])


def test_bases_by_name_by_space_and_as_such():
    for base in ("torus", tg.Torus(), standard("torus")):
        model = PublishedFlow(2, 3, base)
        assert model.space.name == "T^2"
    assert PublishedFlow(2, 3, standard("torus")).base == "torus"
    cylinder = product(standard("circle"), standard("interval", 1))
    assert PublishedFlow(2, 3, cylinder).space.homology == tg.Homology((1, 1))


FLAT = ("denoising", "spread")


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_learns_a_circle_or_a_torus(objective):
    if objective == "canonical":
        x = tg.FlatTorus().sample_uniform(2000, generator=seeded())
        model = small(2, 4, "torus", objective=objective, steps=1000, width=48)
    elif objective in FLAT:
        t = 4 * torch.rand(2000, generator=seeded()).double() - 2
        x = torch.stack([t, t.square() / 2], -1)
        model = small(
            1, 2, objective=objective, network="coupling", steps=1000, width=32, layers=4
        )
    else:
        x = circle(2000)
        model = small(1, 2, "circle", objective=objective, steps=1000, width=32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tg.fit(model, x).status == "converged"
    score = model.score(x)
    assert score.reconstruction_median < 0.02 * score.diameter


@pytest.mark.slow
@pytest.mark.parametrize("network", ["coupling", "splines", "trumpet", "graph"])
def test_every_network_learns_a_parabola(network):
    t = 4 * torch.rand(2000, generator=seeded()).double() - 2
    x = torch.stack([t, t.square() / 2], -1)
    model = small(1, 2, network=network, steps=800, width=32, layers=4)
    tg.fit(model, x)
    assert model.score(x).reconstruction_median < 0.02 * model.image.scale


@pytest.mark.slow
def test_star_like_surface():
    n = tg.Sphere().sample_uniform(3000, generator=seeded())
    x = (0.3 * n[:, :1] * n[:, 2:] + 0.2 * n[:, 1:2]).exp() * n
    model = small(2, 3, "sphere", network="star", steps=800, width=48)
    tg.fit(model, x)
    score = model.score(x)
    assert score.reconstruction_p99 < 0.01 * score.diameter


@pytest.mark.slow
def test_klein_bottle_without_an_encoder():
    x = tg.KleinBottle().sample_uniform(4000, generator=seeded())
    model = small(2, 4, "klein", steps=1500, width=64)
    tg.fit(model, x)
    score = model.score(x)
    assert score.reconstruction_p99 < 0.02 * score.diameter
    assert model.image.homology == tg.KleinBottle().homology
    # uniform distribution: NLL is the log of the area
    assert score.nll == pytest.approx(math.log(tg.KleinBottle().volume), abs=0.05)
