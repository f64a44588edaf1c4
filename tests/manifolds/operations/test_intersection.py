"""Intersections and restrictions of sets, against known answers.

Statistical tests compare at 4 standard errors (false alarms below 1e-4 each; seeds are fixed).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.distributions.pushforward import Pushforward
from topogen.distributions.uniform import Uniform
from topogen.distributions.von_mises import VonMisesFisher
from topogen.errors import UnsupportedError
from topogen.homology import Homology
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import Intersection, Restriction, Similarity, TransversalityError
from topogen.manifolds.spaces import Circle, FlatTorus, Sphere, Torus


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- intersections --------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["library", "implicit"])
def test_two_spheres_meet_in_a_circle(make: Any, known: bool) -> None:
    A, B = (
        make.two_spheres() if known else (make.implicit_sphere([s, 0.0, 0.0]) for s in (0.5, -0.5))
    )
    M = Intersection(A, B)
    assert (M.dim, M.ambient_dim, M.closed, M.orientable) == (1, 3, True, True)
    assert M.homology == Homology((1, 1))
    assert M.volume == pytest.approx(2 * math.pi * math.sqrt(0.75), abs=1e-9)
    assert abs(M.volume - 2 * math.pi * math.sqrt(0.75)) <= 2 * M.volume_error
    x = M.found
    assert x.shape[0] > 100
    assert float(x[:, 0].abs().max()) < 1e-11
    assert float((x.norm(dim=-1) - math.sqrt(0.75)).abs().max()) < 1e-11
    # the normals make an angle of 60 degrees: sqrt(1 - cos 60)
    assert M.transversality == pytest.approx(math.sqrt(0.5), abs=1e-9)
    assert float((M.sigma_min(x) - math.sqrt(0.5)).abs().max()) < 1e-9
    T = M.tangent_basis(x)[..., 0]
    torch.testing.assert_close((T * x).sum(-1), torch.zeros(x.shape[0]).to(x), atol=1e-9, rtol=0)
    # the residual is the distance, up to second order
    y = x + 1e-3 * torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    distance = torch.hypot(y[:, 0], y[:, 1:].norm(dim=-1) - math.sqrt(0.75))
    torch.testing.assert_close(M.residual(y), distance, rtol=5e-3, atol=0)
    # and quadratic convergence keeps the steps few
    assert int(M.project(y, throw=True).steps.max()) <= 4


@pytest.mark.parametrize(
    ("shift", "gap", "words"),
    [(1.0, 0.0, "tangent at"), (1.5, 1.0, "at distance 1"), (0.0, 0.0, "tangent at")],
    ids=["touching", "disjoint", "identical"],
)
def test_spheres_that_do_not_cross_are_refused(
    make: Any, shift: float, gap: float, words: str
) -> None:
    with pytest.raises(TransversalityError, match=words) as caught:
        Intersection(
            make.implicit_sphere([shift, 0.0, 0.0]), make.implicit_sphere([-shift, 0.0, 0.0])
        )
    assert caught.value.gap == pytest.approx(gap, abs=1e-3)
    if gap == 0:
        assert caught.value.sigma_min < 1e-6


def test_one_tangent_point_on_a_curve_is_found() -> None:
    # Viviani: the curve crosses itself at (1, 0, 0), where sphere and cylinder touch
    F = lambda x: ((x[..., :2] - x.new_tensor([0.5, 0.0])) ** 2).sum(-1, keepdim=True) - 0.25
    with pytest.raises(TransversalityError, match=r"tangent at \(1, "):
        Intersection(Sphere(), ImplicitManifold(F, 2, 3, closed=False))
    # negative control: half as wide, it crosses in two ovals
    G = lambda x: ((x[..., :2] - x.new_tensor([0.5, 0.0])) ** 2).sum(-1, keepdim=True) - 0.0625
    M = Intersection(Sphere(), ImplicitManifold(G, 2, 3, closed=False))
    assert M.transversality > 0.1


@pytest.mark.slow
def test_a_torus_and_planes(make: Any) -> None:
    M = Intersection(Torus(1.0, 0.4), make.implicit_plane([0.0, 0.0, 1.0], 0.0))
    assert M.closed  # a plane is not, the cut is
    assert M.homology == Homology((2, 2))
    assert M.volume == pytest.approx(2 * math.pi * (1.4 + 0.6), abs=1e-6)
    assert abs(M.volume - 4 * math.pi) <= 2 * M.volume_error
    points = Intersection(
        Torus(1.0, 0.4),
        make.implicit_plane([0.0, 0.0, 1.0], 0.0),
        make.implicit_plane([1.0, 0.0, 0.0], 0.0),
    )
    assert (points.dim, points.volume, points.homology) == (0, 4.0, Homology((4,)))
    # an open end, and a curve without end
    arc = Intersection(
        Restriction(Sphere(), make.upper), make.implicit_plane([1.0, 0.0, 0.0], 0.0)
    )
    line = Intersection(
        make.implicit_plane([1.0, 0.0, 0.0], 0.0), make.implicit_plane([0.0, 1.0, 0.0], 0.0)
    )
    for M in (arc, line):
        assert (M.closed, M.homology, M.volume) == (False, None, None)
    torch.testing.assert_close(
        points.found[:, 1].sort().values, torch.tensor([-1.4, -0.6, 0.6, 1.4]).to(points.found)
    )


@pytest.mark.slow
def test_over_determined_parts_and_higher_codimension() -> None:
    # the Klein bottle has no regular equation; a sphere cuts it in curves
    sphere = Similarity(Sphere(3, 1.2), [0.3, 0.1, 0.2, 0.0])
    M = Intersection(tg.KleinBottle(), sphere)
    assert (M.dim, M.ambient_dim) == (1, 4)
    x = M.found
    assert float(tg.KleinBottle().residual(x).max()) < 1e-10
    assert float(sphere.residual(x).max()) < 1e-10
    assert M.defining is None
    T = M.tangent_basis(x)
    assert float(((x - sphere.shift).unsqueeze(-2) @ T).abs().max()) < 1e-9


def test_too_many_equations() -> None:
    a, b = FlatTorus(2), Similarity(FlatTorus(2), [0.1, 0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="at most D=4, got 2 \\+ 2 \\+ 1"):
        Intersection(a, b, Sphere(3))
    with pytest.raises(ValueError, match="in one R\\^D"):
        Intersection(Circle(), Sphere())
    with pytest.raises(ValueError, match="two manifolds or more"):
        Intersection(Circle())


def test_energies_add_on_an_intersection(make: Any) -> None:
    """Experts on two spheres; their product on the common circle, against its closed form."""
    A, B = make.two_spheres()
    M = Intersection(A, B)
    p = Pushforward(VonMisesFisher([0.0, 0.0, 1.0], 3.0), A)
    q = Pushforward(VonMisesFisher([0.0, 1.0, 0.0], 2.0), B)
    t = torch.arange(400, dtype=torch.float64) * (2 * math.pi / 400)
    r = math.sqrt(0.75)
    x = torch.stack([0 * t, r * t.cos(), r * t.sin()], -1)
    energy = p.log_prob(x) + q.log_prob(x)
    assert bool(M.contains(x).all())
    density = energy.exp() / (energy.exp().mean() * M.volume)
    # von Mises: concentration r sqrt(13) towards (2, 3)
    kappa = r * (x[:, 1:] @ torch.tensor([2.0, 3.0], dtype=torch.float64)) / r
    bessel = torch.special.i0(torch.tensor(r * math.sqrt(13), dtype=torch.float64))
    expected = kappa.exp() / (2 * math.pi * r * bessel)
    torch.testing.assert_close(density, expected, rtol=1e-9, atol=0)


# -- restrictions ---------------------------------------------------------------------------------


def test_a_spherical_cap(make: Any) -> None:
    M = Restriction(Sphere(), make.upper)
    assert (M.closed, M.orientable, M.volume, M.homology) == (False, True, None, None)
    n = 20_000
    z = M.sample_uniform(n, seeded())[:, 2]
    # x_3 ~ U(.2, 1)
    u = ((z.sort().values - 0.2) / 0.8).clamp(0, 1)
    assert float(z.min()) >= 0.2
    assert float((u - torch.arange(1, n + 1) / n).abs().max()) < 1.95 / math.sqrt(n)
    area = M.measure(100_000, seeded(1))
    assert abs(float(area.value) - 2 * math.pi * 0.8) < 4 * float(area.error)
    assert float(area.error) < 0.03


def test_points_outside_are_rejected_never_moved(make: Any) -> None:
    M = Restriction(Sphere(), make.upper)
    x = torch.tensor([[0.0, 0.1, 0.9], [0.9, 0.1, 0.1], [math.nan, 0.0, 1.0]])
    p = M.project(x)
    assert p.converged.tolist() == [True, False, False]
    torch.testing.assert_close(p.value[:2], Sphere().project(x[:2]).value)  # not the boundary
    assert M.contains(p.value).tolist() == [True, False, False]
    assert M.in_domain(p.value).tolist() == [True, False, False]
    assert M.residual(x)[1:].tolist() == [math.inf, math.inf]
    # clamped to the boundary, points of a whole sphere would put a share of .6 on it
    y = M.sample_uniform(5000, seeded())
    assert float((y[:, 2] < 0.2 + 1e-9).double().mean()) == 0
    with pytest.raises(tg.errors.ProjectionError):
        M.project(x, throw=True)


def test_several_inequalities() -> None:
    octant = Restriction(Sphere(), lambda x: -x[..., :2], lambda x: -x[..., 2], volume=math.pi / 2)
    x = octant.sample_uniform(2000, seeded())
    assert bool((x >= 0).all())
    q = Uniform(octant, validate_args=False)
    inside = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]) / math.sqrt(3)
    torch.testing.assert_close(q.log_prob(inside).exp(), torch.tensor([2 / math.pi, 0.0]))


@pytest.mark.parametrize(
    "g", [lambda x: x[..., 0] > 0, lambda x: x.sum(), lambda x: x[:2]], ids=["bool", "sum", "rows"]
)
def test_inequalities_that_are_none(g: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="expected g to take"):
        Restriction(Sphere(), g)


def test_an_empty_part_has_no_sampler() -> None:
    with pytest.raises(UnsupportedError, match="0 of"):
        Restriction(Sphere(), lambda x: 2 - x[..., 0]).sample_uniform(10, seeded())
    with pytest.raises(ValueError, match="at least one inequality"):
        Restriction(Sphere())


@pytest.mark.slow
def test_a_walk_stays_in_a_restriction(make: Any) -> None:
    from topogen.sampling import Plan, random_walk

    result = random_walk(
        Restriction(Sphere(), make.upper), None, 100, seed=0, plan=Plan(chains=100)
    )
    assert result.status == "ok"
    z = result.samples[..., 2]
    assert float(z.min()) >= 0.2
    mean = result.mean(lambda x: x[..., 2])
    assert abs(float(mean.value) - 0.6) < 4 * float(mean.error)
