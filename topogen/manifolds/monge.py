"""Monge patches: charts of a manifold over its own tangent planes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import calculus
from .base import Manifold, Projection, iterate, projection_tolerance
from .charts import Ball, Chart
from .monomials import monomials


class MongeChart(Chart):
    r"""A Monge patch of M: :math:`\varphi(x) = A^{-1} W^\top (x - c)` over a tangent plane.

    :math:`\psi(z)` is the point of M, on the sheet through c, with :math:`\varphi(x) = z`. It is
    found by Newton steps from a polynomial graph :math:`g(z) = c + W A z + b(z)` near the sheet;
    :math:`\varphi` is linear, so transitions between charts of one M are exact, and with an
    orthonormal basis Q of the tangent space at x

    .. math:: D\psi = Q (W^\top Q)^{-1} A, \qquad
              \tfrac12 \log\det D\psi^\top D\psi = \log\det A - \log|\det W^\top Q|.

    Latent points at which the Newton iteration fails, or leaves the domain of validity of M, are
    outside the domain: they decode to NaN.

    Args:
        manifold: the manifold M.
        c: centre, shape (D,).
        W: orthonormal frame, shape (D, d).
        a: semi-axes of the ellipsoid, the diagonal of A, shape (d,).
        b: coefficients of the monomials of z in the graph, shape (p, D).
        degree: degree of these monomials.
        clearance: x is on the sheet when \|x - g(z)\| is below this.
    """

    c: Tensor
    W: Tensor
    a: Tensor
    b: Tensor
    clearance: Tensor

    def __init__(
        self,
        manifold: Manifold,
        c: Tensor,
        W: Tensor,
        a: Tensor,
        b: Tensor,
        degree: int,
        clearance: float,
    ) -> None:
        super().__init__()
        self.domain, self.ambient_dim, self.degree = Ball(W.shape[-1]), W.shape[-2], degree
        # in a tuple: the atlas owns the manifold, and its state is saved once
        self._manifold = (manifold,)
        for name, value in (("c", c), ("W", W), ("a", a), ("b", b)):
            self.register_buffer(name, value)
        self.register_buffer("clearance", torch.tensor(clearance, dtype=torch.float64))

    def linear(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d"]:
        """A^-1 W^T (x - c), for any x of the ambient space."""
        return (x - self.c) @ self.W / self.a

    def graph(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """g(z), the polynomial approximation of the sheet."""
        return self.c + (z * self.a) @ self.W.T + monomials(z, self.degree) @ self.b

    def solve(self, z: Float[Tensor, "*batch d"]) -> Projection:
        """Points x of M with phi(x) = z, and whether the Newton iteration found them."""
        M, D, d = self._manifold[0], self.ambient_dim, self.dim
        z64 = z.detach().to(torch.float64).reshape(-1, d)
        graph, J = calculus.value_and_jacobian(self.graph, z64)

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor]:
            x, z, J = state.split([D, d, D * d], dim=-1)
            residual, x = M.step(x)
            correction = J.unflatten(-1, (D, d)) @ (z - self.linear(x)).unsqueeze(-1)
            return residual, torch.cat([x + correction.squeeze(-1), z, J], dim=-1)

        state = torch.cat([graph, z64, J.flatten(-2)], dim=-1)
        tol = projection_tolerance(torch.float64, M.scale)
        found = iterate(evaluate, state, tol=tol, max_steps=30)
        x = found.value[:, :D]
        ok = found.converged & ((x - graph).norm(dim=-1) < self.clearance)
        if M.needs_domain:
            ok &= M.in_domain(x)
        return Projection(x, found.residual, ok, found.steps).like(z)

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        found = self.solve(z)
        return torch.where(found.converged.unsqueeze(-1), found.value, torch.nan)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z = self.linear(x)
        near = (x - self.graph(z)).norm(dim=-1) < self.clearance
        return z.to(x.dtype), self.domain.contains(z) & near

    def may_contain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether phi(x) is in the unit ball: cheaper than the graph."""
        return self.domain.contains(self.linear(x))

    def value_and_jacobian(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """Psi(z), and D psi = Q (W^T Q)^-1 A from the tangent space there; NaN outside."""
        x = self.decode(z)
        J = x.new_full((*x.shape, self.dim), torch.nan)
        known = ~x.isnan().any(-1)
        if bool(known.any()):
            J[known] = self.jacobian_on(z[known], self._manifold[0].tangent_basis(x[known]))
        return x, J

    def jacobian_on(
        self, z: Float[Tensor, "*batch d"], Q: Float[Tensor, "*batch D d"]
    ) -> Float[Tensor, "*batch D d"]:
        """Q (W^T Q)^-1 A: needs no Newton solve."""
        Q = Q.to(self.W.dtype)
        return (Q @ torch.linalg.inv(self.W.T @ Q) * self.a).to(z.dtype)
