"""The connected components of a manifold M, from points of it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..point_cloud.knn import component_labels, neighbours
from .types import ManifoldLike


def components(
    M: ManifoldLike, points: Float[Tensor, "n D"], *, neighbors: int | None = None
) -> Int[Tensor, " n"]:
    """The connected component of M that each point belongs to: 0 is the one with most points.

    Two neighbours are joined where a walk on M leads from one to the other, so sheets that come
    close stay apart; points must be dense enough that neighbours lie within the reach.

    Args:
        M: the manifold; as a method, the one it is called on.
        points: points of M, or near it; -1 where one does not project to M.
        neighbors: how many neighbours of each point are tried; None takes 2 d + 6.
    """
    with torch.no_grad():
        p = M.project(points.detach().to(torch.float64))
        on = p.converged & M.in_domain(p.value)
        x = p.value[on].cpu()
        n, k = x.shape[0], 2 * M.dim + 6 if neighbors is None else neighbors
        part = torch.arange(n)
        joined = torch.zeros(0, 2, dtype=torch.int64)
        for times in (1, 2, 4, 8) if n > 1 else ():
            # neighbours on other sheets leave fewer of one's own: look farther, at fewer edges
            edges = _between(x, part, min(k * times, n - 1))
            arrived = _walk(M, x[edges[:, 0]], x[edges[:, 1]])
            joined = torch.cat([joined, edges[arrived]])
            part = torch.from_numpy(component_labels(n, *joined.T.numpy())).long()
        # the largest first
        rank = part.bincount().argsort(descending=True, stable=True).argsort()
        label = torch.full(on.shape, -1, dtype=torch.int64, device=points.device)
        label[on] = rank[part].to(points.device)
        return label


def _between(
    x: Float[Tensor, "n D"], part: Int[Tensor, " n"], k: int, most: int = 4
) -> Int[Tensor, "m 2"]:
    """The shortest edges of the graph of k neighbours between any two parts, at most `most`."""
    length, other = (torch.from_numpy(a).flatten() for a in neighbours(x.numpy(), k, exact=True))
    edge = torch.stack([torch.arange(x.shape[0]).repeat_interleave(k), other.long()], -1)
    order = length.argsort(stable=True)
    edge = edge[order[part[edge[order, 0]] != part[edge[order, 1]]]]
    ends = part[edge].sort(dim=-1).values
    pair = ends[:, 0] * x.shape[0] + ends[:, 1]
    pair, by_pair = pair.sort(stable=True)
    count = pair.unique_consecutive(return_counts=True)[1]
    # the rank of an edge among those of its pair of parts, the shortest first
    rank = torch.arange(len(edge)) - (count.cumsum(0) - count).repeat_interleave(count)
    return edge[by_pair[rank < most]]


def _walk(
    M: ManifoldLike, x: Float[Tensor, "m D"], y: Float[Tensor, "m D"], steps: int = 8
) -> Bool[Tensor, " m"]:
    """Whether tangential steps on M, each at most 1 / `steps` of the way, lead from x to y.

    A step moved by more than half its length on its way back to M may have changed the sheet.
    """
    q = x.clone()
    whole = (y - x).norm(dim=-1)
    arrived = torch.zeros(x.shape[0], dtype=torch.bool)
    active = torch.arange(x.shape[0])
    for _ in range(5 * steps):
        d = y[active] - q[active]
        near = d.norm(dim=-1) <= 1e-6 * whole[active] + M.solver_tolerance(None, d.dtype)
        arrived[active[near]] = True
        active, d = active[~near], d[~near]
        if active.numel() == 0:
            break
        Q = M.tangent_basis(q[active])
        t = (Q @ (Q.mT @ d.unsqueeze(-1))).squeeze(-1)
        length = t.norm(dim=-1)
        h = torch.minimum(length, whole[active] / steps)
        free = q[active] + t * (h / length.clamp_min(1e-300)).unsqueeze(-1)
        p = M.project(free)
        ok = (
            (length >= 0.5 * d.norm(dim=-1))
            & p.converged
            & ((p.value - free).norm(dim=-1) <= 0.5 * h)
            & M.in_domain(p.value)
        )
        active = active[ok]
        q[active] = p.value[ok]
    return arrived
