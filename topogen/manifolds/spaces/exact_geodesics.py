"""Geodesics by formulas: exp, log, distance, parallel transport and curvature without a solver."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import geodesics
from ..geodesics import Geodesic
from .base import ReferenceSpace

# a unit vector whose sine (or cosine) is smaller has a direction known to less than sqrt(eps)
CUT = 2.0**-26


class ExactGeodesics(ReferenceSpace):
    r"""A reference space whose geodesics are formulas: spheres, flat tori, SO(3), R^d and others.

    To implement one, write, for float64 points x, y of M and vectors tangent at x, with leading
    axes that broadcast and derivatives that are finite inside the cut locus,

    - ``_to_tangent(x, v)``: the orthogonal projection of any v onto T_xM;
    - ``_exp(x, v)``: :math:`\exp_x v`;
    - ``_log(x, y)``: a shortest v with exp_x(v) = y, and whether it is the only one by more than
      rounding, shape (...);
    - ``_transport(x, v, w)``: w in parallel along :math:`t \mapsto \exp_x(tv)`, to t = 1;
    - ``_acceleration(x, v)``: :math:`c''(0) = II(v, v)` of that curve c in R^D.

    `log` gives the shortest geodesic; at the cut locus, where there are several, it has not
    converged, and only its length is known. Results keep their derivatives.
    """

    exact_geodesics = True
    exact_retraction = True

    @abstractmethod
    def _to_tangent(
        self, x: Float[Tensor, "*#batch D"], v: Float[Tensor, "*#batch D"]
    ) -> Float[Tensor, "*batch D"]: ...

    @abstractmethod
    def _exp(
        self, x: Float[Tensor, "*#batch D"], v: Float[Tensor, "*#batch D"]
    ) -> Float[Tensor, "*batch D"]: ...

    @abstractmethod
    def _log(
        self, x: Float[Tensor, "*#batch D"], y: Float[Tensor, "*#batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]: ...

    @abstractmethod
    def _transport(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        w: Float[Tensor, "*#batch D"],
    ) -> Float[Tensor, "*batch D"]: ...

    @abstractmethod
    def _acceleration(
        self, x: Float[Tensor, "*#batch D"], v: Float[Tensor, "*#batch D"]
    ) -> Float[Tensor, "*batch D"]: ...

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
        """Tangent vectors w at x in parallel along the geodesic of v; see :meth:`Manifold.transport`."""
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
        known = on & on_too
        v, determined = self._log(p, q)
        ok = known & determined
        g = _status(
            p, _where(ok, v), _where(known, v.norm(dim=-1)), q, self._transport(p, v, v), ok
        )
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
        g = self.log(x, y)
        if throw:
            known = replace(g, converged=g.length.isfinite())
            known.require(geodesics.tolerance(self, None, x.dtype))
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

    def _found(self, x: Float[Tensor, "n D"], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The nearest points of M, and which x were points of M, up to the rounding of a dtype."""
        p = self.project(x)
        return p.value, p.converged & ((x - p.value).norm(dim=-1) <= self.atol(dtype))

    def _follow(
        self, x: Tensor, v: Tensor, w: tuple[Tensor, ...], tol: float | None, throw: bool
    ) -> tuple[Geodesic, list[Tensor]]:
        """The geodesics of v, and the vectors w carried along them, as float64 rows."""
        tol, like = geodesics.tolerance(self, tol, x.dtype), torch.broadcast_tensors(x, v, *w)[0]
        rows, *vectors = geodesics.rows_of(self, x, v, *w)
        q, known = self._found(rows, x.dtype)
        given = torch.stack(vectors, -2)
        known = known & given[:, 0].isfinite().all(-1)
        tangent = self._to_tangent(q.unsqueeze(-2), given)
        geodesics.require_tangent(given, tangent, known)
        u = tangent[:, 0]
        end = self._exp(q, u)
        arrival, *carried = (self._transport(q, u, t) for t in tangent.unbind(-2))
        ok = known & self.in_domain(end)
        start, v = torch.where(known.unsqueeze(-1), q, rows), _where(known, u)
        g = _status(start, v, v.norm(dim=-1), end, arrival, ok)
        carried = [_where(ok, c) for c in carried]
        return geodesics.shaped(g, like, tol, throw), carried


def _where(ok: Tensor, values: Tensor) -> Tensor:
    return torch.where(ok.reshape(ok.shape + (1,) * (values.ndim - 1)), values, torch.nan)


def _status(
    start: Tensor, v: Tensor, length: Tensor, end: Tensor, arrival: Tensor, ok: Tensor
) -> Geodesic:
    """Geodesics without an error where `ok`, in no steps."""
    error = torch.where(ok, 0.0, torch.full_like(length, torch.inf))
    end, arrival, steps = _where(ok, end), _where(ok, arrival), torch.zeros_like(ok).long()
    return Geodesic(start, v, end, arrival, length, error, ok, steps)
