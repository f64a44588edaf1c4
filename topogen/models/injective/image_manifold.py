r"""The manifold that an injective flow learns: the image of its decoder."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...errors import UnsupportedError
from ...manifolds.base import Manifold, Projection
from ...point_cloud.tensors import nearest_row
from ..base import Fittable
from .bases import Base
from .decoder import Decoder
from .nearest_points import NearestPoints, attached, nearest_points, newton_direction

# rejection ends where of so many proposals not this share was accepted: fewer than 20
_TRIES, _LEAST_SHARE = 2_000_000, 1e-5


class ImageManifold(Manifold, Fittable):
    r"""M = {c + u g(b) : b in B}, the image of a decoder g of a base B.

    The base point of x in R^D is that of the nearest of M: from the nearest of many known points
    of M, by Gauss-Newton. It needs no network, and is right up to the group of B. The homology of
    M is that of B, as g is injective.

    Attributes:
        decoder: g; its parameters are frozen.
        centre, unit: c and u: g is in units in which the data have mean 0 and mean square 1.
        anchors: the known base points, shape (a, w).
        tolerance: how far from M points of the true manifold were found.
    """

    along_normals = True
    _numbers = ("tolerance", "scale", "volume", "volume_error")
    centre: Tensor
    unit: Tensor
    anchors: Tensor
    places: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder.requires_grad_(False)
        base, D = decoder.base, decoder.ambient_dim
        self.dim, self.ambient_dim, self.homology = base.dim, D, base.homology
        self.closed, self.orientable = base.closed, base.orientable
        self.register_buffer("centre", torch.zeros(D, dtype=torch.float64))
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        self.register_buffer("anchors", torch.zeros(0, base.width, dtype=torch.float64))
        self.register_buffer("places", torch.zeros(0, D, dtype=torch.float64))

    @property
    def base(self) -> Base:
        """B."""
        return self.decoder.base

    def anchor(self, b: Float[Tensor, "a w"], most: int = 4000) -> None:
        """Start searches from the first of these base points, and uniform ones where they are few.

        Args:
            b: base points.
            most: about how many to start from.
        """
        generator = torch.Generator().manual_seed(0)
        more = self.base.sample(max(1, most - len(b)), generator=generator)
        self.anchors = torch.cat([b[:most], more.to(b)])
        self.places = self.decoder(self.anchors).detach()

    def encode(
        self, x: Float[Tensor, "*batch D"], *, tol: float | None = None, max_steps: int = 50
    ) -> NearestPoints:
        """The base points of the points of M nearest to x, one per row of the flattened x.

        They are differentiable in x, see :func:`attached`.
        """
        self.require_fitted()
        y = self._inward(x)
        tol = self.solver_tolerance(tol, x.dtype) / float(self.unit)
        if not len(y):
            none = y.new_zeros(0)
            return NearestPoints(y.new_zeros(0, self.base.width), y, none, none > 0, none.long())
        finite = y.isfinite().all(-1)
        target = torch.where(finite.unsqueeze(-1), y, 0.0)
        start = self.anchors[nearest_row(self.places, target)]
        with torch.no_grad():
            found = nearest_points(self.decoder, target, start, tol=tol, max_steps=max_steps)
        if target.requires_grad:
            found = attached(self.decoder, target, found)
        return replace(
            found,
            value=torch.where(finite.unsqueeze(-1), found.value, math.nan),
            residual=torch.where(finite, found.residual, math.inf),
            converged=found.converged & finite,
        )

    def decode(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """The points c + u g(b)."""
        return self.decoder(b) * self.unit + self.centre

    def _inward(self, x: Tensor) -> Tensor:
        return ((x.to(self.centre) - self.centre) / self.unit).reshape(-1, self.ambient_dim)

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
        found = self.encode(x, tol=tol, max_steps=max_steps)
        value, residual = found.value * self.unit + self.centre, found.residual * self.unit
        p = Projection(value, residual, found.converged, found.steps).like(x)
        return p.require(self.solver_tolerance(tol, x.dtype)) if throw else p

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The distance to the nearest point of M."""
        return (self.project(x).value - x).norm(dim=-1)

    def step(
        self, x: Float[Tensor, "*batch D"], *, steps: int = 6
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """|x - y| and y, the point of M nearest to x, after a fixed number of steps.

        The last step is differentiable, so that the first two derivatives of y are right on M.
        """
        self.require_fitted()
        y = self._inward(x)
        target = y.detach()
        b = self.anchors[torch.cdist(target, self.places).argmin(-1)]
        for k in range(steps + 1):
            value, J = self.decoder.value_and_jacobian(b)
            offset = (y if k == steps else target) - value.detach()
            direction, _ = newton_direction(self.decoder, b, J.detach(), offset)
            b = self.base.move(b, direction)
        projection = self.decode(b).reshape(x.shape).to(x.dtype)
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
            UnsupportedError: next to nothing is accepted.
        """
        bound = float(self.log_volume(self.base.nodes(16)[0]).max()) + 0.05
        accepted = [self.base.sample(0, generator=generator)]
        count, tried, m = 0, 0, 2 * n + 64
        while count < n:
            b = self.base.sample(m, generator=generator)
            u = torch.rand(len(b), generator=generator, dtype=b.dtype).to(b)
            level = self.log_volume(b)
            if float(level.max()) > bound:  # missed by the nodes: what was accepted is not uniform
                accepted, bound = [], float(level.max()) + 0.05
            accepted.append(b[u.log() + bound <= level])
            count, tried = sum(len(part) for part in accepted), tried + m
            m = max(m, min(2 * m, 65_536))
            require_share(count, tried)
        return self.decode(torch.cat(accepted)[:n])


def require_share(accepted: int, tried: int) -> None:
    """Check that more than next to nothing was accepted of many uniform proposals.

    Raises:
        UnsupportedError: it was not.
    """
    if tried >= _TRIES and accepted < _LEAST_SHARE * tried:
        raise UnsupportedError(
            f"expected a distribution that accepts a share of at least {_LEAST_SHARE:.0e} of "
            f"uniform base points, got {accepted} of {tried}: it is too concentrated, or its "
            "decoder folds; fit with more steps or points, or another base or density"
        )
