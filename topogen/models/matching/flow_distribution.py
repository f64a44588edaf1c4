"""The distribution that a flow makes of another distribution on M."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

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
    `log_prob` is NaN; see :meth:`pull_back` for the status.

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

    def pull_back(self, x: Float[Tensor, "n D"], tol: float | None = None) -> Flowed:
        """Carry points of M from t = 1 back to 0; `divergence` is that of the way back."""
        tol = self.tol if tol is None else tol
        return flow(self.manifold, self.velocity, x.to(torch.float64), 1.0, 0.0, tol=tol)

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
        self, x: Float[Tensor, "n D"], tol: float | None = None
    ) -> Float[Tensor, " n"]:
        """Log p at points x of M, in float64; NaN where the integration fails."""
        back = self.pull_back(x, tol)
        value = x.new_full(x.shape[:1], math.nan, dtype=torch.float64)
        ok = back.converged
        value[ok] = self.base._log_prob(back.end[ok]).to(torch.float64) + back.divergence[ok]
        return value

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        return self.log_density(x).to(x.dtype)

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
