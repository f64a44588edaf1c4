"""The topology loss and the matching loss against their equations, and what they do to points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from topogen import Homology, check_topology
from topogen.topology.persistence.differentiable import (
    TopologyLoss,
    match_diagrams,
    persistence_diagrams,
)


def cloud(n, D, seed=0, dtype=torch.float64):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def torn_circle(n=40, gap=1.2, noise=0.02, seed=0):
    t = torch.linspace(0, 2 * math.pi - gap, n, dtype=torch.float64)
    return torch.stack([t.cos(), t.sin()], dim=1) + noise * cloud(n, 2, seed)


def annulus(n=80, seed=0):
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    r, t = 0.5 + 0.5 * u[0], 2 * math.pi * u[1]
    return torch.stack([r * t.cos(), r * t.sin()], dim=1)


def descend(x, loss, steps=150, lr=0.02):
    x = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(x).backward()
        optimiser.step()
    return x.detach()


def classes(x, degree, ratio=2.0):
    bars = persistence_diagrams(x, max_dim=degree)[degree]
    return int((bars[:, 1] > ratio * bars[:, 0]).sum())


@pytest.mark.parametrize("strength", ["ratio", "persistence"])
def test_gradient_of_the_loss(strength):
    x = cloud(14, 2, seed=3).requires_grad_()
    loss = TopologyLoss((2, 1), strength=strength, margin=1.2)
    assert float(loss(x).detach()) > 0
    assert torch.autograd.gradcheck(loss, (x,), eps=1e-6, atol=1e-6)


def test_the_ratio_loss_has_no_scale():
    loss = TopologyLoss((2, 1))
    x = cloud(50, 2).requires_grad_()
    value = loss(x)
    value.backward()
    for factor in (1e-3, 1e3):
        assert torch.allclose(loss(x.detach() * factor), value.detach())
    # Euler: no gradient along the scaling, so the loss cannot be lowered by shrinking the cloud
    assert abs(float((x.detach() * x.grad).sum())) < 1e-9


def test_the_loss_is_its_equation():
    x = cloud(40, 2, seed=2)
    zero, one = (d.numpy() for d in persistence_diagrams(x))
    mu = 0.9
    deaths = np.sort(zero[1:, 1])[::-1]  # without the component that never dies
    r = np.log(deaths / deaths[2:].mean())
    want = (
        np.maximum(mu - r[:2], 0) @ np.maximum(mu - r[:2], 0) + (np.maximum(r[2:], 0) ** 2).sum()
    )
    r = np.sort(np.log(one[:, 1] / one[:, 0]))[::-1]
    want += max(mu - r[0], 0) ** 2 + (r[1:] ** 2).sum()
    assert float(TopologyLoss((3, 1), margin=mu)(x)) == pytest.approx(want)
    total = (one[:, 1] - one[:, 0]) ** 2
    loss = TopologyLoss((None, 0), strength="persistence", margin=1.0)
    assert float(loss(x)) == pytest.approx(total.sum())  # total persistence of degree 1


def test_homology_states_the_target():
    klein = Homology({2: (1, 2, 1), 3: (1, 1, 0)})
    assert TopologyLoss(klein).betti == (1, 2, 1)
    assert TopologyLoss(klein, field=3).betti == (1, 1, 0)
    assert "(1, 1, 0), field=3" in repr(TopologyLoss(klein, field=3))
    with pytest.raises(ValueError, match="over Z/5"):
        TopologyLoss(klein, field=5)


def test_a_class_without_a_bar_counts_its_margin():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.9]], dtype=torch.float64, requires_grad=True)
    loss = TopologyLoss((None, 2), margin=0.5)(x)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2 * 0.5**2)
    assert not x.grad.any()


def test_it_closes_the_gap_of_a_torn_circle():
    x = torn_circle()
    assert classes(x, 1, ratio=3.0) == 0
    y = descend(x, TopologyLoss((1, 1), margin=math.log(5)))
    assert classes(y, 1, ratio=3.0) == 1
    # a negative control: asked for a disc, the tear stays open and the ratio falls
    away = descend(x, TopologyLoss((1, 0)))
    assert classes(away, 1) == 0


@pytest.mark.parametrize("weight", [0.0, pytest.param(0.05, marks=pytest.mark.slow)])
def test_a_torn_decoder_is_closed(weight):
    # an interval is mapped to a circle that lacks 0.9 radians; the loss is added to the fit
    generator = torch.Generator().manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    for w, std in zip(net.parameters(), (4.0, 2.0, 0.3, 1e-6), strict=True):
        torch.nn.init.normal_(w, std=std, generator=generator)
    u = torch.linspace(0, 1, 90)[:, None]
    data = torn_circle(90, gap=0.9, noise=0.0).float()
    topology = TopologyLoss((1, 1), margin=math.log(22), hold="deaths")
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(300):
        optimiser.zero_grad()
        x = net(u)
        loss = (x - data).square().sum(dim=1).mean()
        if weight and step >= 100:
            loss = loss + weight * topology(x)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        first, last = (net(torch.linspace(a, a + 0.2, 400)[:, None]) for a in (0.0, 0.8))
        sample = net(torch.rand(1000, 1, generator=generator))
    gap = float(torch.cdist(first, last).min())
    verdict = check_topology(sample, Homology((1, 1))).verdict
    if weight:  # closed down to the spacing of the 90 points; the check may ask for less
        assert gap < 0.1
        assert verdict != "disagrees"
    else:
        assert gap > 1.0
        assert verdict == "disagrees"


@pytest.mark.slow
def test_it_fills_a_hole_or_tears_it_open():
    grid = torch.cartesian_prod(*[torch.linspace(-0.7, 0.7, 29, dtype=torch.float64)] * 2)
    grid = grid[grid.norm(dim=1) < 0.7]

    def widest_hole(x):
        """Radius of the largest disc in the middle that holds no point."""
        return float(torch.cdist(grid, x).amin(dim=1).max())

    x = annulus(60)
    assert classes(x, 1) == 1
    assert widest_hole(x) > 0.5
    filled = descend(x, TopologyLoss((1, 0), hold="births"), lr=0.01)
    assert classes(filled, 1) == 0
    assert widest_hole(filled) < 0.3
    torn = descend(x, TopologyLoss((1, 0)), lr=0.01)  # the loop is gone, the hole is not
    assert classes(torn, 1) == 0
    assert widest_hole(torn) > 0.3
    total = TopologyLoss((None, 0), strength="persistence", margin=1.0, hold="births")
    assert classes(descend(x, total, lr=0.01), 1) == 0


@pytest.mark.parametrize(("hold", "moved"), [("births", 2), ("deaths", 2), (None, 4)])
def test_what_is_held_has_no_gradient(hold, moved):
    x = torn_circle().requires_grad_()
    TopologyLoss((None, 1), margin=5.0, hold=hold)(x).backward()
    assert int((x.grad != 0).any(dim=1).sum()) == moved
    other = TopologyLoss((None, 1), margin=5.0)
    assert torch.equal(other(x), TopologyLoss((None, 1), margin=5.0, hold=hold)(x))


def test_it_splits_and_joins_components():
    u = torch.rand(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def widest_gap(x):
        deaths = persistence_diagrams(x, max_dim=0)[0][1:, 1]
        return float(deaths[0] / deaths[1:].mean())

    split = descend(u, TopologyLoss((2,)), lr=0.01)
    apart = torch.cat([u[:30] / 2, u[30:] / 2 + torch.tensor([1.5, 0.0])])
    joined = descend(apart, TopologyLoss((1,)), lr=0.01)
    assert widest_gap(u) < 2.5 < widest_gap(split)
    assert widest_gap(apart) > 5.0
    assert widest_gap(joined) < 1.5


@pytest.mark.slow
def test_it_opens_a_cavity():
    x = cloud(40, 3)
    x = x / x.norm(dim=1, keepdim=True)
    before = persistence_diagrams(x, max_dim=2)[2][0]
    after = persistence_diagrams(descend(x, TopologyLoss((1, 0, 1)), steps=60), max_dim=2)[2][0]
    assert float(after[1] / after[0]) > 1.15 * float(before[1] / before[0])


def test_matching_is_the_wasserstein_distance():
    from gudhi.hera import wasserstein_distance

    a = persistence_diagrams(cloud(50, 2), max_dim=1)
    b = persistence_diagrams(cloud(35, 2, seed=1), max_dim=1)
    for q in (1.0, 2.0, 3.0):
        want = sum(
            wasserstein_distance(x.numpy(), y.numpy(), order=q, internal_p=q, delta=1e-6) ** q
            for x, y in zip(a, b, strict=True)
        )
        assert float(match_diagrams(a, b, order=q)) == pytest.approx(want, rel=1e-4)
    assert float(match_diagrams(a, a)) == pytest.approx(0, abs=1e-12)
    assert torch.allclose(match_diagrams(a, b), match_diagrams(b, a))


def test_matching_has_the_right_gradient_and_finds_its_target():
    target = persistence_diagrams(torn_circle(12, gap=0.6, noise=0.05, seed=1), threshold=3.0)
    x = torn_circle(12, gap=1.5, noise=0.05).requires_grad_()

    def loss(y):
        return match_diagrams(persistence_diagrams(y, threshold=3.0), target)

    assert torch.autograd.gradcheck(loss, (x,), eps=1e-6, atol=1e-6)
    y = descend(x.detach(), loss, steps=150)
    assert float(loss(y)) < 0.02 * float(loss(x.detach()))


def test_a_regulariser_reaches_the_parameters_of_a_model():
    t = torch.linspace(0, 1, 41, dtype=torch.float32)[:, None]  # ends of an interval stay apart
    gen = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    for w in net.parameters():
        torch.nn.init.normal_(w, std=0.7, generator=gen)
    TopologyLoss((1, 1))(net(t)).backward()
    grads = [w.grad for w in net.parameters()]
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in grads)
    assert grads[0].any()
