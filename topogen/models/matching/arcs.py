"""Geodesics in closed form, of constant speed, where a set has them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...manifolds.base import Manifold
from ...manifolds.spaces.projective import ProjectivePlane, SpecialOrthogonal, cross_matrix
from ...manifolds.spaces.spheres import Circle, Sphere
from ...manifolds.spaces.tori import FlatTorus

# x_t, its velocity, and whether the shortest arc is determined
Located = tuple[Float[Tensor, "n D"], Float[Tensor, "n D"], Bool[Tensor, " n"]]
Arcs = Callable[[Tensor, Tensor, Tensor], Located]

# this close (in radians) to the cut locus an arc is refused
_CUT = 1e-4


def arcs_of(manifold: Manifold) -> Arcs | None:
    """Geodesics (x_0, x_1, t) -> (x_t, velocity, ok) of M in closed form, where known.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]]) / 2
        >>> x, u, ok = arcs_of(tg.Sphere())(a, b, torch.tensor([0.5]))
        >>> x[0, :2].tolist(), round(float(u.norm()), 4)
        ([0.7071067690849304, 0.7071067690849304], 1.5708)
    """
    if isinstance(manifold, Sphere | Circle):
        rho = manifold.radius

        def round_arcs(a: Tensor, b: Tensor, t: Tensor) -> Located:
            x, u, ok = great_circle(a / rho, b / rho, t)
            return rho * x, rho * u, ok

        return round_arcs
    if isinstance(manifold, FlatTorus):
        return flat
    if isinstance(manifold, SpecialOrthogonal):
        return turning
    if isinstance(manifold, ProjectivePlane):
        plane = manifold

        def veronese(a: Tensor, b: Tensor, t: Tensor) -> Located:
            m, n = plane.direction(a), plane.direction(b)
            n = n * torch.where((m * n).sum(-1, keepdim=True) < 0, -1.0, 1.0)
            x, u, ok = great_circle(m, n, t)
            # embed is quadratic
            y, v = plane.embed(x), plane.embed(u)
            return y, plane.embed(x + u) - y - v, ok

        return veronese
    return None


def great_circle(a: Tensor, b: Tensor, t: Tensor) -> Located:
    r""":math:`(\sin((1-t)w)\, a + \sin(tw)\, b) / \sin w` on the unit sphere, w the angle."""
    t = t.unsqueeze(-1)
    # the chord's half length is sin(w / 2): exact for small and for large angles
    w = 2 * torch.atan2((b - a).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    ok = w < torch.pi - _CUT
    near = w < _CUT
    s = torch.where(ok & ~near, w.sin(), 1.0)
    p = torch.where(near, 1 - t, ((1 - t) * w).sin() / s)
    q = torch.where(near, t, (t * w).sin() / s)
    dp = torch.where(near, -torch.ones_like(t), -w * ((1 - t) * w).cos() / s)
    dq = torch.where(near, torch.ones_like(t), w * (t * w).cos() / s)
    return p * a + q * b, dp * a + dq * b, ok.squeeze(-1)


def flat(a: Tensor, b: Tensor, t: Tensor) -> Located:
    """The shorter arc on every circle of a flat torus."""
    (c, s), (e, f) = (torch.stack([x[..., ::2], x[..., 1::2]]) for x in (a, b))
    turn = torch.atan2(c * f - s * e, c * e + s * f)
    angle = torch.atan2(s, c) + t.unsqueeze(-1) * turn
    x = torch.stack([angle.cos(), angle.sin()], -1).flatten(-2)
    u = torch.stack([-angle.sin() * turn, angle.cos() * turn], -1).flatten(-2)
    return x, u, (turn.abs() < torch.pi - _CUT).all(-1)


def turning(a: Tensor, b: Tensor, t: Tensor) -> Located:
    r""":math:`X_0 \exp(t w [n]_\times)`, n the axis and w the angle of :math:`X_0^\top X_1`."""
    X, Y = a.unflatten(-1, (3, 3)), b.unflatten(-1, (3, 3))
    K = X.mT @ Y
    S = (K - K.mT) / 2
    axis = torch.stack([S[..., 2, 1], S[..., 0, 2], S[..., 1, 0]], -1)  # sin(w) n
    sine = axis.norm(dim=-1)
    w = torch.atan2(sine, (K.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2)
    ok = w < torch.pi - 1e-3
    N = cross_matrix(axis / sine.clamp_min(1e-12).unsqueeze(-1))
    tw = (t * w)[..., None, None]
    identity = torch.eye(3, dtype=a.dtype)
    x = X @ (identity + tw.sin() * N + (1 - tw.cos()) * (N @ N))
    u = w[..., None, None] * (x @ N)
    return x.flatten(-2), u.flatten(-2), ok
