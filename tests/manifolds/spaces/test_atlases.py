"""The exact atlases of the reference spaces: charts invert, cover, and integrate to the volume."""

from __future__ import annotations

import pytest
import torch

from tests.catalogue import SPACES
from topogen.manifolds.base import Manifold
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import (
    Circle,
    GenusSurface,
    MobiusBand,
    Sphere,
)

# the least depth at which some chart contains each point, and whether the cover is good
CASES: dict[str, tuple[float, bool | None]] = {
    "circle": (0.6, True),
    "sphere": (0.5, False),
    "sphere3": (0.5, None),
    "torus": (0.35, True),
    "flat_torus": (0.35, True),
    "klein": (0.35, True),
    "mobius": (0.6, True),
    "trefoil": (0.6, True),
    "hopf": (0.6, True),
    "projective": (0.35, True),
    "rotations": (0.5, None),
    "genus1": (0.3, None),
    "genus2": (0.15, None),
    "interval": (0.9, True),
    "cylinder": (0.6, True),
    "two_circles": (0.6, True),
}
ALL = SPACES.names(without=set(SPACES) - set(CASES), slow={"genus1", "genus2"})


def draw(M: Manifold, n: int) -> torch.Tensor:
    return M.sample_uniform(n, torch.Generator().manual_seed(3))


@ALL
def test_charts_invert_and_cover(name: str) -> None:
    M, (least, _) = SPACES[name], CASES[name]
    x = draw(M, 2000)
    depth = torch.full((2000,), -1.0, dtype=torch.float64)
    atlas = M.atlas()
    assert atlas.manifold is M
    generator = torch.Generator().manual_seed(5)
    for chart in atlas.charts:
        held = chart.contains(x)
        z = chart.encode(x[held], throw=True)
        torch.testing.assert_close(chart.decode(z, throw=True), x[held], rtol=0, atol=1e-10)
        depth[held] = torch.maximum(depth[held], chart.domain.depth(z))
        # and the other way round: the image of the domain lies on M
        z = chart.domain.sample(50, generator=generator)
        y = chart.decode(z)
        assert float(M.residual(y).max()) < 1e-12 * (1 + M.scale)
        torch.testing.assert_close(chart.encode(y, throw=True), z, rtol=0, atol=1e-9)
        # the tangent space of the chart is that of M
        Q = M.tangent_basis(y)
        J = chart.jacobian(z)
        normal = J - Q @ (Q.mT @ J)
        assert float(normal.norm(dim=(-2, -1)).max()) < 1e-8 * float(J.norm(dim=(-2, -1)).max())
    assert float(depth.min()) > least


@ALL
def test_charts_follow_float32(name: str) -> None:
    M = SPACES[name]
    x = draw(M, 200).float()
    found = torch.zeros(200, dtype=torch.bool)
    for chart in M.atlas().charts:
        z = chart.encode(x)
        assert z.dtype == torch.float32
        held = ~z.isnan().any(-1)
        found |= held
        y = chart.decode(z[held])
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, x[held], rtol=0, atol=1e-4)
    assert bool(found.all())


@ALL
def test_the_atlas_knows_the_volume_and_the_orientation(name: str) -> None:
    M, (_, good) = SPACES[name], CASES[name]
    atlas = M.atlas()
    integral = atlas.volume()
    assert M.volume is not None
    relative = abs(float(integral.value) / M.volume - 1)
    assert relative < (2e-3 if M.dim == 3 else 2e-4 if name == "genus2" else 1e-5)
    assert abs(float(integral.value) - M.volume) <= float(integral.error) + 1e-12 * M.volume
    assert atlas.orientation().orientable is M.orientable
    if good is not None:
        nerve = atlas.nerve()
        assert nerve.good_cover is good
        assert (nerve.homology() == M.homology) is good


@pytest.mark.slow
def test_genus_charts_cover() -> None:
    x = draw(GenusSurface(2), 500)
    count = torch.zeros(500)
    for chart in GenusSurface(2).atlas().charts:
        held = chart.contains(x)
        y = chart.decode(chart.encode(x[held]))
        torch.testing.assert_close(y, x[held], rtol=0, atol=1e-10)
        count += held
    assert int(count.min()) >= 1


def test_the_boundary_of_the_band_is_in_the_charts() -> None:
    M = MobiusBand()
    u = torch.linspace(0, 12, 50, dtype=torch.float64).unsqueeze(-1)
    x = M.boundary(u)
    weights = M.atlas().weights(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, dtype=torch.float64))
    beyond = x + 0.01 * (x - M.parametrize(torch.cat([u, torch.zeros_like(u)], -1)))
    assert not bool(torch.stack([c.contains(beyond) for c in M.atlas().charts]).any())


def test_a_product_of_a_ball_and_a_box() -> None:
    M = Product(Sphere(), Circle())
    x = draw(M, 500)
    atlas = M.atlas()
    assert len(atlas.charts) == 6
    for chart in atlas.charts:
        held = chart.contains(x)
        torch.testing.assert_close(chart.decode(chart.encode(x[held])), x[held])
        low, high = chart.domain.bounding_box()
        assert low.shape == high.shape == (3,)
        assert float(chart.domain.depth((low + high) / 2)) == 1
        assert float(chart.domain.depth(2 * high)) < 0
