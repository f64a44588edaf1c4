r"""Functions on a base: products of harmonics and polynomials, invariant under its group."""

from __future__ import annotations

import itertools
import math
from functools import cached_property, partial, reduce

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
        places = [range(len(g)) for g in degrees]
        columns, self._blocks, eigenvalues = [], [], []
        products = (itertools.product(*g) for g in (places, degrees, laplacians))
        for column, block, mu in zip(*products, strict=True):
            if sum(l**2 for l in block) <= bandwidth**2:
                columns.append(column)
                self._blocks.append(block)
                eigenvalues.append(mu)
        self._columns = torch.tensor(columns)
        eigenvalues = torch.tensor(eigenvalues, dtype=torch.float64)
        frequency = torch.tensor(self._blocks, dtype=torch.float64).square().sum(1)
        self._mix: Tensor | None = None
        if len(base.group) > 1:
            self._mix = self._invariants(frequency)
            weight = self._mix.square().T
            # the functions that are mixed into one have one frequency
            frequency, eigenvalues = weight @ frequency, weight @ eigenvalues
        self.count, self.frequency, self.eigenvalues = len(frequency), frequency, eigenvalues

    def __call__(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch p"]:
        """All functions at b, differentiable."""
        raw = self.raw(b)
        return raw if self._mix is None else raw @ self._mix.to(raw)

    def raw(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch q"]:
        """The products before the invariants are taken, which `invariants` combines."""
        parts = zip(
            self.base.factors, self.base.split(b), self._columns.to(b.device).T, strict=True
        )
        return reduce(torch.mul, [f.table(c, self.bandwidth)[..., k] for f, c, k in parts])

    def derivatives(self, coefficients: Float[Tensor, "p D"]) -> Float[Tensor, "w q D"]:
        r"""The coefficients, over :meth:`raw`, of the partial derivatives of :math:`C \varphi`.

        Those of solid harmonics, in the space around the sphere, are solid harmonics of one degree
        less, and those of polynomials are polynomials: no function has to be differentiated.
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
        parts = [(size, math.hypot(*degrees)) for size, degrees in self.parts(coefficients)]
        a, b, c, d = (sum(size * speed**j for size, speed in parts) for j in range(4))
        return a, b, c, d

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
        r"""A_i with :math:`\partial_i \varphi_k = \sum_j \varphi_j A_{i, jk}`, over `raw`."""
        # found from values at random points, factor by factor
        generator = torch.Generator().manual_seed(0)
        columns, matrices = self._columns, []
        for k, f in enumerate(self.base.factors):
            count = len(f.degrees(self.bandwidth))
            x = torch.randn(3 * count + 20, f.width, generator=generator, dtype=torch.float64)
            if f.width > 1:
                radius = 0.8 + 0.4 * torch.rand(len(x), 1, generator=generator, dtype=x.dtype)
                x = x / x.norm(dim=-1, keepdim=True) * radius
            else:
                x = x.clamp(-2, 2)
            table = partial(f.table, degree=self.bandwidth)
            value, slope = calculus.value_and_jacobian(table, x)
            # products that differ in the factor k only
            alike = ((columns[:, None] == columns) | (torch.arange(columns.shape[1]) == k)).all(-1)
            mine = columns[:, k]
            for i in range(f.width):
                A = torch.linalg.lstsq(value, slope[..., i]).solution
                A = torch.where(A.abs() < 1e-9, 0.0, A)
                matrices.append(torch.where(alike, A[mine][:, mine], 0.0))
        return torch.stack(matrices)
