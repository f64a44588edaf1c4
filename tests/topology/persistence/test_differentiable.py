"""Differentiable diagrams against gudhi and finite differences; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from topogen.errors import InvalidPoints
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


def rows(diagram):
    """Sorted (birth, death) rows as an array."""
    values = diagram.detach().numpy()
    return values[np.lexsort(values.T)]


def gudhi_diagrams(x, max_dim, field, cut):
    from gudhi import RipsComplex

    tree = RipsComplex(points=x.numpy(), max_edge_length=cut).create_simplex_tree(max_dim + 1)
    tree.compute_persistence(
        homology_coeff_field=field, persistence_dim_max=tree.dimension() <= max_dim
    )
    bars = [tree.persistence_intervals_in_dimension(k).reshape(-1, 2) for k in range(max_dim + 1)]
    return [rows(torch.from_numpy(np.minimum(b, cut))) for b in bars]


@pytest.mark.parametrize(("max_dim", "n"), [(0, 50), (1, 50), (2, 30), (3, 20)])
@pytest.mark.parametrize("field", [2, 3])
@pytest.mark.parametrize("threshold", [None, 1.7, 0.05])
def test_values_are_those_of_gudhi(max_dim, n, field, threshold):
    x = cloud(n, 3, seed=max_dim)
    cut = float(torch.cdist(x, x).amax(dim=1).min()) if threshold is None else threshold
    ours = persistence_diagrams(x, max_dim=max_dim, field=field, threshold=threshold)
    theirs = gudhi_diagrams(x, max_dim, field, cut + 1e-12)
    assert len(ours) == max_dim + 1
    for a, b in zip(ours, theirs, strict=True):
        assert rows(a) == pytest.approx(b, abs=1e-9)
        length = a[:, 1] - a[:, 0]
        assert (length[:-1] >= length[1:]).all()


def test_the_field_matters():
    u = cloud(600, 3)
    u = u / u.norm(dim=1, keepdim=True)
    a, b, c = u.unbind(1)
    # the Veronese projective plane: its loop has order two, so it dies early over Z/3
    x = torch.stack([a * b, a * c, b * c, (a * a - b * b) / 2, (3 * c * c - 1) / 12**0.5], dim=1)
    loops = [persistence_diagrams(x, max_dim=1, field=p, landmarks=100)[1] for p in (2, 3)]
    assert float(loops[0][0, 1] / loops[0][0, 0]) > 1.2 * float(loops[1][0, 1] / loops[1][0, 0])


@pytest.mark.parametrize(("max_dim", "n"), [(1, 14), (2, 12)])
def test_gradients_are_those_of_finite_differences(max_dim, n):
    x = cloud(n, 3, seed=5).requires_grad_()
    for threshold in (10.0, 1.5):  # the second leaves classes alive, which have a birth alone
        assert torch.autograd.gradcheck(
            lambda y, t=threshold: tuple(persistence_diagrams(y, max_dim=max_dim, threshold=t)),
            (x,),
            eps=1e-6,
            atol=1e-6,
        )


def test_a_class_alive_at_the_threshold_has_a_birth_gradient_only():
    x = torn_circle().requires_grad_()
    bars = persistence_diagrams(x, threshold=1.2)[1]
    assert float(bars[0, 1].detach()) == 1.2
    (from_death,) = torch.autograd.grad(bars[0, 1], x, retain_graph=True)
    (from_birth,) = torch.autograd.grad(bars[0, 0], x)
    assert not from_death.any()
    assert int((from_birth != 0).any(dim=1).sum()) == 2


def test_landmarks_cover_and_the_others_have_no_gradient():
    x = cloud(400, 3).requires_grad_()
    bars = torch.cat(persistence_diagrams(x, landmarks=50))
    bars.sum().backward()
    moved = (x.grad != 0).any(dim=1)
    assert 10 < int(moved.sum()) <= 50
    # more landmarks than are cheap: cut at 5 covering radii
    with torch.no_grad():
        fine = persistence_diagrams(x, landmarks=300)
        assert float(fine[0][0, 1]) < float(persistence_diagrams(x, landmarks=50)[0][0, 1])


def test_diagrams_scale_with_the_points_and_ignore_order_and_motion():
    x = cloud(300, 3)
    plain = persistence_diagrams(x, landmarks=60)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(cloud(3, 3, seed=1)).Q
    for y, factor in ((x * 7, 7.0), (x[order], 1.0), (x @ turn.T + 3, 1.0)):
        for a, b in zip(plain, persistence_diagrams(y, landmarks=60), strict=True):
            assert rows(b) == pytest.approx(factor * rows(a), rel=1e-8)


def test_gradients_follow_a_permutation():
    x, loss = cloud(60, 2), TopologyLoss((1, 1))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    grads = []
    for y in (x, x[order]):
        y = y.clone().requires_grad_()
        loss(y).backward()
        grads.append(y.grad)
    assert torch.allclose(grads[0][order], grads[1])
    assert grads[0].any()


def test_float32_agrees_with_float64():
    x = cloud(60, 3, dtype=torch.float32)
    single, double = persistence_diagrams(x), persistence_diagrams(x.double())
    for a, b in zip(single, double, strict=True):
        assert a.dtype == torch.float32
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-6)


DEGENERATE = {
    "all equal": torch.zeros(6, 2),
    "duplicates": cloud(20, 2).repeat(3, 1),
    "nearly duplicates": torch.cat([cloud(20, 2), cloud(20, 2) + 1e-14]),
    "simplex": torch.eye(8),
    "square grid": torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)),
    "regular polygon": torn_circle(24, gap=2 * math.pi / 24, noise=0.0),
    "two points": torch.tensor([[0.0], [1.0]]),
    "tiny": cloud(20, 2) * 1e-150,
    "huge": cloud(20, 2) * 1e150,
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("betti", [(1, 0), (2, 1)])
@pytest.mark.parametrize("landmarks", [None, 15])
def test_degenerate_points_have_finite_gradients(name, betti, landmarks):
    x = DEGENERATE[name].double().clone().requires_grad_()
    loss = TopologyLoss(betti, landmarks=landmarks)(x)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    y = DEGENERATE[name].double().clone().requires_grad_()
    bars = persistence_diagrams(y, landmarks=landmarks)
    torch.cat(bars).sum().backward()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (torch.tensor([[0.0, math.nan], [1.0, 2.0]]), "NaN or infinity in 1 of 2"),
        (torch.tensor([[0.0, math.inf], [1.0, 2.0]]), "NaN or infinity"),
        (torch.zeros(5), r"expected shape \(n, D\)"),
        (torch.zeros(2, 5, 3), r"expected shape \(n, D\)"),
        (torch.zeros(1, 3), "at least 2 points, got 1"),
        (torch.zeros(5, 0), "at least one column"),
        (torch.zeros(5, 2, dtype=torch.int64), "float32 or float64"),
        (torch.zeros(5, 2, dtype=torch.float16), "float32 or float64"),
        (torch.zeros(5, 2, dtype=torch.complex64), "float32 or float64"),
    ],
)
def test_bad_points_are_refused(points, match):
    with pytest.raises(InvalidPoints, match=match):
        persistence_diagrams(points)
    with pytest.raises(InvalidPoints, match=match):
        TopologyLoss((1, 1))(points)


def test_bad_arguments_are_refused():
    x = cloud(10, 2)
    for arguments, match in (
        ({"max_dim": 4}, "max_dim"),
        ({"field": 4}, "prime"),
        ({"landmarks": 1}, "landmarks"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
    ):
        with pytest.raises(ValueError, match=match):
            persistence_diagrams(x, **arguments)
    with pytest.raises(ValueError, match="fewer landmarks or a smaller threshold"):
        persistence_diagrams(cloud(1000, 2), max_dim=2, landmarks=1000)
    for betti in ((), (0, 1), (1, -1)):
        with pytest.raises(ValueError, match="expected Betti numbers"):
            TopologyLoss(betti)
    with pytest.raises(ValueError, match="margin"):
        TopologyLoss((1,), strength="persistence")
    with pytest.raises(ValueError, match="margin > 0"):
        TopologyLoss((1,), margin=-1.0)
    bars = [torch.tensor([[0.0, 1.0]])]
    with pytest.raises(ValueError, match="as many targets"):
        match_diagrams(bars, [])
    with pytest.raises(ValueError, match="clip"):
        match_diagrams(bars, [torch.tensor([[0.0, math.inf]])])
    with pytest.raises(ValueError, match="shape"):
        match_diagrams(bars, [torch.zeros(3)])
    with pytest.raises(ValueError, match="order"):
        match_diagrams(bars, bars, order=0.5)
