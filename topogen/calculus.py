r"""Derivatives of row-wise maps g, (..., d) to (..., D), that treat every row alone.

The batch stays inside g, and one batched forward-mode pass is made per tangent direction.
J = Dg(z), shape (..., D, d); Q is an orthonormal basis of the column space of J.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.func
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import vmap
from torch.overrides import TorchFunctionMode

RowMap = Callable[[Tensor], Tensor]
Mode = Literal["forward", "reverse", "double"]

_aten = torch.ops.aten
_WITH_NUMBER = {
    "add": _aten.add.Scalar,
    "sub": _aten.sub.Scalar,
    "mul": _aten.mul.Scalar,
    "div": _aten.div.Scalar,
    "__rdiv__": lambda x, c: _aten.mul.Scalar(x.reciprocal(), c),
}


class _Constants(TorchFunctionMode):
    """Spares forward mode what x + c, x - c, x c, x / c and c / x cost it for constants c.

    Torch finds the shape of a missing tangent by Python kernels. Here a number c goes to the
    kernel for numbers and a tensor c gets the tangent 0: the same values, at a third of the price
    (findings/torch_forward_mode_constants.sh).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _WITH_NUMBER and len(args) == 2 and not kwargs:
            a, b = args
            if isinstance(a, Tensor) and isinstance(b, Tensor):
                args = _with_tangents(a, b)
            elif isinstance(a, Tensor) and isinstance(b, (int, float)) and a.is_floating_point():
                return _WITH_NUMBER[name](a, b)
        return func(*args, **(kwargs or {}))


