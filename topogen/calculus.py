r"""Derivatives of maps between point clouds; the only user of ``torch.func``.

A map g is *row-wise*: it takes (..., d) to (..., D) and treats every row alone (no BatchNorm). The
batch then stays inside g and only the d tangent directions are mapped over, which is the fastest
pattern for small d (one batched forward-mode pass per direction).

Letters: J = Dg(z), shape (..., D, d); Q an orthonormal basis of the column space of J.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.func
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

RowMap = Callable[[Tensor], Tensor]

# torch annotates both with a union over `has_aux`, which we never set
_jvp: Callable[..., tuple[Tensor, Tensor]] = cast("Any", torch.func.jvp)
_vjp: Callable[..., tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]] = cast("Any", torch.func.vjp)

# Up to this many columns, Gram-Schmidt with one re-orthogonalisation (as accurate as Householder
# reflections, and batched over rows) beats a LAPACK call per matrix.
_MAX_GRAM_SCHMIDT_COLUMNS = 8


def value_and_jacobian(
    g: RowMap,
    z: Float[Tensor, "*batch d"],
    *,
    mode: Literal["forward", "reverse"] = "forward",
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
    """g(z) and J = Dg(z), in one pass; arguments as in :func:`jacobian`."""
    if mode not in ("forward", "reverse"):
        raise ValueError(f"expected mode 'forward' or 'reverse', got {mode!r}")
    if chunk_size is not None and z.ndim > 1 and z[..., 0].numel() > chunk_size:
        rows = z.reshape(-1, z.shape[-1])
        parts = [value_and_jacobian(g, part, mode=mode) for part in rows.split(chunk_size)]
        x, J = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        return x.reshape(*z.shape[:-1], x.shape[-1]), J.reshape(*z.shape[:-1], *J.shape[-2:])
    if mode == "forward":
        directions = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

        def along(e: Tensor) -> tuple[Tensor, Tensor]:
            # contiguous: an expanded tangent shares memory between rows, which forward mode
            # refuses
            return _jvp(g, (z,), (e.expand(z.shape).contiguous(),))

        x, columns = vmap(along, out_dims=cast("Any", (None, 0)))(directions)
        # forward mode can promote: a 0-dim tensor that meets a Python float gives float64 tangents
        return x, columns.to(x.dtype).movedim(0, -1)
    x, pull = _vjp(g, z)
    covectors = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    (rows,) = vmap(lambda c: pull(c.expand(x.shape).contiguous()))(covectors)
    return x, rows.to(x.dtype).movedim(0, -2)


def jacobian(
    g: RowMap,
    z: Float[Tensor, "*batch d"],
    *,
    mode: Literal["forward", "reverse"] = "forward",
    chunk_size: int | None = None,
) -> Float[Tensor, "*batch D d"]:
    r"""Jacobian matrices J = Dg(z) of a row-wise map g: R^d -> R^D.

    Args:
        g: row-wise map, (..., d) to (..., D).
        z: where to differentiate, shape (..., d).
        mode: "forward" costs d passes of g, "reverse" costs D; take the smaller.
        chunk_size: rows handled at a time; bounds memory.

    Returns:
        J of shape (..., D, d), in the dtype of g(z).

    Example:
        >>> jacobian(lambda z: z**2, torch.tensor([1.0, 3.0]))
        tensor([[2., 0.],
                [0., 6.]])
    """
    return value_and_jacobian(g, z, mode=mode, chunk_size=chunk_size)[1]


def jvp(
    g: RowMap, z: Float[Tensor, "*batch d"], v: Float[Tensor, "*batch d"]
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
    """g(z) and the directional derivatives Dg(z) v."""
    x, Jv = _jvp(g, (z,), (v.contiguous(),))
    return x, Jv.to(x.dtype)


def vjp(
    g: RowMap, z: Float[Tensor, "*batch d"], c: Float[Tensor, "*batch D"]
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch d"]]:
    """g(z) and the pulled-back covectors Dg(z)^T c."""
    x, pull = _vjp(g, z)
    return x, pull(c)[0]


def orthonormalize(
    J: Float[Tensor, "*batch D d"],
) -> tuple[Float[Tensor, "*batch D d"], Float[Tensor, "*batch d"]]:
    r"""Q and the diagonal of R of the factorisation J = Q R, with R_ii >= 0.

    Q is differentiable and depends continuously on J where J has full column rank. The Gram matrix
    J^T J is never formed: it would square the condition number.

    Raises:
        ValueError: more columns than rows.
    """
    D, d = J.shape[-2:]
    if d > D:
        raise ValueError(
            f"expected at most as many columns as rows, got a {D} x {d} matrix; transpose it"
        )
    if d > _MAX_GRAM_SCHMIDT_COLUMNS:
        Q, R = torch.linalg.qr(J)
        diagonal = R.diagonal(dim1=-2, dim2=-1)
        sign = torch.where(diagonal < 0, -1.0, 1.0).to(J.dtype)
        return Q * sign.unsqueeze(-2), diagonal * sign
    columns: list[Tensor] = []
    lengths: list[Tensor] = []
    for j in range(d):
        v = J[..., j]
        for _ in range(2):
            for q in columns:
                v = v - (q * v).sum(-1, keepdim=True) * q
        # double where: at v = 0 the norm has no derivative, and NaN must not reach the other rows
        square = (v * v).sum(-1, keepdim=True)
        positive = square > 0
        length = torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
        columns.append(v / torch.where(positive, length, 1.0))
        lengths.append(length.squeeze(-1))
    return torch.stack(columns, dim=-1), torch.stack(lengths, dim=-1)


def log_gram(J: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch"]:
    r""":math:`\tfrac12 \log\det J^\top J = \sum_i \log R_{ii}`, J = QR; -inf if J loses rank."""
    return orthonormalize(J)[1].log().sum(-1)


def log_volume(
    g: RowMap,
    z: Float[Tensor, "*batch d"],
    *,
    mode: Literal["forward", "reverse"] = "forward",
    chunk_size: int | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Log volume factor :math:`\tfrac12 \log\det J^\top J` of a map g: R^d -> R^D, d <= D.

    It is the density, w.r.t. Lebesgue measure dz, of the d-dimensional Hausdorff measure that g
    carries; computed from the QR factors of J (in float32 at condition 1e4 the Gram form is wrong
    by 0.1 nats, this one by 4e-5).

    Example:
        >>> polar = lambda z: z[..., :1] * torch.stack([z[..., 1].cos(), z[..., 1].sin()], -1)
        >>> round(float(log_volume(polar, torch.tensor([2.0, 0.3])).exp()), 4)
        2.0
    """
    return log_gram(jacobian(g, z, mode=mode, chunk_size=chunk_size))


def tangent_basis(J: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch D d"]:
    """Orthonormal basis of the column space of J = Dg(z): the tangent space of the image of g."""
    return orthonormalize(J)[0]


def complement(Q: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch D k"]:
    """Orthonormal basis of the orthogonal complement of the columns of Q, k = D - d."""
    d = Q.shape[-1]
    return torch.linalg.qr(Q, mode="complete")[0][..., d:]


def normal_basis(J: Float[Tensor, "*batch k D"]) -> Float[Tensor, "*batch D k"]:
    """Orthonormal basis of the row space of J = DF(x), full rank k: the normals of {F = 0}."""
    return orthonormalize(J.mT)[0]


def projector(Q: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch D D"]:
    """Orthogonal projector Q Q^T onto the span of orthonormal columns Q."""
    return Q @ Q.mT
