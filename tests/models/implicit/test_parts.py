import math
from dataclasses import replace

import pytest
import torch

import topogen as tg
from topogen import calculus
from topogen.models.implicit import random_direction_penalty, spectrum_penalty
from topogen.models.implicit.constant_rank import linearize_leading, project_leading
from topogen.models.implicit.normal_frames import SolidAngle, rotation, smooth_frames
from topogen.models.implicit.normal_orientation import orient, oriented_normals, turned
from topogen.models.implicit.region import ValidityRegion
from topogen.models.implicit.tubular_neighborhood import (
    TubularNeighborhood,
    cleared,
    principal_frame,
)
from topogen.models.nn.mlp import MLP
from topogen.models.nn.sine import SineNetwork


def generator(seed):
    return torch.Generator().manual_seed(seed)


def geometry_of(M, n):
    """Projections with their exact tangents and normals."""
    x = M.sample_uniform(n, generator=generator(0)).double()
    T = M.tangent_basis(x)
    h = torch.cdist(x, x).topk(13, largest=False)[0][:, -1]
    return TubularNeighborhood(x, T, calculus.complement(T), torch.full_like(h, 0.3), h, n, 0.0)


@pytest.fixture(scope="module")
def network():
    net = SineNetwork(4, 4, width=12, features=9).requires_grad_(False)
    net.draw(generator(0), 3.0)
    net.C.copy_(0.3 * torch.randn(net.C.shape, generator=generator(1), dtype=torch.float64))
    return net, torch.randn(6, 4, generator=generator(2), dtype=torch.float64)


