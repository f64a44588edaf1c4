"""The part of a manifold where inequalities hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...errors import SaveError, UnsupportedError
from ...homology import Homology
from ..base import Manifold, Projection
from ..integration import Integral
from .composite import Composite, Onto


class Restriction(Composite):
    r"""The part :math:`\{x \in M : g(x) \le 0\}` of a manifold M, of the same dimension.

    Points that violate an inequality are rejected: `project` is that of M and has not converged
    there, `residual` is infinite, `in_domain` and `contains` are False. A uniform distribution by
    rejection is exact; moving points to the boundary would give it mass, and a slack variable,
    :math:`g(x) + s^2 = 0`, changes the measure.

    Args:
        manifold: the manifold M.
        inequalities: row-wise functions, (..., D) to (...) or (..., m); all numbers <= 0 inside.
        homology: Betti numbers of the part, where known.
        volume: :math:`H^d` of the part, where known; :meth:`measure` and
            :class:`~topogen.Uniform` estimate it.

    Example:
        >>> M = Restriction(tg.Sphere(), lambda x: 0.2 - x[..., 2])
        >>> p = M.project(torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0]]))
        >>> p.value[:, 2], p.converged
        (tensor([ 1., -1.]), tensor([ True, False]))
        >>> bool((M.sample_uniform(100)[:, 2] >= 0.2).all())
        True
    """

    closed = False

    def __init__(
        self,
        manifold: Manifold,
        *inequalities: Callable[[Tensor], Tensor],
        homology: Homology | None = None,
        volume: float | None = None,
    ) -> None:
        super().__init__()
        if not inequalities:
            raise ValueError("expected at least one inequality g(x) <= 0, got none; pass g")
        self.manifold, self.inequalities = manifold, inequalities
        self.dim, self.ambient_dim = manifold.dim, manifold.ambient_dim
        self.homology = homology
        if volume is not None and not 0 < volume < math.inf:
            raise ValueError(f"expected a finite volume > 0, got {volume}")
        self.volume, self.volume_error = volume, None if volume is None else 0.0
        self.g(torch.zeros(5, self.ambient_dim, dtype=torch.float64))

    def arguments(self) -> dict[str, Any]:
        """Raise: a file holds no functions."""
        raise SaveError(
            "a Restriction cannot be written to a file: it holds an inequality, which is a "
            "function of the user's; save its `manifold`, and restrict that again once it is "
            "loaded"
        )

    def g(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The values of all inequalities, <= 0 inside.

        Raises:
            ValueError: one of them does not give real numbers, one or m per row.
        """
        columns = []
        for g in self.inequalities:
            y = g(x)
            y = y.unsqueeze(-1) if y.shape == x.shape[:-1] else y
            if y.shape[:-1] != x.shape[:-1] or not y.is_floating_point():
                raise ValueError(
                    f"expected g to take shape {tuple(x.shape)} to real numbers of shape "
                    f"{tuple(x.shape[:-1])} or {(*x.shape[:-1], 'm')}, <= 0 inside, got "
                    f"{tuple(y.shape)} of {y.dtype}"
                )
            columns.append(y)
        return torch.cat(columns, -1)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the domain of validity of M and all inequalities hold."""
        self.check_points(x)
        return self.manifold.in_domain(x) & (self.g(x) <= 0).all(-1)

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol` of M, and all inequalities hold."""
        return self.in_domain(x) & self.manifold.contains(x, atol)

    def listed(self) -> list[Manifold]:
        """M alone."""
        return [self.manifold]

    def _length(self, lengths: Tensor) -> Tensor:
        return lengths[..., 0]

    def _combined(self, x: Tensor, onto: Onto, tol: float | None) -> Projection:
        """The projection onto M, converged only where the inequalities hold at the value."""
        p = onto(self.manifold, x, tol)
        inside = self.in_domain(p.value)
        residual = torch.where(inside, p.residual, math.inf)
        return Projection(p.value, residual, p.converged & inside, p.steps)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """That of M where the inequalities hold, else infinite."""
        return torch.where(self.in_domain(x), self.manifold.residual(x), math.inf)

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """That of M: a path may leave the part and come back."""
        return self.manifold.step(x)

    @property
    def defining(self) -> RowMap | None:
        """That of M."""
        return self.manifold.defining

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """Those of M."""
        return self.manifold.equations(x)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """Those of M."""
        return self.manifold.linearize(x)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """That of M."""
        return self.manifold.tangent_basis(x)

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """That of M."""
        return self.manifold.normal_basis(x)

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Uniform points of M, those that violate an inequality rejected.

        Raises:
            UnsupportedError: M has no sampler, or accepts less than a thousandth of its points.
        """
        parts = [torch.zeros(0, self.ambient_dim, dtype=torch.float64)]
        found = tried = 0
        while found < n:
            # grows with what the part turns out to be
            count = max(64, min(int(1.2 * (n - found) * (tried + 1) / (found + 1)), 100_000))
            x = self.manifold.sample_uniform(count, generator)
            x = x[self.in_domain(x)]
            parts.append(x)
            found, tried = found + x.shape[0], tried + count
            if tried > 1000 * (found + 10):
                raise UnsupportedError(
                    f"expected a part of at least a thousandth of M, got {found} of {tried} "
                    "uniform points inside; start chains of topogen.sampling at points of the part"
                )
        return torch.cat(parts)[:n]

    def rough_points(
        self, n: int, generator: Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """The points of M that violate no inequality; fewer than n where few do not."""
        parts = [torch.zeros(0, self.ambient_dim, dtype=torch.float64)]
        while sum(len(x) for x in parts) < n and len(parts) <= 20:
            x = self.manifold.rough_points(n, generator)
            if x is None:
                return None
            parts.append(x[self.in_domain(x)])
        return torch.cat(parts)

    def measure(self, n: int = 100_000, generator: Generator | None = None) -> Integral:
        """The volume of the part from n uniform points of M, and its standard error.

        Raises:
            UnsupportedError: M has no sampler, or no known volume.
        """
        V = self.manifold.volume
        x = self.manifold.sample_uniform(n, generator)
        if V is None:
            raise UnsupportedError(
                f"expected a manifold of known volume, got {type(self.manifold).__name__}; "
                "estimate it with topogen.sampling"
            )
        share = self.in_domain(x).to(torch.float64).mean()
        spread = (share * (1 - share) / n).sqrt()
        return Integral(V * share, V * spread + (self.manifold.volume_error or 0.0) * share)

    @property
    def orientable(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where M is; else it is not known."""
        return True if self.manifold.orientable else None

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{len(self.inequalities)} inequalities"
