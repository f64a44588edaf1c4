"""A manifold learned from points without gradient training: blended local polynomial graphs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import calculus
from ..errors import InvalidPoints
from ..manifolds.base import iterate
from ..manifolds.monomials import monomial_count, monomials, monomials_along
from ..point_cloud.span import affine_span
from ..point_cloud.tensors import as_tensor, distinct
from .base import Progress, Stage
from .boundary import boundary_points, directions, in_holes
from .learned_manifold import LearnedManifold
from .local_regression import (
    CORE,
    LocalGraphs,
    allowed_sizes,
    continued,
    fit_graphs,
    graph_points,
    overlapping,
)

# The weight of a landmark reaches this much farther than the points that its graph is fitted to:
# a random sample has holes larger than its spacing, and M has none there.
_REACH = 1.25
_MIN_WEIGHT = 0.05  # what the weights of all landmarks add up to in the domain of validity


class LocalPolynomials(LearnedManifold):
    r"""A d-dimensional manifold learned as a blend of local polynomial graphs.

    Around landmarks :math:`c_k` with tangent frames :math:`T_k` and radii :math:`r_k` the data are
    graphs :math:`x = c_k + T_k s + b_k(s / r_k)`, :math:`s = T_k^\top (x - c_k)`, with polynomials
    :math:`b_k`. With the :math:`C^2` weights
    :math:`w_k(x) \propto (1 - |x - c_k|^2 / (1.25\, r_k)^2)_+^3`,

    .. math:: r(x) = \sum_k w_k(x) [(I - T_k T_k^\top)(x - c_k) - b_k(T_k^\top (x - c_k) / r_k)],
              \qquad M = \{x : G(x) = (I - P(x))\, r(x) = 0\},

    where P(x) projects onto the d leading eigenvectors of :math:`\sum_k w_k T_k T_k^\top`, in any
    codimension. M is :math:`C^2`, and stated only in its domain of validity: where the weights add
    up to 0.05 before they are normalised, within about one neighbourhood radius of every data
    point; less what lies outside the :class:`~topogen.models.boundary.Boundary` of the data.

    Neighbourhood sizes and degrees are chosen by generalised cross-validation in every part of M:
    noisy data get wider and stiffer graphs.

    Args:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.

    Attributes:
        tolerance: after fitting, four times the 99.9 % quantile of the distance from data to M, at
            least one thousandth of their rms radius.
        noise: root mean square distance of the data to M, after fitting.
        lost: the share of a tenth of the points that M does not contain when it is learned from
            the others; NaN where that was not measured, M being closed or the points few.
        closed: whether M ends nowhere: no boundary of the data was found.
        boundary: the places where it ends.

    Example:
        >>> t = torch.linspace(0, 6.2832, 400, dtype=torch.float64)
        >>> circle = LocalPolynomials(1, 2)
        >>> result = tg.fit(circle, torch.stack([t.cos(), t.sin()], -1))
        >>> x = circle.project(torch.tensor([[0.0, 1.01]], dtype=torch.float64)).value
        >>> bool((x.norm() - 1).abs() < 1e-4)
        True
    """

    _numbers = ("degree", "scale", "noise", "tolerance", "lost")
    c: Tensor
    T: Tensor
    r: Tensor
    b: Tensor
    error: Tensor
    Tc: Tensor
    near: Tensor

    def __init__(self, dim: int, ambient_dim: int) -> None:
        super().__init__(dim, ambient_dim)
        self.degree, self.lost = 3, math.nan
        self.reserve("c", "T", "r", "b", "error", "Tc")
        self.register_buffer("near", torch.empty(0, dtype=torch.int64))

    def tolerance_at(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """How far points about x in M may be from M: 16 errors of the graphs there, or `atol`.

        In sparse places graphs are wide, and fresh points lie farther from M than the data do.
        """
        z = self._flat(x)[1]
        parts = []
        for part in z.split(self._rows()):
            index = self._weights(part)[0]
            w = self._blend(part, index)[0]
            parts.append((w * self.error[index]).sum(-1))
        error = torch.cat(parts).reshape(x.shape[:-1]).to(x.dtype)
        # of 100 000 fresh points on a sphere with sharp modes 19 were off by more; normal noise,
        # whose median is .67 of its deviation, is off by less
        return (16 * self.unit * error).clamp_min(self.atol(x.dtype))

    # -- learning ---------------------------------------------------------------------------------

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """One closed-form stage: landmarks, local fits at several sizes, choice by error.

        Where M ends it is learned once more, without a tenth of the points, to measure `lost`.
        """
        if not self.fitted:
            yield Stage("local graphs", lambda generator: self._fit(points, generator))

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        cloud = distinct(as_tensor(points, ambient_dim=self.ambient_dim))
        converged = yield from self._learn(cloud, generator)
        if not self.closed and len(cloud) >= 2 * _least(self.dim):
            order = torch.randperm(len(cloud), generator=generator)
            held_out, rest = cloud[order].tensor_split([len(cloud) // 10])
            other = LocalPolynomials(self.dim, self.ambient_dim)
            for record in other._learn(rest, generator):
                yield {f"without a tenth: {name}": value for name, value in record.items()}
            self.lost = 1 - float(other.contains(held_out).double().mean())
            yield {"lost": self.lost}
        return converged

    def _learn(self, cloud: Tensor, generator: torch.Generator) -> Progress[bool]:
        d, x = self.dim, cloud.numpy()
        needed = _least(d)
        if x.shape[0] < needed:
            raise InvalidPoints(
                f"expected at least {needed} different points for local graphs of dimension {d}, "
                f"got {x.shape[0]}; give more points"
            )
        centre = x.mean(axis=0)
        unit = float(np.sqrt(((x - centre) ** 2).sum(axis=1).mean()))
        if not unit > 1e-9 * np.abs(centre).max():
            raise InvalidPoints(
                "expected points that differ, got a cloud smaller than its rounding"
            )
        span = affine_span(x, self.dim + 1)
        V = np.eye(self.ambient_dim) if span is None else span.V
        x = (x - centre) / unit if span is None else span.inner(x) / unit
        order = torch.randperm(x.shape[0], generator=generator).numpy()

        best = yield from fit_graphs(x, order, d, allowed_sizes(d, x.shape[0]))
        self.centre, self.unit = torch.from_numpy(centre), torch.tensor(unit, dtype=torch.float64)
        self.V = torch.from_numpy(V)
        self.scale = unit
        self._set(best)
        k = self._find_boundary(torch.from_numpy(x))
        # where data thin out, M goes on: fresh points lie beyond the last of them
        at, T, thin = self.boundary.at, self.boundary.T, self.boundary.thin
        if bool(thin.any()):
            self._set(continued(best, at[thin], T[thin], k[thin]))
        self.fitted = True

        moved = self.project(cloud)
        distance = (moved.value - cloud).norm(dim=-1)[moved.converged]
        converged = moved.converged.double().mean().item()
        self.noise = distance.square().mean().sqrt().item()
        # fresh points in sparse places lie farther from M than the data do
        self.tolerance = max(4 * distance.quantile(0.999).item(), 1e-3 * unit)
        yield {"loss": self.noise, "converged": converged}
        return converged > 0.99

    # -- in the units of the fit ------------------------------------------------------------------

    def _set(self, graphs: LocalGraphs) -> None:
        self.c, self.T, self.r, self.b, self.error, self.degree = graphs
        self.Tc = (self.T.mT @ self.c.unsqueeze(-1)).squeeze(-1)
        self.near = overlapping(self.c, _REACH * self.r)

    def _in_domain(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        return (self._weights(z)[2] >= _MIN_WEIGHT) & ~self.boundary.outside(z)

    def _rough(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "p m"]:
        """Landmarks, and points of the graphs about them."""
        j = torch.randint(self.c.shape[0], (n,), generator=generator)
        u = torch.rand(n, self.dim, 1, generator=generator, dtype=torch.float64)
        y = self.c[j] + self.r[j].unsqueeze(-1) * (self.T[j] @ (2 * u - 1)).squeeze(-1)
        return torch.cat([self.c, self._projection(y, j)])

    def _find_boundary(self, y: Float[Tensor, "n m"]) -> Int[Tensor, " e"]:
        """Look for places where M ends around every landmark, and return whose they are.

        The data y are in inner units.

        Graphs are followed to .95 of their radii. M is about to leave its domain where the weights
        add up to less than .2: at data they are more.
        """
        u = directions(len(self.c), self.dim, torch.Generator().manual_seed(0), self.c.dtype)
        k = torch.arange(len(self.c)).repeat_interleave(u.shape[-1])

        def project(start: Tensor) -> tuple[Tensor, Tensor]:
            found = iterate(self._evaluate, start, tol=1e-6, max_steps=50)
            return found.value, found.converged

        def near_end(z: Tensor) -> Tensor:
            return torch.cat([self._weights(part)[2] for part in z.split(self._rows())]) < 0.2

        start, reach = self._graph(0.95 * u.mT.flatten(0, 1), k), 0.3 * self.r
        at, k = boundary_points(
            start, k, reach, near_end=near_end, project=project, outside=near_end
        )
        T = self._tangents(at)
        end = ~in_holes(at, T, y)
        at, T, k = at[end], T[end], k[end]
        r = self.r[k]
        if self.dim > 1:
            # the boundary of a surface is a curve: places outside one landmark alone are none
            beside = ((torch.cdist(at, at) < 2 * r) & (k != k.unsqueeze(1))).any(0)
            at, T, k, r = at[beside], T[beside], k[beside], r[beside]
        self.boundary.place(at, T, r, y)
        return k

    def _tangents(self, z: Float[Tensor, "n m"]) -> Float[Tensor, "n m d"]:
        return torch.cat([self._tangent(part) for part in z.split(self._rows())])

    def _tangent(self, y: Tensor) -> Tensor:
        """Orthonormal bases of the null space of DG, by Q <- orth(Q - DG Q)."""
        index = self._weights(y)[0]
        Q = self._frame(*self._blend(y, index))
        active = torch.arange(y.shape[0], device=y.device)
        for _ in range(10):
            old = Q[active]
            DGQ = self._DG(y[active], index[active], old)
            Q = Q.index_put((active,), calculus.orthonormalize(old - DGQ)[0])
            # at 1e-6 the round that was just done gained another factor of about 20
            active = active[DGQ.square().sum((-2, -1)) > 1e-12]
            if active.numel() == 0:
                return Q
        # slow where the graphs disagree: there the null space is taken from the whole of DG
        S = self._used(y[active], index[active])
        DG = S.mT @ self._DG(y[active], index[active], S)
        return Q.index_put((active,), S @ torch.linalg.svd(DG)[2][..., -self.dim :, :].mT)

    def _used(self, y: Tensor, index: Tensor) -> Tensor:
        """An orthonormal basis of directions beside which (I - P) DG is the identity."""
        rows = (self.c[index] - y.unsqueeze(-2), self.T.mT[index].flatten(-3, -2))
        used = torch.cat([*rows, self.b[index].flatten(-3, -2)], -2)
        if used.shape[-2] >= y.shape[-1]:
            return torch.eye(y.shape[-1], dtype=y.dtype).expand(len(y), -1, -1)
        return torch.linalg.qr(used.mT)[0]

    def _DG(self, y: Tensor, index: Tensor, V: Tensor) -> Tensor:
        r"""(I - P) DG(y) V :math:`= (I - P)(Dr\,V) - \sum_i (DQ_i V) q_i`.

        P = Q Q^T, :math:`A Q = Q \lambda` (diagonal), q = Q^T r, and up to tangents
        :math:`(\lambda_i - (I - P) A)\, DQ_i V = (I - P)(DA\, V)\, Q_i`.
        """
        c, d, rho = self.c[index], self.dim, _REACH * self.r[index]
        chord = y.unsqueeze(-2) - c
        inside = (1 - chord.square().sum(-1) / rho.square()).clamp_min(0)
        u = inside.pow(3)
        total = u.sum(-1, keepdim=True).clamp_min(1e-300)
        w, E = u / total, self.T.mT[index].flatten(-3, -2)
        du = (-6 * inside.square() / rho.square()).unsqueeze(-1) * (chord @ V)
        dw = (du - w.unsqueeze(-1) * du.sum(-2, keepdim=True)) / total.unsqueeze(-1)

        r, s, phi = self._offset(y, index, w, E)
        R, ds = self.r[index].unsqueeze(-1), (E @ V).unflatten(-2, (-1, d))
        dphi = monomials_along(s / R, ds / R.unsqueeze(-1), self.degree)
        w_, dw_ = w[..., None, None], dw.unsqueeze(-2)
        dr = V - c.mT @ dw
        rows = ((E, s, ds), (self.b[index].flatten(-3, -2), phi, dphi))
        for B, value, slope in rows:
            dr -= B.mT @ (value.unsqueeze(-1) * dw_ + w_ * slope).flatten(-3, -2)

        W, dW = w.repeat_interleave(d, dim=-1).unsqueeze(-1), dw.repeat_interleave(d, dim=-2)
        Q = self._frame(w, E)
        values, U = torch.linalg.eigh((E @ Q).mT @ (W * (E @ Q)))
        Q = Q @ U

        def normal(v: Tensor) -> Tensor:
            return v - Q @ (Q.mT @ v)

        dAQ = E.mT @ (dW.unsqueeze(-2) * (E @ Q).unsqueeze(-1)).flatten(-2)
        # no landmark reaches y: there A is 0, and any frame is as good
        values = torch.where(w.any(-1, keepdim=True), values, 1.0)
        right = normal(dAQ).unflatten(-1, (d, -1)).movedim(-2, -3)
        dQ = _shifted_solve(values, normal((W * E).mT), E, right)
        q = Q.mT @ r.unsqueeze(-1)
        return normal(dr - (dQ * q.unsqueeze(-1)).sum(-3))

    def _rows(self) -> int:
        """Rows handled at a time: what is gathered for them stays in the cache."""
        return min(4096, max(32_768 // self.c.shape[-1], 64))

    def _weights(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks whose support may contain y (padded with others), the nearest, and all weight.

        |y - c_k| < r_k implies |c_j - c_k| < 2 r_k, j the nearest: `near[j]` misses none.
        """
        nearest = (self.c.square().sum(-1) - 2 * y @ self.c.T).argmin(-1)
        candidates = self.near[nearest]
        squares = (y.unsqueeze(-2) - self.c[candidates]).square().sum(-1)
        ratio = squares / (_REACH * self.r[candidates]).square()
        total = (1 - ratio).clamp_min(0).pow(3).sum(-1)
        count = int((ratio < 1).sum(-1).max()) if y.shape[0] else 0
        first = ratio.topk(max(count, 1), dim=-1, largest=False)[1]
        return candidates.gather(-1, first), nearest, total

    def _blend(self, y: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised weights w of the landmarks in `index`, and their frames, one vector a row.

        The columns of all T_k are stacked to rows of E, shape (n, K d, D): what follows is one
        small matrix product per point.
        """
        squares = (y.unsqueeze(-2) - self.c[index]).square().sum(-1)
        w = (1 - squares / (_REACH * self.r[index]).square()).clamp_min(0).pow(3)
        return w / w.sum(-1, keepdim=True).clamp_min(1e-300), self.T.mT[index].flatten(-3, -2)

    def _frame(self, w: Tensor, E: Tensor, steps: int = 4) -> Tensor:
        """Q(x), whose columns span the d leading eigenvectors of A = sum_k w_k T_k T_k^T.

        Chebyshev iteration from the frame of the first landmark. Neighbouring frames differ by
        small angles, so the spectrum of A is close to {0, 1}; what lies in [0, 0.1] shrinks by 38
        a step against the rest: after four the start leaves no trace above 1e-8.
        """
        W = 20 * w.repeat_interleave(self.dim, dim=-1).unsqueeze(-1)

        def shifted(Q: Tensor) -> Tensor:  # (2 A - 0.1) Q / 0.1, which takes [0, 0.1] to [-1, 1]
            return E.mT @ (W * (E @ Q)) - Q

        before = E[..., : self.dim, :].mT
        Q = shifted(before)
        for _ in range(steps - 1):
            before, Q = Q, 2 * shifted(Q) - before
        return calculus.orthonormalize(Q)[0]

    def _G(self, y: Tensor, index: Tensor) -> Tensor:
        w, E = self._blend(y, index)
        r, Q = self._offset(y, index, w, E)[0], self._frame(w, E)
        return r - (Q @ (Q.mT @ r.unsqueeze(-1))).squeeze(-1)

    def _offset(
        self, y: Tensor, index: Tensor, w: Tensor, E: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """r(y), and of each landmark the coordinates s of y and their monomials."""
        c, b = self.c[index], self.b[index]
        s = (E @ y.unsqueeze(-1)).squeeze(-1).unflatten(-1, (-1, self.dim)) - self.Tc[index]
        phi = monomials(s / self.r[index].unsqueeze(-1), self.degree)
        # r = sum_k w_k (y - c_k - T_k s_k - b_k(s_k / r_k)), the weights adding up to 1
        terms = (
            (w, c),
            ((w.unsqueeze(-1) * s).flatten(-2), E),
            ((w.unsqueeze(-1) * phi).flatten(-2), b.flatten(-3, -2)),
        )
        r = y - sum((a.unsqueeze(-2) @ rows for a, rows in terms), y.new_zeros(())).squeeze(-2)
        return r, s, phi

    def _evaluate(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The residual at y, and y - G(y); outside the domain, the projection on a graph."""
        parts = []
        for part in y.split(self._rows()):
            index, nearest, total = self._weights(part)
            valid = total >= _MIN_WEIGHT
            G = self._G(part, index)
            far = (part - self.c[nearest]).norm(dim=-1)
            moved = torch.where(valid.unsqueeze(-1), part - G, self._projection(part, nearest))
            parts.append((torch.where(valid, G.norm(dim=-1), far), moved))
        residual, moved = zip(*parts, strict=True)
        return torch.cat(residual), torch.cat(moved)

    def _projection(self, y: Tensor, k: Tensor) -> Tensor:
        """The point of graph k below y, inside the core of that landmark."""
        s = (self.T[k].mT @ (y - self.c[k]).unsqueeze(-1)).squeeze(-1) / self.r[k].unsqueeze(-1)
        return self._graph(s * (CORE / s.norm(dim=-1, keepdim=True).clamp_min(CORE)), k)

    def _graph(self, s: Tensor, k: Tensor) -> Tensor:
        graphs = LocalGraphs(self.c, self.T, self.r, self.b, self.error, self.degree)
        return graph_points(graphs, s, k)


def _least(d: int) -> int:
    """How many points there must be."""
    return 3 * monomial_count(d, 3) + 1


def _shifted_solve(
    values: Float[Tensor, "n d"],
    B: Float[Tensor, "n D k"],
    C: Float[Tensor, "n k D"],
    right: Float[Tensor, "n d D p"],
) -> Float[Tensor, "n d D p"]:
    r""":math:`(\lambda_i - BC)^{-1} R_i`, from the smaller of BC and CB.

    By :math:`\lambda_i (\lambda_i - BC)^{-1} = 1 + B (\lambda_i - CB)^{-1} C`.
    """
    k, D = C.shape[-2:]
    few = k < D
    eye = values[..., None, None] * torch.eye(min(k, D), dtype=values.dtype)
    B, C = B.unsqueeze(-3), C.unsqueeze(-3)
    if not few:
        return torch.linalg.solve_ex(eye - B @ C, right)[0]
    return (right + B @ torch.linalg.solve_ex(eye - C @ B, C @ right)[0]) / values[..., None, None]
