r"""Surrogates for the log volume :math:`\ell = \tfrac12 \log\det J^\top J` in training.

Each has, where its premises hold, the gradient of the mean of l; their values mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .autoencoder import Autoencoder


def probes(
    b: Float[Tensor, "n w"], d: int, count: int, generator: torch.Generator, *, kind: str
) -> Float[Tensor, "count n d"]:
    r"""Random vectors v with :math:`E\, v v^\top = I`.

    Args:
        b: rows they are for.
        d: their length.
        count: how many per row.
        generator: source of randomness.
        kind: "rademacher" signs, "gaussian", or "orthogonal", sqrt(d) times <= d orthonormal ones.
    """
    if kind == "rademacher":
        v = torch.randint(2, (count, len(b), d), generator=generator) * 2.0 - 1
    elif kind == "gaussian":
        v = torch.randn(count, len(b), d, generator=generator)
    else:
        if count > d:
            raise ValueError(f"expected at most {d} orthogonal probes, got {count}")
        A = torch.randn(len(b), d, count, generator=generator).to(b)
        v = math.sqrt(d) * torch.linalg.qr(A)[0].permute(2, 0, 1)
    return v.to(b)


def conjugate_gradients(
    gram: Callable[[Tensor], Tensor], v: Float[Tensor, "n d"], *, tol: float, relative: bool
) -> tuple[Float[Tensor, "n d"], int]:
    r"""The w with :math:`G w \approx v`, row by row, G positive definite, in at most d steps.

    Args:
        gram: row-wise G.
        v: right-hand sides.
        tol: size of the residual at which it ends.
        relative: every row is solved to `tol` times |v|. Otherwise the mean length of residuals
            falls below `tol`: with tol = 1 the default of the published code, and biased.

    Returns:
        w, and the steps taken.
    """
    w, p, r, step = torch.zeros_like(v), v, v, 0
    square = r.square().sum(-1, keepdim=True)
    first = square.sqrt()
    for step in range(v.shape[-1] + 1):
        size = square.sqrt()
        done = bool((size <= tol * first).all()) if relative else float(size.mean()) <= tol
        if done or step == v.shape[-1]:
            break
        Gp = gram(p)
        alpha = square / (p * Gp).sum(-1, keepdim=True).clamp_min(1e-30)
        w, r = w + alpha * p, r - alpha * Gp
        new = r.square().sum(-1, keepdim=True)
        p, square = r + new / square.clamp_min(1e-30) * p, new
    return w, step


def stochastic_log_volume(
    pair: Autoencoder,
    b: Float[Tensor, "n w"],
    v: Float[Tensor, "k n d"],
    *,
    tol: float,
    relative: bool,
) -> Float[Tensor, " n"]:
    r""":math:`\tfrac1{2K} \sum_k (J w_k)^\top (J v_k)`, :math:`w = (J^\top J)^{-1} v` held fixed.

    Its gradient is an unbiased estimate of that of l, :math:`\tfrac12 \mathrm{tr}\, G^{-1} dG`,
    G = J^T J, if w is solved for exactly (M. Hutchinson, 1989; A. Caterini et al., 2021).
    """
    total, fixed = b.new_zeros(len(b)), b.detach()

    def gram(p: Tensor) -> Tensor:
        return pair.against(fixed, pair.along(fixed, p)[1])

    for probe in v:
        with torch.no_grad():
            w, _ = conjugate_gradients(gram, probe, tol=tol, relative=relative)
        total = total + (pair.along(b, w)[1] * pair.along(b, probe)[1]).sum(-1)
    return total / (2 * len(v))


def encoder_surrogate(
    pair: Autoencoder, x: Float[Tensor, "n D"], b: Float[Tensor, "n w"], v: Float[Tensor, "k n d"]
) -> Float[Tensor, " n"]:
    r""":math:`-\tfrac1K \sum_k v_k^\top f'(x)\, SG[g'(b) v_k]`.

    Its gradient is :math:`-\mathrm{tr}(df'\, g') = \mathrm{tr}(J^+ dJ)`, that of l, where
    :math:`f'(x) = J^+` along the path of training.
    """
    total = b.new_zeros(len(b))
    for probe in v:
        with torch.no_grad():
            push = pair.along(b.detach(), probe)[1]
        total = total - (pair.encoder_against(x, probe)[1] * push).sum(-1)
    return total / len(v)


def decoder_surrogate(
    pair: Autoencoder, x: Float[Tensor, "n D"], b: Float[Tensor, "n w"], v: Float[Tensor, "k n d"]
) -> Float[Tensor, " n"]:
    r""":math:`\tfrac1K \sum_k SG[v_k^\top f'(x)]\, g'(b) v_k`; gradient tr(f' dg')."""
    total = b.new_zeros(len(b))
    for probe in v:
        with torch.no_grad():
            pull = pair.encoder_against(x.detach(), probe)[1]
        total = total + (pair.along(b, probe)[1] * pull).sum(-1)
    return total / len(v)


def chosen_surrogate(
    pair: Autoencoder, x: Float[Tensor, "n D"], b: Float[Tensor, "n w"], v: Float[Tensor, "k n d"]
) -> Float[Tensor, " n"]:
    r"""Per probe the one of the two that does not fight the reconstruction.

    Descent on the encoder's form raises :math:`q = v^\top f' g' v`, on the decoder's lowers it,
    and reconstruction wants :math:`q = |v|^2`: the encoder's where q is smaller.
    """
    total = b.new_zeros(len(b))
    for probe in v:
        push = pair.along(b, probe)[1]
        pull = pair.encoder_against(x, probe)[1]
        of_encoder = -(pull * push.detach()).sum(-1)
        of_decoder = (pull.detach() * push).sum(-1)
        shrunk = -of_encoder < probe.square().sum(-1)
        total = total + torch.where(shrunk, of_encoder, of_decoder)
    return total / len(v)
