"""What a flow on M needs at every step: a retraction, tangents, and the sum of II over a frame."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ... import calculus
from ...manifolds.base import Manifold
from ...manifolds.spaces.parametrized import ParametrizedSpace
from ...manifolds.spaces.projective import ProjectivePlane, SpecialOrthogonal
from ...manifolds.spaces.spheres import Sphere

# minimal in the sphere of radius `scale` about 0, or that sphere itself: H = -d x / scale^2
_MINIMAL = (Sphere, SpecialOrthogonal, ProjectivePlane)


class Geometry:
    r"""Retraction, tangent bases and :math:`H = \sum_i II(q_i, q_i)` of M, the fastest known way.

    On sets with a parametrization psi they are those of psi; on spheres, SO(3) and the projective
    plane, which are minimal in a sphere of radius rho, :math:`H = -d\, x / \rho^2`; elsewhere
    those of :meth:`Manifold.project` and :meth:`Manifold.mean_curvature`.

    Args:
        manifold: M.

    Example:
        >>> x = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        >>> Q, H = Geometry(tg.Sphere()).frame(x)
        >>> Q.shape, H.tolist()
        (torch.Size([1, 3, 2]), [[-0.0, -0.0, -2.0]])
    """

    def __init__(self, manifold: Manifold) -> None:
        self.manifold = manifold
        self.parametrized = manifold if isinstance(manifold, ParametrizedSpace) else None

    @property
    def fast(self) -> bool:
        """Whether a retraction is a formula, not a solver."""
        return self.parametrized is not None or isinstance(self.manifold, _MINIMAL)

    def retract(self, y: Float[Tensor, "n D"]) -> tuple[Float[Tensor, "n D"], Bool[Tensor, " n"]]:
        """Points of M near y, and whether they were found where M is stated."""
        if self.parametrized is not None:
            x = self.parametrized.parametrize(self.parametrized.coordinates(y))
            return x, x.isfinite().all(-1)
        p = self.manifold.project(y)
        return p.value, p.converged & self.manifold.in_domain(p.value)

    def basis(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D d"]:
        """Orthonormal tangent bases Q at points of M."""
        return self.manifold.tangent_basis(x)

    def frame(
        self, x: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "n D d"], Float[Tensor, "n D"]]:
        """Q and H at points of M."""
        M = self.manifold
        if isinstance(M, _MINIMAL):
            return M.tangent_basis(x), -M.dim / M.scale**2 * x
        if self.parametrized is None:
            return M.tangent_basis(x), M.dim * M.mean_curvature(x)
        psi, t = self.parametrized.parametrize, self.parametrized.coordinates(x)
        J = calculus.jacobian(psi, t)
        Q = calculus.tangent_basis(J)
        # columns V with J V = Q: the curves psi(t + s V_i) leave along q_i
        V = torch.linalg.inv(Q.mT @ J)
        bend = calculus.second_derivative(psi, t, V).diagonal(dim1=-2, dim2=-1).sum(-1)
        return Q, bend - (Q @ (Q.mT @ bend.unsqueeze(-1))).squeeze(-1)
