r"""Whether the normal bundle is orientable, and smooth oriented frames of it where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import InvalidPoints, UnsupportedError
from ...point_cloud.knn import component_labels, nearest, neighbours
from ...point_cloud.orientation import contradicted, forest_signs
from .normal_frames import SolidAngle, seifert, smooth_frames
from .tubular_neighborhood import TubularNeighborhood, cover

Form = Literal["regular", "residual"]

_LANDMARKS = 1500
_NEIGHBOURS = {1: 4, 2: 10}
_MAX_CODIM = 8


@dataclass(frozen=True)
class NormalOrientation:
    """Signs that orient the normal spaces at some projections."""

    rows: Tensor  # which projections
    signs: Tensor  # +1 or -1 for the basis N of each
    component: Tensor  # the connected component that each belongs to
    inconsistent: float  # share of strong edges that contradict the signs

    @property
    def orientable(self) -> bool:
        """Whether the signs agree on all strong edges but 0.2 %, which are noise."""
        return self.inconsistent <= 2e-3


def orient(geometry: TubularNeighborhood, generator: torch.Generator) -> NormalOrientation:
    r"""Signs along a spanning tree of strong edges, and how many other edges they contradict.

    The sign cocycle :math:`\mathrm{sign} \det N_i^\top N_j` over neighbours is a coboundary iff
    the normal bundle is orientable, iff M is.

    Raises:
        InvalidPoints: too few projections, so that they have no neighbours to compare signs with.
    """
    rows = landmarks(geometry, _LANDMARKS, generator)
    i, j, det = _edges(geometry, rows)
    signs = forest_signs(len(rows), i, j, det)[0]
    part = component_labels(len(rows), i, j)
    signs = signs * signs[np.unique(part, return_index=True)[1]][part]  # 1 at each first one
    s, label = torch.from_numpy(signs).double(), torch.from_numpy(part).long()
    if geometry.N.shape[-1] == 1:
        s = _face(geometry.p[rows], geometry.N[rows].squeeze(-1), s, label)
    return NormalOrientation(rows, s, label, contradicted(s.numpy(), i, j, det))


def _edges(
    geometry: TubularNeighborhood, rows: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Neighbours i, j among some projections, and :math:`\det N_i^\top N_j`."""
    p, N = geometry.p[rows], geometry.N[rows]
    d = geometry.T.shape[-1]
    K = _NEIGHBOURS.get(d, 14)
    if rows.shape[0] <= K:
        raise InvalidPoints(
            f"expected points along a manifold of dimension {d}, got points that agree on one "
            f"at {rows.shape[0]} places only, of at least {K + 1} (a grid of integers, repeated "
            "points, or much noise); give more different points, or another dimension"
        )
    i, j = np.arange(len(rows)).repeat(K), neighbours(p.numpy(), K, exact=True)[1].ravel()
    return i, j, torch.linalg.det(N[i].mT @ N[j]).numpy()


def turned(
    geometry: TubularNeighborhood, J: Float[Tensor, "n k m"], generator: torch.Generator
) -> float:
    r"""Share of strong edges i, j along which :math:`\det J N`, J at projections, changes sign.

    Somewhere between them J loses rank on the normal space, as it must where the data are not
    orientable, whatever F.
    """
    rows = landmarks(geometry, _LANDMARKS, generator)
    i, j, det = _edges(geometry, rows)
    s = torch.linalg.det(J[rows] @ geometry.N[rows]).sign()
    return contradicted(s.numpy(), i, j, det)


def landmarks(
    geometry: TubularNeighborhood, most: int, generator: torch.Generator
) -> Int[Tensor, " l"]:
    """Evenly spread projections, at most so many: a random choice would leave gaps in a curve."""
    apart = 0.5 * geometry.h
    while len(rows := cover(geometry.p, apart, generator)) > most:
        apart = 1.3 * apart
    return rows


