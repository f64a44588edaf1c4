r"""Whether the normal bundle is orientable, and smooth oriented frames of it where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .geometry import Geometry

Form = Literal["regular", "residual"]

_LANDMARKS = 1500
_NEIGHBOURS = {1: 6, 2: 10}
# An edge whose frames match this well has a sign that counts.
_STRONG = 0.5
# Share of strong edges that contradict the signs of a spanning tree, up to which they are noise.
_INCONSISTENT = 2e-3


@dataclass(frozen=True)
class Orientation:
    """Signs that orient the normal spaces at some feet.

    Attributes:
        rows: which feet.
        signs: +1 or -1 for the basis N of each.
        inconsistent: share of strong edges that contradict the signs.
        edges: pairs of places in `rows`.
    """

    rows: Tensor
    signs: Tensor
    inconsistent: float
    edges: Tensor

    @property
    def orientable(self) -> bool:
        """Whether the signs agree on all strong edges but a few."""
        return self.inconsistent <= _INCONSISTENT


def orient(geometry: Geometry, generator: torch.Generator) -> Orientation:
    r"""Signs along a spanning tree of strong edges, and how many other edges they contradict.

    The sign cocycle :math:`\mathrm{sign} \det N_i^\top N_j` over neighbours is a coboundary iff
    the normal bundle is orientable, iff M is.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import (
        breadth_first_order,
        connected_components,
        minimum_spanning_tree,
    )
    from scipy.spatial import KDTree

    p, d = geometry.p, geometry.T.shape[-1]
    rows = torch.randperm(p.shape[0], generator=generator)[:_LANDMARKS]
    K = _NEIGHBOURS.get(d, 14)
    near = np.asarray(KDTree(p[rows].numpy()).query(p[rows].numpy(), K + 1)[1])[:, 1:]
    i = torch.arange(rows.shape[0]).repeat_interleave(K)
    j = torch.from_numpy(near).reshape(-1)
    N = geometry.N[rows]
    det = torch.linalg.det(N[i].mT @ N[j])
    weight = (1 - det.abs()).clamp_min(0) + 1e-6
    n = rows.shape[0]
    graph = coo_array((weight.numpy(), (i.numpy(), j.numpy())), shape=(n, n)).tocsr()
    tree = minimum_spanning_tree(graph.maximum(graph.T))
    sign_of = {}
    for a, b, value in zip(i.tolist(), j.tolist(), det.sign().tolist(), strict=True):
        sign_of[a, b] = sign_of[b, a] = value
    signs = np.zeros(n)
    _, label = connected_components(tree, directed=False)
    for start in np.unique(label, return_index=True)[1]:
        order, parent = breadth_first_order(tree, start, directed=False)
        signs[order[0]] = 1.0
        for node in order[1:]:
            signs[node] = signs[parent[node]] * sign_of[int(node), int(parent[node])]
    s = torch.from_numpy(signs)
    strong = det.abs() > _STRONG
    wrong = strong & (s[i] * s[j] * det < 0)
    share = float(wrong.sum()) / max(int(strong.sum()), 1)
    return Orientation(rows, s, share, torch.stack([i, j], -1))


def oriented_normals(geometry: Geometry, orientation: Orientation) -> Float[Tensor, "n m k"]:
    """The normal bases of all feet, one column flipped where the nearest oriented one says so."""
    from scipy.spatial import KDTree

    rows = orientation.rows
    near = np.asarray(KDTree(geometry.p[rows].numpy()).query(geometry.p.numpy())[1])
    j = torch.from_numpy(near)
    det = torch.linalg.det(geometry.N.mT @ geometry.N[rows][j])
    flip = torch.where(orientation.signs[j] * det < 0, -1.0, 1.0).to(geometry.N.dtype)
    N = geometry.N.clone()
    N[..., 0] *= flip.unsqueeze(-1)
    return N


def choose_frames(
    geometry: Geometry, constraints: int | str | None, generator: torch.Generator
) -> tuple[Form, str, bool, Float[Tensor, "n m q"]]:
    """The form, why, whether M is orientable, and the frames A that F measures along."""
    p, N = geometry.p, geometry.N
    orientation = orient(geometry, generator)
    share = f"{100 * orientation.inconsistent:.2f} % of the signs between normal frames disagree"
    identity = torch.eye(p.shape[1], dtype=p.dtype).expand(p.shape[0], -1, -1)
    if constraints == "residual":
        return "residual", "asked for", orientation.orientable, identity
    if not orientation.orientable and constraints is None:
        reason = f"the data are not orientable ({share}), and a regular zero set is"
        return "residual", reason, False, identity
    A = oriented_normals(geometry, orientation)
    if N.shape[-1] == 1:
        return "regular", f"orientable ({share})", orientation.orientable, A
    return "residual", "the normal frames were not made smooth", True, identity
