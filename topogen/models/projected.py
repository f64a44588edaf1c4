"""Charts put on one given manifold: Monge patches over its own tangent planes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .. import calculus
from ..errors import AtlasError, InvalidPoints
from ..manifolds.atlas import Atlas
from ..manifolds.base import Manifold, Projection, iterate, projection_tolerance
from ..manifolds.charts import Ball, Chart
from ..points import as_tensor
from .base import Learned, Stage
from .local import monomial_count, monomials

# A chart reaches as far as its tangent planes keep |det(W^T Q)| above this: the volume is distorted
# by at most its inverse and, since all singular values are <= 1, no plane is tilted by more than 60
# degrees.
_MIN_COSINE = 0.5
# The charts are chosen so that every point lies within this share of the radius of one of them.
_CORE = 0.8
_MAX_ASPECT = 3.0
# Neighbours in the graph on which sheets are followed. A random gap on a curve is up to log n
# spacings long, so curves need more for the graph to cross it.
_NEIGHBOURS = {1: 30, 2: 12}
_NEIGHBOURS_ABOVE = 20
_MAX_POINTS = 10_000
_MAX_CANDIDATES = 400
_MAX_DEGREE = 6


class ProjectedChart(Chart):
    r"""A Monge patch of M: :math:`\varphi(x) = A^{-1} W^\top (x - c)` on an ellipsoid of a tangent plane.

    :math:`\psi(z)` is the point of M, on the sheet through c, with :math:`\varphi(x) = z`. It is found by
    Newton steps from a polynomial graph g, :math:`g(z) = c + W A z + b(z)`, that approximates the
    sheet; :math:`\varphi` is linear, so transitions between charts of one M are exact, and with an
    orthonormal basis Q of the tangent space at x

    .. math:: D\psi = Q (W^\top Q)^{-1} A, \qquad
              \tfrac12 \log\det D\psi^\top D\psi = \log\det A - \log|\det W^\top Q|.

    Latent points at which the Newton iteration fails, or leaves the region where M is stated, are
    outside the domain: they decode to NaN.

    Args:
        manifold: the set M.
        c: centre, shape (D,).
        W: orthonormal frame, shape (D, d).
        a: semi-axes of the ellipsoid, the diagonal of A, shape (d,).
        b: coefficients of the monomials of z in the graph, shape (p, D).
        degree: degree of these monomials.
        clearance: x is on the sheet when \|x - g(z)\| is below this.
    """

    c: Tensor
    W: Tensor
    a: Tensor
    b: Tensor
    clearance: Tensor

    def __init__(
        self,
        manifold: Manifold,
        c: Tensor,
        W: Tensor,
        a: Tensor,
        b: Tensor,
        degree: int,
        clearance: float,
    ) -> None:
        super().__init__()
        self.domain = Ball(W.shape[-1])
        self.ambient_dim = W.shape[-2]
        self.degree = degree
        # in a tuple: the atlas owns the manifold, and its state is saved once
        self._manifold = (manifold,)
        for name, value in (("c", c), ("W", W), ("a", a), ("b", b)):
            self.register_buffer(name, value)
        self.register_buffer("clearance", torch.tensor(clearance, dtype=torch.float64))

    def linear(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d"]:
        """A^-1 W^T (x - c), for any x of the ambient space."""
        return (x - self.c) @ self.W / self.a

    def graph(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """g(z), the polynomial approximation of the sheet."""
        return self.c + (z * self.a) @ self.W.T + monomials(z, self.degree) @ self.b

    def solve(self, z: Float[Tensor, "*batch d"]) -> Projection:
        """Points x of M with phi(x) = z, and whether the Newton iteration found them."""
        M = self._manifold[0]
        d = self.dim
        z64 = z.detach().to(torch.float64).reshape(-1, d)
        J = calculus.jacobian(self.graph, z64)

        def step(state: Tensor) -> Tensor:
            x, z, J = self._unpack(state)
            x = M.retract(x)
            return torch.cat(
                [x + (J @ (z - self.linear(x)).unsqueeze(-1)).squeeze(-1), state[:, x.shape[-1] :]],
                dim=-1,
            )

        def residual(state: Tensor) -> Tensor:
            return M.residual(state[:, : self.ambient_dim])

        state = torch.cat([self.graph(z64), z64, J.flatten(-2)], dim=-1)
        tol = projection_tolerance(torch.float64, M.scale)
        found = iterate(step, residual, state, tol=tol, max_steps=30)
        x = found.value[:, : self.ambient_dim]
        near = (x - self.graph(z64)).norm(dim=-1) < self.clearance
        shape = z.shape[:-1]
        return Projection(
            x.reshape(*shape, self.ambient_dim).to(z.dtype),
            found.residual.reshape(shape),
            (found.converged & near).reshape(shape),
            found.steps.reshape(shape),
        )

    def _unpack(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        D, d = self.ambient_dim, self.dim
        x, z, J = state.split([D, d, D * d], dim=-1)
        return x, z, J.unflatten(-1, (D, d))

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        found = self.solve(z)
        return torch.where(found.converged.unsqueeze(-1), found.value, torch.nan)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z = self.linear(x)
        inside = self.domain.contains(z)
        inside = inside & ((x - self.graph(z)).norm(dim=-1) < self.clearance)
        return z.to(x.dtype), inside

    def value_and_jacobian(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """Psi(z), and D psi = Q (W^T Q)^-1 A from the tangent space there; NaN outside the domain."""
        flat = z.reshape(-1, self.dim)
        x = self.decode(flat)
        J = x.new_full((*x.shape, self.dim), torch.nan)
        known = ~x.isnan().any(-1)
        if bool(known.any()):
            Q = self._manifold[0].tangent_basis(x[known])
            J[known] = self.jacobian_on(flat[known], Q)
        shape = z.shape[:-1]
        return x.reshape(*shape, self.ambient_dim), J.reshape(*shape, self.ambient_dim, self.dim)

    def jacobian_on(
        self, z: Float[Tensor, "*batch d"], Q: Float[Tensor, "*batch D d"]
    ) -> Float[Tensor, "*batch D d"]:
        """Q (W^T Q)^-1 A: needs no Newton solve."""
        return (Q @ torch.linalg.inv(self.W.T @ Q) * self.a).to(z.dtype)


class ProjectedAtlas(Atlas, Learned):
    r"""An atlas of Monge patches on one manifold M, their number chosen from points of M.

    Around candidate centres c (farthest points of the cloud) the sheet through c is followed on the
    neighbour graph as long as :math:`|\det(W^\top Q)| \ge 1/2`, W the tangent basis at c and Q at the
    point; the chart is the largest ellipsoid about c, along the principal axes of that patch, that meets
    no point beyond. A greedy set cover then picks as few charts as it can so that every point
    lies within 0.8 of the radius of one of them. All charts share M: transitions are exact, and
    :class:`AtlasDensity` on them is an exact density.

    Args:
        manifold: the set M; learned or known.
        charts: "auto", or how many charts to use.

    Attributes:
        fitted: whether the charts have been placed.
    """

    def __init__(self, manifold: Manifold, charts: Literal["auto"] | int = "auto") -> None:
        if charts != "auto" and not (isinstance(charts, int) and charts >= 1):
            raise ValueError(f"expected charts='auto' or a number >= 1, got {charts!r}")
        Learned.__init__(self)
        self.manifold = manifold
        self.charts = nn.ModuleList()
        self.wanted: Literal["auto"] | int = charts

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted manifold, then one that places the charts."""
        if isinstance(self.manifold, Learned):
            yield from self.manifold.stages(points)
        if not self.fitted:
            yield Stage("charts", lambda generator: self._fit(points, generator))

    def _fit(
        self, points: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        M = self.manifold
        x = as_tensor(points, ambient_dim=M.ambient_dim)
        if x.shape[0] > _MAX_POINTS:
            x = x[torch.randperm(x.shape[0], generator=generator)[:_MAX_POINTS]]
        moved = M.project(x)
        x = torch.unique(moved.value[moved.converged], dim=0)
        neighbours = _NEIGHBOURS.get(M.dim, _NEIGHBOURS_ABOVE)
        if x.shape[0] <= 2 * neighbours:
            raise InvalidPoints(
                f"expected more than {2 * neighbours} different points on the manifold, "
                f"got {x.shape[0]} that project onto it; give more points"
            )
        Q = M.tangent_basis(x)
        patches = _Patches(M, x, Q, neighbours)
        start = int(torch.randint(x.shape[0], (1,), generator=generator))
        candidates = farthest_points(x, min(_MAX_CANDIDATES, x.shape[0]), start)
        chosen: list[ProjectedChart] = []
        found: list[tuple[ProjectedChart, Tensor]] = []
        for j, i in enumerate(candidates):
            patch = patches.grow(i)
            if patch is not None:
                found.append(patch)
            if j % 50 == 49:
                yield {"candidates": j + 1}
        uncovered = torch.ones(x.shape[0], dtype=torch.bool)
        while bool(uncovered.any()):
            gains = [int((core & uncovered).sum()) for _, core in found]
            best = int(np.argmax(gains)) if gains else -1
            if best < 0 or gains[best] == 0:
                left = int(uncovered.nonzero()[0])
                patch = patches.grow(left)
                if patch is None or not bool((patch[1] & uncovered).any()):
                    uncovered[left] = False
                    continue
                found.append(patch)
                best = len(found) - 1
            chart, core = found.pop(best)
            chosen.append(chart)
            uncovered &= ~core
            yield {"charts": len(chosen), "uncovered": float(uncovered.to(torch.float64).mean())}
        if self.wanted != "auto":
            if len(chosen) > self.wanted:
                raise AtlasError(
                    f"expected {self.wanted} charts to cover the manifold, but {len(chosen)} are "
                    "needed to keep every chart a graph; ask for at least that many, or charts='auto'"
                )
            found.sort(key=lambda patch: -int(patch[1].sum()))
            chosen += [chart for chart, _ in found[: self.wanted - len(chosen)]]
        self.charts = nn.ModuleList(chosen)
        self.fitted = True
        return True

    def get_extra_state(self) -> dict[str, Any]:
        """Whether the atlas is fitted, and the degree of every chart's graph."""
        return {**super().get_extra_state(), "degrees": [c.degree for c in self._patches()]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave; the charts' buffers are filled afterwards."""
        super().set_extra_state(state)
        for chart, degree in zip(self._patches(), state["degrees"], strict=True):
            chart.degree = int(degree)

    def _patches(self) -> list[ProjectedChart]:
        return [chart for chart in self.charts if isinstance(chart, ProjectedChart)]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # the charts exist only in the file: make them before torch descends into the children
        count = 0
        while f"{prefix}charts.{count}.c" in state_dict:
            count += 1
        parts = [
            [state_dict[f"{prefix}charts.{k}.{name}"] for name in ("c", "W", "a", "b")]
            for k in range(count)
        ]
        self.charts = nn.ModuleList(
            ProjectedChart(self.manifold, *map(torch.empty_like, part), 0, 0.0) for part in parts
        )
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Patches:
    """Grows Monge patches on a cloud of points of M."""

    def __init__(self, M: Manifold, x: Tensor, Q: Tensor, neighbours: int) -> None:
        from scipy.sparse import csr_matrix
        from scipy.spatial import cKDTree

        self.M, self.x, self.Q = M, x, Q
        n = x.shape[0]
        neighbour = cKDTree(x.numpy()).query(x.numpy(), neighbours + 1)[1][:, 1:]
        rows = np.repeat(np.arange(n), neighbours)
        edges = csr_matrix((np.ones(rows.size, dtype=np.int8), (rows, neighbour.ravel())), (n, n))
        self.edges = edges.maximum(edges.T).tocsr()

    def grow(self, i: int) -> tuple[ProjectedChart, Tensor] | None:
        """The chart about point i, and which points lie in its core; None where there is no room."""
        c, W = self.x[i], self.Q[i]
        upright = (torch.linalg.det(W.T @ self.Q).abs() >= _MIN_COSINE).numpy()
        patch = self._component(i, upright)
        rim = (self.edges @ patch.astype(np.int8) > 0) & ~patch
        member, outside = torch.from_numpy(patch), torch.from_numpy(rim)
        s = (self.x - c) @ W
        if bool(outside.any()):
            axes, a = _largest_ellipsoid(s[outside])
        else:
            axes = torch.eye(W.shape[-1], dtype=W.dtype)
            a = 1.02 * s[member].norm(dim=-1).max().expand(W.shape[-1])
        W, s = W @ axes, s @ axes
        for _ in range(8):
            # the sheet may come back over its own shadow by a way outside the ellipsoid
            z = s / a
            sheet = self._component(i, patch & (z.norm(dim=-1) < 1.1).numpy())
            chart = self._chart(c, W, a, z, torch.from_numpy(sheet))
            if chart is not None:
                z, inside = chart._encode(self.x)
                return chart, inside & (z.norm(dim=-1) < _CORE)
            a = 0.8 * a
        return None

    def _component(self, i: int, keep: np.ndarray) -> np.ndarray:
        from scipy.sparse.csgraph import breadth_first_order

        index = np.flatnonzero(keep)
        part = self.edges[index][:, index]
        order = breadth_first_order(
            part, int(np.searchsorted(index, i)), directed=False, return_predecessors=False
        )
        patch = np.zeros(keep.size, dtype=bool)
        patch[index[order]] = True
        return patch

    def _chart(
        self, c: Tensor, W: Tensor, a: Tensor, z: Tensor, member: Tensor
    ) -> ProjectedChart | None:
        """The chart on the ellipsoid a, or None where no graph tells its sheet from the others."""
        d = W.shape[-1]
        below = z.norm(dim=-1) < 1
        fitted, others = below & member, below & ~member
        count = int(fitted.sum())
        degree = _MAX_DEGREE
        while degree > 1 and count < 3 * monomial_count(d, degree):
            degree -= 1
        if count < 2 * monomial_count(d, degree):
            return None
        phi = monomials(z[fitted], degree)
        normal = self.x[fitted] - c - (z[fitted] * a) @ W.T
        normal = normal - normal @ W @ W.T
        b = torch.linalg.lstsq(phi, normal).solution
        error = float((normal - phi @ b).norm(dim=-1).max())
        clearance = 0.3 * float(a.min())
        if bool(others.any()):
            off = self.x[others] - c - (z[others] * a) @ W.T - monomials(z[others], degree) @ b
            clearance = min(clearance, 0.5 * float(off.norm(dim=-1).min()))
        if error > 0.3 * clearance:
            return None
        return ProjectedChart(self.M, c, W, a, b, degree, clearance)


def _largest_ellipsoid(s: Tensor) -> tuple[Tensor, Tensor]:
    """Axes (columns) and semi-axes of a large ellipsoid about 0 that holds none of the points s.

    The first axis points to the nearest of them. For each of a few lengths of it the points left
    over are mapped to the shadow they cast on the other axes, and the rest is found there.
    """
    distance = s.norm(dim=-1)
    first = int(distance.argmin())
    reach = distance[first]
    if s.shape[-1] == 1:
        return s.new_ones(1, 1), reach.reshape(1)
    e = (s[first] / reach).unsqueeze(-1)
    E = calculus.complement(e)
    found: list[tuple[Tensor, Tensor]] = []
    for share in (1.0, 0.9, 0.8, 0.7):
        a1 = share * reach
        t = (s @ e).squeeze(-1) / a1
        facing = t.abs() < 1
        longest = _MAX_ASPECT * a1
        if bool(facing.any()):
            shadow = s[facing] @ E / (1 - t[facing].square()).sqrt().unsqueeze(-1)
            axes, rest = _largest_ellipsoid(shadow)
            rest = rest.clamp_max(longest)
        else:
            axes = torch.eye(E.shape[-1], dtype=s.dtype)
            rest = longest.expand(E.shape[-1])
        a = torch.cat([a1.reshape(1), rest])
        found.append((torch.cat([e, E @ axes], dim=-1), a))
    return max(found, key=lambda ellipsoid: float(ellipsoid[1].prod()))


def farthest_points(x: Tensor, m: int, start: int) -> list[int]:
    """Indices of m farthest points of x, from a given first one."""
    chosen = [start]
    distance = (x - x[start]).square().sum(-1)
    for _ in range(m - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).square().sum(-1))
    return chosen
