"""The projective plane in R^5 and the rotation group in R^9."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...errors import UnsupportedError
from ...homology import Homology
from ..atlas import Atlas
from ..charts import Ball, FunctionChart
from .base import Nearest, closed_form, sphere_tangents, unit
from .exact_geodesics import CUT, ExactGeodesics
from .klein import NOT_ORIENTABLE
from .spheres import sphere_exp, sphere_log, sphere_transport


class ProjectivePlane(ExactGeodesics):
    r"""The projective plane S^2/{n ~ -n} as the Veronese surface in R^5.

    .. math:: n \mapsto (n_1 n_2, n_1 n_3, n_2 n_3, \tfrac12(n_1^2 - n_2^2), \tfrac1{2\sqrt3}(n_1^2
              + n_2^2 - 2 n_3^2))

    These are the coordinates, in an orthonormal basis, of the traceless symmetric matrix
    :math:`(n n^\top - I/3)/\sqrt2`. The embedding is isometric, of area 2 pi, and lies on the
    sphere of radius 1/sqrt(3).

    Example:
        >>> M = ProjectivePlane()
        >>> M.embed(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))[..., 4]
        tensor([-0.5774, -0.5774])
        >>> round(M.volume, 4), M.orientable, str(M.homology)
        (6.2832, False, 'Z/2: (1, 1, 1), Z/3: (1,)')
    """

    dim = 2
    ambient_dim = 5
    orientable = False
    why_no_defining = NOT_ORIENTABLE
    scale = 1 / math.sqrt(3)
    volume = 2 * math.pi
    volume_error = 0.0
    homeomorphic_to = (("projective", 2),)
    homology = Homology({2: (1, 1, 1), 3: (1,)})

    def __init__(self) -> None:  # the arguments of a file are read from this signature
        super().__init__()

    def embed(self, n: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 5"]:
        """The point of M of the unit vectors n and -n."""
        a, b, c = n.unbind(-1)
        s = (a * a + b * b - 2 * c * c) / (2 * math.sqrt(3))
        return torch.stack([a * b, a * c, b * c, (a * a - b * b) / 2, s], -1)

    @staticmethod
    def matrix(x: Float[Tensor, "*batch 5"]) -> Float[Tensor, "*batch 3 3"]:
        """The symmetric matrix of trace 1 with coordinates x: n n^T for a point of M."""
        p, q, s, d, e = x.unbind(-1)
        e = e / math.sqrt(3)
        a, b, c = 1 / 3 + d + e, 1 / 3 - d + e, 1 / 3 - 2 * e
        return torch.stack([a, p, q, p, b, s, q, s, c], -1).unflatten(-1, (3, 3))

    def direction(self, x: Float[Tensor, "*batch 5"]) -> Float[Tensor, "*batch 3"]:
        """One of the two unit vectors n of a point of M: the longest column of n n^T."""
        return _direction(self.matrix(x))

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        # <x, embed(n)> grows with n^T A n: a nearest n is a top eigenvector of A
        A = self.matrix(x)
        lam, V = torch.linalg.eigh(A.detach())
        n, E = V[..., -1:], V[..., :-1]
        # zero at the solution; it carries the derivative, also where the others tie
        gap = (lam[..., -1:] - lam[..., :-1]).clamp_min(1e-300)
        n = n + E @ ((E.mT @ A @ n) / gap.unsqueeze(-1))
        return closed_form(self.embed(unit(n.squeeze(-1))))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The images of an orthonormal basis of T_n S^2: the embedding is isometric."""
        self.check_points(x)
        n = self.direction(x)
        E = sphere_tangents(n)
        return torch.stack([self._push(n, E[..., i]) for i in range(2)], -1)

    def _push(self, n: Tensor, u: Tensor) -> Tensor:
        """The derivative of the quadratic map embed at n, applied to u."""
        return self.embed(n + u) - self.embed(n) - self.embed(u)

    def _pull(self, n: Tensor, v: Tensor) -> Tensor:
        """The u in T_n S^2 with push(n, u) = v: the matrix of v is n u^T + u n^T."""
        u = (self.matrix(v) @ n.unsqueeze(-1)).squeeze(-1)
        return u - (n * u).sum(-1, keepdim=True) * n

    def _polish(self, x: Tensor) -> Tensor:
        return self.embed(self.direction(x))

    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        n = self.direction(x)
        return self._push(n, self._pull(n, v))

    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        n = self.direction(x)
        return self.embed(sphere_exp(n, self._pull(n, v)))

    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        n, m = self.direction(x), self.direction(y)
        cosine = (n * m).sum(-1, keepdim=True)
        u, _ = sphere_log(n, torch.where(cosine < 0, -m, m))
        return self._push(n, u), cosine.squeeze(-1).abs() > CUT

    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        n = self.direction(x)
        u = self._pull(n, v)
        return self._push(sphere_exp(n, u), sphere_transport(n, u, self._pull(n, w)))

    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        u = self._pull(self.direction(x), v)
        return 2 * (self.embed(u) - u.square().sum(-1, keepdim=True) * x)

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Images of uniform points of the sphere."""
        return self.embed(unit(torch.randn(n, 3, generator=generator, dtype=torch.float64)))

    def atlas(self) -> Atlas:
        """Gnomonic charts of angle 44.4 degrees about six axes of the icosahedron: a good cover.

        The axes leave no direction farther than 37.4 degrees, and balls of less than 45 degrees
        are convex, so all intersections are contractible.
        """
        g = (1 + math.sqrt(5)) / 2
        axes = [(0, 1, g), (0, 1, -g), (1, g, 0), (1, -g, 0), (g, 0, 1), (-g, 0, 1)]
        axes = unit(torch.tensor(axes, dtype=torch.float64))
        return Atlas([self._gnomonic(a) for a in axes], self, own=True)

    def _gnomonic(self, a: Tensor) -> FunctionChart:
        """The map u -> embed((a + E u) / |a + E u|), E a basis of the complement of the axis a."""
        E = sphere_tangents(a)

        def decode(u: Tensor) -> Tensor:
            n = a.to(u) + u @ E.mT.to(u)
            return self.embed(n / n.norm(dim=-1, keepdim=True))

        def encode(x: Tensor) -> Tensor:
            Pa = (self.matrix(x) @ a.to(x).unsqueeze(-1)).squeeze(-1)  # n (n . a)
            height = (Pa * a.to(x)).sum(-1, keepdim=True)  # (n . a)^2
            positive = height > 1e-12
            return torch.where(positive, (Pa @ E.to(x)) / torch.where(positive, height, 1.0), 1e6)

        return FunctionChart(decode, encode, domain=Ball(2, 0.98))


class SpecialOrthogonal(ExactGeodesics):
    r"""SO(3): the 3 x 3 matrices X with X^T X = I and det X = +1, row-major in R^9.

    A rotation with angular velocity w moves at speed sqrt(2)|w| in R^9; the volume is
    :math:`(2\sqrt2)^3 \pi^2 = 16\sqrt2 \pi^2`. It is diffeomorphic to RP^3. Geodesics are
    :math:`X e^{tK}`, K skew.

    X^T X = I alone gives O(3), of which this is one of two components. `defining` singles it out:
    with columns a, b, c it asks for |a| = |b| = 1, a . b = 0 and c = a x b.

    Args:
        n: 3, of SO(n).

    Raises:
        UnsupportedError: another n.

    Example:
        >>> M = SpecialOrthogonal(3)
        >>> M.project(torch.diag(torch.tensor([2.0, 1.0, 0.5])).reshape(1, 9)).value.reshape(3, 3)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
        >>> round(M.volume, 4), str(M.homology)
        (223.3237, 'Z/2: (1, 1, 1, 1), Z/3: (1, 0, 0, 1)')
    """

    dim = 3
    ambient_dim = 9
    orientable = True
    scale = math.sqrt(3)
    volume = 16 * math.sqrt(2) * math.pi**2
    volume_error = 0.0
    homeomorphic_to = (("projective", 3),)
    homology = Homology({2: (1, 1, 1, 1), 3: (1, 0, 0, 1)})

    def __init__(self, n: int = 3) -> None:
        super().__init__()
        if n != 3:
            raise UnsupportedError(f"expected SO(n) with n = 3, got n={n}; SO(2) is tg.Circle()")
        self.n = n

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        X = _matrix(x)
        U, sigma, Vh = torch.linalg.svd(X.detach())
        flip = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0)
        sign = torch.nn.functional.pad(flip.unsqueeze(-1), (2, 0), value=1.0)
        R, sigma = (U * sign.unsqueeze(-2)) @ Vh, sigma * sign
        # Omega S + S Omega = K - K^T, K = R^T X, in the basis V: zero at the solution, it carries
        # the derivative, also where singular values tie
        K = Vh @ R.mT @ X @ Vh.mT
        total = (sigma.unsqueeze(-1) + sigma.unsqueeze(-2)).abs().clamp_min(1e-300)
        skew = torch.where((K - K.mT).abs() <= 1e-9 * total, (K - K.mT) / total, 0.0)
        return closed_form((R + R @ Vh.mT @ skew @ Vh).flatten(-2))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """X [e_i]_x / sqrt(2), i = 1, 2, 3."""
        self.check_points(x)
        E = cross_matrix(torch.eye(3, dtype=x.dtype, device=x.device)) / math.sqrt(2)
        return (_matrix(x).unsqueeze(-3) @ E).flatten(-2).mT

    def _polish(self, x: Tensor) -> Tensor:
        # a step of Newton and Schulz to the orthogonal matrix; reflections are no rotations
        X = _matrix(x)
        Y = (X @ (3 * torch.eye(3, dtype=x.dtype) - X.mT @ X) / 2).flatten(-2)
        return torch.where(torch.linalg.det(X).unsqueeze(-1) > 0, Y, torch.inf)

    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        X = _matrix(x)
        K = X.mT @ _matrix(v)
        return (X @ (K - K.mT) / 2).flatten(-2)

    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        return self._flow(x, v)[0]

    def _flow(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        X, V = _matrix(x), _matrix(v)
        R = _rotation(_axis(X.mT @ V))
        return (X @ R).flatten(-2), (V @ R).flatten(-2)

    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        X = _matrix(x)
        q = _quaternion(X.mT @ _matrix(y))  # (cos w/2, sin w/2 n), w <= pi the angle about n
        sine = q[..., 1:].norm(dim=-1, keepdim=True)
        zero = sine == 0
        half = torch.where(zero, 1.0, torch.atan2(sine, q[..., :1])) / torch.where(zero, 1.0, sine)
        K = cross_matrix(2 * half * q[..., 1:])
        return (X @ K).flatten(-2), q[..., 0] > CUT

    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        # the metric is invariant on both sides: X e^{K/2} A e^{K/2} for w = X A
        X = _matrix(x)
        half = _rotation(_axis(X.mT @ _matrix(v)) / 2)
        return (X @ half @ X.mT @ _matrix(w) @ half).flatten(-2)

    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        V = _matrix(v)
        return (V @ _matrix(x).mT @ V).flatten(-2)

    @property
    def defining(self) -> RowMap:
        """F = (|a|^2 - 1, |b|^2 - 1, 2 a . b, 2 (c - a x b)) / 2 for the columns a, b, c of X."""

        def F(x: Tensor) -> Tensor:
            a, b, c = _matrix(x).unbind(-1)
            products = [(a * a).sum(-1) - 1, (b * b).sum(-1) - 1, 2 * (a * b).sum(-1)]
            normal = c - torch.linalg.cross(a, b, dim=-1)
            return torch.cat([torch.stack(products, -1) / 2, normal], -1)

        return F

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Haar measure: rotations of uniform unit quaternions."""
        q = unit(torch.randn(n, 4, generator=generator, dtype=torch.float64))
        K = cross_matrix(q[:, 1:])
        return (torch.eye(3).double() + 2 * q[:, :1, None] * K + 2 * K @ K).flatten(-2)

    def atlas(self) -> Atlas:
        r"""Cayley charts about the identity and the half-turns about the three axes, on |u| < 2.6.

        :math:`u \mapsto X_i (I + 2 ([u]_\times + [u]_\times^2) / (1 + |u|^2))`, u = axis times
        tan(angle / 2). One of the four quaternion coordinates is at least 1/2, so every rotation
        has |u| <= sqrt(3) in some chart. Not a good cover: overlaps of two charts have two
        components.
        """
        turns = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
        return Atlas([self._cayley(torch.diag(t)) for t in turns], self, own=True)

    @staticmethod
    def _cayley(centre: Tensor) -> FunctionChart:
        def decode(u: Tensor) -> Tensor:
            K, s = cross_matrix(u), (u * u).sum(-1)[..., None, None]
            identity = torch.eye(3, dtype=u.dtype, device=u.device)
            return (centre.to(u) @ (identity + 2 * (K + K @ K) / (1 + s))).flatten(-2)

        def encode(x: Tensor) -> Tensor:
            X = centre.mT.to(x) @ _matrix(x)
            height = 1 + X.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)  # 4 cos^2(angle / 2)
            positive = height > 1e-12
            return torch.where(positive, 2 * _axis(X) / torch.where(positive, height, 1.0), 1e6)

        return FunctionChart(decode, encode, domain=Ball(3, 2.6))


