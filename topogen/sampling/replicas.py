r"""Replica exchange with chains in tubes about M, which pass between its components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import calculus
from ..errors import UnsupportedError
from ..manifolds.base import Manifold
from .chains import ChainResult, judge, prepare
from .constraint_steps import Frames, Mover
from .metropolis import ChainState, Kernel, Trajectories
from .records import Plan, Ready, Records, Request
from .target import LogDensity, Target
from .warmup import DualAveraging, Warm


@dataclass(frozen=True, eq=False)
class Ladder:
    r"""The tubes about M in which the companions of the chains walk.

    Attributes:
        widths: sigma_1, ..., sigma_K, increasing; the first well below the reach, the last about
            half the gap between the components. None goes from a quarter of the reach to half of
            the size of M (`scale`, or the spread of the starts).
        ambient: log g, on R^D; None means 1. Give log_density if it makes sense off M and varies.
        steps: steps of each z_i for one of x.
        radius: of the ball about the mean of the starts that the z_i stay in, which must contain
            M; None takes four times the spread of the starts (at least `scale`) and last width.
    """

    widths: Sequence[float] | None = None
    ambient: LogDensity | None = None
    steps: int = 4
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected steps >= 1, got {self.steps}")

    def sigma(self, M: Manifold, reach: float, spread: float) -> Float[Tensor, " K"]:
        """The widths.

        Raises:
            ValueError: those given are not positive and increasing.
        """
        if self.widths is None:
            low, high = reach / 4, spread / 2
            # neighbours overlap where the ratio is about 1 + 1 / sqrt(k)
            ratio = 1 + 1 / math.sqrt(M.ambient_dim - M.dim)
            count = 1 + max(1, math.ceil(math.log(max(high / low, 1.01)) / math.log(ratio)))
            return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
        sigma = torch.as_tensor(self.widths, dtype=torch.float64).reshape(-1)
        if sigma.numel() == 0 or not bool((sigma > 0).all()) or not bool((sigma.diff() > 0).all()):
            raise ValueError(f"expected increasing widths > 0, got {list(self.widths)}")
        return sigma


def replica_exchange(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    ladder: Ladder | None = None,
    plan: Plan | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f on M, all components included.

    Beside every chain x on M (a :func:`random_walk`) run random walks z_1, ..., z_K in R^D with

    .. math:: \rho_i(z) \propto g(z) \exp(-u(z)^2 / 2 \sigma_i^2), \quad u = \text{residual of } M,

    sigma_1 < ... < sigma_K. Neighbours exchange their places. That of x with z_1 = y + N_y a, y
    the projection of z_1, takes x to y and z_1 to x + N_x a', a' normal of variance sigma_1^2,
    with probability

    .. math:: \min\Bigl(1, \frac{f(y)}{f(x)} \, \frac{\rho_1(x + N_x a')}{\rho_1(z_1)} \,
              \frac{\det(I - S_{N_x a'})}{\det(I - S_{N_y a})} \,
              e^{(|a'|^2 - |a|^2) / 2 \sigma_1^2}\Bigr),

    S the shape operator, if the projection of x + N_x a' is x. Detailed balance is exact, so
    components get their masses wherever the chains start.

    The pairing of M with its tube is that of Wang and Han, "A replica exchange Markov chain Monte
    Carlo method for disconnected implicit manifolds via tubular relaxation", 2026,
    https://arxiv.org/abs/2604.22055; the ladder and the exchange by projections are ours.

    Args:
        M: as in :func:`random_walk`; `residual` and `nearest` are used too.
        log_density: log f on M; None means uniform.
        n: draws retained of each chain.
        ladder: the tubes.
        plan: starts, warm-up, step on M and number of the chains; no weights, no components.
        throw: raise where there is an alarm.
        generator: source of randomness.
        seed: makes a generator.

    Returns:
        The draws on M; `swaps` is the acceptance of exchanges, that with M first.

    Raises:
        SamplingError: `throw` is set and there is an alarm.
        ValueError: an option, or a density, is not of the stated form.

    Example:
        >>> M = tg.disjoint_union(tg.Circle(1.0), tg.Circle(2.0))
        >>> inner = M.listed()[0].sample_uniform(64, torch.Generator().manual_seed(0))
        >>> plan = Plan(start=inner, chains=64, warmup=20)
        >>> result = replica_exchange(M, n=60, plan=plan, seed=0)
        >>> outer = result.mean(lambda x: (x.norm(dim=-1) > 1.5).double())  # exactly 2 / 3
        >>> bool((outer.value - 2 / 3).abs() < 4 * outer.error), bool(outer.error < 0.03)
        (True, True)
    """
    plan, ladder = plan or Plan(), ladder or Ladder()
    if plan.weights is not None or plan.components is not None:
        raise ValueError(
            "expected starts without weights and components, which replica exchange finds, got "
            "some; leave them out"
        )
    request = Request.of(n, plan, throw, generator, seed, accept=0.6, warmup=500)
    ready = prepare(M, log_density, Kernel(), request)
    x = ready.start.x
    centre = x.mean(0)
    spread = max(float((x - centre).norm(dim=-1).max()), M.scale)
    sigma = ladder.sigma(M, min(ready.reach, M.scale), spread)
    radius = 4 * spread + 4 * float(sigma[-1]) if ladder.radius is None else ladder.radius
    tubes = Tubes(M, Target(ladder.ambient, x), sigma, centre, radius, request.generator)
    records, warm = _run(ready, tubes, ladder.steps, request)
    # every component can be reached: R-hat tells whether it was
    ready = replace(ready, start=replace(ready.start, weighted=True))
    return judge(M, records, ready, request, warm)


