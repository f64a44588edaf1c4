"""Objectives that fit K energies to points of M; the same for training and for held-out rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ...manifolds.base import Manifold
from ..base import Progress
from ..optimize import Adam, descend_held_out, folds, some
from .network import Energies


@dataclass(frozen=True)
class Reference:
    """Points u_j of M and shares v_j that stand for the uniform distribution of M."""

    points: Float[Tensor, "N D"]  # u_j: quadrature nodes, or draws
    log_share: Float[Tensor, " N"]  # log v_j; the v_j add up to 1
    log_volume: float  # log H^d(M); 0 where the volume is not known


class Objective(nn.Module, ABC):
    """What to minimise; one value for each network."""

    rows: int  # how many data there are
    nodes: int  # how many reference points there are; 0 where none are used
    rate: float = 0.02  # of the descent

    @abstractmethod
    def forward(
        self, E: Energies, i: Int[Tensor, " b"], w: Float[Tensor, "K b"], j: Int[Tensor, " c"]
    ) -> Float[Tensor, " K"]:
        """The objective from data rows i of weights w, and reference points j."""


class _Compared(Objective):
    """Data, standardised, and the reference they are compared with."""

    x: Tensor
    u: Tensor
    log_share: Tensor

    def __init__(self, E: Energies, x: Float[Tensor, "n D"], reference: Reference) -> None:
        super().__init__()
        self.register_buffer("x", E.standardise(x))
        self.register_buffer("u", E.standardise(reference.points))
        self.register_buffer("log_share", reference.log_share.to(self.x.dtype))
        self.rows, self.nodes = self.x.shape[0], self.u.shape[0]

    def energies(self, E: Energies, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E_k at data rows i and at reference points j, and the shares of these."""
        both = E.units(torch.cat([self.x[i], self.u[j]]))
        share = self.log_share[j]
        return both[:, : i.numel()], both[:, i.numel() :], share - share.logsumexp(0)


class MaximumLikelihood(_Compared):
    r""":math:`\sum_i w_i E(x_i) + \log \sum_j v_j e^{-E(u_j)}`.

    The mean negative log likelihood w.r.t. the uniform distribution, and its exact gradient
    :math:`\mathrm{E}_w[\partial E] - \mathrm{E}_p[\partial E]` up to the quadrature.
    """

    def forward(self, E: Energies, i: Tensor, w: Tensor, j: Tensor) -> Float[Tensor, " K"]:
        """The objective; arguments as in :class:`Objective`."""
        at_data, at_nodes, share = self.energies(E, i, j)
        return (w * at_data).sum(-1) + (share - at_nodes).logsumexp(-1)


class NoiseContrast(_Compared):
    r"""Logistic loss of data against :math:`\nu` times as much uniform noise.

    .. math:: -\sum_i w_i \log \sigma(h(x_i)) - \nu \sum_j v_j \log \sigma(-h(u_j)), \qquad
              h = -E + c + \log H^d(M) - \log \nu .

    The constant c is free, and estimates -log Z. As :math:`\nu` grows the estimate becomes that of
    maximum likelihood.

    Gutmann and Hyvaerinen, "Noise-contrastive estimation of unnormalized statistical models",
    2012, https://jmlr.org/papers/v13/gutmann12a.html.
    """

    def __init__(
        self, E: Energies, x: Float[Tensor, "n D"], reference: Reference, ratio: float = 5.0
    ) -> None:
        super().__init__(E, x, reference)
        self.ratio, self.log_volume = ratio, reference.log_volume
        # c + log H^d(M): 0 for the uniform distribution, whatever the units
        self.shift = nn.Parameter(torch.zeros(E.count))

    @property
    def constant(self) -> Float[Tensor, " K"]:
        """C of every network."""
        return self.shift.detach().to(torch.float64) - self.log_volume

    def forward(self, E: Energies, i: Tensor, w: Tensor, j: Tensor) -> Float[Tensor, " K"]:
        """The objective; arguments as in :class:`Objective`."""
        at_data, at_nodes, share = self.energies(E, i, j)
        offset = self.shift.unsqueeze(-1) - math.log(self.ratio)
        data = (w * functional.softplus(at_data - offset)).sum(-1)
        return data + self.ratio * (share.exp() * functional.softplus(offset - at_nodes)).sum(-1)


