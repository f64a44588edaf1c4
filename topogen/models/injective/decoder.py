"""Decoders g: B -> R^D of injective flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...errors import TrainingError, UnsupportedError
from ...storable import Storable
from .bases import Base, Spectrum
from .bases.harmonic_factors import Points
from .jets import ROWS, Jets

Linearization = tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]


class Decoder(Storable, ABC):
    r"""A map g from a base B to R^D, given on points b of its cover.

    To implement one, set `base` and `ambient_dim` and write a row-wise, differentiable
    ``forward(b)`` with :math:`g(\gamma b) = g(b)` for every gamma of the group of B.

    Attributes:
        bandwidth: K, where g is made of the functions of B up to a bandwidth; else None.
    """

    base: Base
    ambient_dim: int
    bandwidth: int | None = None

    @abstractmethod
    def forward(self, b: Points) -> Float[Tensor, "*batch D"]:
        """g(b)."""

    def in_space(self, V: Float[Tensor, "D m"]) -> Decoder:
        """The map V g to a space of more dimensions.

        Raises:
            UnsupportedError: g is no linear combination of functions.
        """
        raise UnsupportedError(
            f"expected a decoder that is linear in its coefficients, got {type(self).__name__}"
        )

    def value_and_jacobian(self, b: Points) -> Linearization:
        """g(b), and J = Dg(b) E(b), E the frame of the base."""
        E = self.base.frame(b)

        def along(v: Tensor) -> Tensor:
            return self(b + (E @ v.unsqueeze(-1)).squeeze(-1))

        return calculus.value_and_jacobian(along, b.new_zeros(*b.shape[:-1], self.base.dim))

    def regress(self, b: Float[Tensor, "n w"], x: Float[Tensor, "n D"], ridge: float) -> None:
        r"""Ridge regression of x on the functions of b that g is a combination of.

        Args:
            b: base points.
            x: their images.
            ridge: the factor of the penalty, per point.

        Raises:
            TrainingError: the equations are singular: the points b fill no part of the base.
            UnsupportedError: g is no linear combination of functions.
        """
        raise UnsupportedError(
            f"expected a decoder that is linear in its coefficients, got {type(self).__name__}; "
            "fit it by gradient descent"
        )

    def jets(self, scale: Float[Tensor, " k"] | None = None) -> Jets:
        """G and its derivatives, with bounds.

        Args:
            scale: lengths in each factor of B are multiplied by these; 1 when None.

        Raises:
            UnsupportedError: there are no bounds for it.
        """
        raise UnsupportedError(
            f"expected a spectral decoder, whose derivatives have bounds, got "
            f"{type(self).__name__}"
        )


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
        zeros = torch.zeros(self.spectrum.count, ambient_dim, dtype=torch.float64)
        self.register_buffer("coefficients", zeros)
        # made here, as they cannot be made while derivatives are taken
        self.spectrum.derivatives(self.coefficients)

    def forward(self, b: Points) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.spectrum.raw(b) @ self.spectrum.to_raw(self.coefficients)

    def value_and_jacobian(self, b: Points) -> Linearization:
        """g(b), and J = Dg(b) E(b), E the frame of the base, without automatic derivatives."""
        C = self.spectrum.to_raw(self.coefficients)
        # g and its partial derivatives in the space around the cover, in one product
        table = torch.stack([C, *self.spectrum.raw_derivatives(C)], 1).flatten(1)
        rows = b.reshape(-1, b.shape[-1])
        jets = torch.cat([self.spectrum.raw(part) @ table for part in rows.split(ROWS)])
        jets = jets.reshape(*b.shape[:-1], self.base.width + 1, self.ambient_dim)
        return jets[..., 0, :], jets[..., 1:, :].mT @ self.base.frame(b)

    def in_space(self, V: Float[Tensor, "D m"]) -> SpectralDecoder:
        """The map V g to a space of more dimensions."""
        result = SpectralDecoder(self.base, self.spectrum.bandwidth, V.shape[0])
        result.coefficients = self.coefficients @ V.mT
        return result

    def jets(self, scale: Float[Tensor, " k"] | None = None) -> Jets:
        """G and its derivatives, with bounds by its coefficients."""
        return Jets(self.spectrum, self.coefficients, scale)

    def regress(self, b: Float[Tensor, "n w"], x: Float[Tensor, "n D"], ridge: float) -> None:
        r"""Ridge regression of x on phi(b).

        C has the least :math:`\tfrac1n\sum |x_i - C \varphi(b_i)|^2 + \mathrm{ridge} \sum_k (1 +
        \nu_k)^2 |C_k|^2`, nu the squared frequencies.
        """
        gram, right = normal_equations(self.spectrum, b, x)
        penalty = ridge * len(x) * (1 + self.spectrum.frequency.to(x)).square()
        self.coefficients = ridge_solution(gram, right, penalty)


def normal_equations(
    functions: Callable[[Tensor], Tensor], b: Float[Tensor, "n w"], x: Float[Tensor, "n D"]
) -> tuple[Float[Tensor, "p p"], Float[Tensor, "p D"]]:
    r""":math:`\sum_i \varphi_i \varphi_i^\top` and :math:`\sum_i \varphi_i x_i^\top`, phi at b."""
    gram = right = x.new_zeros(())
    for c, y in zip(b.split(ROWS), x.split(ROWS), strict=True):
        phi = functions(c)
        gram, right = gram + phi.T @ phi, right + phi.T @ y
    return gram, right


def ridge_solution(
    gram: Float[Tensor, "p p"], right: Float[Tensor, "p D"], penalty: Float[Tensor, " p"]
) -> Float[Tensor, "p D"]:
    """The C with (gram + diag(penalty)) C = right.

    Raises:
        TrainingError: the matrix is singular.
    """
    factor, singular = torch.linalg.cholesky_ex(gram + penalty.diag())
    if int(singular):
        raise TrainingError(
            f"expected base points spread over the base, got some at which {len(penalty)} "
            "functions on it are dependent; the data may not have this base or dimension"
        )
    return torch.cholesky_solve(right, factor)