def test_derivatives_of_the_network(network):
    net, z = network
    F, J, H = net.second(z)
    assert torch.allclose(F, net(z), atol=1e-12)
    assert torch.allclose(J, calculus.jacobian(net, z), atol=1e-12)
    by_autodiff = calculus.jacobian(lambda y: calculus.jacobian(net, y).flatten(-2), z)
    assert torch.allclose(H.flatten(-3, -2), by_autodiff, atol=1e-11)
    v = torch.randn(z.shape, generator=generator(3), dtype=z.dtype)
    assert torch.allclose(net.phi_along(z, v), calculus.jvp(net.phi, z, v)[1], atol=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_derivatives_of_the_perceptron(depth):
    net = MLP(4, 3, width=6, depth=depth).requires_grad_(False)
    net.start_uniform(generator(0))
    z = torch.randn(7, 4, generator=generator(1), dtype=torch.float64)
    F, J, H = net.second(z)
    assert torch.allclose(F, net(z), atol=1e-14)
    assert torch.equal(J, net.linearize(z)[1])
    assert torch.allclose(J, calculus.jacobian(net, z), atol=1e-14)
    by_autodiff = calculus.jacobian(lambda y: calculus.jacobian(net, y).flatten(-2), z)
    assert torch.allclose(H.flatten(-3, -2), by_autodiff, atol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_leading_equations_and_their_derivatives(network, k):
    net, z = network

    def by_svd(y):
        F, J = net.linearize(y)
        U = torch.linalg.svd(J)[0][..., :k]
        return (U @ (U.mT @ F.unsqueeze(-1))).squeeze(-1)

    def E(y):
        return project_leading(*net.linearize(y), k)

    value, DE = linearize_leading(*net.second(z), k)
    assert torch.allclose(value, by_svd(z), atol=1e-12)
    assert torch.allclose(E(z), value, atol=1e-12)
    assert torch.allclose(DE, calculus.jacobian(E, z), atol=1e-9)
    h = 1e-5
    for i, e in enumerate(torch.eye(4, dtype=z.dtype)):
        difference = (by_svd(z + h * e) - by_svd(z - h * e)) / (2 * h)
        assert torch.allclose(DE[..., i], difference, atol=1e-5)


def test_equal_singular_values_do_no_harm():
    # the derivative of eigh is not finite there
    def E(x):
        J = torch.diag_embed(torch.cat([torch.ones_like(x[..., :2]), 0 * x[..., :1]], -1))
        J = J + 0.1 * x.unsqueeze(-1) * x.unsqueeze(-2)
        return project_leading(x, J, 2)

    x = torch.zeros(2, 3, dtype=torch.float64)
    J = calculus.jacobian(E, x)
    assert torch.allclose(J, torch.diag(torch.tensor([1.0, 1.0, 0.0])).double().expand(2, 3, 3))


def test_a_random_direction_is_blind_where_the_spectrum_is_not():
    # k = 6, one null direction, the others 1: P(rho < 0.1) = 3e-6 per draw, 3e-2 in 1e4 draws; the
    # seed is fixed
    eta = 0.1
    J = torch.eye(6, 9, dtype=torch.float64)
    J[5] = 0.0
    assert float(spectrum_penalty(J, eta)) >= eta**2 - 1e-15
    blind = random_direction_penalty(J.expand(10_000, 6, 9), eta, generator=generator(0))
    assert float(blind.max()) == 0.0
    # control: with k = 1 it sees the same loss
    seen = random_direction_penalty(torch.zeros(1, 9).double(), eta, generator=generator(0))
    assert math.isclose(float(seen), eta**2)
    assert math.isclose(float(spectrum_penalty(3 * torch.eye(2).double(), eta, 1.0)), 8.0)


def test_rotation_is_the_nearest_of_determinant_one():
    M = torch.randn(20, 3, 3, generator=generator(0), dtype=torch.float64)
    R, least = rotation(M)
    assert torch.allclose(R.mT @ R, torch.eye(3).double(), atol=1e-12)
    assert torch.allclose(torch.linalg.det(R), torch.ones(20).double())
    assert bool(((least > 0) == (torch.linalg.det(M) > 0)).all())


@pytest.mark.parametrize(
    ("make", "orientable"),
    [(tg.Torus, True), (tg.HopfLink, True), (tg.KleinBottle, False), (tg.ProjectivePlane, False)],
)
def test_orientation(make, orientable):
    assert orient(geometry_of(make(), 1500), generator(1)).orientable == orientable


def test_frames_of_the_flat_torus_are_its_radii():
    # (cos s, sin s, 0, 0) and (0, 0, cos t, sin t) are linear: frames that are as smooth exist
    geometry = geometry_of(tg.FlatTorus(2), 1200)
    o = orient(geometry, generator(1))
    framing = smooth_frames(geometry, oriented_normals(geometry, o), o.rows[:300], generator(2))
    assert framing.margin > 0.95
    assert framing.rough < 0.1


@pytest.mark.parametrize("make", [tg.KleinBottle, lambda: tg.FlatTorus(2)])
def test_equations_of_a_klein_bottle_turn_its_normal_spaces_over(make):
    def of_klein(x):  # R = 1, r = 1/2: holds on it, and on one more sheet
        rho = x[..., :2].norm(dim=-1)
        tube = (rho - 1) ** 2 + x[..., 2:].square().sum(-1) - 0.25
        twist = (
            x[..., 1] * (x[..., 2] ** 2 - x[..., 3] ** 2) - 2 * x[..., 0] * x[..., 2] * x[..., 3]
        )
        return torch.stack([tube, twist], -1)

    M = make()
    klein = isinstance(M, tg.KleinBottle)
    geometry = geometry_of(M, 3000)
    F = of_klein if klein else M.defining
    assert float(F(geometry.p).abs().max()) < 1e-12
    share = turned(geometry, calculus.jacobian(F, geometry.p), generator(1))
    assert share > 0.01 if klein else share == 0.0


def test_solid_angle_winds_once_around_each_curve():
    t = 2 * math.pi * torch.arange(200, dtype=torch.float64) / 200
    ring = torch.stack([t.cos(), t.sin(), 0 * t], -1)
    angle = SolidAngle([ring])

    def winding(loop):
        turned = angle(loop)
        step = torch.remainder(turned.roll(-1) - turned + math.pi, 2 * math.pi) - math.pi
        return float(step.sum()) / (2 * math.pi)

    around = torch.stack([1 + 0.5 * t.cos(), 0 * t, 0.5 * t.sin()], -1)
    assert math.isclose(abs(winding(around)), 1.0, abs_tol=1e-9)
    assert math.isclose(winding(around + torch.tensor([3.0, 0.0, 0.0])), 0.0, abs_tol=1e-9)
    # the parallel of the ring in its own plane is not linked with it
    assert math.isclose(winding(1.3 * ring), 0.0, abs_tol=1e-9)


def test_constant_directions_are_cut_only_below_the_tolerance():
    x = torch.randn(500, 6, generator=generator(0), dtype=torch.float64)
    scale = torch.tensor([1.0, 1.0, 1e-2, 1e-6, 1e-6, 0.0])
    frame = principal_frame(x * scale, 1)
    assert frame.V.shape == (6, 3)
    frame = principal_frame(x * torch.tensor([1.0, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9]), 2)
    assert frame.V.shape == (6, 3)  # never fewer than d + 1


@pytest.mark.parametrize("make", [tg.Torus, tg.KleinBottle, tg.TorusKnot])
def test_projections_that_went_astray_are_dropped(make):
    geometry = geometry_of(make(), 2000)
    clean, kept = cleared(geometry, generator(1))
    assert bool(kept.all())
    p = geometry.p.clone()
    p[:5] += (0.8 * geometry.h[:5, None, None] * geometry.N[:5, :, :1]).squeeze(-1)
    # noise 1: the data are no projections as they are
    moved = replace(geometry, p=p, noise=1.0)
    found, kept = cleared(moved, generator(1))
    assert not bool(kept[:5].any())
    assert float(kept[5:].double().mean()) > 0.999
    assert found.data == int(kept.sum())
    # without them the tube is as wide as it was
    assert torch.allclose(found.tau.median(), clean.tau.median(), rtol=0.05)


def test_the_region_ends_before_what_it_is_narrowed_to():
    M = tg.Torus()
    geometry = geometry_of(M, 2000)
    region = ValidityRegion()
    region.place(geometry, generator(1))
    on = M.sample_uniform(500, generator=generator(2)).double()
    assert bool(region.near(on).inside.all())
    normal = calculus.complement(M.tangent_basis(on)).squeeze(-1)
    wide = float(region.nu.min())
    off = on + 0.8 * wide * normal
    assert bool(region.near(off).inside.any())
    region.narrow(off[region.near(off).inside])
    assert not bool(region.near(off).inside.any())
    assert bool(region.near(on).inside.all())
    # points very near M are not worth a region without width
    region.narrow(on)
    assert float(region.nu.min()) > 0.3 * wide


def test_spurious_zeros_are_seen():
    M, geometry = tg.Circle(), geometry_of(tg.Circle(), 400)
    N = tg.NeuralImplicit(1, 2, features=50, width=32)
    tg.fit(N, M.sample_uniform(400, generator=generator(0)).double())
    start = N.region.draw(2000, generator(1))
    projections = replace(geometry, p=(geometry.p - N.centre) / N.unit)
    assert len(N.zero_set.spurious_zeros(projections, start)) == 0
    # negative control: they are far from projections that lie elsewhere
    moved = replace(projections, p=1.2 * projections.p)
    assert len(N.zero_set.spurious_zeros(moved, start)) > 1000
