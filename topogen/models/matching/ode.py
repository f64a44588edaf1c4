r"""Flows of tangent fields :math:`v_t(x) = P(x) f(x, t)` on M, with the divergence along them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ... import calculus
from ...manifolds.base import Manifold

# an ambient field: points (n, D) and times (n,) to vectors (n, D), row-wise
Velocity = Callable[[Tensor, Tensor], Tensor]

_C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_FIRST, _LEAST = 0.05, 1e-7
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
_CHUNK = 2048


@dataclass(frozen=True)
class Flowed:
    r"""Where a flow takes points, and how well that is known.

    Attributes:
        end: points of M, shape (n, D); NaN where not converged.
        divergence: :math:`\int \mathrm{div}_M v_t(x_t)\, dt` in the direction of time of the run,
            shape (n,); 0 where it was not asked for.
        error: sum of the error estimates of `divergence` over the steps, shape (n,).
        converged: whether the end of the time interval was reached, shape (n,).
        steps: steps tried, shape (n,).
    """

    end: Float[Tensor, "n D"]
    divergence: Float[Tensor, " n"]
    error: Float[Tensor, " n"]
    converged: Bool[Tensor, " n"]
    steps: Int[Tensor, " n"]


def divergence(
    M: Manifold, velocity: Velocity, x: Float[Tensor, "n D"], t: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n D"], Float[Tensor, " n"]]:
    r"""The tangent field v = P f at points x of M, and its divergence.

    .. math:: \mathrm{div}_M\, v = \mathrm{tr}(Q^\top Df\, Q) + H \cdot f,

    Q an orthonormal basis of the tangent space, :math:`H = \sum_i II(q_i, q_i)`, needs no
    derivative of a basis: :math:`\sum_i q_i \cdot (D_{q_i} P) f = H \cdot f`.

    Example:
        >>> x = tg.Sphere().sample_uniform(5)
        >>> a = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)
        >>> v, div = divergence(tg.Sphere(), lambda x, t: a.expand(x.shape), x, x[:, 0])
        >>> bool((div + 2 * x @ a).abs().max() < 1e-12)
        True
    """
    Q, H = M.tangent_basis(x), M.dim * M.mean_curvature(x)

    def along(c: Tensor) -> Tensor:
        return velocity(x + (Q @ c.unsqueeze(-1)).squeeze(-1), t).to(x.dtype)

    f, DfQ = calculus.value_and_jacobian(along, x.new_zeros(x.shape[0], Q.shape[-1]))
    v = (Q @ (Q.mT @ f.unsqueeze(-1))).squeeze(-1)
    return v, (Q * DfQ).sum((-2, -1)) + (H * f).sum(-1)


@torch.no_grad()
def flow(
    M: Manifold,
    velocity: Velocity,
    x: Float[Tensor, "n D"],
    start: float,
    end: float,
    *,
    tol: float,
    density: bool = True,
    max_steps: int = 2000,
    together: int = 1,
) -> Flowed:
    r"""Carry points of M from time `start` to time `end`.

    Each row takes its own steps of order 5(4), of Dormand and Prince, 1980, A family of embedded
    Runge-Kutta formulae, https://doi.org/10.1016/0771-050X(80)90013-3. The stages and the end of a
    step are retracted onto M: the field is the extension :math:`v \circ \pi`, the order stays.

    Args:
        M: the manifold.
        velocity: f(x, t), row-wise.
        x: float64 points of M.
        start: first time.
        end: last time; before `start` for the way back.
        tol: error allowed in a step, in nats and in units of `M.scale`.
        density: whether to integrate the divergence.
        max_steps: most steps of a row; it has not converged then.
        together: so many rows at a time take the same steps, and the end of one is a smooth
            function of its start.
    """
    if len(x) > _CHUNK * together:
        run = partial(flow, M, velocity, tol=tol, density=density, max_steps=max_steps)
        parts = [run(part, start, end, together=together) for part in x.split(_CHUNK * together)]
        return Flowed(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Flowed)))
    n, D = x.shape
    span = end - start
    scale = x.new_tensor([M.scale] * D + [1.0])

    def rate(y: Tensor, s: Tensor) -> Tensor:
        """Derivatives of position and divergence with respect to s, t = start + s span."""
        t = start + s * span
        if density:
            v, div = divergence(M, velocity, y, t)
        else:
            f, Q = velocity(y, t).to(y.dtype), M.tangent_basis(y)
            v, div = (Q @ (Q.mT @ f.unsqueeze(-1))).squeeze(-1), torch.zeros_like(t)
        return span * torch.cat([v, div.unsqueeze(-1)], -1)

    state = torch.cat([x, x.new_zeros(n, 1)], -1)
    done, h = x.new_zeros(n), x.new_full((n,), _FIRST)
    error, steps = x.new_zeros(n), torch.zeros(n, dtype=torch.int64)
    alive = x.isfinite().all(-1).unflatten(0, (-1, together)).all(-1).repeat_interleave(together)
    first = torch.zeros_like(state)
    if bool(alive.any()):
        first[alive] = rate(x[alive], done[alive])
    rows = alive.nonzero().squeeze(-1)
    while rows.numel():
        z, s, step = state[rows], done[rows], torch.minimum(h[rows], 1 - done[rows])
        k, good = [first[rows]], torch.ones_like(rows, dtype=torch.bool)
        y = z
        for c, weights in zip(_C[1:], _A[1:], strict=True):
            change = torch.stack(k, -1) @ z.new_tensor(weights)
            y = z + step.unsqueeze(-1) * change
            on, ok = M.retract(y[:, :D])
            good = good & ok & on.isfinite().all(-1)
            on = torch.where(good.unsqueeze(-1), on, z[:, :D])
            y = torch.cat([on, y[:, D:]], -1)
            k.append(rate(on, s + c * step))
        gap = step.unsqueeze(-1) * (torch.stack(k, -1) @ z.new_tensor(_E))
        size = (gap / scale).abs().amax(-1) / tol
        # the rows of a group are all alive, or none is
        size = size.unflatten(0, (-1, together)).amax(-1).repeat_interleave(together)
        good = good.unflatten(0, (-1, together)).all(-1).repeat_interleave(together)
        good = good & size.isfinite()
        taken = good & (size <= 1)
        factor = (_SAFETY * size.clamp_min(1e-10) ** -0.2).clamp(_SHRINK, _GROW)
        h[rows] = step * torch.where(good, factor, _SHRINK)
        steps[rows] += 1
        moved = rows[taken]
        state[moved], first[moved] = y[taken], k[-1][taken]
        error[moved] += gap[taken, -1].abs()
        # exactly 1 at the end: rounding must not leave a last step of no length
        last = s + step >= 1 - 1e-12
        done[moved] = torch.where(last, 1.0, s + step)[taken]
        alive[rows] = (steps[rows] < max_steps) & ((h[rows] > _LEAST) | taken)
        rows = (alive & (done < 1)).nonzero().squeeze(-1)
    converged = alive & (done >= 1)
    kept = torch.where(converged.unsqueeze(-1), state, torch.nan)
    return Flowed(kept[:, :D], kept[:, D], error, converged, steps)
