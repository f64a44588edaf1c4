r"""Smooth oriented frames of a normal bundle: k sections, as orthonormal as they can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...point_cloud.tensors import nearest_row
from .tubular_neighborhood import TubularNeighborhood


@dataclass(frozen=True)
class SmoothFrames:
    """Frames A = N Q(x), Q in SO(k), of all projections, and how far they are from losing rank."""

    A: Float[Tensor, "n m k"]
    margin: float  # least singular value of N^T G over landmarks, G the smooth sections; 1 is best
    rough: float  # rms of A - G: how much of the frames is not smooth


def rotation(M: Float[Tensor, "*batch k k"]) -> tuple[Tensor, Tensor]:
    """The nearest rotation to M, and the least singular value of M (negative: det M < 0)."""
    U, s, Vh = torch.linalg.svd(M)
    sign = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0).to(M.dtype)
    U = torch.cat([U[..., :-1], U[..., -1:] * sign[..., None, None]], -1)
    return U @ Vh, s[..., -1] * sign


def smooth_frames(
    geometry: TubularNeighborhood,
    N: Float[Tensor, "n m k"],
    rows: Tensor,
    generator: torch.Generator,
) -> SmoothFrames:
    r"""Frames from a random start: alternate G <- smooth fit of N Q, Q <- rotation of N^T G.

    G: R^m -> R^(m x k) is linear plus 100 random sines, fitted by ridge regression to the frames
    at landmarks. The start decides the homotopy class. It ends when no frame moves by 1e-3, after
    40 times at most.
    """
    m, k = N.shape[-2:]
    z = geometry.p
    R = 2 / math.sqrt(m) * torch.randn(m, 100, generator=generator, dtype=z.dtype)
    c = 2 * math.pi * torch.rand(100, generator=generator, dtype=z.dtype)

    def features(z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z[:, :1]), z, torch.sin(z @ R + c)], -1)

    phi, n = features(z[rows]), N[rows]
    start = torch.randn(m + 1, m * k, generator=generator, dtype=z.dtype)
    Q, least = rotation(n.mT @ (phi[:, : m + 1] @ start).unflatten(-1, (m, k)))
    G, coefficients = n, phi.new_zeros(phi.shape[1], m * k)
    # linear sections first: they lead to the frames that turn least
    for used in (m + 1, phi.shape[1]):
        part = phi[:, :used]
        penalty = torch.full((used,), 1e-3, dtype=z.dtype)
        penalty[: m + 1] = 1e-6
        gram = part.mT @ part / rows.shape[0] + penalty.diag()
        solve = torch.linalg.solve(gram, part.mT / rows.shape[0])
        for _ in range(40):
            coefficients[:used] = solve @ (n @ Q).flatten(-2)
            G = (phi @ coefficients).unflatten(-1, (m, k))
            before = Q
            Q, least = rotation(n.mT @ G)
            if float((Q - before).square().sum((-2, -1)).max()) < 1e-6:
                break
    rough = float((n @ Q - G).square().sum((-2, -1)).mean().sqrt())
    everywhere = (features(z) @ coefficients).unflatten(-1, (m, k))
    return SmoothFrames(N @ rotation(N.mT @ everywhere)[0], float(least.min()), rough)


class SolidAngle:
    r"""The angle :math:`\varphi = \tfrac12 \sum_b \Omega_b` in R/2 pi of closed curves K_b in R^3.

    :math:`\Omega_b(x)`, the solid angle that K_b spans at x, jumps by 4 pi only: so
    :math:`e^{i\varphi}` is smooth off the curves and winds once around each. F = distance times
    :math:`e^{i\varphi}` has no other zeros: the framing of the curves is the one (Seifert's) that
    a full zero set can have.

    Args:
        loops: the corners of closed polygons, each of shape (n, 3), in order.
    """

    def __init__(self, loops: list[Float[Tensor, "_ 3"]]) -> None:
        self.loops = loops

    def __call__(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The angle at x, by the triangles from a corner to all edges."""
        total = x.new_zeros(x.shape[0])
        for loop in self.loops:
            for rows in torch.arange(x.shape[0]).split(4096):
                v = loop - x[rows].unsqueeze(1)
                a, b, c = v[:, :1], v[:, 1:-1], v[:, 2:]
                la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
                top = (a * torch.linalg.cross(b, c)).sum(-1)
                bottom = la * lb * lc + (a * b).sum(-1) * lc + (a * c).sum(-1) * lb
                bottom = bottom + (b * c).sum(-1) * la
                # the half of each solid angle, after Van Oosterom and Strackee, 1983
                total[rows] += torch.atan2(top, bottom).sum(-1)
        return total


def seifert(
    geometry: TubularNeighborhood, A: Float[Tensor, "n 3 2"], rows: Tensor, component: Tensor
) -> tuple[Float[Tensor, "n 3 2"], SolidAngle | None]:
    """Frames of curves in R^3 along which the solid angle is the polar angle, and that angle.

    Where a curve does not close, the frames as they are, and None.
    """
    p = geometry.p[rows]
    T = torch.linalg.cross(A[..., 0], A[..., 1])
    walks = []
    for label in component.unique():
        walk = _walk(p, T[rows], (component == label).nonzero().squeeze(-1))
        if walk is None:
            return A, None
        walks.append(walk)
    angle = SolidAngle([p[walk] for walk in walks])
    # around M the angle is alpha + phase; the mean over alpha is the least bent
    wave = torch.zeros(2, p.shape[0], dtype=p.dtype)
    for alpha in torch.linspace(0, 2 * math.pi, 9, dtype=p.dtype)[:-1]:
        a = alpha.cos() * A[rows][..., 0] + alpha.sin() * A[rows][..., 1]
        at = angle(p + 0.5 * geometry.tau[rows].unsqueeze(-1) * a) - alpha
        wave += torch.stack([at.cos(), at.sin()])
    phase = torch.atan2(wave[1], wave[0])
    near = nearest_row(p, geometry.p)
    along = (T * (geometry.p - p[near])).sum(-1)
    turn = torch.zeros_like(along)
    for walk in walks:
        closed = torch.cat([walk, walk[:1]]).numpy()
        edge = np.linalg.norm(np.diff(p[closed].numpy(), axis=0), axis=-1)
        s = np.concatenate([[0.0], edge.cumsum()])
        place = torch.full((p.shape[0],), math.nan, dtype=p.dtype)
        place[walk] = torch.from_numpy(s[:-1])
        here = (place[near] + along).remainder(s[-1])
        found = here.isfinite()
        value = np.interp(here[found].numpy(), s, np.unwrap(phase[closed].numpy()))
        turn[found] = torch.from_numpy(value)
    cos, sin = turn.cos().unsqueeze(-1), turn.sin().unsqueeze(-1)
    a, b = A[..., 0], A[..., 1]
    return torch.stack([cos * a - sin * b, cos * b + sin * a], -1), angle


def _walk(p: Tensor, T: Tensor, members: Tensor) -> Tensor | None:
    """The members in their order along a closed curve, forwards along T; None if it stays open."""
    left = members.tolist()
    loop = [left.pop(0)]
    while left:
        here = loop[-1]
        v = p[left] - p[here]
        distance = v.norm(dim=-1)
        ahead = torch.where(v @ T[here] > 0.3 * distance, distance, torch.inf)
        best = int(ahead.argmin())
        home = p[loop[0]] - p[here]
        if len(loop) > 3 and float(home @ T[here]) > 0 and home.norm() < 0.99 * ahead[best]:
            break
        if not math.isfinite(float(ahead[best])):
            return None
        loop.append(left.pop(best))
    return torch.tensor(loop)