@dataclass(eq=False)
class Tubes:
    r"""The distributions :math:`\rho_i` in R^D, their walks, and the exchange of the first with M.

    Arrays of chains have shape (K, chains, D), the narrowest first.
    """

    M: Manifold
    ambient: Target
    sigma: Float[Tensor, " K"]
    centre: Float[Tensor, " D"]
    radius: float
    generator: torch.Generator | None

    def __post_init__(self) -> None:
        M, each = self.M, self.sigma.tolist()
        self.tol = M.atol(torch.float64) if M.tolerance is None else 1e-6 * M.scale
        self.steps = [DualAveraging(s / math.sqrt(M.ambient_dim), 0.3) for s in each]

    def parts(self, z: Float[Tensor, "*batch D"]) -> tuple[Tensor, Tensor]:
        """Log g(z), -inf outside the ball, and u(z)^2 / 2."""
        with torch.no_grad():
            u = self.M.residual(z).square() / 2
            log_g = self.ambient.value(z.flatten(0, -2)).reshape(u.shape)
        inside = ((z - self.centre).norm(dim=-1) <= self.radius) & u.isfinite()
        return torch.where(inside, log_g, -torch.inf), torch.where(inside, u, 0.0)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def log_rand(self, *shape: int) -> Tensor:
        """Logarithms of uniform numbers."""
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64).log()

    def walk(self, replicas: Replicas, *, adapt: bool) -> Replicas:
        """One Metropolis step of every z_i."""
        z, log_g, u = replicas.z, replicas.log_g, replicas.u
        s = torch.tensor([a.step if adapt else a.final for a in self.steps], dtype=z.dtype)
        y = z + s[:, None, None] * self.randn(*z.shape)
        new_g, new_u = self.parts(y)
        log_ratio = new_g - log_g - (new_u - u) / self.sigma[:, None] ** 2
        taken = self.log_rand(*log_ratio.shape) < log_ratio
        if adapt:
            rates = log_ratio.exp().clamp_max(1.0).mean(-1)
            for a, rate in zip(self.steps, rates.tolist(), strict=True):
                a.update(rate)
        return Replicas(
            torch.where(taken.unsqueeze(-1), y, z),
            torch.where(taken, new_g, log_g),
            torch.where(taken, new_u, u),
        )

    def swap(self, replicas: Replicas, first: int) -> tuple[Replicas, list[Tensor]]:
        """Exchange z_i with z_{i+1} for i = first, first + 2, ...; who was exchanged."""
        index = torch.arange(replicas.z.shape[0])[:, None].repeat(1, replicas.z.shape[1])
        taken = []
        precision = 1 / self.sigma**2
        for i in range(first, self.sigma.numel() - 1, 2):
            log_ratio = (precision[i] - precision[i + 1]) * (replicas.u[i] - replicas.u[i + 1])
            yes = self.log_rand(*log_ratio.shape) < log_ratio
            index[i], index[i + 1] = torch.where(yes, i + 1, i), torch.where(yes, i, i + 1)
            taken.append(yes)
        z = replicas.z.gather(0, index.unsqueeze(-1).expand_as(replicas.z))
        return Replicas(z, replicas.log_g.gather(0, index), replicas.u.gather(0, index)), taken

    def projections(self, z: Float[Tensor, "n D"]) -> tuple[Tensor, Bool[Tensor, " n"]]:
        """The projections of z on M, and where they were found."""
        with torch.no_grad():
            projection = self.M.nearest(z)
            ok = projection.converged & self.M.in_domain(projection.value)
        return projection.value, ok


@dataclass(frozen=True)
class Replicas:
    """Chains in the tubes, shape (K, chains, D), with log g and u^2 / 2 at them."""

    z: Float[Tensor, "K chains D"]
    log_g: Float[Tensor, "K chains"]
    u: Float[Tensor, "K chains"]


