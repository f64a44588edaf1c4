"""Laws of one move and of one trajectory: on M, reversible, of second order, rows alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import topogen as tg
from topogen.sampling.constraint_steps import Frames, Mover, NormalSolver
from topogen.sampling.metropolis import ACCEPTED, Kernel, Trajectories
from topogen.sampling.target import Target

SETS: dict[str, tuple[Callable[[], tg.Manifold], float]] = {
    "sphere": (tg.Sphere, 0.3),
    "torus": (lambda: tg.Torus(1.0, 0.5), 0.3),
    "clifford": (lambda: tg.FlatTorus(2), 0.3),
    "rotations": (tg.SpecialOrthogonal, 0.4),
    "klein": (tg.KleinBottle, 0.2),
    "link": (tg.HopfLink, 0.3),
}
ROWS = 64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ready(name: str, **options: object) -> tuple[Mover, Frames, Tensor]:
    """A mover, points with frames, and tangential steps."""
    make, h = SETS[name]
    M = make()
    mover = Mover(M, NormalSolver(**options))
    at = mover.frames(M.sample_uniform(ROWS, seeded()))
    v = at.tangential(h * torch.randn(at.x.shape, generator=seeded(1), dtype=torch.float64))
    return mover, at, v


@pytest.mark.parametrize("name", SETS)
def test_a_move_stays_on_m_and_its_reverse_undoes_it(name: str) -> None:
    mover, at, v = ready(name)
    out = mover.move(at, v)
    assert float(out.ok.double().mean()) > 0.6
    ok = out.ok.nonzero().squeeze(-1)
    assert float(mover.M.residual(out.at.x[ok]).max()) < 1e-10
    # y - x = v + a normal vector at x, and the tangential part of y - x at y is out.v
    between = (out.at.x - at.x)[ok]
    torch.testing.assert_close(at[ok].tangential(between), v[ok], rtol=0, atol=1e-10)
    torch.testing.assert_close(out.at[ok].tangential(between), out.v[ok], rtol=0, atol=1e-10)
    back = mover.move(out.at[ok], -out.v[ok])
    assert bool(back.arrived.all())
    torch.testing.assert_close(back.at.x, at.x[ok], rtol=0, atol=1e-9)
    torch.testing.assert_close(back.v, -v[ok], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_frames_span_the_normal_space(name: str) -> None:
    mover, at, _ = ready(name)
    N = at.N
    identity = torch.eye(N.shape[-1], dtype=N.dtype).expand(ROWS, -1, -1)
    torch.testing.assert_close(N.mT @ N, identity, rtol=0, atol=1e-12)
    T = mover.M.tangent_basis(at.x)
    assert float((T.mT @ N).abs().max()) < 1e-7


@pytest.mark.parametrize("name", ["torus", "clifford", "klein"])
def test_the_quasi_newton_return_lands_at_the_same_point(name: str) -> None:
    mover, at, v = ready(name)
    lazy = Mover(mover.M, NormalSolver(quasi=True, max_steps=60))
    a, b = mover.move(at, v / 2), lazy.move(at, v / 2)
    both = a.ok & b.ok
    assert float(both.double().mean()) > 0.8
    torch.testing.assert_close(a.at.x[both], b.at.x[both], rtol=0, atol=1e-10)


def test_rows_are_alone() -> None:
    mover, at, v = ready("torus")
    v[3] = math.nan
    v[5] *= 100
    whole = mover.move(at, v)
    assert not bool(whole.arrived[3])
    for i in (0, 3, 5, 7):
        row = torch.tensor([i])
        single = mover.move(at[row], v[row])
        assert bool(single.ok[0]) == bool(whole.ok[i])
        torch.testing.assert_close(
            single.at.x[0], whole.at.x[i], rtol=0, atol=1e-14, equal_nan=True
        )


def quartic(x: Tensor) -> Tensor:
    return 2 * x[:, 0] - x[:, 1] ** 2 + x[:, 2] ** 3


class TestTrajectory:
    """RATTLE on the torus, for a density with a gradient."""

    def run(self, h: float, steps: int, inner: int = 1) -> tuple:
        M = tg.Torus(1.0, 0.5)
        mover = Mover(M, NormalSolver())
        at = mover.frames(M.sample_uniform(ROWS, seeded()))
        kernel = Kernel(steps, inner, gradient=True)
        trajectories = Trajectories(mover, Target(quartic, at.x), kernel)
        p = at.tangential(torch.randn(at.x.shape, generator=seeded(1), dtype=torch.float64))
        state = trajectories.state(at)
        size = torch.full((ROWS, 1), h, dtype=torch.float64)
        return trajectories, state, p, size, trajectories.integrate(state, p, size)

    @staticmethod
    def energy(state, p: Tensor) -> Tensor:
        return p.square().sum(-1) / 2 - state.log_f

    @pytest.mark.parametrize("inner", [1, 3])
    def test_forward_then_backward_returns_to_the_start(self, inner: int) -> None:
        trajectories, state, p, h, (end, q, outcome, _) = self.run(0.05, 8, inner)
        assert bool((outcome == ACCEPTED).all())
        assert float((end.at.x - state.at.x).norm(dim=-1).min()) > 0.01
        back, r, outcome, _ = trajectories.integrate(end, -q, h)
        assert bool((outcome == ACCEPTED).all())
        torch.testing.assert_close(back.at.x, state.at.x, rtol=0, atol=1e-9)
        torch.testing.assert_close(r, -p, rtol=0, atol=1e-9)

    def test_momenta_are_tangent_and_the_energy_error_is_of_second_order(self) -> None:
        errors = []
        for h in (0.04, 0.02, 0.01):
            _, state, p, _, (end, q, outcome, _) = self.run(h, round(0.4 / h))
            assert bool((outcome == ACCEPTED).all())
            assert float(end.at.coefficients(q).abs().max()) < 1e-12
            errors.append(float((self.energy(end, q) - self.energy(state, p)).abs().mean()))
        order = [math.log2(a / b) for a, b in pairwise(errors)]
        assert 1.7 < min(order)
        assert max(order) < 2.3

    def test_inner_moves_follow_the_geodesic(self) -> None:
        """Without a gradient, N moves of h / N are N steps of h / N: the same points."""
        M = tg.Torus(1.0, 0.5)
        mover = Mover(M, NormalSolver())
        at = mover.frames(M.sample_uniform(ROWS, seeded()))
        p = at.tangential(torch.randn(at.x.shape, generator=seeded(1), dtype=torch.float64))
        ends = []
        for steps, inner, h in ((1, 4, 0.2), (4, 1, 0.05)):
            t = Trajectories(mover, Target(None, at.x), Kernel(steps, inner))
            size = torch.full((ROWS, 1), h, dtype=torch.float64)
            ends.append(t.integrate(t.state(at), p, size)[0].at.x)
        torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-12)


def test_a_tolerance_below_the_precision_of_m_raises() -> None:
    """float32 cannot reach 1e-9: chains would never move, as in an open report on mici."""
    F = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    M = tg.ImplicitManifold(F, 2, 3)
    with pytest.raises(ValueError, match="float32"):
        Mover(M, NormalSolver(tol=1e-9))
    assert 1e-6 < Mover(M, NormalSolver()).tol < 1e-4
    assert Mover(M.double(), NormalSolver(tol=1e-9)).tol == 1e-9


@pytest.mark.parametrize(
    "options", [{"max_steps": 0}, {"tol": 0.0}, {"tol": math.nan}, {"reverse_tol": -1.0}]
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        NormalSolver(**options)


def test_bad_densities() -> None:
    x = torch.randn(8, 3, dtype=torch.float64)
    bad = {
        "gave": lambda x: x,
        "row by row": lambda x: x[:, 0] - x[:, 0].mean(),
        "failed": lambda x: x @ torch.ones(5, dtype=x.dtype),
        "float": lambda x: 1.0,
    }
    for message, f in bad.items():
        with pytest.raises(ValueError, match=message):
            Target(f, x)
    with pytest.raises(ValueError, match="autograd"):
        Target(lambda x: x[:, 0].detach(), x).value_and_gradient(x)
    with pytest.raises(ValueError, match=r"\+inf"):
        Target(lambda x: x[:, 0] * 0 + math.inf, x).value(x)
    nan = Target(lambda x: torch.where(x[:, 0] > 0, math.nan, x[:, 1]), x)
    value = nan.value(x)
    assert nan.nan == int((x[:, 0] > 0).sum()) > 0
    assert bool((value == -math.inf).eq(x[:, 0] > 0).all())


def test_a_float32_network_is_a_density() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    x = torch.randn(8, 3, dtype=torch.float64)
    value, gradient = Target(net, x).value_and_gradient(x)
    assert value.dtype == gradient.dtype == torch.float64
    assert gradient.shape == x.shape
    assert all(p.grad is None for p in net.parameters())
