"""A space that the library does not have: one class and one line in the index, and it works."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.cli import run
from topogen.manifolds import spaces
from topogen.manifolds.atlas import Atlas
from topogen.manifolds.spaces.base import Nearest, closed_form, unit
from topogen.manifolds.spaces.parametrized import ParametrizedSpace, wrap
from topogen.models.injective.bases import base_of


class CliffordTorus(ParametrizedSpace):
    """(a cos s, a sin s, b cos t, b sin t) in R^4."""

    dim = 2
    ambient_dim = 4
    orientable = True
    homeomorphic_to = (("torus", 2),)
    why_no_defining = "nobody wrote it"

    def __init__(self, a: float = 1.0, b: float = 0.5) -> None:
        super().__init__()
        self.radii = torch.tensor([a, b], dtype=torch.float64)
        self.scale = math.hypot(a, b)
        self.volume, self.volume_error = (2 * math.pi) ** 2 * a * b, 0.0
        self.homology = tg.Homology((1, 2, 1))

    def parametrize(self, t: Tensor) -> Tensor:
        return (self.radii.to(t).unsqueeze(-1) * torch.stack([t.cos(), t.sin()], -1)).flatten(-2)

    def coordinates(self, x: Tensor) -> Tensor:
        return torch.atan2(x[..., 1::2], x[..., ::2])

    def lift(self, t: Tensor, centre: Tensor) -> Tensor:
        return wrap(t, centre)

    def _nearest(self, x: Tensor, tol: float, max_steps: int) -> Nearest:
        return closed_form((self.radii.unsqueeze(-1) * unit(x.unflatten(-1, (2, 2)))).flatten(-2))

    def sample_uniform(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        t = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        return self.parametrize(2 * math.pi * t)

    def atlas(self) -> Atlas:
        return self.arcs()


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> CliffordTorus:
    """The space, with its line in the index."""
    monkeypatch.setitem(spaces.SPACES, "clifford", CliffordTorus)
    return CliffordTorus()


def points(M: CliffordTorus, n: int, seed: int = 0) -> Tensor:
    return M.sample_uniform(n, torch.Generator().manual_seed(seed))


def test_it_obeys_the_laws(space: CliffordTorus) -> None:
    # the one line of the shared dictionary runs these
    x = points(space, 8)
    tg.testing.check_manifold(space, x)
    tg.testing.check_atlas(space.atlas(), x)


def test_its_topology_is_checked(space: CliffordTorus, tmp_path: Path) -> None:
    x = points(space, 1500)
    assert tg.check_topology(x, expected=space).verdict == "agrees"
    np.save(tmp_path / "x.npy", x.numpy())
    command = ["check", str(tmp_path / "x.npy"), "--quiet", "--expect"]
    assert run([*command, "clifford"]) == 0
    assert run([*command, "sphere"]) == 1


@pytest.mark.slow
def test_flows_live_on_it(space: CliffordTorus) -> None:
    x = space.parametrize(0.3 * torch.randn(400, 2, generator=torch.Generator().manual_seed(1)))
    options = tg.MatchingOptions(steps=60, batch=64)
    flow = tg.FlowMatching(space, width=16, depth=1, features=4, options=options)
    tg.fit(flow, x)
    drawn = flow().sample((20,), generator=torch.Generator().manual_seed(2))
    assert bool(space.contains(drawn).all())
    assert bool(flow().log_prob(drawn).isfinite().all())
    # and it may be the base of an injective flow
    assert tg.InjectiveFlow(2, 4, base=space).base is space
    assert base_of(space).name == "T^2"


@pytest.mark.slow
def test_it_is_learned(space: CliffordTorus) -> None:
    r = tg.learn(points(space, 2000), family="atlas", seed=0, progress=False)
    assert r.topology.betti[2][:3] == (1, 2, 1)
    assert float(space.residual(r.sample(200, seed=1)).median()) < 1e-2
