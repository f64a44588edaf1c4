"""The distribution that a flow makes of another distribution on M."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...distributions.base import ManifoldDistribution, likelihood_of
from ...sampling.chains import SamplingError
from .ode import Flowed, Velocity, flow

# the tolerance against which the error is measured; about half the step of an order-5 method
_FINER = 1 / 32


class FlowDistribution(ManifoldDistribution):
    r"""The push-forward of a distribution p_0 on M by the flow of a tangent field over [0, 1].

    With :math:`\dot x_t = v_t(x_t)`, v = P f tangent to M, and :math:`x_1 = x`,

    .. math:: \log p(x) = \log p_0(x_0) - \int_0^1 \mathrm{div}_M\, v_t(x_t)\, dt,

    integrated backwards from x in float64, each point with its own steps. Where that fails,
    `log_prob` is NaN; see :meth:`pull_back` for the status. Its gradient in x is
    :meth:`gradient`; parameters of f get none.

    The flow of a smooth field on a closed M is a bijection, so p is normalised as p_0 is.
    `log_z_error` is :meth:`integration_error` on points of the distribution, plus the error of
    p_0; the likelihood is "exact" where this is at most 1e-3 nats.

    F. Mathieu and M. Nickel, Riemannian continuous normalizing flows (2020),
    https://arxiv.org/abs/2006.10605.

    Args:
        base: p_0.
        velocity: f, points (n, D) and times (n,) to vectors (n, D), row-wise; only its tangential
            part counts.
        tol: error allowed in a step, in nats and in units of `M.scale`.
        error: of the integration, where it is known already; None measures it on 64 points.
        validate_args: raise on points off M instead of giving them -inf.

    Example:
        >>> spin = lambda x, t: torch.stack([-x[:, 1], x[:, 0], 0 * x[:, 2]], -1)
        >>> distribution = FlowDistribution(tg.Uniform(tg.Sphere()), spin)
        >>> x = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64)
        >>> distribution.likelihood, round(float(distribution.log_prob(x)), 6)
        ('exact', -2.531024)
    """

    def __init__(
        self,
        base: ManifoldDistribution,
        velocity: Velocity,
        *,
        tol: float = 1e-5,
        error: float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not tol > 0:
            raise ValueError(f"expected tol > 0, got {tol}")
        self.base, self.velocity, self.tol = base, velocity, tol
        super().__init__(base.manifold, validate_args=validate_args)
        if error is None:
            start = base.sample((64,), torch.Generator().manual_seed(0))
            error = self.integration_error(self.push(start.to(torch.float64)).end)
        self.log_z_error = error + base.log_z_error
        self.likelihood = base.likelihood
        if base.likelihood == "exact":
            self.likelihood = likelihood_of(self.log_z_error)

    def push(self, x: Float[Tensor, "n D"]) -> Flowed:
        """Carry points of M from t = 0 to 1, without the divergence."""
        return flow(self.manifold, self.velocity, x, 0.0, 1.0, tol=self.tol, density=False)

    def pull_back(
        self, x: Float[Tensor, "n D"], tol: float | None = None, *, together: int = 1
    ) -> Flowed:
        """Carry points of M from t = 1 back to 0; `divergence` is that of the way back."""
        tol, x = self.tol if tol is None else tol, x.to(torch.float64)
        return flow(self.manifold, self.velocity, x, 1.0, 0.0, tol=tol, together=together)

    def integration_error(self, x: Float[Tensor, "n D"]) -> float:
        """The largest change of log p at x when the tolerance is 32 times smaller, in nats.

        Infinity where a point fails.
        """
        coarse, fine = self.log_density(x), self.log_density(x, self.tol * _FINER)
        # where p_0 is 0 there is no density to compare
        known = ~((coarse == -math.inf) & (fine == -math.inf))
        change = (coarse - fine).abs()[known]
        return float(change.nan_to_num(nan=math.inf).max()) if change.numel() else 0.0

    def log_density(
        self, x: Float[Tensor, "n D"], tol: float | None = None, *, together: int = 1
    ) -> Float[Tensor, " n"]:
        """Log p at points x of M, in float64; NaN where the integration fails.

        So many rows at a time as `together` says take the same steps.
        """
        back = self.pull_back(x, tol, together=together)
        value = x.new_full(x.shape[:1], math.nan, dtype=torch.float64)
        ok = back.converged
        value[ok] = self.base._log_prob(back.end[ok]).to(torch.float64) + back.divergence[ok]
        return value

    def gradient(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The gradient of log p on M at points of M, by central differences along its tangents.

        The ends of a difference take the same steps of integration, so that it is one of a smooth
        function, with an error of about 1e-7 of its size.
        """
        x, M = x.detach().to(torch.float64), self.manifold
        # half the length of a difference: over `scale` its square, and 1e-12 of projections over
        # it, are about 1e-8
        T, h = M.tangent_basis(x), 1e-4 * M.scale
        ends = torch.stack([x.unsqueeze(-2) + s * h * T.mT for s in (1.0, -1.0)], 1)
        y = M.project(ends.flatten(0, 2)).value
        value = self.log_density(y, together=2 * M.dim).unflatten(0, (-1, 2, M.dim))
        slope = (value[:, 0] - value[:, 1]) / (2 * h)
        return (T @ slope.unsqueeze(-1)).squeeze(-1)

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        return cast("Tensor", _LogDensity.apply(x, self))

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        start = self.base._sample(n, generator)
        moved = self.push(start.to(torch.float64))
        if not bool(moved.converged.all()):
            raise SamplingError(
                f"expected the flow to carry every point, but {int((~moved.converged).sum())} of "
                f"{n} were lost in it (the set may end there, or the field be too steep); raise "
                "tol, or fit again with more points"
            )
        return moved.end.to(start.dtype)


class _LogDensity(torch.autograd.Function):
    """Log p of a flow, with its gradient, which is found where it is asked for."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, distribution: FlowDistribution
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.distribution = distribution
        return distribution.log_density(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return c.unsqueeze(-1) * ctx.distribution.gradient(x).to(x.dtype), None
