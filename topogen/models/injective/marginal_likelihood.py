r"""The penalty of an exponential family, by its marginal likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import TrainingError


@dataclass(frozen=True)
class Penalty:
    r"""The penalty of the largest marginal likelihood.

    Attributes:
        a: the posterior mode.
        log_c: of each factor.
        s: the power.
        value: its logarithm, in nats per point, up to a constant of the data.
        losses: the least negative value after each penalty that was tried.
        converged: whether the search, and Newton's at its end, ended by themselves, at no lower
            bound of c: there the marginal likelihood grows without a penalty, and p is no smooth
            distribution.
    """

    a: Tensor
    log_c: tuple[float, ...]
    s: float
    value: float
    losses: tuple[float, ...]
    converged: bool


@dataclass(eq=False)
class MarginalLikelihood:
    r"""The log marginal likelihood of :math:`\lambda_k = (\sum_f c_f \mu_{kf})^s`, with gradient.

    For n points of :math:`p(b) = e^{a \cdot \varphi(b)} / Z(a)` and the prior :math:`a_k \sim
    N(0, 1 / (n \lambda_k))`, Laplace's approximation at the mode a is

    .. math:: n (a \cdot \bar\varphi - \log Z) - \tfrac n2 \sum_k \lambda_k a_k^2 + \tfrac12
              \sum_k \log \lambda_k - \tfrac12 \log\det H, \qquad H = \mathrm{Cov}_p(\varphi) +
              \mathrm{diag}(\lambda).

    The gradient is exact: the mode moves with lambda by the implicit function theorem, and H with
    the mode by the third cumulants of phi. D. MacKay, Bayesian interpolation (1992),
    https://doi.org/10.1162/neco.1992.4.3.415.

    Args:
        phi: functions at the nodes of a quadrature, without the constant.
        w: weights of the nodes, of sum 1.
        mean: of the functions over the data.
        mu: eigenvalues of the Laplacian of every factor of B, by function.
        n: number of points.
        dim: d.
    """

    phi: Float[Tensor, "m p"]
    w: Float[Tensor, " m"]
    mean: Float[Tensor, " p"]
    mu: Float[Tensor, "p F"]
    n: int
    dim: int

    def __post_init__(self) -> None:
        self._a = torch.zeros_like(self.mean)

    def __call__(
        self, log_c: Float[Tensor, " F"], s: float
    ) -> tuple[float, Float[Tensor, " F"], float, Tensor, bool]:
        """Its value and derivatives by log c and s, the mode, and whether that was found."""
        n, phi = self.n, self.phi
        by_factor = self.mu * log_c.exp()
        total = by_factor.sum(1)
        power = total**s
        lam = 1e-9 + power  # p has a mode whatever the data
        a, nll, H, found = posterior_mode(self._a, phi, self.w, self.mean, lam)
        if bool(a.isfinite().all()):
            self._a = a  # the next search starts here
        value = -n * nll - 0.5 * n * float(lam @ a.square())
        value += 0.5 * float(lam.log().sum() - torch.logdet(H))
        p = torch.softmax(phi @ a + self.w.log(), 0)
        centred = phi - p @ phi
        inverse = torch.linalg.inv(H)
        # d log det H / da
        skewness = (p * ((centred @ inverse) * centred).sum(1)) @ centred
        slope = -0.5 * n * a.square() + 0.5 / lam - 0.5 * inverse.diag()
        slope += 0.5 * a * (inverse @ skewness)
        by_scale = (slope * s * power / total) @ by_factor
        return value, by_scale, float((slope * power) @ total.log()), a, found

    def largest(self) -> Penalty:
        """The penalty of the largest marginal likelihood, by a quasi-Newton ascent.

        log c_f is bounded by -12 and 8, s by 6 above, and below by d/2 + 0.1: with s <= d/2
        functions drawn from the prior are not continuous.

        Raises:
            TrainingError: the marginal likelihood is not finite.
        """
        from scipy.optimize import minimize

        count, least = self.mu.shape[1], -12.0
        best: tuple[float, Tensor, np.ndarray, bool] | None = None
        losses: list[float] = []

        def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal best
            value, by_scale, by_power, a, found = self(
                torch.from_numpy(z[:-1]).to(self.mu), float(z[-1])
            )
            value /= self.n
            if math.isfinite(value) and (best is None or value > best[0]):
                best = value, a, z.copy(), found
            losses.append(-best[0] if best is not None else math.inf)
            return -value, -np.append(by_scale.cpu().numpy(), by_power) / self.n

        low = self.dim / 2 + 0.1
        search = minimize(
            loss,
            np.array([-2.5] * count + [max(2.0, low)]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(least, 8.0)] * count + [(low, 6.0)],
            options={"ftol": 1e-7, "gtol": 1e-6, "maxiter": 60},
        )
        if best is None:
            raise TrainingError(
                "expected base points with a density, got a marginal likelihood that is not "
                "finite; look for repeated points, or pass density='mixture'"
            )
        value, a, z, found = best
        log_c = tuple(z[:-1].tolist())
        done = bool(search.success) and found and min(log_c) > least
        return Penalty(a, log_c, float(z[-1]), value, tuple(losses), done)


def posterior_mode(
    a: Tensor, phi: Tensor, w: Tensor, mean: Tensor, lam: Tensor
) -> tuple[Tensor, float, Tensor, bool]:
    """The a of least -a . mean + log sum_i w_i exp(a . phi_i) + lam . a^2 / 2, by damped Newton.

    Returns:
        a, the first two terms, the Hessian of all, and whether the search ended.
    """

    def value(a: Tensor) -> tuple[Tensor, Tensor]:
        energy = phi @ a
        nll = torch.logsumexp(energy + w.log(), 0) - a @ mean
        return nll, nll + 0.5 * (lam @ a.square())

    nll, loss = value(a)
    trial, new_nll, new_loss = a, nll, loss
    H = lam.diag()
    for _ in range(60):
        p = torch.softmax(phi @ a + w.log(), 0)
        average = p @ phi
        centred = phi - average
        H = centred.T @ (p[:, None] * centred) + lam.diag()
        slope = average - mean + lam * a
        step = -torch.linalg.solve(H, slope)
        decrement = float(-(slope @ step))
        if decrement < 1e-10:
            return a, float(nll), H, True
        fraction = 1.0
        while fraction > 1e-6:
            trial = a + fraction * step
            new_nll, new_loss = value(trial)
            if bool(new_loss <= loss - 1e-4 * fraction * decrement):
                break
            fraction /= 2
        a, nll, loss = trial, new_nll, new_loss
    return a, float(nll), H, False
