"""Mixtures of distributions on one manifold, or on the parts of a union."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import MeasureError
from ..manifolds.base import Manifold
from ..manifolds.operations import Union
from .base import Likelihood, ManifoldDistribution, require_comparable


class Mixture(ManifoldDistribution):
    r"""The mixture :math:`p(x) = \sum_k \pi_k p_k(x)` of distributions on one manifold.

    The sum is an exact log-sum-exp. It is exact where all components are; otherwise its likelihood
    is the least exact kind among them.

    With `manifold` a union, each component lives on a part of it, and p_k counts at the points of
    that part only: at all parts that share a subset of full dimension, at one of them elsewhere.

    Args:
        weights: pi, shape (K,), non-negative; normalised to sum 1.
        components: K distributions on one manifold, or on parts of the union.
        manifold: the union; None where all components live on one set.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        ValueError: no components, or weights that do not fit them.
        MeasureError: the components do not live on one set, or not on parts of the union.

    Example:
        >>> from topogen.distributions import VonMises
        >>> q = Mixture([1.0, 3.0], [VonMises(0.0, 5.0), VonMises(2.0, 0.0)])
        >>> q.log_prob(torch.tensor([[1.0, 0.0]]))
        tensor([-1.0902])
        >>> from topogen.manifolds.operations import Similarity, Union
        >>> M = Union(tg.Circle(), Similarity(tg.Circle(), [3.0, 0.0]))
        >>> q = Mixture([1.0, 3.0], [tg.Uniform(part) for part in M.parts], manifold=M)
        >>> q.log_prob(torch.tensor([[1.0, 0.0], [4.0, 0.0]])).exp() * 2 * torch.pi
        tensor([0.2500, 0.7500])
    """

    def __init__(
        self,
        weights: Sequence[float] | Float[Tensor, " K"],
        components: Sequence[ManifoldDistribution],
        *,
        manifold: Union | None = None,
        validate_args: bool | None = None,
    ) -> None:
        pi = torch.as_tensor(weights, dtype=torch.float64).detach()
        if not components or pi.shape != (len(components),):
            raise ValueError(
                f"expected one weight for each of K >= 1 components, got weights of shape "
                f"{tuple(pi.shape)} and {len(components)} components"
            )
        if not bool(pi.isfinite().all()) or bool((pi < 0).any()) or not float(pi.sum()) > 0:
            raise ValueError(
                f"expected finite weights >= 0 with a positive sum, got {pi.tolist()}"
            )
        first = components[0]
        for other in components[1:]:
            require_comparable(first, other)
            p, q = first.manifold, other.manifold
            if manifold is None and p is not q and not (_within(first, q) and _within(other, p)):
                raise MeasureError(
                    f"expected components on one manifold, got {p} and {q}; a mixture of "
                    "distributions on different sets has no density w.r.t. either: pass "
                    "manifold=Union(...) of them"
                )
        # the part of the union that each component lives on
        self._part = None if manifold is None else [_part_of(c, manifold) for c in components]
        self.weights = pi / pi.sum()
        self.components = tuple(components)
        kinds = get_args(Likelihood)  # from the most to the least that is known of a density
        super().__init__(
            first.manifold if manifold is None else manifold,
            likelihood=kinds[max(kinds.index(c.likelihood) for c in components)],
            log_z_error=max(c.log_z_error for c in components),
            validate_args=validate_args,
        )
        self.measure = first.measure

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        if self._part is not None:
            held = cast("Union", self.manifold).members(x)[..., self._part]
            terms = x.new_full(held.shape, -math.inf)
            for k, component in enumerate(self.components):
                mine = held[..., k]
                values = component._log_prob(x[mine]).to(x.dtype)
                terms[..., k] = terms[..., k].masked_scatter(mine, values)
        else:
            terms = torch.stack([c._log_prob(x) for c in self.components], -1)
        return (terms + self.weights.log().to(terms)).logsumexp(-1)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        k = torch.multinomial(self.weights, max(n, 1), replacement=True, generator=generator)[:n]
        x = torch.zeros(n, self.manifold.ambient_dim, dtype=torch.float64)
        for i, component in enumerate(self.components):
            mine = (k == i).nonzero().squeeze(-1)
            if mine.numel():
                x[mine] = component._sample(mine.numel(), generator).to(x)
        return x


def lives_on(p: ManifoldDistribution, M: Manifold) -> bool:
    """Whether p is a distribution on M, or samples of p and points of M do not show otherwise."""
    if M is p.manifold:
        return True
    y = M.rough_points(8, torch.Generator().manual_seed(0)) if M.dim == p.dim else None
    return y is not None and _within(p, M) and bool(p.manifold.contains(y).all())


def _within(p: ManifoldDistribution, M: Manifold) -> bool:
    """Whether samples of p lie on M."""
    if p.manifold.ambient_dim != M.ambient_dim:
        return False
    return bool(M.contains(p.sample((8,), torch.Generator().manual_seed(0))).all())


def _part_of(p: ManifoldDistribution, union: Union) -> int:
    """The index of the part that a distribution lives on."""
    for i, M in enumerate(union.listed()):
        if lives_on(p, M):
            return i
    raise MeasureError(
        f"expected components on parts of the union, got one on {p.manifold}; make it a "
        "distribution on one of union.parts, or move it there with Pushforward"
    )
