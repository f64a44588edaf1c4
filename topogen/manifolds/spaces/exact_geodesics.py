"""Geodesics by formulas: exp, log, distance, parallel transport and curvature without a solver."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import geodesics
from ..base import rounding
from ..geodesics import Geodesic
from .base import ReferenceSpace

# a unit vector whose sine (or cosine) is smaller has a direction known to less than sqrt(eps)
CUT = 2.0**-26


class ExactGeodesics(ReferenceSpace):
    r"""A reference space whose geodesics are formulas: spheres, flat tori, SO(3), R^d and others.

    To implement one, write, for float64 points x, y of M and vectors tangent at x, with leading
    axes that broadcast and derivatives that are finite inside the cut locus,
    ``_to_tangent``, ``_exp``, ``_log``, ``_transport`` and ``_acceleration``.

    `log` gives the shortest geodesic; at the cut locus, where there are several, it has not
    converged, and only its length is known. Results keep their derivatives.
    """

    exact_geodesics = True
    exact_retraction = True

    @abstractmethod
    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """The orthogonal projection of any v onto T_xM."""

    @abstractmethod
    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        r""":math:`\exp_x v`."""

    @abstractmethod
    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A shortest v with exp_x(v) = y, and whether it is the only one by more than rounding."""

    @abstractmethod
    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        r"""The vector w in parallel along :math:`t \mapsto \exp_x(tv)`, to t = 1."""

    def _flow(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """That curve's end c(1) and its velocity c'(1) there."""
        return self._exp(x, v), self._transport(x, v, v)

    @abstractmethod
    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        r""":math:`c''(0) = II(v, v)` of that curve c in R^D."""

    def geodesic(
        self,
        x: Float[Tensor, "*batch D"],
        y: Float[Tensor, "*batch D"],
        t: Float[Tensor, "*batch"],
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """c(t), c'(t) and whether c is determined; see :meth:`Manifold.geodesic`."""
        v, determined = self._log(x, y)
        run = t.unsqueeze(-1) * v
        return self._exp(x, run), self._transport(x, run, v), determined

    def exp(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> Geodesic:
        """The geodesic with c(0) = x and c'(0) = v; see :meth:`Manifold.exp`."""
        return self._follow(x, v, (), tol, throw)[0]

    def transport(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        w: Float[Tensor, "*#batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> tuple[Float[Tensor, "*batch D"], Geodesic]:
        """W in parallel along the geodesic of v; see :meth:`Manifold.transport`."""
        g, (carried,) = self._follow(x, v, (w,), tol, throw)
        return carried.reshape(g.end.shape).to(x.dtype), g

    def log(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> Geodesic:
        """The shortest geodesic from x to y, `through` unneeded; see :meth:`Manifold.log`."""
        tol = geodesics.tolerance(self, tol, x.dtype)
        a, b = geodesics.rows_of(self, x, y)
        (p, on), (q, on_too) = self._found(a, x.dtype), self._found(b, y.dtype)
        v, determined = self._log(p, q)
        ok, length = on & on_too & determined, _where(on & on_too, v.norm(dim=-1))
        g = _status(p, _where(ok, v), length, q, self._transport(p, v, v), ok)
        return geodesics.shaped(g, torch.broadcast_tensors(x, y)[0], tol, throw)

    def distance(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        throw: bool = True,
    ) -> Float[Tensor, "*batch"]:
        """The length of the shortest geodesics; NaN where a point is not on M and not `throw`."""
        g, tol = self.log(x, y), geodesics.tolerance(self, None, x.dtype)
        if throw:
            replace(g, converged=g.length.isfinite()).require(tol)
        return g.length

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        r"""II(t_i, t_j), polarised from the accelerations II(v, v) of geodesics."""
        T = (self.tangent_basis(x) if frame is None else frame).mT.to(torch.float64)
        y, u, v = x.to(torch.float64)[..., None, None, :], T.unsqueeze(-2), T.unsqueeze(-3)
        II = (self._acceleration(y, u + v) - self._acceleration(y, u - v)) / 4
        return II.to(x.dtype)

    def mean_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        r"""The vector :math:`\tfrac1d \sum_i II(t_i, t_i)`, a mean of accelerations."""
        T = self.tangent_basis(x).mT.to(torch.float64)
        return self._acceleration(x.to(torch.float64).unsqueeze(-2), T).mean(-2).to(x.dtype)

    def _polish(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The point of M next to each x that is on M up to rounding: a few products."""
        return self._nearest(x, 0.0, 0)[0]

    def _found(self, x: Float[Tensor, "n D"], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The points of M, and which x were points of M, up to the rounding of a dtype."""
        y = self._polish(torch.where(x.isfinite().all(-1, keepdim=True), x, 0.0))
        return y, (x - y).norm(dim=-1) <= self.atol(dtype) + rounding(x)

    def _follow(
        self, x: Tensor, v: Tensor, w: tuple[Tensor, ...], tol: float | None, throw: bool
    ) -> tuple[Geodesic, list[Tensor]]:
        """The geodesics of v, and the vectors w carried along them, as float64 rows."""
        tol, like = geodesics.tolerance(self, tol, x.dtype), torch.broadcast_tensors(x, v, *w)[0]
        rows, *vectors = geodesics.rows_of(self, x, v, *w)
        q, on = self._found(rows, x.dtype)
        given = torch.stack(vectors, -2)
        known = on & given[:, 0].isfinite().all(-1)
        tangent = self._to_tangent(q.unsqueeze(-2), given)
        geodesics.require_tangent(given, tangent, known)
        u = tangent[:, 0]
        end, arrival = self._flow(q, u)
        carried = [self._transport(q, u, t) for t in tangent[:, 1:].unbind(-2)]
        ok = known & self.in_domain(end)
        start, v = torch.where(known.unsqueeze(-1), q, rows), _where(known, u)
        g = _status(start, v, v.norm(dim=-1), end, arrival, ok)
        return geodesics.shaped(g, like, tol, throw), [_where(ok, c) for c in carried]


def _where(ok: Tensor, values: Tensor) -> Tensor:
    return torch.where(ok.reshape(ok.shape + (1,) * (values.ndim - 1)), values, torch.nan)


def _status(
    start: Tensor, v: Tensor, length: Tensor, end: Tensor, arrival: Tensor, ok: Tensor
) -> Geodesic:
    """Geodesics without an error where `ok`, in no steps."""
    error = torch.where(ok, 0.0, torch.full_like(length, torch.inf))
    end, arrival, steps = _where(ok, end), _where(ok, arrival), torch.zeros_like(ok).long()
    return Geodesic(start, v, end, arrival, length, error, ok, steps)
