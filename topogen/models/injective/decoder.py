"""Decoders g: B -> R^D of injective flows."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ... import calculus
from ...manifolds.bases import Base, Spectrum

ROWS = 2048  # in one block of functions


class Decoder(nn.Module, ABC):
    """A map g from a base B to R^D, given on points b of its cover.

    To implement one, set `base` and `ambient_dim` and write a row-wise, differentiable
    ``forward(b)`` with :math:`g(\\gamma b) = g(b)` for every gamma of the group of B.
    """

    base: Base
    ambient_dim: int

    @abstractmethod
    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""

    def value_and_jacobian(
        self, b: Float[Tensor, "*batch w"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """g(b), and J = Dg(b) E(b), E the frame of the base."""
        E = self.base.frame(b)

        def along(v: Tensor) -> Tensor:
            return self(b + (E @ v.unsqueeze(-1)).squeeze(-1))

        return calculus.value_and_jacobian(along, b.new_zeros(*b.shape[:-1], self.base.dim))


class SpectralDecoder(Decoder):
    r"""g: B -> R^D, :math:`g(b) = C \varphi(b)`, phi the functions of a :class:`Spectrum`.

    Args:
        base: B.
        bandwidth: K.
        ambient_dim: D.

    Attributes:
        coefficients: C^T, shape (p, D).
    """

    coefficients: Tensor

    def __init__(self, base: Base, bandwidth: int, ambient_dim: int) -> None:
        super().__init__()
        self.base, self.bandwidth, self.ambient_dim = base, bandwidth, ambient_dim
        self.spectrum = Spectrum(base, bandwidth)
        self.register_buffer(
            "coefficients",
            torch.zeros(self.spectrum.count, ambient_dim, dtype=torch.float64),
        )

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.spectrum.raw(b) @ self.spectrum.to_raw(self.coefficients)

    def value_and_jacobian(
        self, b: Float[Tensor, "*batch w"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """g(b), and J = Dg(b) E(b), E the frame of the base, without automatic derivatives."""
        C, w = self.coefficients, self.base.width
        # g and its partial derivatives in the space around the cover, in one product
        table = torch.cat([self.spectrum.to_raw(C).unsqueeze(0), self.spectrum.derivatives(C)])
        table = table.movedim(0, 1).flatten(1)
        rows = b.reshape(-1, b.shape[-1])
        jets = torch.cat([self.spectrum.raw(part) @ table for part in rows.split(ROWS)])
        jets = jets.reshape(*b.shape[:-1], w + 1, self.ambient_dim)
        return jets[..., 0, :], jets[..., 1:, :].mT @ self.base.frame(b)

    def regress(self, b: Float[Tensor, "n w"], x: Float[Tensor, "n D"], ridge: float) -> None:
        r"""C of least :math:`\tfrac1n\sum |x_i - C \varphi(b_i)|^2 + \mathrm{ridge} \sum_k (1 +
        \nu_k)^2 |C_k|^2`, nu the squared frequencies.
        """
        p = self.spectrum.count
        gram, right = x.new_zeros(p, p), x.new_zeros(p, x.shape[1])
        for c, y in zip(b.split(ROWS), x.split(ROWS), strict=True):
            phi = self.spectrum(c)
            gram += phi.T @ phi
            right += phi.T @ y
        penalty = ridge * len(x) * (1 + self.spectrum.frequency.to(x)).square()
        factor = torch.linalg.cholesky(gram + penalty.diag())
        self.coefficients = torch.cholesky_solve(right, factor)

    def bounds(self) -> tuple[float, float]:
        """Bounds on the first and second derivatives of g along geodesics of unit speed of B."""
        size, speed = self.spectrum.bounds()
        length = self.coefficients.norm(dim=-1) * size.to(self.coefficients)
        speed = speed.to(length)
        return float((length * speed).sum()), float((length * speed**2).sum())
