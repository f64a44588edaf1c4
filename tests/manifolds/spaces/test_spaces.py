"""Laws of the reference spaces: what they claim of themselves is true."""

from __future__ import annotations

import math

import pytest
import torch

from tests.catalogue import SPACES
from topogen import calculus
from topogen.errors import ProjectionError, UnsupportedError
from topogen.homology import Homology
from topogen.manifolds.base import Manifold
from topogen.manifolds.operations import disjoint_union
from topogen.manifolds.spaces import (
    Circle,
    Euclidean,
    FlatTorus,
    GenusSurface,
    Interval,
    KleinBottle,
    MobiusBand,
    ReferenceSpace,
    SpecialOrthogonal,
    Sphere,
    Torus,
    TorusKnot,
)

# dim, ambient_dim, closed, orientable, homology, volume
TABLE = {
    "circle": (1, 2, True, True, {2: (1, 1), 3: (1, 1)}, 4 * math.pi),
    "sphere": (2, 3, True, True, {2: (1, 0, 1), 3: (1, 0, 1)}, 4 * math.pi),
    "sphere3": (3, 4, True, True, {2: (1, 0, 0, 1), 3: (1, 0, 0, 1)}, math.pi**2 / 4),
    "torus": (2, 3, True, True, {2: (1, 2, 1), 3: (1, 2, 1)}, 1.6 * math.pi**2),
    "flat_torus": (2, 4, True, True, {2: (1, 2, 1), 3: (1, 2, 1)}, 4 * math.pi**2),
    "klein": (2, 4, True, False, {2: (1, 2, 1), 3: (1, 1)}, 80.260549 / 4),
    "mobius": (2, 3, False, False, {2: (1, 1), 3: (1, 1)}, None),
    "trefoil": (1, 3, True, True, {2: (1, 1), 3: (1, 1)}, None),
    "mirror_knot": (1, 3, True, True, {2: (1, 1), 3: (1, 1)}, None),
    "long_knot": (1, 3, True, True, {2: (1, 1), 3: (1, 1)}, None),
    "hopf": (1, 3, True, True, {2: (2, 2), 3: (2, 2)}, 4 * math.pi),
    "projective": (2, 5, True, False, {2: (1, 1, 1), 3: (1,)}, 2 * math.pi),
    "rotations": (
        3,
        9,
        True,
        True,
        {2: (1, 1, 1, 1), 3: (1, 0, 0, 1)},
        16 * math.sqrt(2) * math.pi**2,
    ),
    "genus2": (2, 3, True, True, {2: (1, 4, 1), 3: (1, 4, 1)}, None),
    "interval": (1, 1, False, True, {2: (1,), 3: (1,)}, 4.0),
    "cylinder": (2, 3, False, True, {2: (1, 1), 3: (1, 1)}, 2 * math.pi),
    "klein_circle": (
        3,
        6,
        True,
        False,
        {2: (1, 3, 3, 1), 3: (1, 2, 1)},
        80.260549 / 4 * 2 * math.pi,
    ),
    "two_tori": (2, 3, True, True, {2: (2, 4, 2), 3: (2, 4, 2)}, 1.6 * math.pi**2 * 6),
    "two_knots": (1, 3, True, True, {2: (2, 2), 3: (2, 2)}, None),
    "two_circles": (1, 2, True, True, {2: (2, 2), 3: (2, 2)}, 6 * math.pi),
    "genus1": (2, 3, True, True, {2: (1, 2, 1), 3: (1, 2, 1)}, 2 * math.pi**2),
    "circle_x_sphere": (3, 5, True, True, {2: (1, 1, 1, 1), 3: (1, 1, 1, 1)}, 8 * math.pi**2),
    "plane": (2, 2, False, True, {2: (1,), 3: (1,)}, None),
}
ALL = SPACES.names(
    without={"plane"}, slow={"genus1", "circle_x_sphere", "torus_x_circle"}
)  # of finite volume