def _with_tangents(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands a and b, both with a tangent if one of them has one."""
    varies = [forward_ad.unpack_dual(t).tangent is not None for t in (a, b)]
    if varies == [True, False] and b.is_floating_point():
        b = forward_ad.make_dual(b.contiguous(), torch.zeros_like(b))
    if varies == [False, True] and a.is_floating_point():
        a = forward_ad.make_dual(a.contiguous(), torch.zeros_like(a))
    return a, b


def _jvp(g: RowMap, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    # torch lays a tangent out as its point: in rows that share memory (windows of a series) the
    # tangents overwrite each other in silence, and expanded rows are refused
    # (findings/torch_forward_mode_shared_memory.sh)
    with _Constants():
        return cast("Any", torch.func.jvp)(g, (z.contiguous(),), (v.contiguous(),))


# torch annotates it with a union over `has_aux`, which we never set
_vjp: Callable[..., tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]] = cast("Any", torch.func.vjp)

# Up to this many columns, Gram-Schmidt with one re-orthogonalisation (as accurate as Householder
# reflections, and batched over rows) beats a LAPACK call per matrix, unless they are long.
_MAX_GRAM_SCHMIDT_COLUMNS = 8
_MAX_GRAM_SCHMIDT_ROWS = 50


def value_and_jacobian(
    g: RowMap,
    z: Float[Tensor, "*batch d"],
    *,
    mode: Mode = "forward",
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
    """g(z) and J = Dg(z), in one pass; arguments as in :func:`jacobian`."""
    if mode not in ("forward", "reverse", "double"):
        raise ValueError(f"expected mode 'forward', 'reverse' or 'double', got {mode!r}")
    if chunk_size is not None and z.ndim > 1 and z[..., 0].numel() > chunk_size:
        rows = z.reshape(-1, z.shape[-1])
        parts = [value_and_jacobian(g, part, mode=mode) for part in rows.split(chunk_size)]
        x, J = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        return x.reshape(*z.shape[:-1], x.shape[-1]), J.reshape(*z.shape[:-1], *J.shape[-2:])
    if mode == "forward":
        directions = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

        def along(e: Tensor) -> tuple[Tensor, Tensor]:
            return _jvp(g, z, e.expand(z.shape))

        x, columns = vmap(along, out_dims=cast("Any", (None, 0)))(directions)
        # forward mode can promote: a 0-dim tensor that meets a Python float gives float64 tangents
        return x, columns.to(x.dtype).movedim(0, -1)
    x, pull = _vjp(g, z)
    if mode == "double":
        # J^T w is linear in w: the transpose of w -> J^T w is J, for d passes instead of D
        _, push = _vjp(lambda w: pull(w)[0], torch.zeros_like(x))
        directions = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        columns = [push(e.expand(z.shape).contiguous())[0] for e in directions]
        return x, torch.stack(columns, -1).to(x.dtype)
    covectors = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    (rows,) = vmap(lambda c: pull(c.expand(x.shape).contiguous()))(covectors)
    return x, rows.to(x.dtype).movedim(0, -2)


def jacobian(
    g: RowMap,
    z: Float[Tensor, "*batch d"],
    *,
    mode: Mode = "forward",
    chunk_size: int | None = None,
) -> Float[Tensor, "*batch D d"]:
    r"""Jacobian matrices J = Dg(z), (..., D, d), of a row-wise map g, in the dtype of g(z).

    Args:
        g: row-wise map, (..., d) to (..., D).
        z: where to differentiate, shape (..., d).
        mode: "forward" costs d passes of g, "reverse" D passes. "double", two reverse modes, costs
            d of them with less overhead: a fifth less time for small networks with the gradient
            behind it. Where g hides NaN behind `torch.where` only "forward" is safe.
        chunk_size: rows handled at a time; bounds memory.

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
    x, Jv = _jvp(g, z, v)
    return x, Jv.to(x.dtype)


def vjp(
    g: RowMap, z: Float[Tensor, "*batch d"], c: Float[Tensor, "*batch D"]
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch d"]]:
    """g(z) and the pulled-back covectors Dg(z)^T c."""
    x, pull = _vjp(g, z)
    return x, pull(c)[0]


def second_derivative(
    g: RowMap, x: Float[Tensor, "*batch d"], V: Float[Tensor, "*batch d p"]
) -> Float[Tensor, "*batch D p p"]:
    r"""The second derivatives :math:`D^2 g(x)[v_i, v_j]` along the p columns of V, pair by pair.

    Example:
        >>> x, V = torch.tensor([2.0, 3.0]), torch.eye(2)
        >>> second_derivative(lambda x: x[..., :1] ** 2 * x[..., 1:], x, V)
        tensor([[[6., 4.],
                 [4., 0.]]])
    """
    p = V.shape[-1]
    i, j = torch.triu_indices(p, p, device=x.device).unbind(0)
    columns = V.movedim(-1, 0)

    def pair(u: Tensor, v: Tensor) -> Tensor:
        return _jvp(lambda y: _jvp(g, y, u)[1].to(x.dtype), x, v)[1]

    pairs = vmap(pair)(columns[i], columns[j]).to(x.dtype)
    number = torch.zeros(p, p, dtype=torch.int64, device=x.device)
    number[i, j] = number[j, i] = torch.arange(i.numel(), device=x.device)
    return pairs[number].movedim((0, 1), (-2, -1))


class Split(NamedTuple):
    r"""The k leading singular triples of J, and an orthonormal basis of what they leave.

    Attributes:
        U: left singular vectors, shape (..., m, k).
        s: singular values, decreasing, shape (..., k).
        N: right singular vectors, shape (..., D, k); normals of {F = 0} where J = DF.
        T: basis of the complement of N, shape (..., D, D - k); tangents there.
    """

    U: Float[Tensor, "*batch m k"]
    s: Float[Tensor, "*batch k"]
    N: Float[Tensor, "*batch D k"]
    T: Float[Tensor, "*batch D d"]

    def solve(self, f: Float[Tensor, "*batch m p"]) -> Float[Tensor, "*batch D p"]:
        """J^+ f, with the pseudo-inverse of rank k."""
        return self.N @ ((self.U.mT @ f) / self.s.unsqueeze(-1))


def split(J: Float[Tensor, "*batch m D"], rank: int) -> Split:
    """The `rank` leading singular triples of J; no gradients; s is NaN where J is not finite."""
    finite = J.isfinite().flatten(-2).all(-1, keepdim=True)
    masked = torch.where(finite.unsqueeze(-1), J.detach(), 0.0)
    U, s, Vh = torch.linalg.svd(masked, full_matrices=True)
    s = torch.where(finite, s, torch.nan)
    return Split(U[..., :rank], s[..., :rank], Vh[..., :rank, :].mT, Vh[..., rank:, :].mT)


def kernel(J: Float[Tensor, "*batch m D"], rank: int) -> Float[Tensor, "*batch D d"]:
    r"""Orthonormal basis T of the kernel of J, tangents of {F = 0}; :math:`dT = -J^+ dJ\, T`."""
    parts = split(J, rank)
    return parts.T - parts.solve((J - J.detach()) @ parts.T)


def leading_range(J: Float[Tensor, "*batch m D"], rank: int) -> Float[Tensor, "*batch m k"]:
    r"""Orthonormal basis U of the span of the `rank` leading left singular vectors of J.

    Its first derivative is right where :math:`s_k > s_{k+1}`, though leading singular values tie:
    :math:`dU = W X, X_{ij} = (W^\top d(J J^\top)\, U)_{ij} / (s_j^2 - s_i^2)`, W the other left
    singular vectors.
    """
    finite = J.isfinite().flatten(-2).all(-1)[..., None, None]
    J = torch.where(finite, J, 0.0)
    U, s, _ = torch.linalg.svd(J.detach(), full_matrices=True)
    U, W = U[..., :rank], U[..., rank:]
    squares = torch.nn.functional.pad(s * s, (0, J.shape[-2] - s.shape[-1]))
    gap = squares[..., None, :rank] - squares[..., rank:, None]
    mixed = (W.mT @ J) @ (J.mT @ U)
    # zero but for rounding: only its derivative counts
    return U + W @ ((mixed - mixed.detach()) / gap.clamp_min(torch.finfo(J.dtype).tiny))


def orthonormalize(
    J: Float[Tensor, "*batch D d"],
) -> tuple[Float[Tensor, "*batch D d"], Float[Tensor, "*batch d"]]:
    r"""Q and the diagonal of R of J = Q R, R_ii >= 0; Q is smooth where J has full column rank.

    The Gram matrix J^T J is never formed: it would square the condition number.

    Raises:
        ValueError: more columns than rows.
    """
    D, d = J.shape[-2:]
    if d > D:
        raise ValueError(
            f"expected at most as many columns as rows, got a {D} x {d} matrix; transpose it"
        )
    if d > _MAX_GRAM_SCHMIDT_COLUMNS or (d > 1 and D > _MAX_GRAM_SCHMIDT_ROWS):
        Q, R = torch.linalg.qr(J)
        diagonal = R.diagonal(dim1=-2, dim2=-1)
        sign = torch.where(diagonal < 0, -1.0, 1.0).to(J.dtype)
        return Q * sign.unsqueeze(-2), diagonal * sign
    columns: list[Tensor] = []
    lengths: list[Tensor] = []
    for v in J.unbind(-1):
        for q in columns * 2:
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
    mode: Mode = "forward",
    chunk_size: int | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Log volume factor :math:`\tfrac12 \log\det J^\top J` of a map g: R^d -> R^D, d <= D.

    It is the density w.r.t. dz of the d-dimensional Hausdorff measure that g carries. By QR: in
    float32 at condition 1e4 the Gram form is wrong by 0.1 nats, this one by 4e-5.

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
    return torch.linalg.qr(Q, mode="complete")[0][..., Q.shape[-1] :]


def reflected(V: Float[Tensor, "D m"], y: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    r"""Y H, where :math:`H = I - 2 U (U^\top U)^{-1} U^\top` takes range(V) to R^m x 0.

    V has orthonormal columns, U = V - (B; 0) with the orthogonal B nearest to minus the first m
    rows of V. The last D - m numbers are the coordinates of y in an orthonormal basis of the
    complement of range(V), with no D x D matrix.
    """
    m = V.shape[-1]
    P, _, R = torch.linalg.svd(V[:m])
    U = V.clone()
    U[:m] += P @ R
    return y - 2 * torch.linalg.solve(U.mT @ U, (y @ U).mT).mT @ U.mT


def normal_basis(J: Float[Tensor, "*batch k D"]) -> Float[Tensor, "*batch D k"]:
    """Orthonormal basis of the row space of J = DF(x), full rank k: the normals of {F = 0}."""
    return orthonormalize(J.mT)[0]


def projector(Q: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch D D"]:
    """Orthogonal projector Q Q^T onto the span of orthonormal columns Q."""
    return Q @ Q.mT
