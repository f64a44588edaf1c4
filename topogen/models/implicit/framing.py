r"""Smooth oriented frames of a normal bundle: k sections, as orthonormal as they can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .geometry import Geometry

_FEATURES = 100
_FREQUENCY = 2.0
_RIDGE = 1e-3
_ROUNDS = 40
_STILL = 1e-3


@dataclass(frozen=True)
class Framing:
    """Frames A = N Q(x), Q in SO(k), of all feet, and how far they are from losing rank.

    Attributes:
        A: frames, shape (n, m, k).
        margin: least singular value of N^T G over landmarks, G the smooth sections; 1 is best.
        rough: rms of A - G: how much of the frames is not smooth.
    """

    A: Float[Tensor, "n m k"]
    margin: float
    rough: float


def rotation(M: Float[Tensor, "*batch k k"]) -> tuple[Tensor, Tensor]:
    """The nearest rotation to M, and the least singular value of M (negative: det M < 0)."""
    U, s, Vh = torch.linalg.svd(M)
    sign = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0).to(M.dtype)
    U = torch.cat([U[..., :-1], U[..., -1:] * sign[..., None, None]], -1)
    return U @ Vh, s[..., -1] * sign


def smooth_frames(
    geometry: Geometry, N: Float[Tensor, "n m k"], rows: Tensor, generator: torch.Generator
) -> Framing:
    r"""Frames from a random start: alternate G <- smooth fit of N Q, Q <- rotation of N^T G.

    G: R^m -> R^(m x k) is linear plus some random sines, fitted by ridge regression to the frames
    at landmarks; what cannot be fitted is not smooth. The start decides the homotopy class.
    """
    m, k = N.shape[-2:]
    z = geometry.p
    R = _FREQUENCY / math.sqrt(m) * torch.randn(m, _FEATURES, generator=generator, dtype=z.dtype)
    c = 2 * math.pi * torch.rand(_FEATURES, generator=generator, dtype=z.dtype)

    def features(z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z[:, :1]), z, torch.sin(z @ R + c)], -1)

    phi, n = features(z[rows]), N[rows]
    start = torch.randn(m + 1, m * k, generator=generator, dtype=z.dtype)
    Q, least = rotation(n.mT @ (phi[:, : m + 1] @ start).unflatten(-1, (m, k)))
    G, coefficients = n, phi.new_zeros(phi.shape[1], m * k)
    # linear sections first: they lead to the frames that turn least
    for used in (m + 1, phi.shape[1]):
        part = phi[:, :used]
        penalty = torch.full((used,), _RIDGE, dtype=z.dtype)
        penalty[: m + 1] = 1e-6
        gram = part.mT @ part / rows.shape[0] + penalty.diag()
        solve = torch.linalg.solve(gram, part.mT / rows.shape[0])
        for _ in range(_ROUNDS):
            coefficients[:used] = solve @ (n @ Q).flatten(-2)
            G = (phi @ coefficients).unflatten(-1, (m, k))
            before = Q
            Q, least = rotation(n.mT @ G)
            if float((Q - before).square().sum((-2, -1)).max()) < _STILL**2:
                break
    rough = float((n @ Q - G).square().sum((-2, -1)).mean().sqrt())
    everywhere = (features(z) @ coefficients).unflatten(-1, (m, k))
    return Framing(N @ rotation(N.mT @ everywhere)[0], float(least.min()), rough)


def untwist(
    geometry: Geometry, A: Float[Tensor, "n 3 2"], rows: Tensor, piece: Tensor
) -> Float[Tensor, "n 3 2"]:
    r"""Frames of curves in R^3 that a zero set without further components can have.

    F/|F| extends to the complement of the curves K_b only if it has degree 0 along every K_a
    pushed off by A_1, that is :math:`\sum_b \mathrm{lk}(K_a + \epsilon A_1, K_b) = 0` (the Seifert
    framing, for one curve): each frame is given as many turns as that takes. Curves that do not
    close keep their frame.
    """
    p = geometry.p[rows]
    T = torch.linalg.cross(A[..., 0], A[..., 1])
    loops = [_walk(p, T[rows], (piece == label).nonzero().squeeze(-1)) for label in piece.unique()]
    if any(loop is None for loop in loops):
        return A
    A = A.clone()
    near = torch.cat([torch.cdist(q, p).argmin(-1) for q in geometry.p.split(2048)])
    for loop in loops:
        assert loop is not None
        pushed = p[loop] + 0.3 * geometry.tau[rows][loop].unsqueeze(-1) * A[rows][loop][..., 0]
        turns = -round(sum(_linking(pushed, p[other]) for other in loops if other is not None))
        edge = (p[loop.roll(-1)] - p[loop]).norm(dim=-1)
        s = torch.full((p.shape[0],), math.nan, dtype=p.dtype)
        s[loop] = edge.cumsum(0) - edge
        along = s[near] + (T * (geometry.p - p[near])).sum(-1)
        angle = 2 * math.pi * turns / float(edge.sum()) * along
        angle = torch.where(angle.isfinite(), angle, 0.0)
        cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
        a, b = A[..., 0], A[..., 1]
        A = torch.stack([cos * a + sin * b, cos * b - sin * a], -1)
    return A


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


def _linking(a: Float[Tensor, "n 3"], b: Float[Tensor, "l 3"]) -> float:
    """Gauss' linking number of two closed polygons, by the solid angles of pairs of edges.

    After Klenin and Langowski, 2000, "Computation of writhe in modeling of supercoiled DNA"
    (https://doi.org/10.1002/1097-0282(20001015)54:5%3C307::AID-BIP20%3E3.0.CO;2-Y).
    """
    a1, b1 = a.roll(-1, 0), b.roll(-1, 0)
    corners = (
        a[:, None] - b[None],
        a[:, None] - b1[None],
        a1[:, None] - b1[None],
        a1[:, None] - b[None],
    )

    def normal(u: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.linalg.cross(u, v), dim=-1)

    n = [normal(corners[i], corners[(i + 1) % 4]) for i in range(4)]
    angle = sum(torch.asin((n[i] * n[(i + 1) % 4]).sum(-1).clamp(-1, 1)) for i in range(4))
    edges = torch.linalg.cross(
        (a1 - a)[:, None].expand_as(corners[0]), (b1 - b)[None].expand_as(corners[0])
    )
    sign = torch.sign((edges * corners[0]).sum(-1))
    return float((sign * angle).sum() / (4 * math.pi))