def cloud(M: Manifold, n: int, noise: float = 0.0) -> torch.Tensor:
    """N uniform points of M, moved by normal noise of `noise` times the size of M."""
    generator = torch.Generator().manual_seed(1)
    x = M.sample_uniform(n, generator)
    return x + noise * M.scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_facts(name: str) -> None:
    M = SPACES[name]
    dim, ambient_dim, closed, orientable, betti, volume = TABLE[name]
    facts = (M.dim, M.ambient_dim, M.closed, M.orientable)
    assert facts == (dim, ambient_dim, closed, orientable)
    assert M.homology == Homology(betti)
    if volume is not None:
        assert M.volume == pytest.approx(volume, rel=1e-7)
    assert sum(p.numel() for p in M.parameters()) == 0
    assert repr(M)


@pytest.mark.slow
@ALL
def test_volume_error_is_small(name: str) -> None:
    M = SPACES[name]
    assert M.volume is not None
    assert M.volume_error is not None
    assert 0 <= M.volume_error <= 1e-8 * M.volume


@pytest.mark.parametrize(
    ("M", "area"),
    [
        (KleinBottle(4.0, 2.0), 321.042196),
        (KleinBottle(2.0, 1.0), 80.260549),
        (Torus(3.0, 1.0), 118.4352528),
    ],
)
def test_known_areas(M: ReferenceSpace, area: float) -> None:
    assert M.volume == pytest.approx(area, rel=1e-8)


def test_genus_one_has_the_area_of_its_torus() -> None:
    assert GenusSurface(1).volume == pytest.approx(2 * math.pi**2, rel=1e-10)


@ALL
def test_samples_lie_on_the_set_and_are_reproducible(name: str) -> None:
    M = SPACES[name]
    x = cloud(M, 200)
    assert x.shape == (200, M.ambient_dim)
    assert x.dtype == torch.float64
    assert float(M.residual(x).max()) < 1e-13 * (1 + M.scale) * 10
    assert torch.equal(x, cloud(M, 200))
    assert M.sample_uniform(0).shape == (0, M.ambient_dim)


@ALL
def test_projection_is_a_nearest_point(name: str) -> None:
    M = SPACES[name]
    y = cloud(M, 100, noise=0.1)
    p = M.project(y, throw=True)
    assert bool(p.converged.all())
    assert float(M.residual(p.value).max()) < 1e-12 * (1 + M.scale)
    distance = (y - p.value).norm(dim=-1)
    torch.testing.assert_close(M.residual(y), distance, rtol=1e-12, atol=1e-12)
    # no point of a dense sample is nearer
    assert bool((torch.cdist(y, cloud(M, 4000)).amin(-1) >= distance - 1e-9).all())


@ALL
def test_tangent_basis_is_the_range_of_the_derivative_of_the_projection(name: str) -> None:
    M = SPACES[name]
    x = cloud(M, 10)
    Q = M.tangent_basis(x)
    eye = torch.eye(M.dim, dtype=x.dtype).expand(10, -1, -1)
    torch.testing.assert_close(Q.mT @ Q, eye, rtol=0, atol=1e-12)
    P = calculus.jacobian(lambda y: M.project(y).value, x)
    torch.testing.assert_close(P, calculus.projector(Q), rtol=0, atol=1e-9)


@ALL
def test_float32_and_shapes(name: str) -> None:
    M = SPACES[name]
    x = cloud(M, 6, noise=0.05).to(torch.float32).reshape(2, 3, -1)
    p = M.project(x)
    assert p.value.dtype == p.residual.dtype == torch.float32
    assert p.value.shape == x.shape
    assert p.steps.shape == p.converged.shape == (2, 3)
    assert bool(p.converged.all())
    assert bool(M.contains(p.value).all())
    assert M.tangent_basis(p.value).shape == (2, 3, M.ambient_dim, M.dim)
    assert M.tangent_basis(p.value).dtype == torch.float32
    assert M.project(x[0, 0]).value.shape == (M.ambient_dim,)