def _face(p: Tensor, N: Tensor, s: Tensor, label: Tensor) -> Tensor:
    """Signs of the components of a hypersurface: F has one sign between neighbouring ones."""
    s, done = s.clone(), label == label[0]
    while not bool(done.all()):
        inside, outside = done.nonzero().squeeze(-1), (~done).nonzero().squeeze(-1)
        distance = torch.cdist(p[inside], p[outside])
        flat = int(distance.argmin())
        a, b = inside[flat // len(outside)], outside[flat % len(outside)]
        v = p[b] - p[a]
        component = label == label[b]
        if float((s[a] * N[a] @ v) * (s[b] * N[b] @ v)) > 0:  # F would have one more zero between
            s[component] = -s[component]
        done = done | component
    return s


def oriented_normals(
    geometry: TubularNeighborhood, orientation: NormalOrientation
) -> Float[Tensor, "n m k"]:
    """The normal bases N of all projections, oriented as those at the nearest oriented ones."""
    rows = orientation.rows
    near = nearest(geometry.p[rows].numpy(), geometry.p.numpy(), 1, exact=True)[1]
    j = torch.from_numpy(near[:, 0])
    det = torch.linalg.det(geometry.N.mT @ geometry.N[rows][j])
    N = geometry.N.clone()
    N[..., 0] *= torch.where(orientation.signs[j] * det < 0, -1.0, 1.0).to(N.dtype).unsqueeze(-1)
    return N


@dataclass(frozen=True)
class NormalFrames:
    """What F should measure along."""

    form: Form  # "regular" (along oriented normal frames) or "residual" (along all axes)
    reason: str
    orientable: bool | None  # whether the normal spaces are
    A: Float[Tensor, "n m q"]  # the frames
    angle: SolidAngle | None = None  # of F far from curves in R^3


def choose_frames(
    geometry: TubularNeighborhood, constraints: int | str | None, generator: torch.Generator
) -> NormalFrames:
    """The frames for D - d equations where there are good ones, else the identity.

    Of smooth frames from up to 12 random starts the first with a margin above .8, or the best, is
    taken; it is good where its margin is .6.

    Raises:
        UnsupportedError: the regular form is asked for, and the data are not orientable.
    """
    p = geometry.p
    orientation = orient(geometry, generator)
    share = f"{100 * orientation.inconsistent:.2f} % of the signs between normal spaces disagree"
    identity = torch.eye(p.shape[1], dtype=p.dtype).expand(p.shape[0], -1, -1)
    if constraints == "residual":
        return NormalFrames("residual", "it was asked for", orientation.orientable, identity)
    if not orientation.orientable:
        if constraints is not None:
            raise UnsupportedError(
                "expected orientable data for D - d equations of full rank: their gradients "
                f"would be a frame of the normal bundle; {share}, so there is none; "
                "pass constraints='residual' or leave the choice to None"
            )
        reason = f"the data are not orientable ({share}), and a regular zero set is"
        return NormalFrames("residual", reason, False, identity)
    N, k = oriented_normals(geometry, orientation), geometry.N.shape[-1]
    if k == 1:
        return NormalFrames("regular", f"the data are orientable ({share})", True, N)
    if k > _MAX_CODIM and constraints is None:
        reason = f"{k} equations are many to find a smooth frame for"
        return NormalFrames("residual", reason, True, identity)
    pick = torch.randperm(orientation.rows.shape[0], generator=generator)[:300]
    best = smooth_frames(geometry, N, orientation.rows[pick], generator)
    for _ in range(11):
        if best.margin > 0.8:
            break
        other = smooth_frames(geometry, N, orientation.rows[pick], generator)
        best = max(best, other, key=lambda frames: frames.margin)
    found = f"the best of its smooth normal frames has margin {best.margin:.2f}"
    if best.margin < 0.6 and constraints is None:
        return NormalFrames("residual", f"{found}, less than 0.6", True, identity)
    A, angle = best.A, None
    if N.shape[-2:] == (3, 2):
        A, angle = seifert(geometry, A, orientation.rows, orientation.component)
    reason = f"the data are orientable ({share}) and {found}"
    return NormalFrames("regular", reason, True, A, angle)
