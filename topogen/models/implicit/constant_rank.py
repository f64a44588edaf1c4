r"""The zero set of the leading k singular directions of a map F, with exact derivatives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def _spectrum(A: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, largest first; NaN in a row stays in that row."""
    finite = A.isfinite().flatten(-2).all(-1).unsqueeze(-1)
    values, U = torch.linalg.eigh(torch.where(finite.unsqueeze(-1), A, 0.0))
    return torch.where(finite, values, torch.nan).flip(-1), U.flip(-1)


def leading(
    F: Float[Tensor, "n q"], J: Float[Tensor, "n q m"], k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""U_k, the singular values, U_k^T F and the step J^+ F of rank k.

    From the eigenvectors of :math:`J J^\top`, whose gap is wide where it is used.
    """
    values, U = _spectrum(J @ J.mT)
    Uk = U[..., :k]
    c = (Uk.mT @ F.unsqueeze(-1)).squeeze(-1)
    scaled = c / values[..., :k].clamp_min(1e-300)
    step = (J.mT @ (Uk @ scaled.unsqueeze(-1))).squeeze(-1)
    return U, values.clamp_min(0).sqrt(), c, step


def full_step(F: Float[Tensor, "n k"], J: Float[Tensor, "n k m"]) -> tuple[Tensor, Tensor, Tensor]:
    """The step J^+ F of full rank, its length, and whether it is finite."""
    if F.shape[-1] == 1:
        step = (F / J.square().sum(-1)) * J.squeeze(-2)
    else:
        step = (J.mT @ torch.linalg.solve_ex(J @ J.mT, F.unsqueeze(-1))[0]).squeeze(-1)
    return step, step.norm(dim=-1), step.isfinite().all(-1)


def leading_step(
    F: Float[Tensor, "n q"], J: Float[Tensor, "n q m"], k: int, *, gap: float, rest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The step J^+ F of rank k, its length, and whether F and J are as they are near M.

    That is: s_k > gap > s_{k+1}, and at most `rest` of F is outside its leading directions.
    """
    _, s, c, step = leading(F, J, k)
    near = (s[..., k - 1] > gap) & (s[..., k] < gap)
    c = c.norm(dim=-1)
    left = (F.square().sum(-1) - c.square()).clamp_min(0).sqrt()
    return step, step.norm(dim=-1), near & (left < (0.5 * c).clamp_min(rest))


def project_leading(
    F: Float[Tensor, "*batch q"], J: Float[Tensor, "*batch q m"], k: int
) -> Float[Tensor, "*batch q"]:
    r"""Pi F, where Pi projects onto the k leading left singular vectors of J; differentiable.

    In the eigenbasis U of :math:`A = J J^\top`, a constant, its leading invariant subspace is the
    graph of an X with :math:`A_{21} + A_{22} X - X A_{11} - X A_{12} X = 0`, and X = 0 here. Every
    round of :math:`X \leftarrow X - L^{-1}(\ldots)`, L the linear part at this point, makes one
    more derivative of X exact, of four. Equal eigenvalues within a group do no harm, as they do to
    the derivative of ``eigh``.
    """
    A = J @ J.mT
    values, U = _spectrum(A.detach())
    values, U = values.detach(), U.detach()
    B = U.mT @ A @ U
    B11, B12, B21, B22 = B[..., :k, :k], B[..., :k, k:], B[..., k:, :k], B[..., k:, k:]
    gap = values[..., k:].unsqueeze(-1) - values[..., :k].unsqueeze(-2)
    X = torch.zeros_like(B21)
    for _ in range(4):
        X = X - (B21 + B22 @ X - X @ B11 - X @ B12 @ X) / gap
    # the complement is spanned by W = U (-X^T; 1)
    one = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device).expand(*X.shape[:-1], -1)
    W = U @ torch.cat([-X.mT, one], -2)
    inner = torch.linalg.solve(W.mT @ W, W.mT @ F.unsqueeze(-1))
    return F - (W @ inner).squeeze(-1)


def linearize_leading(
    F: Float[Tensor, "n q"], J: Float[Tensor, "n q m"], H: Float[Tensor, "n q m m"], k: int
) -> tuple[Float[Tensor, "n q"], Float[Tensor, "n q m"]]:
    r"""E = Pi F and DE = Pi J + (D Pi) F, from the Hessians H of F.

    With eigenvectors u_i (leading) and u_j (others) of :math:`A = J J^\top`, :math:`D\Pi[v] =
    \sum_{ij} (u_i u_j^\top + u_j u_i^\top)\, u_i^\top DA[v]\, u_j / (\lambda_i - \lambda_j)`.
    """
    values, U = _spectrum(J @ J.mT)
    top, rest = U[..., :k], U[..., k:]
    inverse = 1 / (values[..., :k].unsqueeze(-1) - values[..., k:].unsqueeze(-2))
    c, f = (top.mT @ F.unsqueeze(-1)).squeeze(-1), (rest.mT @ F.unsqueeze(-1)).squeeze(-1)
    # DA[v] = H[v] J^T + J H[v]^T between u_i and u_j, as a covector in v
    a = torch.einsum("nqi,nqvw,nrw,nrj->nijv", top, H, J, rest)
    b = torch.einsum("nqj,nqvw,nrw,nri->nijv", rest, H, J, top)
    DA = inverse.unsqueeze(-1) * (a + b)
    DE = top @ (top.mT @ J) + top @ (f.unsqueeze(-2).unsqueeze(-2) @ DA).squeeze(-2)
    DE = DE + rest @ torch.einsum("ni,nijv->njv", c, DA)
    return (top @ c.unsqueeze(-1)).squeeze(-1), DE