@torch.no_grad()
def _run(ready: Ready, tubes: Tubes, tube_steps: int, request: Request) -> tuple[Records, Warm]:
    """Warm up, run; what was seen, and the chains at the end."""
    state, plan, final = ready.state, request.plan, ready.step
    K, (chains, D) = tubes.sigma.numel(), state.at.x.shape
    a = tubes.sigma[:, None, None] * tubes.randn(K, chains, state.at.N.shape[-1])
    z = state.at.x + (state.at.N @ a.unsqueeze(-1)).squeeze(-1)
    replicas = Replicas(z, *tubes.parts(z))
    if not bool(replicas.log_g.isfinite().any()):
        raise UnsupportedError(
            "expected starts inside the ball given by radius, where ambient is finite"
        )
    adaptation = DualAveraging(ready.step, request.accept)
    records, swaps = Records.empty(request, D), torch.zeros(2, K, dtype=torch.float64)
    for i in range(-request.warmup, request.n * plan.thin):
        adapt = i < 0 and plan.step is None
        step = adaptation.step if adapt else final
        result = ready.trajectories.transition(state, step, tubes.generator)
        if adapt:
            adaptation.update(float(result.probability.mean()), ready.reach)
            final = adaptation.final
        if i >= 0:
            records.note(i, state, result)
        state = result.state
        for _ in range(tube_steps):
            replicas = tubes.walk(replicas, adapt=i < 0)
        replicas, taken = tubes.swap(replicas, i % 2)
        state, replicas, met = _meet(ready.trajectories, tubes, state, replicas)
        if i >= 0:
            for j, yes in [(0, met), *zip(range(1 + i % 2, K, 2), taken, strict=True)]:
                swaps[0, j] += yes.double().mean()
                swaps[1, j] += 1
            if (i + 1) % plan.thin == 0:
                records.retain(i // plan.thin, state)
    rates = (swaps[0] / swaps[1].clamp_min(1)).tolist()
    warm = Warm(state, final, ready.reach, exact=False, families=None)
    return replace(records, swaps=rates), warm


def _meet(
    trajectories: Trajectories, tubes: Tubes, state: ChainState, replicas: Replicas
) -> tuple[ChainState, Replicas, Bool[Tensor, " chains"]]:
    """Exchange x with z_1."""
    mover, x, z, sigma = trajectories.mover, state.at, replicas.z[0], float(tubes.sigma[0])
    met = torch.zeros_like(state.log_f, dtype=torch.bool)
    b = sigma * tubes.randn(z.shape[0], x.N.shape[-1])
    u = tubes.log_rand(z.shape[0])
    z_new = x.x + x.normal(b)
    y, found = tubes.projections(z)
    back, returns = tubes.projections(z_new)
    returns = returns & ((back - x.x).norm(dim=-1) <= mover.reverse_tol)
    rows = (found & returns).nonzero().squeeze(-1)
    if rows.numel() == 0:
        return state, replicas, met
    at = mover.frames(y[rows])
    a = at.coefficients(z[rows] - at.x)
    normal = (z[rows] - at.x - at.normal(a)).norm(dim=-1) <= tubes.tol
    new_g, new_u = tubes.parts(z_new[rows])
    log_f = trajectories.target.value(at.x)
    log_ratio = (
        (log_f - state.log_f[rows])
        + (new_g - replicas.log_g[0, rows])
        - (new_u - replicas.u[0, rows]) / sigma**2
        + log_jacobian(mover, x[rows], b[rows])
        - log_jacobian(mover, at, a)
        + (b[rows].square().sum(-1) - a.square().sum(-1)) / (2 * sigma**2)
    )
    yes = normal & (u[rows] < log_ratio)
    taken = rows[yes]
    met[taken] = True
    z_all, log_g, u_all = replicas.z.clone(), replicas.log_g.clone(), replicas.u.clone()
    z_all[0, taken], log_g[0, taken], u_all[0, taken] = z_new[taken], new_g[yes], new_u[yes]
    state = state.put(taken, ChainState(at[yes], log_f[yes], None))
    return state, Replicas(z_all, log_g, u_all), met


def log_jacobian(mover: Mover, at: Frames, a: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    r"""Log det(I - S_v), v = N_x a: the volume factor of (x, a) -> x + N_x a.

    :math:`S_v = -T^\top D(DE^\top \lambda) T` with :math:`DE^\top \lambda = v`, by central
    differences of DE, with an error of 1e-8. NaN, which refuses an exchange, beyond a focal point.
    """
    x, (n, D) = at.x, at.x.shape
    T = calculus.complement(at.N)
    d = T.shape[-1]
    h = 1e-4 * mover.M.scale
    A = mover.linearize(x)[1] @ at.N
    # A^T multiplier = a, of least length
    multiplier = A @ torch.linalg.solve_ex(A.mT @ A, a.unsqueeze(-1))[0]
    shift = h * T.mT.unsqueeze(1) * x.new_tensor([1.0, -1.0])[:, None, None]
    J = mover.linearize((x[:, None, None] + shift).reshape(-1, D))[1]
    pulled = J.mT.reshape(n, 2, d, D, -1) @ multiplier[:, None, None]
    S = -((pulled[:, 0] - pulled[:, 1]).squeeze(-1) @ T) / (2 * h)
    eigenvalues = torch.linalg.eigvalsh((S + S.mT) / 2)
    before = eigenvalues.amax(-1) < 1
    return torch.log1p(-torch.where(before.unsqueeze(-1), eigenvalues, math.nan)).sum(-1)
