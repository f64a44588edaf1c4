"""Kernel densities on spheres: the same kernels about all points, at several concentrations."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...distributions.base import ManifoldDistribution
from ...distributions.von_mises import VonMisesFisher
from ...manifolds.base import Manifold

# the concentrations that are tried: 0, the uniform distribution, and powers of 4 below 1e6, of
# which a kernel on the earth is 6 km wide; one of 1e4 is 64 km wide
CONCENTRATIONS = (0.0, *(1e6 / 4.0**k for k in range(9, -1, -1)))
_ROUNDS = 500
_ROWS = 1024


class KernelMixture(ManifoldDistribution):
    r"""Von Mises-Fisher kernels about n points of a sphere, at J concentrations.

    .. math:: p(x) = \sum_j w_j\, p_j(x), \qquad
              p_j(x) = \frac1n \sum_i C(\kappa_j)\, e^{\kappa_j y_i \cdot x}

    in units of the radius. The first concentration is 0, the uniform distribution.

    Args:
        manifold: the sphere, or a circle.
        centres: y, points of it.
        weights: w >= 0, made to add up to 1, one for each of `CONCENTRATIONS`.
        validate_args: raise on points off M instead of giving them -inf.

    Example:
        >>> M = tg.Sphere()
        >>> y = tg.VonMisesFisher([0.0, 0.0, 1.0], 20.0).sample((500,), torch.Generator())
        >>> distribution = KernelMixture(M, y, stacked(logs_left_out(M, y)))
        >>> distribution.sample((5,)).shape, distribution.weights.shape
        (torch.Size([5, 3]), torch.Size([11]))
    """

    def __init__(
        self,
        manifold: Manifold,
        centres: Float[Tensor, "n D"],
        weights: Float[Tensor, " J"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.centres, self.weights = centres, weights / weights.sum()
        super().__init__(manifold, validate_args=validate_args)

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        logs = _logs(self.manifold, x.to(torch.float64), self.centres)
        return (logs + self.weights.log()).logsumexp(-1).to(x.dtype)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        D = self.manifold.ambient_dim
        i = torch.randint(self.centres.shape[0], (n,), generator=generator)
        j = torch.multinomial(self.weights, max(n, 1), replacement=True, generator=generator)[:n]
        pole = torch.eye(D, dtype=torch.float64)[-1]
        s = torch.zeros(n, D, dtype=torch.float64)
        for k, kappa in enumerate(CONCENTRATIONS):
            mine = (j == k).nonzero().squeeze(-1)
            kernel = VonMisesFisher(pole, kappa, validate_args=False)
            s[mine] = kernel.sample((mine.numel(),), generator)
        # the reflection that takes the pole to the centre
        u = pole - self.centres[i] / self.manifold.scale
        u = u / u.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        return self.manifold.scale * (s - 2 * (u * s).sum(-1, keepdim=True) * u)


def logs_left_out(manifold: Manifold, y: Float[Tensor, "n D"]) -> Float[Tensor, "n J"]:
    """Log p_j at every centre, of the kernels about the other ones."""
    return _logs(manifold, y, y, left_out=True)


def stacked(logs: Float[Tensor, "n J"]) -> Float[Tensor, " J"]:
    r"""Weights of distributions that do best on rows that none of them has seen.

    They maximise :math:`\sum_i \log \sum_j w_j e^{l_{ij}} + \tfrac1J \sum_j \log w_j`, by EM; so
    none is 0.

    Args:
        logs: l, log densities of J distributions at n rows.

    Example:
        >>> logs = torch.tensor([[0.0, -3.0], [0.0, -3.0], [-3.0, 0.0]]).double()
        >>> [round(w, 2) for w in stacked(logs).tolist()]
        [0.63, 0.37]
    """
    n, J = logs.shape
    w = logs.new_full((J,), 1 / J)
    for _ in range(_ROUNDS):
        w = ((logs + w.log()).softmax(-1).sum(0) + 1 / J) / (n + 1)
    return w


def joined(
    flow: Float[Tensor, " n"], logs: Float[Tensor, "n J"], prior: Float[Tensor, " J"]
) -> Float[Tensor, " J1"]:
    r"""Weights (s, (1 - s) k) of a flow and of kernels that do best on rows unseen by them.

    They maximise the mean log density, with :math:`\sum_j a_j \log k_j` added: the shape k of the
    kernels is known from more rows than these, the share s of the flow is not.

    Args:
        flow: log densities of the flow at n rows.
        logs: those of J kernel distributions.
        prior: a, counts of the kernel distributions.

    Example:
        >>> flow, logs = torch.zeros(100).double(), torch.full((100, 2), -1.0).double()
        >>> [round(w, 2) for w in joined(flow, logs, torch.tensor([1.0, 3.0])).tolist()]
        [1.0, 0.0, 0.0]
    """
    logs = torch.cat([flow.unsqueeze(-1), logs], -1)
    s, k = logs.new_tensor([0.5]), prior / prior.sum()
    for _ in range(_ROUNDS):
        w = torch.cat([s, (1 - s) * k])
        counts = (logs + w.log()).softmax(-1).sum(0)
        s = counts[:1] / counts.sum()
        k = (counts[1:] + prior) / (counts[1:] + prior).sum()
    return torch.cat([s, (1 - s) * k])


def _logs(
    manifold: Manifold, x: Float[Tensor, "m D"], y: Float[Tensor, "n D"], *, left_out: bool = False
) -> Float[Tensor, "m J"]:
    """Log p_j at x; with `left_out` the centre of the same row does not count."""
    D, rho = manifold.ambient_dim, manifold.scale
    pole, n = torch.eye(D, dtype=torch.float64)[-1], y.shape[0] - left_out
    peaks = [VonMisesFisher(pole, k, validate_args=False).log_peak for k in CONCENTRATIONS]
    found = []
    for rows in torch.arange(x.shape[0]).split(_ROWS):
        # e^{-kappa |x - y|^2 / 2}; at four times the concentration it is the 4th power
        kernel = (-CONCENTRATIONS[1] * (1 - x[rows] @ y.mT / rho**2).clamp_min(0)).exp()
        if left_out:
            kernel[torch.arange(len(rows)), rows] = 0
        sums = [torch.full((len(rows),), float(n), dtype=torch.float64)]
        for _ in CONCENTRATIONS[1:]:
            sums.append(kernel.sum(-1))
            kernel = kernel.square().square()
        total = torch.stack(sums, -1)
        # double where: log 0 has no derivative
        seen = total > 0
        found.append(torch.where(seen, torch.where(seen, total, 1.0).log(), -math.inf))
    logs = torch.cat(found) + torch.tensor(peaks, dtype=torch.float64)
    return logs - math.log(n) - (D - 1) * math.log(rho)