@ALL
def test_bad_points_have_an_honest_status(name: str) -> None:
    M = SPACES[name]
    x = torch.zeros(3, M.ambient_dim, dtype=torch.float64)
    x[1], x[2, 0] = math.nan, math.inf
    p = M.project(x)
    assert p.converged.tolist()[1:] == [False, False]
    assert bool(p.value[1:].isnan().all())
    # the origin is degenerate for many sets: a point of M, or an honest "no"
    assert not bool(p.converged[0]) or float(M.residual(p.value[0])) < 1e-9
    with pytest.raises(ProjectionError, match="did not reach"):
        M.project(x, throw=True)
    with pytest.raises(ValueError, match="expected floating-point points of shape"):
        M.project(torch.zeros(2, M.ambient_dim + 1))


@ALL
def test_defining_function(name: str) -> None:
    M = SPACES[name]
    F = M.defining
    if F is None:
        assert M.why_no_defining
        assert not (M.orientable and M.closed) or M.ambient_dim - M.dim > 2
        return
    assert M.orientable
    x = cloud(M, 100)
    assert F(x).shape == (100, M.ambient_dim - M.dim)
    assert F(x[0]).shape == (M.ambient_dim - M.dim,)
    assert F(x.float()).dtype == torch.float32
    assert float(F(x).abs().max()) < 1e-10
    J = calculus.jacobian(F, x)
    assert float((J @ M.tangent_basis(x)).abs().max()) < 1e-10
    assert float(torch.linalg.svdvals(J).min()) > 0.2


def test_reflections_are_not_rotations() -> None:
    F = SpecialOrthogonal().defining
    assert F is not None
    reflection = torch.diag(torch.tensor([1.0, 1.0, -1.0])).reshape(1, 9)
    assert float(F(reflection).abs().max()) == 2.0
    assert not bool(SpecialOrthogonal().contains(reflection))


def test_points_beyond_the_mobius_band_land_on_its_boundary() -> None:
    M = MobiusBand(0.6)
    x = cloud(M, 300)
    t = M.coordinates(x)
    centre = M.parametrize(torch.stack([t[:, 0], torch.zeros(300, dtype=x.dtype)], -1))
    ruling = torch.nn.functional.normalize(x - centre, dim=-1)
    beyond = centre + 0.5 * ruling
    p = M.project(beyond)
    assert bool(p.converged.all())
    s = M.coordinates(p.value)[:, 1].abs()
    torch.testing.assert_close(s, torch.full_like(s, 0.3), rtol=0, atol=1e-12)
    # negative control: points of the band stay inside
    assert float(M.coordinates(M.project(x).value)[:, 1].abs().min()) < 0.1


def test_bad_parameters() -> None:
    cases = [
        (lambda: Circle(0.0), "radius > 0"),
        (lambda: Sphere(0), "dim >= 1"),
        (lambda: Torus(1.0, 1.0), "r < R"),
        (lambda: KleinBottle(1.0, math.nan), "finite r > 0"),
        (lambda: TorusKnot(2, 4), "without common divisor"),
        (lambda: MobiusBand(2.0), "width < 2"),
        (lambda: GenusSurface(0), "genus >= 1"),
        (lambda: Interval(1.0, 1.0), "lo < hi"),
        (lambda: disjoint_union(Circle(), Sphere()), "one dimension in one"),
        (lambda: disjoint_union(Torus(), Torus(1.5, 0.4)), "do not meet"),
        (lambda: disjoint_union(Circle(), Circle()), "do not meet"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(UnsupportedError, match="finite volume"):
        Euclidean(2).sample_uniform(3)
    with pytest.raises(UnsupportedError, match="dim <= 6"):
        FlatTorus(7).atlas()


def test_euclidean_space() -> None:
    M = Euclidean(3)
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(M.project(x).value, x)
    assert M.defining is not None
    assert M.defining(x).shape == (5, 0)
    assert M.volume is None
    chart = M.atlas().charts[0]
    torch.testing.assert_close(chart.decode(chart.encode(x)), x)
