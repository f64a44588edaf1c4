"""Where published flows start, and what is said of loops that are lost."""

import math
import warnings

import pytest
import torch

import topogen as tg
from topogen.baselines import DescentOptions, HeldOutScore, NetworkOptions, PublishedFlow
from topogen.baselines.injective.warm_start import Start
from topogen.errors import TrainingError
from topogen.models.injective.bases import standard


def published(*arguments, steps, width, **options):
    network, descent = NetworkOptions(width=width), DescentOptions(steps=steps)
    return PublishedFlow(*arguments, network=network, descent=descent, **options)


def circle(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    t = 2 * math.pi * torch.rand(n, generator=g, dtype=torch.float64)
    return torch.stack([t.cos(), t.sin()], -1)


def test_a_double_cover_loses_loops(known):
    start = Start.of(standard("circle"), circle(400))
    assert start.words == "from initial base points"
    once = known.decoder("circle", 2, known.curve(torch.cos, torch.sin))
    assert start.lost(once) == ""
    assert Start.of(standard("circle"), circle(50)).lost(once) is None
    twice = known.decoder(
        "circle", 2, known.curve(lambda t: (2 * t).cos(), lambda t: (2 * t).sin())
    )
    assert start.lost(twice) == "loops are lost over Z/2 and Z/3"


def test_seeds_have_degree_one():
    start = Start.of(standard("circle"), circle(400))
    x, b = start.pairs
    # b is a rotation or a reflection of x, up to the unevenness of the points
    turn = torch.atan2(b[:, 1], b[:, 0]).unsqueeze(-1) + torch.tensor([[-1.0, 1.0]])
    turn = turn - torch.atan2(x[:, 1], x[:, 0]).unsqueeze(-1) * torch.tensor([[1.0, -1.0]])
    same = torch.stack([turn.cos().mean(0), turn.sin().mean(0)]).norm(dim=0)
    assert float(same.max()) > 0.95


def test_no_seed_is_said():
    assert "fewer than 100" in Start.of(standard("circle"), circle(50)).words
    assert Start.of(standard("euclidean", 1), circle(400)).words == "from random weights"
    two = torch.cat([circle(300), circle(300, 1) + 5])
    start = Start.of(standard("circle"), two)
    assert start.pairs is None
    assert "no initial base points" in start.words
    with pytest.raises(TrainingError, match="no initial base points"):
        start.require()


@pytest.mark.slow
def test_a_flow_starts_from_the_seed_and_says_so():
    flow = published(1, 2, "circle", steps=200, width=32)
    tg.fit(flow, circle(500), progress=False)
    assert flow.attempts == ["from initial base points; no loops are lost"]
    named = published(1, 2, "circle", objective="free_form", steps=100, width=96)
    tg.fit(named, circle(500), progress=False)
    assert named.attempts == ["from initial base points; no loops are lost"]
    flat = published(1, 2, "euclidean", steps=20, width=32)
    fit(flat, circle(500))
    assert flat.attempts == ["from random weights; loops not checked"]


def fit(flow, x):
    """The status and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = tg.fit(flow, x, progress=False)
    return result.status, " ".join(str(w.message) for w in said)


@pytest.mark.slow
def test_lost_loops_start_it_again_once(monkeypatch):
    says = iter(["loops are lost over Z/3", ""])
    monkeypatch.setattr(Start, "lost", lambda self, decoder: next(says))
    flow = published(1, 2, "circle", steps=200, width=32)
    assert fit(flow, circle(500)) == ("converged", "")
    assert flow.attempts == [
        "from initial base points; loops are lost over Z/3",
        "from initial base points; no loops are lost",
    ]


@pytest.mark.slow
def test_loops_lost_twice_are_no_convergence(monkeypatch):
    monkeypatch.setattr(Start, "lost", lambda self, decoder: "loops are lost over Z/3")
    flow = published(1, 2, "circle", steps=200, width=32)
    status, said = fit(flow, circle(500))
    assert status == "max_steps"
    assert "loops are lost over Z/3, in both trainings" in said
    assert len(flow.attempts) == 2
    again = published(1, 2, "circle", steps=200, width=32)
    again.load_state_dict(flow.state_dict())
    assert again.lost == flow.lost == "loops are lost over Z/3"


@pytest.mark.slow
def test_a_bad_reconstruction_is_no_convergence():
    flow = published(1, 2, "euclidean", steps=100, width=16)
    status, said = fit(flow, circle(500))
    assert status == "max_steps"
    assert "1 % of the points are reconstructed worse than" in said
    assert not HeldOutScore(**flow.numbers).faithful
