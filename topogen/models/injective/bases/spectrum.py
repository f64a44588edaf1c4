r"""Functions on a base: products of harmonics and polynomials, invariant under its group."""

from __future__ import annotations

import itertools
import math
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from .... import calculus
from .base import Base


class Spectrum:
    r"""Orthonormal functions :math:`\varphi_1, \dots, \varphi_p` on B, those of "frequency" <= K.

    Products :math:`\prod_f \varphi_{i_f}(b_f)` of the factors' functions with
    :math:`\sum_f l_f^2 \le K^2`, l the degrees; of a quotient the span of those that are
    invariant, :math:`\varphi(\gamma b) = \varphi(b)`, which are the functions on B. They are
    orthonormal under the uniform distribution of the cover.

    Args:
        base: B.
        bandwidth: K.

    Attributes:
        count: p.
        frequency: K^2-sum of squared degrees of each function, shape (p,).
        eigenvalues: of the Laplacians of the F factors, shape (p, F); of a mixture of products
            of different ones their mean.

    Example:
        >>> from topogen.models.injective.bases import standard
        >>> Spectrum(standard("torus"), 10).count, Spectrum(standard("projective"), 4).count
        (317, 15)
    """

    def __init__(self, base: Base, bandwidth: int) -> None:
        self.base, self.bandwidth = base, bandwidth
        degrees = [f.degrees(bandwidth) for f in base.factors]
        laplacians = [f.laplacian(bandwidth) for f in base.factors]
        chosen = [
            index
            for index in itertools.product(*(range(len(g)) for g in degrees))
            if sum(g[i] ** 2 for g, i in zip(degrees, index, strict=True)) <= bandwidth**2
        ]

        self._columns = torch.tensor(chosen)
        self._blocks = [
            tuple(g[i] for g, i in zip(degrees, index, strict=True)) for index in chosen
        ]
        squares = [sum(l**2 for l in block) for block in self._blocks]
        frequency = torch.tensor(squares, dtype=torch.float64)
        eigenvalues = torch.tensor(
            [[g[i] for g, i in zip(laplacians, index, strict=True)] for index in chosen],
            dtype=torch.float64,
        )
        self._mix: Tensor | None = None
        if len(base.group) > 1:
            self._mix = self._invariants(frequency)
            weight = self._mix.square().T
            # the functions that are mixed into one have one frequency
            frequency, eigenvalues = weight @ frequency, weight @ eigenvalues
        self.frequency, self.eigenvalues = frequency, eigenvalues

    @property
    def count(self) -> int:
        """How many functions there are."""
        return len(self.frequency)

    def __call__(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch p"]:
        """All functions at b, differentiable."""
        raw = self.raw(b)
        return raw if self._mix is None else raw @ self._mix.to(raw)

    def raw(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch q"]:
        """The products before the invariants are taken, which `invariants` combines."""
        parts = [
            f.table(c, self.bandwidth)
            for f, c in zip(self.base.factors, self.base.split(b), strict=True)
        ]
        columns = self._columns.to(b.device)
        value = parts[0][..., columns[:, 0]]
        for k, part in enumerate(parts[1:], 1):
            value = value * part[..., columns[:, k]]
        return value

    def derivatives(self, coefficients: Float[Tensor, "p D"]) -> Float[Tensor, "w q D"]:
        r"""The coefficients, over :meth:`raw`, of the partial derivatives of :math:`C \varphi`.

        Those of solid harmonics, in the coordinates of the space around the sphere, are solid
        harmonics of one degree less, and polynomials have polynomials as derivatives: no
        function has to be differentiated.
        """
        return self.raw_derivatives(self.to_raw(coefficients))

    def raw_derivatives(self, raw: Float[Tensor, "q ..."]) -> Float[Tensor, "w q ..."]:
        """The same from coefficients over :meth:`raw`."""
        return torch.einsum("wqr,r...->wq...", self._slopes.to(raw), raw)

    def to_raw(self, coefficients: Float[Tensor, "p D"]) -> Float[Tensor, "q D"]:
        """Coefficients over :meth:`raw` of a combination of the functions."""
        return coefficients if self._mix is None else self._mix.to(coefficients) @ coefficients

    def bounds(self, coefficients: Float[Tensor, "p D"]) -> tuple[float, float, float, float]:
        r"""Bounds on g = C phi and its first three derivatives along geodesics of unit speed of B.

        The sum over the parts of g, see :meth:`parts`, of their bounds times :math:`(\sum_f
        l_f^2)^{j/2}`, j = 0, ..., 3.
        """
        total = [0.0] * 4
        for size, degrees in self.parts(coefficients):
            speed = math.hypot(*degrees)
            for j in range(4):
                total[j] += size * speed**j
        return total[0], total[1], total[2], total[3]

    def parts(self, coefficients: Float[Tensor, "p D"]) -> list[tuple[float, tuple[float, ...]]]:
        r"""A bound :math:`\|C_{block}\| \prod_f s_f` on each part of g, and its degrees l_f.

        A part has one degree in each factor; (s, l) are those of :meth:`HarmonicFactor.bound`.
        """
        raw = self.to_raw(coefficients)
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, block in enumerate(self._blocks):
            rows.setdefault(block, []).append(row)
        found: list[tuple[float, tuple[float, ...]]] = []
        for block, members in rows.items():
            known = [f.bound(k) for f, k in zip(self.base.factors, block, strict=True)]
            size = float(torch.linalg.matrix_norm(raw[members], 2))
            found.append((size * math.prod(s for s, _ in known), tuple(l for _, l in known)))
        return found

    def _invariants(self, frequency: Tensor) -> Tensor:
        """An orthonormal basis of the invariant functions, as columns of coefficients.

        The mean over the group of the matrices by which it acts is the projection onto them; it
        acts within functions of one frequency.
        """
        generator = torch.Generator().manual_seed(0)
        values, place = frequency.unique(return_inverse=True)
        b = self.base.sample(3 * int(place.bincount().max()) + 20, generator=generator)
        tables = [self.raw(c) for c in self.base.orbit(b)]
        mean = torch.stack(tables).mean(0)
        blocks = []
        for k in range(len(values)):
            rows = (place == k).nonzero().squeeze(-1)
            P = torch.linalg.lstsq(tables[0][:, rows], mean[:, rows]).solution
            if bool(((P - P.diag().diag()).abs() < 1e-9).all()):
                V = torch.eye(len(rows), dtype=P.dtype)[:, P.diag() > 0.5]
            else:
                lam, U = torch.linalg.eigh((P + P.T) / 2)
                V = U[:, lam > 0.5]
            block = frequency.new_zeros(len(frequency), V.shape[1])
            block[rows] = V
            blocks.append(block)
        return torch.cat(blocks, 1)

    @cached_property
    def _slopes(self) -> Tensor:
        r"""Matrices A_i with :math:`\partial_i \varphi_k = \sum_j \varphi_j A_{i, jk}` over `raw`.

        They are found from values at random points, factor by factor.
        """
        generator = torch.Generator().manual_seed(0)
        place = {tuple(index): row for row, index in enumerate(self._columns.tolist())}
        matrices = []
        for k, f in enumerate(self.base.factors):
            count = len(f.degrees(self.bandwidth))
            x = torch.randn(3 * count + 20, f.width, generator=generator, dtype=torch.float64)
            if f.width > 1:
                x = (
                    x
                    / x.norm(dim=-1, keepdim=True)
                    * (0.8 + 0.4 * torch.rand(len(x), 1, generator=generator, dtype=x.dtype))
                )
            else:
                x = x.clamp(-2, 2)
            value, slope = calculus.value_and_jacobian(
                lambda y, f=f: f.table(y, self.bandwidth), x
            )
            for i in range(f.width):
                A = torch.linalg.lstsq(value, slope[..., i]).solution
                A = torch.where(A.abs() < 1e-9, 0.0, A)
                big = A.new_zeros(len(place), len(place))
                for index, column in place.items():
                    for j in A[:, index[k]].nonzero().squeeze(-1).tolist():
                        big[place[(*index[:k], j, *index[k + 1 :])], column] = A[j, index[k]]
                matrices.append(big)
        return torch.stack(matrices)
