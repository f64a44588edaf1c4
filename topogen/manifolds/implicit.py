r"""Zero sets M = {F = 0} of a function F: R^D -> R^k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import calculus
from ..homology import Homology
from . import solvers
from .base import Manifold, Projection


class ImplicitManifold(Manifold):
    r"""The zero set M = {x : F(x) = 0} of a row-wise F: R^D -> R^k with rank DF = D - d on M.

    `project` repeats the Gauss-Newton step :math:`x \leftarrow x - J^+ F(x)`, J = DF(x), J^+ the
    pseudo-inverse of rank D - d, to the residual :math:`|J^+ F(x)|`, which is the distance to M up
    to second order, and tries damped steps where that fails. A step is never longer than `scale`.
    The result is near x, in general not the nearest point (see :meth:`nearest`).

    With k = D - d equations M is orientable. More are allowed where DF has rank D - d on M, as for
    a Klein bottle; what F has outside the range of J counts as residual too.

    Args:
        F: row-wise, (..., D) to (..., k), differentiable; a function or a module.
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        scale: a length of the size of M; tolerances are relative to it.
        closed: whether M is compact without boundary.
        homology: Betti numbers, where known.

    Raises:
        ValueError: F does not take (n, D) to (n, k) with k >= D - d, or treats rows together.

    Example:
        >>> M = ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, dim=2, ambient_dim=3)
        >>> p = M.project(torch.tensor([[0.0, 0.0, 1.2], [0.0, 0.0, 0.0]]))
        >>> p.value[0], p.converged
        (tensor([0., 0., 1.]), tensor([ True, False]))
    """

    along_normals = True

    def __init__(
        self,
        F: Callable[[Tensor], Tensor],
        dim: int,
        ambient_dim: int,
        *,
        scale: float = 1.0,
        closed: bool = True,
        homology: Homology | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dim < ambient_dim:
            raise ValueError(
                f"expected 0 <= dim < ambient_dim, got dim={dim}, ambient_dim={ambient_dim}"
            )
        self.F, self.dim, self.ambient_dim = F, dim, ambient_dim
        self.scale, self.closed, self.homology = float(scale), closed, homology
        self.codim = ambient_dim - dim
        k = self._probe()
        self.orientable = True if k == self.codim else None
        self._mode: Literal["forward", "reverse"] = "reverse" if k < ambient_dim else "forward"

    def _probe(self) -> int:
        """The number k of equations, after a look at F on a few rows."""
        D = self.ambient_dim
        device = next((p.device for p in self.parameters()), None)
        x = torch.linspace(-1.3, 1.7, 5 * D, dtype=torch.float64, device=device)
        x = self.scale * x.reshape(D, 5).mT
        taken = f"(..., {D}) to (..., k), k >= D - d = {self.codim}"
        expected = f"expected F to take {taken}, row by row"
        try:
            with torch.no_grad():
                y, first = self._call(x), self._call(x[:1])
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"{expected}; on shape (5, {D}) it failed: {error}") from error
        if y.ndim != 2 or y.shape[0] != 5:
            raise ValueError(
                f"{expected}; on shape (5, {D}) it gave {tuple(y.shape)}; "
                "keep the last axis (keepdim=True)"
            )
        if y.shape[-1] < self.codim:
            raise ValueError(f"{expected}; it gave k={y.shape[-1]}; add equations, or raise dim")
        same = torch.isclose(first, y[:1], rtol=1e-4, atol=1e-5, equal_nan=True)
        if first.shape != y[:1].shape or not bool(same.all()):
            raise ValueError(
                f"{expected}; the value of a row changes with the other rows (BatchNorm?)"
            )
        return y.shape[-1]

    def _call(self, x: Tensor) -> Tensor:
        """F(x) in the dtype of x; a network with parameters computes in its own dtype."""
        parameter = next(iter(self.parameters()), None)
        y = self.F(x if parameter is None else x.to(parameter.dtype))
        if not isinstance(y, Tensor):
            raise TypeError(f"it returned {type(y).__name__}, not a tensor")
        return y.to(x.dtype)

    @property
    def defining(self) -> Callable[[Tensor], Tensor]:
        """F."""
        return self.F

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch k"]:
        """F(x), in the dtype of x."""
        return self._call(x)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch k D"]]:
        """F(x) and DF(x)."""
        return calculus.value_and_jacobian(self._call, x, mode=self._mode)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The length of J^+ F(x): the distance to M up to second order; inf if J loses rank."""
        self.check_points(x)
        f, J = self.linearize(x.reshape(-1, self.ambient_dim).to(torch.float64))
        r = solvers.gauss_newton_step(f, J, self.codim)[1]
        return r.reshape(x.shape[:-1]).to(x.dtype)

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
        method: solvers.Method = "auto",
    ) -> Projection:
        r"""Gauss-Newton or Levenberg-Marquardt steps to the residual :math:`|J^+ F|` <= tol.

        Every step is differentiated, so the derivatives of the value with respect to x and to the
        parameters of F are exact; those of :meth:`nearest` are too, and cost one step only.

        Args:
            x: points near M, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most steps per point and method.
            throw: raise where a point does not converge, instead of saying so.
            method: "gauss_newton", "levenberg_marquardt", or "auto": the first, and the second
                from the start again for the points where the first fails.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
            ValueError: `tol` is below the rounding of x or the parameters; x is not in R^D.
        """
        self.check_points(x)
        tol = self.solver_tolerance(tol, x.dtype)
        p = solvers.project(
            self.linearize,
            x.to(torch.float64),
            rank=self.codim,
            scale=self.scale,
            tol=tol,
            max_steps=max_steps,
            method=method,
        ).like(x)
        return p.require(tol) if throw else p

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the kernel of DF(x), shape (..., D, d), at points x of M."""
        self.check_points(x)
        J = self.linearize(x.to(torch.float64))[1]
        return calculus.kernel(J, self.codim).to(x.dtype)

    def extra_repr(self) -> str:
        """Shown by repr."""
        name = "" if isinstance(self.F, nn.Module) else f"{getattr(self.F, '__name__', 'F')}, "
        return f"{name}dim={self.dim}, ambient_dim={self.ambient_dim}"
