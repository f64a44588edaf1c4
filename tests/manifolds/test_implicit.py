"""Zero sets of functions: projection, residual, tangents, over-determined systems, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from topogen import calculus
from topogen.errors import ProjectionError
from topogen.homology import Homology
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.spaces import (
    FlatTorus,
    GenusSurface,
    HopfLink,
    ReferenceSpace,
    SpecialOrthogonal,
    Sphere,
    Torus,
    TorusKnot,
)


@pytest.mark.parametrize(
    "space",
    [
        Sphere(4),
        Torus(),
        FlatTorus(3),
        TorusKnot(),
        HopfLink(),
        SpecialOrthogonal(),
        GenusSurface(2),
    ],
)
def test_the_zero_set_of_a_defining_function_is_the_space(space: ReferenceSpace) -> None:
    F = space.defining
    assert F is not None
    M = ImplicitManifold(F, space.dim, space.ambient_dim, scale=space.scale)
    generator = torch.Generator().manual_seed(0)
    x = space.sample_uniform(200, generator)
    assert float(M.residual(x).max()) < 1e-13 * 10
    P, Q = (calculus.projector(S.tangent_basis(x)) for S in (M, space))
    torch.testing.assert_close(P, Q, rtol=0, atol=1e-9)
    y = x + 0.02 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    p = M.project(y, throw=True)
    assert float(space.residual(p.value).max()) < 1e-10
    # the residual is the distance, up to second order
    torch.testing.assert_close(M.residual(y), space.residual(y), rtol=0.3, atol=1e-6)
    assert int(p.steps.max()) <= 6  # quadratic convergence


def test_nearest_agrees_with_the_closed_form() -> None:
    space = Torus()
    M = ImplicitManifold(space.defining, 2, 3)
    generator = torch.Generator().manual_seed(0)
    x = space.sample_uniform(50, generator)
    y = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    torch.testing.assert_close(
        M.nearest(y, throw=True).value, space.project(y).value, rtol=0, atol=1e-9
    )


def veronese(x: Tensor) -> Tensor:
    """P^2 - P, P the matrix of trace 1 of x: 6 equations, of rank 3 on the projective plane."""
    from topogen.manifolds.spaces import ProjectivePlane

    P = ProjectivePlane.matrix(x)
    E = P @ P - P
    i, j = torch.triu_indices(3, 3).unbind(0)
    return E[..., i, j]


def test_over_determined_equations() -> None:
    from topogen.manifolds.spaces import ProjectivePlane

    space = ProjectivePlane()
    M = ImplicitManifold(veronese, 2, 5, scale=space.scale, homology=space.homology)
    assert M.orientable is None  # not a regular zero set: nothing is known
    assert M.homology == Homology({2: (1, 1, 1), 3: (1,)})
    generator = torch.Generator().manual_seed(0)
    x = space.sample_uniform(100, generator)
    J = calculus.jacobian(veronese, x)
    rank = torch.linalg.matrix_rank(J, rtol=1e-9)
    assert J.shape[-2:] == (6, 5)
    assert bool((rank == 3).all())
    P, Q = (calculus.projector(S.tangent_basis(x)) for S in (M, space))
    torch.testing.assert_close(P, Q, rtol=0, atol=1e-9)
    y = x + 0.02 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    p = M.project(y, throw=True)
    assert float(space.residual(p.value).max()) < 1e-10


def test_what_f_has_outside_the_range_of_j_counts() -> None:
    # two equations of rank 1 that never hold together
    def F(x: Tensor) -> Tensor:
        return torch.stack([x[..., 0], x[..., 0] + 1], -1)

    M = ImplicitManifold(F, 1, 2)
    p = M.project(torch.randn(5, 2, dtype=torch.float64))
    assert not bool(p.converged.any())


def test_status_is_honest_and_rows_are_independent() -> None:
    M = ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, 2, 3)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [math.nan, 0.0, 1.0]])
    p = M.project(x)
    assert p.converged.tolist() == [False, True, False]
    assert p.value.dtype == torch.float32
    assert torch.equal(p.value[1], M.project(x[1:2]).value[0])
    assert math.isinf(float(p.residual[0]))
    with pytest.raises(ProjectionError):
        M.project(x, throw=True)
    # F > 0 everywhere: there is no zero set
    nothing = ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) + 1, 2, 3)
    assert not bool(nothing.project(torch.randn(4, 3)).converged.any())


def test_a_network_keeps_its_precision_and_is_a_submodule() -> None:
    F = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
    with torch.no_grad():
        F[2].bias.fill_(0.0)
    M = ImplicitManifold(F, 2, 3)
    assert len(list(M.parameters())) == 4
    x = 0.1 * torch.randn(20, 3, dtype=torch.float64)
    p = M.project(x)
    assert p.value.dtype == torch.float64
    assert bool(p.converged.any())
    assert float(M.residual(p.value)[p.converged].detach().max()) < 1e-4


def test_bad_functions() -> None:
    class Batch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(0)).sum(-1, keepdim=True)

    cases = [
        (lambda x: (x * x).sum(-1), "keepdim"),
        (lambda x: x[..., :1] @ torch.ones(7, 2), "it failed"),
        (lambda x: 1.0, "returned float"),
        (lambda x: x[..., :0], "add equations"),
        (Batch(), "other rows"),
    ]
    for F, message in cases:
        with pytest.raises(ValueError, match=message):
            ImplicitManifold(F, 2, 3)
    with pytest.raises(ValueError, match="dim < ambient_dim"):
        ImplicitManifold(lambda x: x, 3, 3)
