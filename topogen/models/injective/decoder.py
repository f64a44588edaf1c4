"""Decoders g: B -> R^D of injective flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...errors import TrainingError
from ...storable import Storable
from .bases import Base, Spectrum
from .bases.harmonic_factors import UnitSphere

ROWS = 2048  # in one block of functions


class Decoder(Storable, ABC):
    r"""A map g from a base B to R^D, given on points b of its cover.

    To implement one, set `base` and `ambient_dim` and write a row-wise, differentiable
    ``forward(b)`` with :math:`g(\gamma b) = g(b)` for every gamma of the group of B.
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
        # made here, as they cannot be made while derivatives are taken
        self.spectrum.derivatives(self.coefficients)

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

    def second_derivatives(self, b: Float[Tensor, "n w"]) -> Float[Tensor, "n d d D"]:
        r"""The second derivatives of g along geodesics, :math:`\nabla^2 g(E_i, E_j)`, at b.

        In coordinates around the cover they are those of the extension of g, less :math:`(v_f
        \cdot v'_f)\, b_f \cdot \nabla_f g` for every sphere among the factors.
        """
        raw = self.spectrum.to_raw(self.coefficients)
        first = self.spectrum.raw_derivatives(raw)
        second = self.spectrum.raw_derivatives(first.movedim(0, 1))
        w, D = self.base.width, self.ambient_dim
        results = []
        for part in b.split(ROWS):
            phi, E = self.spectrum.raw(part), self.base.frame(part)
            slope = torch.einsum("nq,wqD->nwD", phi, first)
            bend = (phi @ second.movedim(1, 0).reshape(len(raw), -1)).reshape(-1, w, w, D)
            H = torch.einsum("nvi,nvwD,nwj->nijD", E, bend, E)
            at = 0
            for f in self.base.factors:
                rows = slice(at, at + f.width)
                if isinstance(f, UnitSphere):
                    inward = torch.einsum("nw,nwD->nD", part[:, rows], slope[:, rows])
                    along = E[:, rows].mT @ E[:, rows]
                    H = H - along.unsqueeze(-1) * inward[:, None, None]
                at += f.width
            results.append(H)
        return torch.cat(results)

    def regress(self, b: Float[Tensor, "n w"], x: Float[Tensor, "n D"], ridge: float) -> None:
        r"""Ridge regression of x on phi(b).

        C has the least :math:`\tfrac1n\sum |x_i - C \varphi(b_i)|^2 + \mathrm{ridge} \sum_k (1 +
        \nu_k)^2 |C_k|^2`, nu the squared frequencies.

        Raises:
            TrainingError: the equations are singular: the points b fill no part of the base.
        """
        gram, right = normal_equations(self.spectrum, b, x)
        penalty = ridge * len(x) * (1 + self.spectrum.frequency.to(x)).square()
        factor, singular = torch.linalg.cholesky_ex(gram + penalty.diag())
        if int(singular):
            raise TrainingError(
                f"expected latent points spread over the base, got {len(b)} that "
                f"{len(penalty)} functions on it cannot tell apart; the data may not have this "
                "base or dimension"
            )
        self.coefficients = torch.cholesky_solve(right, factor)


def normal_equations(
    functions: Callable[[Tensor], Tensor], b: Float[Tensor, "n w"], x: Float[Tensor, "n D"]
) -> tuple[Float[Tensor, "p p"], Float[Tensor, "p D"]]:
    r""":math:`\sum_i \varphi_i \varphi_i^\top` and :math:`\sum_i \varphi_i x_i^\top`, phi at b."""
    parts = zip(b.split(ROWS), x.split(ROWS), strict=True)
    gram = right = x.new_zeros(())
    for c, y in parts:
        phi = functions(c)
        gram, right = gram + phi.T @ phi, right + phi.T @ y
    return gram, right
