"""Disjoint unions of reference spaces."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...calculus import RowMap
from ...errors import UnsupportedError
from ..atlas import Atlas
from ..default_atlas import atlas_of_parts
from ..locate import gap
from ..spaces.base import Nearest, ReferenceSpace


def _volume(M: ReferenceSpace) -> tuple[float, float] | None:
    return None if M.volume is None else (M.volume, M.volume_error or 0.0)


class DisjointUnion(ReferenceSpace):
    r"""The union of two sets of equal dimension in R^D that do not meet.

    Betti numbers and volumes add.

    Raises:
        ValueError: the dimensions differ, or the sets are found to meet: alternating projections
        from the
            closest of 500 sample points of each reach a distance below 1e-6 of their size. Sets
            that meet only where no sample point is near can pass.

    Example:
        >>> from topogen.manifolds.spaces import Circle
        >>> M = DisjointUnion(Circle(1.0), Circle(2.0))
        >>> round(M.volume / torch.pi, 6), str(M.homology)
        (6.0, 'Z/2: (2, 2), Z/3: (2, 2)')
        >>> M.project(torch.tensor([[0.0, 1.4], [0.0, 1.6]])).value
        tensor([[0., 1.],
                [0., 2.]])
    """

    def __init__(self, first: ReferenceSpace, second: ReferenceSpace) -> None:
        super().__init__()
        a, b = ((M.dim, M.ambient_dim) for M in (first, second))
        if a != b:
            raise ValueError(
                f"expected two sets of one dimension in one R^D, got dimension {a[0]} in R^{a[1]} "
                f"and {b[0]} in R^{b[1]}"
            )
        self.first, self.second = first, second
        self.dim, self.ambient_dim = a
        self.closed = first.closed and second.closed
        self.scale = max(first.scale, second.scale)
        if first.orientable is not None and second.orientable is not None:
            self.orientable = first.orientable and second.orientable
        if first.homology is not None and second.homology is not None:
            self.homology = first.homology.disjoint_union(second.homology)
        why = [M.why_no_defining for M in (first, second) if M.defining is None]
        if not why and self.ambient_dim - self.dim > 2:
            why = ["no product of two vectors of more than 2 equations is at hand"]
        self.why_no_defining = "; ".join(w for w in why if w) or None
        gap = self._gap()
        if gap <= 1e-6 * self.scale:
            raise ValueError(
                f"expected two sets that do not meet, got {first} and {second} "
                f"at distance {gap:.1e}; change a radius"
            )

    def _gap(self) -> float:
        generator = torch.Generator().manual_seed(0)
        x = self.first.sample_uniform(500, generator)
        return gap(self.first, self.second, x, self.second.sample_uniform(500, generator))[0]

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """|A| + |B|; None where one is not known."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[0] + b[0]

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bound on the error of `volume`."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[1] + b[1]

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        y, r, k = self.first._nearest(x, tol, max_steps)
        z, s, m = self.second._nearest(x, tol, max_steps)
        one = (x - y).norm(dim=-1) <= (x - z).norm(dim=-1)
        return (
            torch.where(one.unsqueeze(-1), y, z),
            torch.where(one, r, s),
            torch.maximum(k, m),
        )

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The basis of the part that x lies on."""
        self.check_points(x)
        one = self.first.residual(x) <= self.second.residual(x)
        P, Q = self.first.tangent_basis(x), self.second.tangent_basis(x)
        return torch.where(one[..., None, None], P, Q)

    @property
    def defining(self) -> RowMap | None:
        """F_A F_B as a product of real (D - d = 1) or complex (D - d = 2) numbers; else None."""
        F, G = self.first.defining, self.second.defining
        codim = self.ambient_dim - self.dim
        if F is None or G is None or codim > 2:
            return None
        if codim < 2:
            return lambda x: F(x) * G(x)

        def product(x: Tensor) -> Tensor:
            f, g = torch.complex(*F(x).unbind(-1)), torch.complex(*G(x).unbind(-1))
            return torch.stack([(f * g).real, (f * g).imag], -1)

        return product

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """A coin weighted by the volumes for the part, a uniform point on it."""
        a, b = _volume(self.first), _volume(self.second)
        x, y = (M.sample_uniform(n, generator) for M in (self.first, self.second))
        if a is None or b is None:
            raise UnsupportedError(
                f"expected two sets of known volume, got {self.first} and {self.second}; "
                "sample each by itself"
            )
        share = a[0] / (a[0] + b[0])
        u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
        return torch.where(u < share, x, y)

    def atlas(self) -> Atlas:
        """The charts of both parts."""
        return atlas_of_parts(self, (self.first, self.second))
