"""Known distributions: closed forms, normalisation by quadrature, samplers against densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from topogen.distributions import (
    ManifoldDistribution,
    Mixture,
    Uniform,
    VonMises,
    VonMisesFisher,
)
from topogen.distributions.von_mises import log_peak
from topogen.errors import InvalidPoints, MeasureError, UnsupportedError
from topogen.manifolds.atlas import Quadrature
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import Circle, Euclidean, KleinBottle, MobiusBand, Sphere, Torus
from topogen.manifolds.spaces.spheres import log_sphere_area


def axes(kappa: float) -> Mixture:
    """Six modes, on the axes of R^3."""
    means = [[s if i == j else 0.0 for j in range(3)] for i in range(3) for s in (1.0, -1.0)]
    return Mixture([1.0] * 6, [VonMisesFisher(m, kappa) for m in means])


def tetrahedron(kappa: float) -> Mixture:
    """Four modes, on the corners of a tetrahedron."""
    means = [[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    return Mixture([1.0] * 4, [VonMisesFisher(m, kappa) for m in means])


LAWS: dict[str, ManifoldDistribution] = {
    "circle": Uniform(Circle(2.0)),
    "torus": Uniform(Torus()),
    "klein": Uniform(KleinBottle()),
    "band": Uniform(MobiusBand()),
    "von_mises": VonMises(1.0, 2.0),
    "von_mises_uniform": VonMises(1.0, 0.0),
    "vmf2": VonMisesFisher([1.0, 1.0], 7.0),
    "vmf3": VonMisesFisher([0.0, 0.6, 0.8], 10.0),
    "vmf3_flat": VonMisesFisher([0.0, 0.6, 0.8], 0.0),
    "vmf4": VonMisesFisher([1.0, 0.0, 0.0, 1.0], 3.0),
    "axes": axes(20.0),
    "tetrahedron": tetrahedron(20.0),
    "mixture": Mixture([0.2, 0.8], [Uniform(Circle()), VonMises(2.0, 30.0)]),
}
ALL = pytest.mark.parametrize("name", LAWS)


def quadrature(q: ManifoldDistribution) -> Quadrature:
    per_axis = 400 if q.dim == 1 else 40 if q.dim == 3 else 96 if isinstance(q, Mixture) else 48
    return q.manifold.atlas().quadrature(per_axis)


@ALL
def test_normalised_and_of_the_stated_entropy(name: str) -> None:
    q = LAWS[name]
    x = quadrature(q)
    log_p = q.log_prob(x.points)
    assert float((x.weights * log_p.exp()).sum()) == pytest.approx(1, abs=3e-6)
    assert q.likelihood == "exact"
    assert q.measure == "hausdorff"
    if not isinstance(q, Mixture):
        entropy = -float((x.weights * log_p.exp() * log_p).sum())
        assert entropy == pytest.approx(q.entropy(), abs=3e-5)


@ALL
def test_samples_follow_the_density(name: str) -> None:
    # mean of log p against minus the entropy by quadrature: |z| < 5, false alarms 6e-7 a
    # distribution
    q = LAWS[name]
    generator = torch.Generator().manual_seed(2)
    x = q.sample((4000,), generator)
    assert x.shape == (4000, q.manifold.ambient_dim)
    assert bool(q.support.check(x).all())
    log_p = q.log_prob(x)
    nodes = quadrature(q)
    p = q.log_prob(nodes.points)
    mean = float((nodes.weights * p.exp() * p).sum())
    error = float(log_p.std()) / math.sqrt(4000)
    assert abs(float(log_p.mean()) - mean) < 5 * error + 3e-5
    # and the first moments
    moment = (nodes.weights * p.exp()) @ nodes.points
    z = (x.mean(0) - moment).abs() / (x.std(0) / math.sqrt(4000) + 1e-9)
    assert float(z.max()) < 5


@ALL
def test_reproducible_shapes_and_float32(name: str) -> None:
    q = LAWS[name]
    D = q.manifold.ambient_dim
    one, two = (q.sample((2, 3), torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (2, 3, D)
    assert q.sample().shape == (D,)
    assert q.sample((0,)).shape == (0, D)
    log_p = q.log_prob(one.float())
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p.double(), q.log_prob(one), rtol=1e-4, atol=1e-4)


@ALL
def test_off_the_set(name: str) -> None:
    q = LAWS[name]
    x = q.sample((2,), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="expected points within"):
        q.log_prob(1.5 * x)
    q._validate_args = False
    try:
        assert q.log_prob(3 * x).tolist() == [-math.inf] * 2
        x[0, 0] = math.nan
        assert q.log_prob(x).isnan().tolist() == [True, False]
    finally:
        q._validate_args = True


def test_entropies_of_the_literature() -> None:
    assert VonMisesFisher([0.0, 0.0, 1.0], 10.0).entropy() == pytest.approx(0.535292, abs=1e-6)
    assert Uniform(Sphere()).entropy() == pytest.approx(2.531024, abs=1e-6)
    assert Uniform(KleinBottle(4.0, 2.0)).entropy() == pytest.approx(5.771573, abs=1e-6)
    assert Uniform(KleinBottle(2.0, 1.0)).entropy() == pytest.approx(4.385278, abs=1e-6)
    assert 2 * VonMises(0.0, 1.0).entropy() == pytest.approx(3.254803, abs=1e-6)
    nodes = Sphere().atlas().quadrature(160)
    for q, entropy in (
        (tetrahedron(20.0), 1.228170),
        (tetrahedron(50.0), 0.312148),
        (axes(20.0), 1.629184),
        (
            Mixture(
                [1.0, 1.0],
                [VonMisesFisher([0.0, 0.0, s], 10.0) for s in (1.0, -1.0)],
            ),
            1.228297,
        ),
    ):
        log_p = q.log_prob(nodes.points)
        assert -float((nodes.weights * log_p.exp() * log_p).sum()) == pytest.approx(
            entropy, abs=2e-6
        )


@pytest.mark.parametrize("D", [2, 3, 4, 10, 101, 1000])
@pytest.mark.parametrize("kappa", [0.0, 1e-12, 1e-3, 1.0, 30.0, 1e3, 1e4])
def test_log_normaliser_against_scipy_and_recurrence(D: int, kappa: float) -> None:
    from scipy.special import ive

    y = kappa**2 / 4
    nu = D / 2 - 1

    def log_0F1(D: int) -> float:
        return kappa - log_sphere_area(D - 1) - log_peak(D, kappa)[0]

    got = log_0F1(D)
    scaled = float(ive(nu, kappa))
    if kappa > 0 and scaled > 1e-250:
        reference = math.log(scaled) + kappa + math.lgamma(nu + 1) - nu * math.log(kappa / 2)
        assert got == pytest.approx(reference, rel=1e-12, abs=1e-9)
    # 0F1(b) = 0F1(b + 1) + y / (b (b + 1)) 0F1(b + 2) holds where scipy underflows
    b = D / 2
    first, second = (log_0F1(D + 2 * k) - got for k in (1, 2))
    assert math.exp(first) + y / (b * (b + 1)) * math.exp(second) == pytest.approx(1, abs=1e-8)
    q = VonMisesFisher([1.0] + [0.0] * (D - 1), kappa)
    assert math.isfinite(q.log_peak)
    assert 0 <= q.mean_cosine <= 1
    if D == 3 and kappa >= 1:
        assert q.mean_cosine == pytest.approx(1 / math.tanh(kappa) - 1 / kappa, rel=1e-10)
        closed = math.log(kappa / (2 * math.pi)) - math.log1p(-math.exp(-2 * kappa))
        assert q.log_peak == pytest.approx(closed, abs=1e-9)


@pytest.mark.parametrize("D", [2, 3, 4, 7, 500])
@pytest.mark.parametrize("kappa", [1e5, 1e8, 1e12, 1e30])
def test_a_large_concentration_is_nearly_normal(D: int, kappa: float) -> None:
    # log e^kappa C_D -> (D - 1)/2 log(kappa / 2 pi), with a relative error of order D^2 / kappa;
    # its memory does not grow with kappa
    q = VonMisesFisher([0.0] * (D - 1) + [1.0], kappa)
    limit = (D - 1) / 2 * math.log(kappa / (2 * math.pi))
    small = D**2 / kappa + 1e-13 * abs(limit)
    assert q.log_peak == pytest.approx(limit, abs=small)
    assert q.entropy() == pytest.approx((D - 1) / 2 - limit, abs=D * small)
    x = q.sample((4000,), torch.Generator().manual_seed(0))
    # kappa |x - mu|^2 is chi-squared of D - 1 degrees of freedom
    spread = kappa * (x - q.mean_direction).square().sum(-1)
    assert abs(float(spread.mean()) - (D - 1)) < 5 * math.sqrt(2 * (D - 1) / 4000) + D**2 / kappa


def test_both_expansions_agree_where_they_meet() -> None:
    for D, kappa in ((2, 999.0), (3, 990.0), (50, 900.0), (900, 800.0)):
        series = log_peak(D, kappa)
        assert log_peak(D, kappa, large=0.0) == pytest.approx(series, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("D", "kappa"), [(2, 0.5), (2, 1e4), (3, 1e4), (5, 0.0), (5, 50.0), (50, 1e3)]
)
def test_mean_cosine_of_the_sampler(D: int, kappa: float) -> None:
    # |z| < 5: false-alarm rate 6e-7 a case; the second moment too, by E w^2 = 1 - (D-1)/kappa E w
    q = VonMisesFisher([0.0] * (D - 1) + [1.0], kappa)
    x = q.sample((20_000,), torch.Generator().manual_seed(3))
    w = x[:, -1]
    assert float((x.norm(dim=-1) - 1).abs().max()) < 1e-14 * 10
    error = float(w.std()) / math.sqrt(20_000)
    assert abs(float(w.mean()) - q.mean_cosine) < 5 * error
    second = 1 - (D - 1) / kappa * q.mean_cosine if kappa > 0 else 1 / D
    square = w * w
    assert abs(float(square.mean()) - second) < 5 * float(square.std()) / math.sqrt(20_000)
    # the directions around the mean are uniform
    v = torch.nn.functional.normalize(x[:, :-1], dim=-1)
    assert float(v.mean(0).abs().max()) < 5 * math.sqrt(1 / (D - 1) / 20_000)


def test_seeds_do_not_touch_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    for q in LAWS.values():
        q.sample((10,), torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_mixture_of_one_distribution_with_itself() -> None:
    q = VonMisesFisher([0.0, 0.0, 1.0], 5.0)
    twice = Mixture(torch.tensor([0.3, 0.7]), [q, q])
    x = q.sample((20,))
    torch.testing.assert_close(twice.log_prob(x), q.log_prob(x))
    # a weight of 0 removes a component without NaN
    one = Mixture([0.0, 2.0], [VonMisesFisher([1.0, 0.0, 0.0], 50.0), q])
    torch.testing.assert_close(one.log_prob(x), q.log_prob(x))


def test_bad_distributions() -> None:
    vmf = VonMisesFisher([0.0, 0.0, 1.0], 1.0)
    for mean, kappa, message in (
        ([0.0, 0.0, 0.0], 1.0, "nonzero mean"),
        ([1.0], 1.0, "D >= 2"),
        ([1.0, math.nan], 1.0, "finite"),
        ([1.0, 0.0], -1.0, "concentration >= 0"),
        ([1.0, 0.0], math.inf, "finite concentration"),
    ):
        with pytest.raises(ValueError, match=message):
            VonMisesFisher(mean, kappa)
    with pytest.raises(ValueError, match="finite mean angle"):
        VonMises(math.inf, 1.0)
    with pytest.raises(UnsupportedError, match="product of intervals"):
        Uniform(Euclidean(2))
    with pytest.raises(UnsupportedError, match="ProjectedAtlas"):
        Uniform(ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, 2, 3))
    with pytest.raises(ValueError, match="one weight for each"):
        Mixture([1.0], [vmf, vmf])
    with pytest.raises(ValueError, match="weights >= 0"):
        Mixture([1.0, -1.0], [vmf, vmf])
    with pytest.raises(MeasureError, match="two distributions with one measure"):
        Mixture([1.0, 1.0], [vmf, VonMises(0.0, 1.0)])
    with pytest.raises(MeasureError, match="on one manifold"):
        Mixture([1.0, 1.0], [vmf, Uniform(Sphere(2, 2.0))])


def test_uniform_distribution_of_a_product() -> None:
    q = Uniform(Product(Torus(), Circle()))
    x = q.sample((5,))
    assert q.log_prob(x).tolist() == pytest.approx([-math.log(1.6 * math.pi**2 * 2 * math.pi)] * 5)


@pytest.mark.parametrize(("error", "kind"), [(1e-3, "exact"), (1.1e-3, "estimated")])
def test_a_volume_that_is_not_known_well_makes_an_estimate(error: float, kind: str) -> None:
    M = Sphere()
    M.volume, M.volume_error = 4.0, 4 * error
    q = Uniform(M)
    assert (q.likelihood, q.log_z_error) == (kind, pytest.approx(error))


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="sizes >= 0"):
        Uniform(Sphere()).sample((-1,))


@pytest.mark.parametrize("q", [Uniform(Sphere()), axes(2.0)], ids=["uniform", "mixture"])
def test_no_points_have_no_densities(q: ManifoldDistribution) -> None:
    assert q.log_prob(torch.empty(0, 3)).shape == (0,)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.eye(3), r"got ndarray; pass torch.as_tensor\(x\)"),
        (np.eye(3).tolist(), r"got list; pass torch.as_tensor\(x\)"),
        (torch.eye(3, dtype=torch.int64), "expected floating-point points.* of torch.int64"),
        (torch.eye(2), r"of shape \(..., 3\) for Sphere, got shape \(2, 2\)"),
    ],
)
def test_points_are_tensors(points: object, words: str) -> None:
    with pytest.raises(InvalidPoints, match=words):
        Sphere().check_points(points)  # which log_prob and contains ask
