"""One front for uniform distributions without a chain, and methods that check each other."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import topogen as tg
from topogen.errors import AtlasError, InvalidPoints, UnsupportedError
from topogen.manifolds.default_atlas import charts_of
from topogen.manifolds.operations import Restriction, Similarity, Union
from topogen.sampling import compare_volumes, uniform, volume
from topogen.sampling.quadrature import atlas_volume, undecoded
from topogen.sampling.volume_estimate import VolumeEstimate


@pytest.mark.slow
def test_methods_that_apply_agree_on_the_torus(known) -> None:
    M = tg.Torus(1.0, 0.5)
    result = compare_volumes(M, draws=4000, generator=known.seeded())
    assert [v.method for v in result.estimates] == ["own", "atlas", "rays", "tube", "coarea"]
    assert result.agree is True
    assert result.refused == {}
    assert "they agree" in str(result)


def test_disagreement_is_seen_and_reasons_are_given(known) -> None:
    # a set that claims a wrong volume
    M = tg.Sphere()
    M.volume = 12.0
    result = compare_volumes(M, draws=3000, generator=known.seeded())
    assert result.agree is False
    assert "DISAGREE" in str(result)
    circle = compare_volumes(tg.TorusKnot(2, 3), draws=1000, generator=known.seeded())
    assert circle.agree is True
    assert "codimension 2" in circle.refused["rays"]


@pytest.mark.parametrize("method", ["own", "atlas", "rays", "tube"])
def test_every_method_draws_the_uniform_distribution_of_the_torus(known, method: str) -> None:
    # 5 standard errors: false alarm 6e-7
    x = uniform(tg.Torus(1.0, 0.5), 2000, method, generator=known.seeded())
    assert x.shape == (2000, 3)
    assert known.z_score(known.cos_phi(x), 0.25) < 5
    assert known.tube_angle_statistic(x) < 2.5


@pytest.mark.slow
def test_auto_takes_what_applies(known) -> None:
    assert volume(tg.Sphere()).method == "own"
    assert volume(tg.Sphere().atlas(), "atlas").method == "atlas"
    assert volume(known.torus(), draws=500, generator=known.seeded()).method == "rays"
    assert volume(known.clifford(), draws=500, generator=known.seeded()).method == "tube"
    empty = tg.ImplicitManifold(lambda x: x.square().sum(-1, keepdim=True) + 1, 2, 3)
    with pytest.raises(UnsupportedError, match=r"own: .*atlas: .*rays: .*tube: "):
        uniform(empty, 10)
    with pytest.raises(InvalidPoints, match="pass points="):
        uniform(empty, 10, "rays")


def test_zero_points_and_bad_counts(known) -> None:
    for method in ("own", "rays", "tube"):
        assert uniform(tg.Sphere(), 0, method, generator=known.seeded()).shape == (0, 3)
    with pytest.raises(ValueError, match="n >= 0"):
        uniform(tg.Sphere(), -1, "rays")


@pytest.mark.slow
def test_uniform_distribution_of_an_atlas(known) -> None:
    M = tg.Torus(1.0, 0.5)
    distribution = tg.Uniform(M.atlas())
    assert distribution.likelihood == "exact"
    assert distribution.entropy() == pytest.approx(math.log(known.TORUS_AREA), abs=1e-3)
    tg.testing.check_distribution(distribution, known.seeded(), n=500)
    # of a set with an atlas= of it, the atlas is used
    atlas = M.atlas()
    again = tg.Uniform(atlas.manifold, atlas)
    assert again.charted is not None
    assert tg.Uniform(M).charted is None


def test_uniform_says_what_to_do_without_charts(known) -> None:
    with pytest.raises(UnsupportedError, match=r"tg\.ProjectedAtlas\(M\)"):
        tg.Uniform(known.torus())
    with pytest.raises(AtlasError, match="atlas of this Torus"):
        tg.Uniform(tg.Torus(), tg.Sphere().atlas())
    with pytest.raises(AtlasError, match="got two"):
        tg.Uniform(tg.Sphere().atlas(), tg.Sphere().atlas())
    with pytest.raises(UnsupportedError, match="dimension 1, 2 or 3"):
        tg.Uniform(tg.Sphere(4).atlas())


def test_a_hole_in_the_charts_is_counted_as_bias(known) -> None:
    M = tg.Circle()
    whole = M.atlas()
    assert atlas_volume(whole, generator=known.seeded()).bias < 1e-3
    two = tg.Atlas(list(whole)[:2], M, own=True)  # not checked
    v = atlas_volume(two, generator=known.seeded())
    assert abs(v.value - M.volume) <= v.bias
    assert "in no chart" in v.remark
    assert v.status == "rough"


def test_charts_that_do_not_decode_are_counted() -> None:
    def decode(u: torch.Tensor) -> torch.Tensor:
        x = torch.cat([u.cos(), u.sin()], -1)
        return torch.where(u > 0.5, math.nan, x)  # a piece it holds but does not give back

    def encode(x: torch.Tensor) -> torch.Tensor:
        return torch.atan2(x[..., 1:], x[..., :1])

    class Blind(tg.FunctionChart):
        def _encode(self, x):
            z = self.phi(x)
            return z, self.domain.contains(z)

    M = tg.Circle()
    charts = list(M.atlas())
    blind = Blind(decode, encode, domain=tg.Box(-1.0, 1.0))
    x = M.sample_uniform(2000, generator=torch.Generator().manual_seed(0))
    assert undecoded(tg.Atlas(charts, M), x) == 0
    assert undecoded(tg.Atlas([*charts, blind], M), x) > 0.003


def test_estimates_compare_by_their_errors() -> None:
    a = VolumeEstimate(10.0, 0.1, 0.0, "rays")
    assert a.agrees(VolumeEstimate(10.3, 0.0, 0.0, "atlas"))
    assert not a.agrees(VolumeEstimate(10.5, 0.0, 0.0, "atlas"))
    assert a.agrees(VolumeEstimate(10.5, 0.0, 0.2, "atlas"))
    assert VolumeEstimate(10.0, 0.3, 0.0, "tube").status == "rough"
    assert VolumeEstimate(10.0, math.nan, 0.0, "tube").status == "rough"


@pytest.mark.slow
def test_charts_are_put_on_a_set_that_knows_where_it_is(known) -> None:
    t = torch.linspace(0, 2 * math.pi, 101, dtype=torch.float64)[:-1]
    circle = tg.LocalPolynomials(1, 2)
    tg.fit(circle, torch.stack([t.cos(), t.sin()], -1) + 5.0)
    state = list(circle.state_dict())
    v = volume(circle, generator=known.seeded())
    assert v.method == "atlas"
    assert abs(v.value / (2 * math.pi) - 1) < 1e-3
    distribution = tg.Uniform(circle)
    x = distribution.sample((2000,), generator=known.seeded())
    assert known.z_score(x[:, 0], 5.0) < 4
    # the charts are kept, apart from the state, until the set changes
    assert list(distribution.charted.atlas) == list(charts_of(circle))
    assert list(circle.state_dict()) == state
    circle.unit.mul_(2)
    assert abs(tg.Uniform(circle).log_volume - math.log(4 * math.pi)) < 1e-3
    assert tg.Uniform(copy.deepcopy(circle)).log_volume == tg.Uniform(circle).log_volume
    # a set that is told where it is for this call
    implicit = tg.ImplicitManifold(lambda x: x.square().sum(-1, keepdim=True) - 1, 1, 2)
    points = torch.stack([t.cos(), t.sin()], -1)
    by_points = volume(implicit, "atlas", points=points, generator=known.seeded())
    assert by_points.value == pytest.approx(2 * math.pi, rel=1e-4)
    with pytest.raises(UnsupportedError, match=r"tg\.ProjectedAtlas\(M\)"):
        volume(implicit, "atlas")


def learned_circle() -> tg.LocalPolynomials:
    t = torch.linspace(0, 2 * math.pi, 101, dtype=torch.float64)[:-1]
    circle = tg.LocalPolynomials(1, 2)
    tg.fit(circle, torch.stack([t.cos(), t.sin()], -1))
    return circle


@pytest.mark.slow
def test_a_part_of_a_learned_set_knows_where_it_is(known) -> None:
    distribution = tg.Uniform(Restriction(learned_circle(), lambda x: -x[..., 1]))
    assert abs(distribution.log_volume - math.log(math.pi)) < distribution.log_z_error + 1e-4
    assert bool((distribution.sample((500,), generator=known.seeded())[:, 1] >= 0).all())
    # nothing is known of a set that is a function only
    assert Restriction(known.torus(), lambda x: x[..., 0]).rough_points(10) is None
    assert tg.Uniform(Restriction(tg.Circle(), lambda x: x[..., 0])).likelihood == "exact"


@pytest.mark.parametrize(
    ("make", "length"),
    [
        (lambda M: Similarity(M, [3.0, 0.0], factor=2.0), 4 * math.pi),
        pytest.param(
            lambda M: Union(M, Similarity(M, [1.0, 0.0])), 4 * math.pi, marks=pytest.mark.slow
        ),
        pytest.param(
            lambda M: Union(M, Similarity(M, [9.0, 0.0])), 4 * math.pi, marks=pytest.mark.slow
        ),
        pytest.param(
            lambda M: tg.Product(M, tg.Interval(0.0, 1.0)), 2 * math.pi, marks=pytest.mark.slow
        ),
    ],
    ids=["similar", "crossing", "apart", "cylinder"],
)
def test_sets_made_of_learned_ones_know_where_they_are(known, make, length) -> None:
    v = volume(make(learned_circle()), generator=known.seeded())
    assert v.method == "atlas"
    assert v.value == pytest.approx(length, rel=2e-3)


@pytest.mark.slow
def test_the_default_on_a_learned_torus_is_charts(known) -> None:
    # volume within 1 %, E cos phi within 3 standard errors of 1/4 (false alarm .003, seeds fixed)
    M = tg.NeuralImplicit(2, 3)
    tg.fit(M, tg.Torus(1.0, 0.5).sample_uniform(3000, known.seeded()))
    distribution = tg.Uniform(M)
    assert distribution.likelihood == "exact"
    assert abs(math.exp(distribution.log_volume) / known.TORUS_AREA - 1) < 0.01
    assert known.z_score(known.cos_phi(distribution.sample((4000,), known.seeded(1))), 0.25) < 3
    v = volume(M, generator=known.seeded())
    assert v.method == "atlas"
    assert abs(v.value / known.TORUS_AREA - 1) < 0.01


@pytest.mark.slow
def test_two_learned_spheres_that_cross(known) -> None:
    parts = []
    for seed, shift in ((0, -0.6), (1, 0.6)):
        M = tg.LocalPolynomials(2, 3)
        x = tg.Sphere().sample_uniform(1500, known.seeded(seed))
        tg.fit(M, x + torch.tensor([shift, 0.0, 0.0]))
        parts.append(M)
    v = volume(Union(*parts), generator=known.seeded())
    assert v.method == "atlas"
    assert v.value == pytest.approx(8 * math.pi, rel=5e-3)


@pytest.mark.slow
def test_learned_torus(known) -> None:
    # volume within 1 %, E cos phi within 3 standard errors of 1/4 (false alarm .003, seeds fixed),
    # and methods in agreement on one learned manifold
    truth = tg.Torus(1.0, 0.5)
    x = truth.sample_uniform(3000, generator=known.seeded())
    M = tg.LocalPolynomials(2, 3)
    atlas = tg.ProjectedAtlas(M)
    tg.fit(atlas, x)
    by_charts = volume(M, "atlas", atlas=atlas, points=x, generator=known.seeded(1))
    by_tube = volume(M, "tube", points=x, draws=4000, generator=known.seeded(1))
    assert abs(by_charts.value / known.TORUS_AREA - 1) < 0.01
    assert abs(by_tube.value / known.TORUS_AREA - 1) < 0.02
    assert by_charts.agrees(by_tube)
    y = uniform(M, 4000, "atlas", atlas=atlas, generator=known.seeded(2))
    assert known.z_score(known.cos_phi(y), 0.25) < 3
    with pytest.raises(UnsupportedError, match="3 equations"):
        volume(M, "rays", points=x)


def test_points_that_are_one_and_draws_too_few_are_refused(known) -> None:
    M = known.torus()
    x = M.project(torch.tensor([[1.5, 0.1, 0.1]], dtype=torch.float64)).value
    with pytest.raises(InvalidPoints, match="20 different points"):
        volume(M, "rays", points=x.repeat(50, 1))
    for draws in (1, 0, -1):
        with pytest.raises(ValueError, match="draws >= 100"):
            volume(M, "rays", draws=draws)