class ScoreMatching(Objective):
    r""":math:`\sum_i w_i [\tfrac12 |P \nabla E|^2 - \Delta_M E](x_i)`, P the tangent projector.

    For M closed this is the squared distance of :math:`\nabla_M \log p` to that of the data, up to
    a constant: no normaliser, no noise. With orthonormal tangents :math:`t_a`

    .. math:: \Delta_M E = \sum_a t_a^\top D^2 E\, t_a + H \cdot \nabla E,

    H the sum of the second fundamental form over :math:`t_a, t_a`. The masses of the
    components of M leave no trace in it.

    Hyvaerinen, "Estimation of non-normalized statistical models by score matching", 2005,
    https://jmlr.org/papers/v6/hyvarinen05a.html; Mardia, Kent and Laha, "Score matching estimators
    for directional distributions", 2016, https://arxiv.org/abs/1604.08470.
    """

    # its sampling noise grows with the curvature of E: it must be stopped before that does
    rate = 0.002
    x: Tensor
    Q: Tensor
    H: Tensor

    def __init__(self, E: Energies, x: Float[Tensor, "n D"], M: Manifold) -> None:
        super().__init__()
        self.register_buffer("x", E.standardise(x))
        self.register_buffer("Q", M.tangent_basis(x).to(self.x.dtype))
        self.register_buffer("H", (M.dim * E.unit * M.mean_curvature(x)).to(self.x.dtype))
        self.rows, self.nodes = self.x.shape[0], 0

    def forward(self, E: Energies, i: Tensor, w: Tensor, j: Tensor) -> Float[Tensor, " K"]:
        """The objective; arguments as in :class:`Objective`."""
        with torch.enable_grad():
            y = self.x[i].expand(len(w), -1, -1).clone().requires_grad_()
            gradient, laplacian = laplace(E.units, y, self.Q[i], self.H[i])
        return (w * (0.5 * gradient.square().sum(-1) - laplacian)).sum(-1)


def laplace(
    E: Callable[[Tensor], Tensor],
    y: Float[Tensor, "*K n D"],
    Q: Float[Tensor, "n D d"],
    H: Float[Tensor, "n D"],
) -> tuple[Float[Tensor, "*K n d"], Float[Tensor, "*K n"]]:
    r"""Q^T grad E and :math:`\Delta_M E` at points y of M that require gradients.

    Args:
        E: row-wise and smooth, (..., n, D) to (..., n).
        y: points of M; one cloud for each network, or one.
        Q: orthonormal tangent bases there.
        H: the sum of the second fundamental form over each basis.
    """
    (g,) = torch.autograd.grad(E(y).sum(), y, create_graph=True)
    along = (g.unsqueeze(-2) @ Q).squeeze(-2)
    total = (g * H).sum(-1)
    for a in range(Q.shape[-1]):
        (second,) = torch.autograd.grad(along[..., a].sum(), y, create_graph=True)
        total = total + (second * Q[..., a]).sum(-1)
    return along, total


def minimise(E: Energies, objective: Objective, generator: torch.Generator) -> Progress[bool]:
    """Adam on all networks at once; each ends with those that did best on its held-out fold.

    Returns:
        Whether all of them stopped getting better before the steps were used up.
    """
    n, steps = objective.rows, 2000
    held = folds(n, E.count, generator)
    seen, held = _normalised(1 - held), _normalised(held)
    rows, nodes = torch.arange(n), torch.arange(objective.nodes)
    parameters = [*E.parameters(), *objective.parameters()]

    def loss() -> Tensor:
        i, j = some(n, generator), some(objective.nodes, generator)
        return objective(E, i, _normalised(seen[:, i]), j).sum()

    return descend_held_out(
        Adam(parameters, objective.rate, period=steps, decay=(0.9, 0.99)),
        loss,
        lambda: objective(E, rows, held, nodes),
        steps=steps,
        every=10,
        networks=E.count,
        patience=100,
        gain=1e-4,
    )


def _normalised(w: Tensor) -> Tensor:
    return w / w.sum(-1, keepdim=True)
