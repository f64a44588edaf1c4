r"""Orthonormal polynomials on the unit sphere, the interval and the line, as tables over points.

They come from three-term recursions without division: stable, and differentiable at poles, too.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


@cache
def harmonic_degrees(n: int, degree: int) -> tuple[int, ...]:
    """The degree of each column of :func:`solid_harmonics`."""
    if n == 1:
        return (0, *(m for m in range(1, degree + 1) for _ in range(2)))
    inner = harmonic_degrees(n - 1, degree)
    return tuple(m + j for m in inner for j in range(degree - m + 1))


@cache
def _norms(n: int, degree: int) -> tuple[float, ...]:
    r"""Root mean squares over S^n of the columns of :func:`solid_harmonics` without factors.

    They are :math:`C_j^{(\lambda)}(x_n) Y_m(x')`, :math:`\lambda = m + \frac{n-1}2`, with Y_m of
    mean square 1 on S^(n-1).
    """
    if n == 1:
        return (1.0, *[math.sqrt(0.5)] * (2 * degree))
    norms, nu = [], (n - 1) / 2
    log_total = 0.5 * math.log(math.pi) + math.lgamma(nu + 0.5) - math.lgamma(nu + 1)
    for m in harmonic_degrees(n - 1, degree):
        lam = m + nu
        for j in range(degree - m + 1):
            # int C_j^2 (1 - t^2)^(lam - 1/2) dt over int (1 - t^2)^(nu - 1/2) dt
            log_square = (
                (1 - 2 * lam) * math.log(2) + math.log(math.pi) + math.lgamma(j + 2 * lam)
                - math.log(j + lam) - 2 * math.lgamma(lam) - math.lgamma(j + 1)
            )  # fmt: skip
            norms.append(math.exp(0.5 * (log_square - log_total)))
    return tuple(norms)


def solid_harmonics(x: Float[Tensor, "*batch w"], degree: int) -> Float[Tensor, "*batch p"]:
    r"""Spherical harmonics on S^n, n = w - 1 >= 1, up to a degree, as homogeneous polynomials.

    With x = (x', t), x' in R^n, those of degree l are

    .. math:: Y(x) = |x|^{l - m} C^{(m + (n-1)/2)}_{l - m}(t / |x|)\, Y'_m(x'),

    C the Gegenbauer polynomials and Y' those of S^(n-1); on S^1 the real and imaginary parts of
    :math:`(x_0 + i x_1)^m`. Their mean squares over the unit sphere are 1.

    Args:
        x: points, shape (..., n + 1).
        degree: the largest degree.

    Returns:
        shape (..., p), columns of :func:`harmonic_degrees`.
    """
    n = x.shape[-1] - 1
    if n == 1:
        c, s = x[..., 0], x[..., 1]
        columns = [torch.ones_like(c)]
        re, im = columns[0], torch.zeros_like(c)
        for _ in range(degree):
            re, im = re * c - im * s, re * s + im * c
            columns += [re, im]
        table = torch.stack(columns, -1)
    else:
        t, square = x[..., -1:], (x * x).sum(-1, keepdim=True)
        rungs, place = [], {}
        for m in range(degree + 1):
            lam = m + (n - 1) / 2
            before, now = torch.zeros_like(t), torch.ones_like(t)
            for j in range(degree - m + 1):
                place[m, j] = len(rungs)
                rungs.append(now)
                after = 2 * (j + lam) * t * now - (j + 2 * lam - 1) * square * before
                before, now = now, after / (j + 1)
        inner = enumerate(harmonic_degrees(n - 1, degree))
        pairs = [(i, place[m, j]) for i, m in inner for j in range(degree - m + 1)]
        i, k = torch.tensor(pairs, device=x.device).T
        table = solid_harmonics(x[..., :-1], degree)[..., i] * torch.cat(rungs, -1)[..., k]
    return table / torch.tensor(_norms(n, degree), dtype=x.dtype, device=x.device)


def legendre(h: Float[Tensor, "*batch 1"], degree: int) -> Float[Tensor, "*batch p"]:
    r""":math:`\sqrt{2j + 1}\, P_j(h)`, P_j Legendre's, j <= degree; mean square 1 on [-1, 1]."""
    t = h[..., 0]
    columns = [torch.ones_like(t), t]
    for j in range(1, degree):
        columns.append(((2 * j + 1) * t * columns[j] - j * columns[j - 1]) / (j + 1))
    table = torch.stack(columns[: degree + 1], -1)
    scale = [math.sqrt(2 * j + 1) for j in range(degree + 1)]
    return table * torch.tensor(scale, dtype=h.dtype, device=h.device)


def hermite(z: Float[Tensor, "*batch 1"], degree: int) -> Float[Tensor, "*batch p"]:
    r""":math:`He_j(z) / \sqrt{j!}`, He_j Hermite's, j <= degree; orthonormal under N(0, 1)."""
    t = z[..., 0]
    columns = [torch.ones_like(t), t]
    for j in range(1, degree):
        columns.append((t * columns[j] - math.sqrt(j) * columns[j - 1]) / math.sqrt(j + 1))
    return torch.stack(columns[: degree + 1], -1)
