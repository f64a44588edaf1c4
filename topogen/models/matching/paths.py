"""Paths on any M without a geodesic solver: retracted chords, and routes over landmarks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...errors import UnsupportedError
from ...manifolds.base import Manifold
from ...point_cloud.tensors import nearest_row

_KNOTS, _NEIGHBOURS = 12, 10  # legs of a path, and edges of a landmark
_JUMP = 2.5  # a leg so many times longer than the even share has jumped over the medial axis
_SAGITTA = 0.25  # the middle of a true edge lies closer to M than this share of its length
_ROUNDS = 20  # of curve shortening of a route
_STEP = 1e-4  # share of the time by which the velocity is a difference


class Routes:
    r"""Paths :math:`x_t = \pi(c(t))` with c a polygon of points of M, and their velocities.

    Between two points the polygon is that of the retracted chord :math:`\pi((1-t) x_0 + t x_1)`.
    Where the chord meets the medial axis of M that path jumps, or fails; such pairs are joined
    by the shortest route over a graph of landmarks of M, shortened by
    :math:`c_k \leftarrow \pi((c_{k-1} + c_{k+1})/2)`. All are run through at even speed.

    Args:
        manifold: M.
        landmarks: points all over M, float64.

    Raises:
        UnsupportedError: the graph of the landmarks falls apart: M is not connected.

    Example:
        >>> M, g = tg.Torus(), torch.Generator().manual_seed(0)
        >>> routes = Routes(M, M.sample_uniform(500, g))
        >>> knots, ok = routes.trace(M.sample_uniform(100, g), M.sample_uniform(100, g))
        >>> knots.shape, bool(ok.all()), bool(M.contains(knots).all())
        (torch.Size([100, 13, 3]), True, True)
    """

    def __init__(self, manifold: Manifold, landmarks: Float[Tensor, "m D"]) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import shortest_path

        self.manifold, self.landmarks = manifold, landmarks
        m = landmarks.shape[0]
        distance = torch.cdist(landmarks, landmarks)
        near = distance.topk(min(_NEIGHBOURS + 1, m), largest=False).indices[:, 1:]
        i, j = torch.arange(m).repeat_interleave(near.shape[1]), near.flatten()
        middle = (landmarks[i] + landmarks[j]) / 2
        on, ok = manifold.retract(middle)
        length = distance[i, j]
        ok = ok & ((on - middle).norm(dim=-1) <= _SAGITTA * length)
        weight, i, j = (part[ok].numpy() for part in (length, i, j))
        graph = coo_array((weight, (i, j)), shape=(m, m)).tocsr()
        table, before = shortest_path(graph, directed=False, return_predecessors=True)
        self.distance, self.before = torch.from_numpy(table), torch.from_numpy(before).long()
        apart = ~self.distance[0].isfinite()
        if bool(apart.any()):
            raise UnsupportedError(
                f"expected a connected set, got one on which {int(apart.sum())} of {m} points "
                "cannot be reached from the others; no flow moves mass between components: fit "
                "one flow on each and join them with tg.Mixture"
            )

    def cost(self, x: Float[Tensor, "n D"], y: Float[Tensor, "m D"]) -> Float[Tensor, "n m"]:
        """Squared distances along M, bounded from below by chords and by the landmarks."""
        a, b = nearest_row(self.landmarks, x), nearest_row(self.landmarks, y)
        slack = (x - self.landmarks[a]).norm(dim=-1).unsqueeze(-1)
        slack = slack + (y - self.landmarks[b]).norm(dim=-1)
        along = self.distance[a][:, b] - slack
        return torch.maximum(torch.cdist(x, y), along).square()

    def trace(
        self, x: Float[Tensor, "n D"], y: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "n K D"], Bool[Tensor, " n"]]:
        """Polygons of points of M from x to y, and which of them are paths on M."""
        s = torch.linspace(0, 1, _KNOTS + 1, dtype=x.dtype).unsqueeze(-1)
        knots, ok = self._on((1 - s) * x.unsqueeze(1) + s * y.unsqueeze(1))
        ok = ok & self._unbroken(knots, (y - x).norm(dim=-1))
        bad = (~ok).nonzero().squeeze(-1)
        if bad.numel():
            knots[bad], ok[bad] = self._route(x[bad], y[bad])
        knots[:, 0], knots[:, -1] = x, y
        return knots, ok

    def at(
        self, knots: Float[Tensor, "n K D"], t: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"], Bool[Tensor, " n"]]:
        """x_t, its velocity by a difference, and whether both were found."""
        # both ends of the difference on one leg: the polygon has corners
        a, b, low, high = (part.squeeze(1) for part in _legs(knots, t.unsqueeze(-1)))
        h = torch.where(t - low < high - t, _STEP, -_STEP).to(t)
        width = (high - low).clamp_min(1e-300)

        def point(time: Tensor) -> tuple[Tensor, Tensor]:
            s = ((time - low) / width).unsqueeze(-1)
            return self.manifold.retract((1 - s) * a + s * b)

        (x, ok), (x_h, ok_h) = point(t), point(t + h)
        return x, (x_h - x) / h.unsqueeze(-1), ok & ok_h

    def _on(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Polygons retracted to M, and whether all of their points were found there."""
        value, ok = self.manifold.retract(points.flatten(0, 1))
        return value.reshape(points.shape), ok.reshape(points.shape[:2]).all(-1)

    def _unbroken(self, knots: Tensor, length: Tensor) -> Tensor:
        legs = knots.diff(dim=1).norm(dim=-1).amax(-1)
        return legs <= _JUMP * length.clamp_min(1e-300) / _KNOTS

    def _route(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Shortest routes over the landmarks, shortened further on M."""
        stops = self._stops(nearest_row(self.landmarks, x), nearest_row(self.landmarks, y))
        knots = even(torch.cat([x.unsqueeze(1), self.landmarks[stops], y.unsqueeze(1)], 1))
        knots, ok = self._on(knots)
        for _ in range(_ROUNDS):
            knots[:, 0], knots[:, -1] = x, y
            inner, fine = self._on((knots[:, :-2] + knots[:, 2:]) / 2)
            knots[:, 1:-1], ok = inner, ok & fine
        length = knots.diff(dim=1).norm(dim=-1).sum(-1)
        return knots, ok & self._unbroken(knots, length)

    def _stops(self, a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> Int[Tensor, "n k"]:
        """Landmarks on the way from a to b; the last one repeated."""
        backwards = [b]
        while bool((backwards[-1] != a).any()):
            now = backwards[-1]
            backwards.append(torch.where(now == a, a, self.before[a, now]))
        return torch.stack(backwards[::-1], -1)


def even(polygon: Float[Tensor, "n k D"]) -> Float[Tensor, "n K D"]:
    """Points at equal distances along polygons."""
    s = torch.linspace(0, 1, _KNOTS + 1, dtype=polygon.dtype).expand(polygon.shape[0], -1)
    a, b, low, high = _legs(polygon, s)
    w = ((s - low) / (high - low).clamp_min(1e-300)).clamp(0, 1).unsqueeze(-1)
    return (1 - w) * a + w * b


def _legs(polygon: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ends of the legs reached at shares s (n, k) of the length, and the shares at these ends."""
    reached = nn.functional.pad(polygon.diff(dim=1).norm(dim=-1).cumsum(-1), (1, 0))
    reached = reached / reached[:, -1:].clamp_min(1e-300)
    leg = torch.searchsorted(reached, s.contiguous(), right=True) - 1
    leg = leg.clamp(0, polygon.shape[1] - 2)
    index = leg.unsqueeze(-1).expand(-1, -1, polygon.shape[-1])
    ends = polygon.gather(1, index), polygon.gather(1, index + 1)
    return *ends, reached.gather(1, leg), reached.gather(1, leg + 1)
