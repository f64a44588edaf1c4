r"""The set that an injective flow learns: the image of its decoder."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...errors import UnsupportedError
from ...homology import Homology
from ...manifolds.base import Manifold, Projection
from ...point_cloud.tensors import nearest_row
from ..base import Fittable
from .bases import Base
from .decoder import Decoder
from .nearest_points import FootPoints, foot_points, newton_direction

ANCHORS = 4000
_POLISH = 6  # Gauss-Newton steps from the nearest anchor in `step`
# rejection ends where of so many proposals not this share was kept
_TRIES, _LEAST_SHARE = 2_000_000, 1e-5
_BATCH = 65_536


class ImageManifold(Manifold, Fittable):
    r"""M = {c + u g(b) : b in B}, the image of a decoder g of a base B.

    The base point of x in R^D is that of the nearest of M: from the nearest of many known points
    of M, by Gauss-Newton. It needs no network, and is right up to the group of B.

    Attributes:
        decoder: g; its parameters are frozen.
        centre, unit: c and u: g is in units in which the data have mean 0 and mean square 1.
        anchors: the known base points, shape (a, w).
        tolerance: how far from M points of the true set were found.
    """

    _numbers = ("tolerance", "scale", "volume", "volume_error")
    centre: Tensor
    unit: Tensor
    anchors: Tensor
    places: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder.requires_grad_(False)
        self.dim, self.ambient_dim = decoder.base.dim, decoder.ambient_dim
        self.register_buffer("centre", torch.zeros(self.ambient_dim, dtype=torch.float64))
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        self.register_buffer("anchors", torch.zeros(0, decoder.base.width, dtype=torch.float64))
        self.register_buffer("places", torch.zeros(0, self.ambient_dim, dtype=torch.float64))

    @property
    def base(self) -> Base:
        """B."""
        return self.decoder.base

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether B is."""
        return self.base.closed

    @property
    def orientable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether B is."""
        return self.base.orientable

    @property
    def homology(self) -> Homology:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of B, as g is injective."""
        return self.base.homology

    def anchor(self, b: Float[Tensor, "a w"]) -> None:
        """Keep these base points, and as many uniform ones, to start the search from."""
        generator = torch.Generator().manual_seed(0)
        more = self.base.sample(max(1, ANCHORS - len(b)), generator=generator)
        self.anchors = torch.cat([b[:ANCHORS], more.to(b)])
        self.places = self.decoder(self.anchors).detach()

    def encode(
        self, x: Float[Tensor, "*batch D"], *, tol: float | None = None, max_steps: int = 50
    ) -> FootPoints:
        """The base points of the points of M nearest to x, one per row of the flattened x."""
        self.require_fitted()
        y = self._inward(x).reshape(-1, self.ambient_dim)
        tol = self.solver_tolerance(tol, x.dtype) / float(self.unit)
        if not len(y):
            none = y.new_zeros(0)
            empty = torch.zeros(0, dtype=torch.long, device=y.device)
            return FootPoints(y.new_zeros(0, self.base.width), y, none, none > 0, empty)
        finite = y.isfinite().all(-1, keepdim=True)
        start = torch.where(finite, y, 0.0)
        projections = foot_points(
            self.decoder,
            start,
            self.anchors[nearest_row(self.places, start)],
            tol=tol,
            max_steps=max_steps,
        )
        known = finite.squeeze(-1)
        return FootPoints(
            projections.b,
            torch.where(finite, projections.value, math.nan),
            torch.where(known, projections.residual, math.inf),
            projections.converged & known,
            projections.steps,
        )

    def decode(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """C + u g(b)."""
        return self.decoder(b) * self.unit + self.centre

    def _inward(self, x: Tensor) -> Tensor:
        return (x.to(self.centre) - self.centre) / self.unit

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """The nearest point of M; the residual is the tangential part of x less that point.

        Args:
            x: points near M, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most Gauss-Newton steps per point.
            throw: raise where a point does not converge, instead of saying so.

        Raises:
            NotFittedError: before `fit`.
            ProjectionError: `throw` is set and some point did not converge.
        """
        self.check_points(x)
        projections = self.encode(x, tol=tol, max_steps=max_steps)
        shape = x.shape[:-1]
        p = Projection(
            (projections.value * self.unit + self.centre).reshape(x.shape).to(x.dtype),
            (projections.residual * self.unit).reshape(shape).to(x.dtype),
            projections.converged.reshape(shape),
            projections.steps.reshape(shape),
        )
        return p.require(self.solver_tolerance(tol, x.dtype)) if throw else p

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The distance to the nearest point of M."""
        return (self.project(x).value - x).norm(dim=-1)

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """|x - y| and y, the point of M nearest to x, after a fixed number of steps.

        The last step is differentiable, so that the first two derivatives of y are right on M.
        """
        self.require_fitted()
        y = self._inward(x).reshape(-1, self.ambient_dim)
        target = y.detach()
        b = self.anchors[torch.cdist(target, self.places).argmin(-1)]
        for k in range(_POLISH + 1):
            value, J = self.decoder.value_and_jacobian(b)
            offset = (y if k == _POLISH else target) - value.detach()
            direction, _ = newton_direction(self.decoder, b, J.detach(), offset)
            b = self.base.move(b, direction)
        projection = (self.decoder(b) * self.unit + self.centre).reshape(x.shape).to(x.dtype)
        return (x - projection).norm(dim=-1), projection

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the range of J at the base point of x."""
        J = self.decoder.value_and_jacobian(self.encode(x).b)[1]
        return calculus.tangent_basis(J).reshape(*x.shape, self.dim).to(x.dtype)

    def log_volume(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        r"""Log area of M per volume of B: :math:`\tfrac12 \log\det J^\top J + d \log u`."""
        J = self.decoder.value_and_jacobian(b)[1]
        return calculus.log_gram(J) + self.dim * self.unit.log()

    def measure_volume(self, degree: int = 24) -> tuple[float, float]:
        """The area of M by quadrature over B, and its error: that of the last two levels."""
        found = self.base.integrate_exp(self.log_volume, degree)
        volume = float(found.log_value.exp())
        return volume, volume * found.error

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Points uniform on M, by rejection of uniform base points.

        Raises:
            UnsupportedError: next to nothing is kept.
        """
        bound = float(self.log_volume(self.base.nodes(16)[0]).max()) + 0.05
        kept = [self.base.sample(0, generator=generator)]
        count, tried, m = 0, 0, 2 * n + 64
        while count < n:
            b = self.base.sample(m, generator=generator)
            u = torch.rand(len(b), generator=generator, dtype=b.dtype).to(b)
            level = self.log_volume(b)
            if float(level.max()) > bound:  # the nodes missed it: what was kept is not uniform
                kept, bound = [], float(level.max()) + 0.05
            kept.append(b[u.log() + bound <= level])
            count, tried, m = sum(len(k) for k in kept), tried + m, max(m, min(2 * m, _BATCH))
            require_share(count, tried)
        return self.decode(torch.cat(kept)[:n])


def require_share(kept: int, tried: int) -> None:
    """Raise where next to nothing was kept of many uniform proposals.

    Raises:
        UnsupportedError: that is so.
    """
    if tried >= _TRIES and kept < _LEAST_SHARE * tried:
        raise UnsupportedError(
            f"expected a distribution that keeps a share of at least {_LEAST_SHARE:.0e} of uniform base "
            f"points, got {kept} of {tried}: it is too concentrated, or its decoder folds; fit "
            "with more steps or points, or another base or density"
        )
