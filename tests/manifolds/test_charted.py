"""Manifolds made of charts alone, and what is checked of charts of a given manifold."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.errors import AtlasError
from topogen.manifolds.charted import ChartedManifold
from topogen.testing import check_distribution


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cap(sign: float, reach: float = 2.0, shift: float = 0.0) -> tg.FunctionChart:
    """A stereographic cap of the unit sphere, moved along the axis."""
    up = torch.tensor([0.0, 0.0, shift], dtype=torch.float64)

    def decode(u: Tensor) -> Tensor:
        r = (u * u).sum(-1, keepdim=True)
        return torch.cat([2 * u, sign * (r - 1)], -1) / (1 + r) + up.to(u)

    def encode(x: Tensor) -> Tensor:
        y = x - up.to(x)
        return y[..., :2] / (1 - sign * y[..., 2:])

    return tg.FunctionChart(decode, encode, domain=tg.Ball(2, reach))


def arc(centre: float, half: float = 1.5) -> tg.FunctionChart:
    def decode(z: Tensor) -> Tensor:
        return torch.cat([2 * (z + centre).cos(), (z + centre).sin()], -1)

    def encode(x: Tensor) -> Tensor:
        t = torch.atan2(x[..., 1:], x[..., :1] / 2) - centre
        return torch.remainder(t + math.pi, 2 * math.pi) - math.pi

    return tg.FunctionChart(decode, encode, domain=tg.Box([-half], [half]))


def sphere() -> tg.Atlas:
    return tg.Atlas([cap(1.0), cap(-1.0)])


def test_charts_alone_make_the_manifold_that_they_cover() -> None:
    M, S = sphere().manifold, tg.Sphere()
    assert isinstance(M, ChartedManifold)
    assert M.closed
    assert M.scale == pytest.approx(1, abs=0.1)
    x = S.sample_uniform(50, seeded())
    torch.testing.assert_close(M.project(1.2 * x).value, x, atol=1e-10, rtol=0.0)
    torch.testing.assert_close(M.residual(1.2 * x), torch.full_like(x[:, 0], 0.2))
    P = M.tangent_basis(x)
    torch.testing.assert_close(
        P @ P.mT + x.unsqueeze(-1) * x.unsqueeze(-2), torch.eye(3).expand(50, 3, 3).double()
    )
    # a part of it has a boundary, and points beyond are not of it
    north = tg.Atlas([cap(-1.0, 1.0)]).manifold
    assert not north.closed
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    assert north.contains(poles).tolist() == [True, False]
    assert not bool(north.project(poles).converged[1])


def test_distributions_on_charts_alone() -> None:
    q = tg.Uniform(sphere(), validate_args=False)
    assert q.entropy() == pytest.approx(math.log(4 * math.pi), abs=1e-4)
    check_distribution(q, atlas=sphere())


def test_a_density_is_fitted_on_charts_alone() -> None:
    t = tg.VonMises(0.5, 1.0).sample((800,), seeded()) * torch.tensor([2.0, 1.0]).double()
    model = tg.AtlasDensity(tg.Atlas([arc(k * 2 * math.pi / 3) for k in range(3)]))
    assert tg.fit(model, t).status == "converged"
    q = model()
    assert q.likelihood == "exact"
    assert bool(q.log_prob(t).isfinite().all())
    assert float(model.atlas.integrate(lambda x: q.log_prob(x).exp())) == pytest.approx(
        1, abs=1e-3
    )
    assert bool(q.log_prob(torch.tensor([[2.3, 0.0]]).double()).isinf())


def test_charts_that_miss_a_part_are_refused() -> None:
    # two caps that do not reach the equator cover 78 % of the sphere
    with pytest.raises(AtlasError, match=r"cover Sphere, but .*% of its points lie in none"):
        tg.Atlas([cap(1.0, 0.8), cap(-1.0, 0.8)], tg.Sphere())
    # charts alone are what they cover; points beyond are told
    two = tg.Atlas([cap(1.0, 0.8), cap(-1.0, 0.8)])
    found = two.nerve(tg.Sphere().sample_uniform(500, seeded()))
    assert found.good_cover is False
    assert "lie in no chart" in found.reason
    # a gap too narrow for points is seen in the volume
    narrow = tg.Atlas([cap(1.0, 0.97), cap(-1.0, 0.97)], tg.Sphere(), own=True)
    narrow.own = False
    with pytest.raises(AtlasError, match=r"of volume 12\.566, but theirs is"):
        tg.Uniform(narrow)


def test_a_misplaced_chart_is_refused_or_named() -> None:
    with pytest.raises(AtlasError, match=r"chart 1 are up to 0\.\d+ off"):
        tg.Atlas([cap(1.0), cap(-1.0, shift=0.1)], tg.Sphere())
    with pytest.warns(UserWarning, match="chart 0 passes chart 1"):
        tg.Atlas([cap(1.0), cap(-1.0, shift=0.1)])


def test_charts_of_a_manifold_that_is_learned_later_are_checked_then() -> None:
    x = tg.Circle().sample_uniform(400, seeded()) * 1.1
    model = tg.AtlasDensity(tg.Atlas(list(tg.Circle().atlas()), tg.LocalPolynomials(1, 2)))
    with pytest.raises(AtlasError, match="off it"):
        tg.fit(model, x)


@pytest.mark.parametrize("M", [tg.Circle(), tg.Sphere(), tg.KleinBottle(), tg.HopfLink()])
def test_atlases_of_spaces_can_be_pickled(M: tg.Manifold) -> None:
    atlas, x = M.atlas(), M.sample_uniform(20, seeded())
    for again in (pickle.loads(pickle.dumps(atlas)), copy.deepcopy(atlas)):
        torch.testing.assert_close(again.weights(x), atlas.weights(x))
