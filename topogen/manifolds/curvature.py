r"""Curvature of a manifold M = {E = 0} in R^D, from the first two derivatives of E on M.

A curve c in M has :math:`DE\, c'' + D^2 E[c', c'] = 0`, so :math:`II(u, v) = -DE^+\, D^2 E[u, v]`
on tangent vectors, with the pseudo-inverse of rank D - d, the rank of DE on M. The rest follows by
the equation of Gauss,

.. math:: R(u, v, w, z) = \langle II(u, w), II(v, z) \rangle - \langle II(u, z), II(v, w) \rangle,

where R(u, v, u, v) is the sectional curvature of the plane of orthonormal u and v.

M. do Carmo, Riemannian Geometry (1992), chapter 6; H. Federer, Curvature measures (1959),
theorem 4.18 (the reach), https://doi.org/10.1090/S0002-9947-1959-0110078-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from ..errors import InvalidPoints, UnsupportedError
from .types import ManifoldLike


def second_fundamental_form(
    M: ManifoldLike, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
) -> Float[Tensor, "*batch d d D"]:
    r"""II(t_i, t_j) :math:`= -DE^+ D^2 E[t_i, t_j]`, normal vectors at points x of M.

    Args:
        M: the manifold; as a method, the one it is called on.
        x: points of M.
        frame: orthonormal tangent basis (t_1, ..., t_d) at x; None takes M.tangent_basis(x).
    """

    def form(x: Tensor, T: Tensor) -> Tensor:
        J = calculus.split(M.linearize(x)[1], M.ambient_dim - M.dim)
        H = calculus.second_derivative(M.equations, x, T)
        return -J.solve(H.flatten(-2)).unflatten(-1, H.shape[-2:]).movedim(-3, -1)

    return _by_rows(form, x, M.tangent_basis(x) if frame is None else frame)


def _by_rows(
    f: Callable[..., Tensor], x: Float[Tensor, "*batch D"], *others: Tensor, chunk: int = 4096
) -> Tensor:
    """The values of f on float64 rows, `chunk` at a time."""
    lead = x.ndim - 1
    rows = [t.to(torch.float64).reshape(-1, *t.shape[lead:]) for t in (x, *others)]
    whole = torch.cat([f(*part) for part in zip(*(t.split(chunk) for t in rows), strict=True)])
    return whole.reshape((*x.shape[:-1], *whole.shape[1:])).to(x.dtype)


def shape_operator(
    M: ManifoldLike, x: Float[Tensor, "*batch D"], normal: Float[Tensor, "*batch D"]
) -> Float[Tensor, "*batch d d"]:
    r"""The symmetric matrix :math:`\langle II(t_i, t_j), n \rangle` in the basis M.tangent_basis.

    Its eigenvalues are the principal curvatures in the direction of the normal n.
    """
    return (M.second_fundamental_form(x) @ normal[..., None, :, None]).squeeze(-1)


def mean_curvature(M: ManifoldLike, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    r"""The mean curvature vector :math:`\tfrac1d \sum_i II(t_i, t_i)`; length 1/r on a sphere."""
    return _trace(M.second_fundamental_form(x)) / M.dim


def _trace(II: Tensor) -> Tensor:
    return II.diagonal(dim1=-3, dim2=-2).sum(-1)


def riemann_curvature(
    M: ManifoldLike, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
) -> Float[Tensor, "*batch d d d d"]:
    """R(t_i, t_j, t_k, t_l); R(t_i, t_j, t_i, t_j) is the sectional curvature of t_i and t_j."""
    II = M.second_fundamental_form(x, frame)
    products = torch.einsum("...ika,...jla->...ijkl", II, II)
    return products - products.mT


def sectional_curvature(
    M: ManifoldLike,
    x: Float[Tensor, "*batch D"],
    u: Float[Tensor, "*batch D"],
    v: Float[Tensor, "*batch D"],
) -> Float[Tensor, "*batch"]:
    """The curvature of the plane spanned by tangent vectors u and v; NaN where they span none."""
    plane = torch.stack([u, v], -1)
    frame, lengths = calculus.orthonormalize(plane)
    II = M.second_fundamental_form(x, frame)
    K = (II[..., 0, 0, :] * II[..., 1, 1, :]).sum(-1) - II[..., 0, 1, :].square().sum(-1)
    least = torch.finfo(x.dtype).eps ** 0.75 * plane.norm(dim=-2)
    return torch.where((lengths > least).all(-1), K, math.nan)


def ricci_curvature(M: ManifoldLike, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d d"]:
    r"""Ric(t_j, t_l) :math:`= \sum_i R(t_i, t_j, t_i, t_l)`, in the basis M.tangent_basis."""
    II = M.second_fundamental_form(x)
    whole = (II @ _trace(II)[..., None, :, None]).squeeze(-1)
    return whole - torch.einsum("...ija,...ila->...jl", II, II)


def scalar_curvature(M: ManifoldLike, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
    r"""The trace of Ricci, :math:`|\sum_i II_{ii}|^2 - \sum_{ij} |II_{ij}|^2`; 2 on S^2."""
    II = M.second_fundamental_form(x)
    return _trace(II).square().sum(-1) - II.square().sum((-3, -2, -1))


def gauss_curvature(M: ManifoldLike, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
    r"""Gauss curvature K of a surface, in any codimension: half the scalar curvature.

    By Gauss and Bonnet, :math:`\int_M K = 2 \pi \chi(M)` for closed M.

    Raises:
        UnsupportedError: M is no surface.
    """
    if M.dim != 2:
        raise UnsupportedError(
            f"expected a surface for its Gauss curvature, got dim={M.dim}; "
            "see sectional_curvature and scalar_curvature"
        )
    return scalar_curvature(M, x) / 2


def normal_curvature(
    M: ManifoldLike, x: Float[Tensor, "*batch D"], rounds: int = 30
) -> Float[Tensor, "*batch"]:
    r"""The largest curvature of a geodesic through x, :math:`\max_{|u| = 1} |II(u, u)|`.

    For D - d = 1 it is the largest absolute principal curvature. In general u and the direction n
    of II(u, u) are improved in turn, `rounds` times, from the principal directions of d (d + 1) /
    2 normals: a local maximum, in practice the largest one.
    """
    II, d = M.second_fundamental_form(x), M.dim
    i, j = torch.triu_indices(d, d).unbind(0)
    best = II.new_zeros(II.shape[:-3])
    # every II_ij gives a normal to start from, kept in a leading axis
    n = II[..., i, j, :].movedim(-2, 0)
    for _ in range(rounds if M.ambient_dim - d > 1 else 1):
        n = n / n.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        A = (II @ n[..., None, :, None]).squeeze(-1)
        w, V = torch.linalg.eigh((A + A.mT) / 2)
        top = w.abs().argmax(-1)[..., None, None].expand(*w.shape[:-1], d, 1)
        u = V.gather(-1, top).squeeze(-1)
        n = torch.einsum("...i,...j,...ija->...a", u, u, II.expand(*n.shape[:-1], *II.shape[-3:]))
        best = torch.maximum(best, n.norm(dim=-1).amax(0))
    return best


@dataclass(frozen=True)
class Reach:
    r"""Upper bounds on the reach of M, which fall to it as the points fill M.

    Attributes:
        value: the smaller of the two that follow.
        radius: the least radius of curvature, 1 / max |II(u, u)|, over the points.
        bottleneck: the least radius :math:`|y - x|^2 / 2 \mathrm{dist}(y - x, T_xM)` of a ball
            that touches M at one point and passes through another.

    Example:
        >>> from topogen.manifolds.spaces import Torus
        >>> M = Torus(R=1.0, r=0.4)
        >>> print(f"{M.reach(M.sample_uniform(200)).value:.4f}")
        0.4000
    """

    value: float
    radius: float
    bottleneck: float


def reach(M: ManifoldLike, points: Float[Tensor, "n D"]) -> Reach:
    r"""Upper bounds on the reach of M from points of it, by Federer's formula and by curvature.

    The reach is :math:`\inf_{x \ne y} |y - x|^2 / (2 |N_x^\top (y - x)|)`. For x near y that is a
    radius of curvature, which is taken from II instead.

    Args:
        M: the manifold; as a method, the one it is called on.
        points: at least two points of M, shape (n, D); points near M are projected first.

    Raises:
        InvalidPoints: fewer than two points project to M.
    """
    p = M.project(points.detach().to(torch.float64))
    x = p.value[p.converged].detach()
    if x.shape[0] < 2:
        raise InvalidPoints(
            f"expected at least two points of M, got {x.shape[0]} that project onto it"
        )
    # closer to one another, rounding decides the quotient
    least = touching_radius(x, M.normal_basis(x), 1e-4 * M.scale)
    bend = float(normal_curvature(M, x).max())
    radius = 1 / bend if bend > 0 else math.inf
    return Reach(min(radius, least), radius, least)


def touching_radius(
    x: Float[Tensor, "n D"], N: Float[Tensor, "n D k"], apart: float, pairs: int = 262_144
) -> float:
    r"""The least :math:`|y - x|^2 / (2 |N_x^\top (y - x)|)` over pairs of points of M.

    Over all pairs it is the reach of M (Federer, theorem 4.18); over a sample it is larger.

    Args:
        x: points of M.
        N: orthonormal normal bases there.
        apart: pairs at most this far from one another do not count.
        pairs: how many are compared at once.

    Returns:
        The radius; infinity where no pair counts, or M is flat.
    """
    least = math.inf
    rows = max(pairs // max(x.shape[0], 1), 1)
    for i in range(0, x.shape[0], rows):
        difference = x.unsqueeze(0) - x[i : i + rows].unsqueeze(1)
        square = difference.square().sum(-1)
        radius = square / (2 * (difference @ N[i : i + rows]).norm(dim=-1))
        least = min(least, float(torch.where(square > apart**2, radius, math.inf).min()))
    return least


def coarea_factor(M: ManifoldLike, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
    r"""The volume factor :math:`\sqrt{\det DE\, DE^\top}`, over the D - d leading singular values.

    :math:`\int_{R^D} g \sqrt{\det DE DE^\top}\, dx = \int_{R^k} \int_{E = c} g\, dH^d\, dc` for
    k = D - d. A density of R^D conditioned on E = 0 is divided by it on M; one on M is not.
    """
    k = M.ambient_dim - M.dim
    return _by_rows(lambda x: calculus.split(M.linearize(x)[1], k).s.prod(-1), x)
