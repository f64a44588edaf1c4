r"""Sets M = psi(R^d / identifications): nearest points by Newton, charts of arcs."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ... import calculus
from ...point_cloud.tensors import nearest_row
from ..atlas import Atlas
from ..base import iterate
from ..charts import Box, Chart, Domain, FunctionChart
from ..factors import TAU
from ..rejection_sampling import draw_until
from .base import ReferenceSpace, uniform_box

# Three arcs of half-width w cover a circle, and all their intersections are arcs, for 60 < w < 120
# degrees; at 100 degrees every angle lies at depth >= 0.64 in some arc.
ARC = math.radians(100.0)


def wrap(angle: Tensor, centre: Tensor | float = 0.0) -> Tensor:
    """The representative of an angle that is nearest to `centre`."""
    return angle - TAU * torch.round((angle - centre) / TAU)


def trapezoid(f: Callable[[Tensor], Tensor], period: float = TAU) -> tuple[float, float]:
    """The integral of a smooth periodic f over one period, and its error, by doubling the nodes.

    The rule converges faster than any power of the number of nodes.
    """
    n, old = 64, math.inf
    while True:
        new = float(f(circle_nodes(n, period)).mean()) * period
        if abs(new - old) <= 1e-13 * abs(new) or n >= 2**18:
            return new, abs(new - old) + 1e-15 * abs(new)
        n, old = 2 * n, new


class ParametrizedSpace(ReferenceSpace):
    r"""M = psi(R^d), with points identified where psi takes one value.

    To implement one, write `parametrize` (psi; reverse mode differentiates it, so it hides no
    NaN), `coordinates` (one preimage of a point of M) and `lift` (of all preimages of psi(t) the
    one nearest to `centre`).
    """

    exact_retraction = True

    @abstractmethod
    def parametrize(self, t: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """psi(t)."""

    @abstractmethod
    def coordinates(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d"]:
        """One t with psi(t) = x, for x on M."""

    @abstractmethod
    def lift(
        self, t: Float[Tensor, "*batch d"], centre: Float[Tensor, " d"]
    ) -> Float[Tensor, "*batch d"]:
        """The t' with psi(t') = psi(t) that is nearest to `centre`."""

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of T_xM, the range of D psi, at points x of M."""
        self.check_points(x)
        J = calculus.jacobian(self.parametrize, self.coordinates(x), mode="reverse")
        return calculus.tangent_basis(J)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        r"""The defining function, else :math:`E(x) = x - \psi(\varphi(x))`, phi = `coordinates`.

        psi o phi is a retraction near M, so E vanishes on M only, DE has rank D - d there, and
        its kernel is the tangent space.
        """
        F = self.defining
        return x - self.retract(x)[0] if F is None else F(x)

    def retract(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """psi(phi(x)), phi = `coordinates`."""
        y = self.parametrize(self.coordinates(x))
        return y, y.isfinite().all(-1)

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        r"""The normal part of :math:`D^2\psi[V_i, V_j]`, with :math:`D\psi\, V_i = t_i`."""
        t = self.coordinates(x)
        J = calculus.jacobian(self.parametrize, t, mode="reverse")
        T = calculus.tangent_basis(J) if frame is None else frame
        V = torch.linalg.inv(T.mT @ J)
        H = calculus.second_derivative(self.parametrize, t, V).flatten(-2)
        return (H - T @ (T.mT @ H)).unflatten(-1, (self.dim, self.dim)).movedim(-3, -1)

    def chart(self, centre: Float[Tensor, " d"], domain: Domain) -> Chart:
        """The chart z -> psi(centre + z) on `domain`."""
        return FunctionChart(
            lambda z: self.parametrize(z + centre.to(z)),
            lambda x: self.lift(self.coordinates(x), centre.to(x)) - centre.to(x),
            domain=domain,
        )

    def arcs(self) -> Atlas:
        """The 3^d boxes of arcs with centres at multiples of 120 degrees: a good cover of M."""
        d, thirds = self.dim, [k * TAU / 3 for k in range(3)]
        centres = torch.tensor([*itertools.product(thirds, repeat=d)], dtype=torch.float64)
        return Atlas([self.chart(c, Box([-ARC] * d, [ARC] * d)) for c in centres], self, own=True)

    def _accepted(
        self,
        n: int,
        density: Callable[[Tensor], Tensor],
        most: float,
        generator: Generator | None,
        box: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "n D"]:
        """psi(t), t of an unnormalised density <= most on a box, or [0, 2 pi]^d, by rejection."""
        zero = torch.zeros(self.dim, dtype=torch.float64)
        low, high = (zero, zero + TAU) if box is None else box

        def propose(_: int) -> Tensor:
            t = uniform_box(2 * n + 16, low, high, generator)
            u = torch.rand(len(t), generator=generator, dtype=torch.float64)
            return t[u * most < density(t)]

        return self.parametrize(draw_until(n, propose, "the density is far below its bound"))


class PeriodicSpace(ParametrizedSpace):
    r"""M = psi(R^d), psi of period 2 pi in every coordinate."""

    def lift(
        self, t: Float[Tensor, "*batch d"], centre: Float[Tensor, " d"]
    ) -> Float[Tensor, "*batch d"]:
        """Angles modulo 2 pi."""
        return wrap(t, centre)

    def atlas(self) -> Atlas:
        """That of :meth:`arcs`."""
        return self.arcs()


def nearest_parameters(
    psi: calculus.RowMap,
    x: Float[Tensor, "n D"],
    grid: Float[Tensor, "m d"],
    tol: float,
    max_steps: int,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"], Tensor]:
    r"""Minimise E(t) = |psi(t) - x|^2 / 2 over t, from the best node of a grid, by damped Newton.

    The Hessian is used with the absolute values of its eigenvalues, so every step goes downhill,
    and is halved until E does not grow. The last step alone is differentiated: by the implicit
    function theorem it carries the exact derivative of t with respect to x.

    Args:
        psi: row-wise, (..., d) to (..., D).
        x: targets.
        grid: starting values, dense enough to single out the nearest branch.
        tol: residual at which a row stops.
        max_steps: most Newton steps per row.

    Returns:
        t, the residual (the length of the tangential part of x - psi(t)), and the steps taken.
    """
    d = grid.shape[-1]
    grid = grid.to(x.device)

    def gradient(t: Tensor, x: Tensor) -> Tensor:
        half = t.new_full((*t.shape[:-1], 1), 0.5)
        return calculus.vjp(lambda s: energy(s, x).unsqueeze(-1), t, half)[1]

    def derivatives(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return calculus.value_and_jacobian(lambda s: gradient(s, x), t, mode="reverse")

    def newton(g: Tensor, H: Tensor) -> Tensor:
        lam, V = torch.linalg.eigh((H + H.mT) / 2)
        lam = lam.abs().clamp_min(1e-10)
        p = -(V @ ((V.mT @ g.unsqueeze(-1)) / lam.unsqueeze(-1))).squeeze(-1)
        return p * (0.5 / p.norm(dim=-1, keepdim=True).clamp_min(0.5))

    def energy(t: Tensor, x: Tensor) -> Tensor:
        return (psi(t) - x).square().sum(-1)

    def step(state: Tensor) -> Tensor:
        t, x = state[:, :d], state[:, d:]
        p = newton(*derivatives(t, x))
        fraction = 0.5 ** torch.arange(12, dtype=t.dtype, device=t.device)
        trials = t + fraction[:, None, None] * p
        allowed = energy(trials, x) <= energy(t, x) * (1 + 1e-13)
        first = allowed.to(torch.int8).argmax(0)  # 0, the full step, where none is allowed
        return torch.cat([trials[first, torch.arange(t.shape[0], device=t.device)], x], -1)

    def residual(state: Tensor) -> Tensor:
        y, J = calculus.value_and_jacobian(psi, state[:, :d], mode="reverse")
        T = calculus.tangent_basis(J)
        return (T.mT @ (state[:, d:] - y).unsqueeze(-1)).squeeze(-1).norm(dim=-1)

    with torch.no_grad():
        target = x.detach()
        start = grid[nearest_row(psi(grid), target)]
        state = torch.cat([start, target], -1)
        found = iterate(lambda s: (residual(s), step(s)), state, tol=tol, max_steps=max_steps)
    t = found.value[:, :d]
    return t + newton(gradient(t, x), derivatives(t, target)[1]), found.residual, found.steps


def circle_nodes(n: int, period: float = TAU) -> Float[Tensor, " n"]:
    """The n equally spaced angles of one period."""
    return torch.arange(n, dtype=torch.float64) * (period / n)
