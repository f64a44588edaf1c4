r"""Orientability of an atlas: the first Stiefel-Whitney class, as a 2-colouring of its charts.

At a point x of an overlap, :math:`D(\varphi_l \circ \psi_k) = G_l^{-1} J_l^\top J_k`, so the sign
of the transition is :math:`s_{kl}(x) = \operatorname{sign} \det J_l^\top J_k = \operatorname{sign}
\det Q_l^\top Q_k` with J = QR, R_ii > 0. M is orientable iff there are :math:`\nu_k = \pm 1` with
:math:`\nu_k \nu_l = s_{kl}(x)` at every x; single signs mean nothing (two stereographic charts of
the sphere disagree everywhere). The graph is a *multi*graph: an overlap with two components may
carry both signs, which is an odd cycle of length two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from .charts import Chart

# per dimension: with so many points in a chart, an overlap with 10 % of it is missed once in 5000
_MIN_PER_CHART = 40


@dataclass(frozen=True)
class Orientation:
    """Whether the charts can be oriented consistently.

    Attributes:
        orientable: None where the points do not decide it.
        signs: one of +1, -1 per chart; flipping the charts with -1 orients the atlas. None unless
            orientable.
        witness: chart indices (k_0, ..., k_m) of a closed chain of overlaps, k_0 after k_m, around
            which the orientation is reversed; None unless not orientable.
        components: the charts of every connected component of M.
        verdicts: `orientable` of each component.
    """

    orientable: bool | None
    signs: tuple[int, ...] | None
    witness: tuple[int, ...] | None
    components: tuple[tuple[int, ...], ...]
    verdicts: tuple[bool | None, ...]


def orientation(
    charts: Sequence[Chart],
    x: Float[Tensor, "n D"],
    *,
    complete: bool = False,
    tangent: Float[Tensor, "n D d"] | None = None,
) -> Orientation:
    """See :meth:`Atlas.orientation`.

    `complete` says that x need not be checked to be dense; `tangent` are tangent bases at x, where
    they are at hand.
    """
    K, d = len(charts), charts[0].dim
    with torch.no_grad():
        frames, member = _frames(charts, x, tangent)
    sure: dict[tuple[int, int, int], bool] = {}
    unjudged: set[int] = set()
    joined: list[tuple[int, int]] = []
    for k in range(K):
        for l in range(k + 1, K):
            both = member[:, k] & member[:, l]
            if not bool(both.any()):
                continue
            joined.append((k, l))
            det = torch.linalg.det(frames[l][both].mT @ frames[k][both])
            # |det| is 1 on one common M; below a half the tangent planes are not comparable
            counts = {s: int((s * det >= 0.5).sum()) for s in (1, -1)}
            if 2 * sum(counts.values()) < det.numel():
                unjudged |= {k, l}
            for s, count in counts.items():
                if count > 0:
                    sure[k, l, s] = count >= 3  # a sign seen at fewer points is doubtful
    if not complete:
        unjudged |= {k for k in range(K) if int(member[:, k].sum()) < _MIN_PER_CHART * d}
    components = _components(K, joined)
    signs = [1] * K
    verdicts: list[bool | None] = []
    witness: tuple[int, ...] | None = None
    for component in components:
        odd = _colour(component, [e for e, strong in sure.items() if strong], [1] * K)
        if odd is not None:
            verdicts.append(False)
            witness = odd if witness is None else witness
        elif unjudged & set(component) or _colour(component, list(sure), signs) is not None:
            verdicts.append(None)
        else:
            verdicts.append(True)
    if False in verdicts:
        orientable = False
    else:
        orientable = None if None in verdicts else True
    return Orientation(
        orientable,
        tuple(signs) if orientable else None,
        witness,
        tuple(components),
        tuple(verdicts),
    )


def _frames(
    charts: Sequence[Chart], x: Tensor, tangent: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """Oriented orthonormal frames Q_k of all charts at x (0 outside), and which contain x."""
    frames, member = [], []
    for chart in charts:
        z = chart.encode(x)
        inside = ~z.isnan().any(-1)
        Q = x.new_zeros(x.shape[0], chart.ambient_dim, chart.dim)
        if bool(inside.any()):
            if tangent is None:
                J = chart.jacobian(z[inside])
            else:
                J = chart.jacobian_on(z[inside], tangent[inside])
            Q[inside] = calculus.orthonormalize(J)[0].to(x.dtype)
        frames.append(Q.nan_to_num(nan=0.0))
        member.append(inside)
    return frames, torch.stack(member, dim=-1)


def _components(K: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    label = list(range(K))
    for k, l in edges:
        old, new = label[l], label[k]
        label = [new if a == old else a for a in label]
    return [tuple(k for k in range(K) if label[k] == a) for a in dict.fromkeys(label)]


def _colour(
    component: Sequence[int], edges: Sequence[tuple[int, int, int]], signs: list[int]
) -> tuple[int, ...] | None:
    """Fill `signs` so that s_k s_l is the sign of every edge; or an odd cycle where that fails."""
    neighbours: dict[int, list[tuple[int, int]]] = {k: [] for k in component}
    for k, l, s in edges:
        if k in neighbours:
            neighbours[k].append((l, s))
            neighbours[l].append((k, s))
    parent: dict[int, int] = {}
    for root in component:
        if root in parent:
            continue
        parent[root], signs[root] = root, 1
        queue = deque([root])
        while queue:
            k = queue.popleft()
            for l, s in neighbours[k]:
                if l not in parent:
                    parent[l], signs[l] = k, signs[k] * s
                    queue.append(l)
                elif signs[l] != signs[k] * s:
                    return _cycle(k, l, parent)
    return None


def _cycle(k: int, l: int, parent: dict[int, int]) -> tuple[int, ...]:
    """The cycle that the edge (k, l) closes in the search tree."""

    def to_root(j: int) -> list[int]:
        path = [j]
        while parent[path[-1]] != path[-1]:
            path.append(parent[path[-1]])
        return path

    a, b = to_root(k), to_root(l)
    while len(a) > 1 and len(b) > 1 and a[-2] == b[-2]:
        a.pop()
        b.pop()
    return (*a, *reversed(b[:-1]))