def cross_matrix(u: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """[u]_x, the matrix of w -> u x w."""
    a, b, c = u.unbind(-1)
    zero = torch.zeros_like(a)
    return torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], -1).unflatten(-1, (3, 3))


def _matrix(x: Float[Tensor, "*batch 9"]) -> Float[Tensor, "*batch 3 3"]:
    return x.unflatten(-1, (3, 3))


def _axis(K: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The u with [u]_x = (K - K^T) / 2."""
    return torch.stack([K[..., i, j] - K[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1) / 2


def _rotation(u: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation by |u| about u, the exponential of [u]_x, by Rodrigues' formula."""
    K, w = cross_matrix(u), u.norm(dim=-1)[..., None, None] / math.pi
    return torch.eye(3, dtype=u.dtype) + torch.sinc(w) * K + torch.sinc(w / 2) ** 2 / 2 * (K @ K)


def _quaternion(X: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion q, q_0 >= 0, of a rotation, from 4 q q^T."""
    trace = X.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    u = 2 * _axis(X)
    corner = torch.cat([1 + trace, u.unsqueeze(-2)], -1)
    lower = X + X.mT + (1 - trace) * torch.eye(3, dtype=X.dtype)
    q = _direction(torch.cat([corner, torch.cat([u.unsqueeze(-1), lower], -1)], -2))
    return torch.where(q[..., :1] < 0, -q, q)


def _direction(P: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch k"]:
    """The unit vector n, up to sign, of a multiple P of n n^T: its longest column."""
    k = P.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    return unit(P.take_along_dim(k, -1).squeeze(-1))
