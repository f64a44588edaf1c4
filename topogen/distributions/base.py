"""A distribution on a manifold: a density w.r.t. its own volume measure, and a sampler."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

from ..errors import AtlasError, MeasureError
from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold, OnManifold, rounding

Likelihood = Literal["exact", "estimated", "bound", "thickened", "unnormalized", "none"]
Measure = Literal["hausdorff", "lebesgue"]
Kind = TypeVar("Kind", bound="ManifoldDistribution")


def likelihood_of(log_z_error: float) -> Literal["exact", "estimated"]:
    """The kind of a density by the error of log Z: "exact" up to 1e-3 nats."""
    return "exact" if log_z_error <= 1e-3 else "estimated"


class ManifoldDistribution(Distribution, ABC):
    r"""A probability distribution on M with density p w.r.t. the Hausdorff measure H^d of M.

    To implement one, write `_log_prob(x)` for points x *of M*, (..., D) to (...), and
    `_sample(n, generator)`, (n, D); check it with :func:`topogen.testing.check_distribution`.

    Args:
        manifold: the manifold M.
        likelihood: kind of the density; "exact" means normalised to better than 1e-3 nats.
        log_z_error: bound, or estimate, of the error of the log normaliser, in nats.
        atol: how far from M a point may be and still be read as its projection.
        validate_args: raise on points off M instead of giving them -inf.
    """

    arg_constraints = {}  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    measure: Measure = "hausdorff"

    def __init__(
        self,
        manifold: Manifold,
        *,
        likelihood: Likelihood = "exact",
        log_z_error: float = 0.0,
        atol: float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.manifold = manifold
        self.likelihood: Likelihood = likelihood
        self.log_z_error = log_z_error
        self._support = OnManifold(manifold, atol)
        super().__init__(
            torch.Size(), torch.Size([manifold.ambient_dim]), validate_args=validate_args
        )

    @abstractmethod
    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Log density at points of M, in nats."""

    @abstractmethod
    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        """Draw n independent points of M."""

    def own_atlas(self) -> BaseAtlas | None:
        """The charts that the density is made on; None where it needs none."""
        return None

    def chart_of(self, x: Float[Tensor, "n D"]) -> Int[Tensor, " n"] | None:
        """The number of the chart in which each point weighs most; None where there are none."""
        atlas = self.own_atlas()
        if atlas is None:
            return None
        return atlas.weights(self.manifold.project(x).value).nan_to_num(0.0).argmax(-1)

    def log_prob_on(
        self, x: Float[Tensor, "n D"], Q: Float[Tensor, "n D d"]
    ) -> Float[Tensor, " n"]:
        """Log p at points x of M, where orthonormal tangent bases Q are at hand already."""
        return self.log_prob(x)

    @property
    def dim(self) -> int:
        """Dimension of the measure: two distributions can be compared only where it agrees."""
        return self.manifold.dim

    @property
    def validates(self) -> bool:
        """Whether `log_prob` raises off M, instead of giving -inf."""
        return bool(self._validate_args)

    def within(self: Kind, atol: float | None) -> Kind:
        """This distribution, with another ``support.atol``; None leaves it."""
        if atol is not None:
            self._support = OnManifold(self.manifold, atol)
        return self

    @property
    def support(self) -> OnManifold:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The constraint "on M", with its tolerance."""
        return self._support

    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sample_shape: Any = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape D"]:
        """Independent points of M, shape sample_shape + (D,); without gradients.

        Args:
            sample_shape: leading shape of the result; () gives one point of shape (D,).
            generator: source of randomness; torch's global one when None.

        Raises:
            ValueError: a negative size.
        """
        shape = torch.Size([sample_shape] if isinstance(sample_shape, int) else sample_shape)
        if any(n < 0 for n in shape):
            raise ValueError(f"expected sizes >= 0, got sample_shape={tuple(shape)}")
        with torch.no_grad():
            points = self._sample(shape.numel(), generator)
        return points.reshape(*shape, self.manifold.ambient_dim)

    def log_prob(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, value: Float[Tensor, "*batch D"]
    ) -> Float[Tensor, "*batch"]:
        r"""Log p at the projection of `value` onto M, in nats w.r.t. H^d in units of the points.

        The gradient at points of M is tangent to M.

        Where the projection fails, moves the point by more than ``support.tolerance`` there and
        the rounding of the point, or ends outside the domain of validity of M, the value is -inf
        (ValueError when validating). NaN in gives NaN out: it never becomes -inf.

        Raises:
            InvalidPoints: no tensor, or not of floating point and of shape (..., D).
        """
        self.manifold.check_points(value)
        nan = value.isnan().any(-1)
        projection = self.manifold.project_along_normals(value)
        allowed = self._support.tolerance(projection.value) + rounding(value)
        on = projection.converged
        on = on & ((projection.value - value).norm(dim=-1) <= allowed)
        if self.manifold.needs_domain:
            on &= self.manifold.in_domain(projection.value)
        if self._validate_args and not bool(on.all()):
            name = type(self.manifold).__name__
            raise ValueError(
                f"expected points within {float(torch.as_tensor(allowed).min()):.2g} of {name}, "
                f"got {int((~on).sum())} of {on.numel()} farther away, NaN, or not projected; "
                "project them first, or pass validate_args=False"
            )
        result = value.new_full(value.shape[:-1], -math.inf)
        if bool(on.any()):
            found = self._log_prob(projection.value[on])
            result = result.masked_scatter(on, found.to(value.dtype))
        return torch.where(nan, math.nan, result)


def require_comparable(p: Any, q: Any) -> None:
    """Raise MeasureError unless the densities are w.r.t. measures of one kind and dimension."""
    a, b = ((distribution.measure, distribution.dim) for distribution in (p, q))
    if a != b:
        raise MeasureError(
            f"expected two distributions with one measure, got {a[0]} of dimension {a[1]} and "
            f"{b[0]} of dimension {b[1]}; likelihoods w.r.t. different measures cannot be compared"
        )


def kind_of(thing: object) -> str:
    """What something is, in words: a class may be given where an object of it is meant."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__


def manifold_of(atlas: Any) -> Manifold:
    """The manifold that an atlas covers.

    Raises:
        AtlasError: no atlas.
    """
    if not isinstance(atlas, BaseAtlas):
        remedy = "pass M.atlas()" if isinstance(atlas, Manifold) else "pass an Atlas"
        raise AtlasError(
            f"expected an atlas, charts that cover a manifold, got {kind_of(atlas)}; {remedy}"
        )
    return atlas.manifold
