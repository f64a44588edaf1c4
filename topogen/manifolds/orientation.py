r"""Orientability of an atlas: the first Stiefel-Whitney class, as a 2-colouring of its charts.

At a point x of an overlap, :math:`D(\varphi_l \circ \psi_k) = G_l^{-1} J_l^\top J_k`, so the sign
of the transition is :math:`s_{kl}(x) = \operatorname{sign} \det J_l^\top J_k = \operatorname{sign}
\det Q_l^\top Q_k` with J = QR, R_ii > 0. M is orientable iff there are :math:`\nu_k = \pm 1` with
:math:`\nu_k \nu_l = s_{kl}(x)` at every x; single signs mean nothing (two stereographic charts of
the sphere disagree everywhere). The graph is a *multi*graph: an overlap with two components may
carry both signs, which is an odd cycle of length two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from ..point_cloud.knn import component_labels
from ..point_cloud.orientation import forest_signs, reversing_cycle
from .charts import Chart

# per dimension: with so many points in a chart, an overlap with 10 % of it is missed once in 5000
_MIN_PER_CHART = 40


@dataclass(frozen=True)
class Orientation:
    """Whether the charts can be oriented consistently.

    Attributes:
        orientable: None where the points do not decide it.
        signs: one of +1, -1 per chart; flipping those with -1 orients the atlas. None unless
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
    """See :meth:`Atlas.orientation`; `complete` says that x need not be checked to be dense."""
    K, d = len(charts), charts[0].dim
    with torch.no_grad():
        frames, member = _frames(charts, x, tangent)
    sure: dict[tuple[int, int, int], bool] = {}
    unjudged: set[int] = set()
    joined: list[tuple[int, int]] = []
    for k, l in itertools.combinations(range(K), 2):
        both = member[:, k] & member[:, l]
        if not bool(both.any()):
            continue
        joined.append((k, l))
        det = torch.linalg.det(frames[l][both].mT @ frames[k][both])
        # |det| is 1 on one common M; below a half the tangent planes are not comparable
        counts = {s: int((s * det >= 0.5).sum()) for s in (1, -1)}
        if 2 * sum(counts.values()) < det.numel():
            unjudged |= {k, l}
        # a sign seen at fewer than 3 points is doubtful
        sure |= {(k, l, s): count >= 3 for s, count in counts.items() if count > 0}
    if not complete:
        unjudged |= {k for k in range(K) if int(member[:, k].sum()) < _MIN_PER_CHART * d}
    label = component_labels(K, *np.array(joined, dtype=int).reshape(-1, 2).T)
    components = [tuple(np.flatnonzero(label == a).tolist()) for a in range(label.max() + 1)]
    signs = [1] * K
    verdicts: list[bool | None] = []
    witness: tuple[int, ...] | None = None
    for component in components:
        odd = _colour(component, [e for e, strong in sure.items() if strong], [1] * K)
        if odd is not None:
            verdicts.append(False)
            witness = witness or odd
        elif unjudged & set(component) or _colour(component, list(sure), signs) is not None:
            verdicts.append(None)
        else:
            verdicts.append(True)
    orientable = None if None in verdicts else True
    if False in verdicts:
        orientable = False
    found = tuple(signs) if orientable else None
    return Orientation(orientable, found, witness, tuple(components), tuple(verdicts))


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
            z = z[inside]
            J = chart.jacobian(z) if tangent is None else chart.jacobian_on(z, tangent[inside])
            Q[inside] = calculus.orthonormalize(J)[0].to(x.dtype)
        frames.append(Q.nan_to_num(nan=0.0))
        member.append(inside)
    return frames, torch.stack(member, dim=-1)


def _colour(
    component: Sequence[int], edges: Sequence[tuple[int, int, int]], signs: list[int]
) -> tuple[int, ...] | None:
    """Fill `signs` so that s_k s_l is the sign of every edge; or an odd cycle where that fails."""
    inside = [edge for edge in edges if edge[0] in component]
    k, l, s = np.array(inside, dtype=int).reshape(-1, 3).T
    found, _, against = forest_signs(len(signs), k, l, s)
    if against > 0:
        return tuple(reversing_cycle(len(signs), k, l, s, against)[0].tolist())
    for j in component:
        signs[j] = int(found[j] * found[component[0]])
    return None
