"""Learning in the subspace that points span: what is learned is what is learned there."""

import numpy as np
import pytest
import torch

import topogen as tg
from tests.conftest import circle_points


def in_columns(x, D, seed=0):
    g = torch.Generator().manual_seed(seed)
    V = torch.linalg.qr(torch.randn(D, x.shape[1], generator=g, dtype=x.dtype))[0]
    return x @ V.T + 2.0, V


@pytest.fixture(scope="module")
def wide():
    x, V = in_columns(circle_points(800), 2000)
    return tg.learn(x, seed=0), x, V


@pytest.mark.slow
def test_learning_in_many_columns_is_learning_in_few(wide):
    r, _, V = wide
    few = tg.learn(circle_points(), seed=0)
    assert (r.status, r.topology.verdict) == ("converged", "agrees")
    assert r.manifold.ambient_dim == r.summary.ambient_dim == 2000
    assert r.measurements["volume of M"] == pytest.approx(few.measurements["volume of M"], 1e-6)
    at = circle_points(100, seed=5)
    torch.testing.assert_close(r.log_prob(at @ V.T + 2.0), few.log_prob(at), atol=0.05, rtol=0)
    y = r.sample(50, seed=1)
    assert y.shape == (50, 2000)
    assert bool(r.log_prob(y).isfinite().all())
    assert any("span 2 of 2000 columns" in remark for remark in r.remarks)


def test_points_beside_the_subspace_have_no_density(wide):
    r, x, V = wide
    beside = torch.linalg.qr(torch.cat([V, torch.ones(2000, 1, dtype=x.dtype)], 1))[0][:, 2]
    assert bool(r.log_prob(x[:20]).isfinite().all())
    assert bool(r.log_prob(x[:20] + 0.1 * beside).isneginf().all())


@pytest.mark.slow
def test_it_is_saved_and_reported(wide, tmp_path):
    r, x, _ = wide
    tg.save(r, tmp_path / "m.safetensors")
    again = tg.load(tmp_path / "m.safetensors")
    assert torch.equal(again.log_prob(x), r.log_prob(x))
    assert torch.equal(again.sample(5, seed=0), r.sample(5, seed=0))
    assert "coloured by chart" in r.report(tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_a_zero_set_in_many_columns():
    x, V = in_columns(circle_points(300), 1500)
    M = tg.NeuralImplicit(1, 1500, features=100, width=32)
    assert tg.fit(M, x).status == "converged"
    found = M.project(x[:30]).value
    assert float(((found - 2.0) @ V).norm(dim=-1).sub(1).abs().max()) < 1e-3
    assert M.tangent_basis(found).shape == (30, 1500, 1)
    assert M.equations(found).shape == (30, 1499)
    _, J = M.linearize(found[:1])
    s = torch.linalg.svdvals(J)
    assert float(s.min()) > 0.5  # full rank D - d: the subspace has its own equations
    assert float((J @ M.tangent_basis(found[:1])).abs().max()) < 1e-8


@pytest.mark.slow
def test_an_injective_flow_in_many_columns():
    x, V = in_columns(circle_points(400), 1500)
    flow = tg.InjectiveFlow(1, 1500, base="circle")
    assert tg.fit(flow, x).status == "converged"
    y = flow().sample((50,), torch.Generator().manual_seed(0))
    assert float(((y - 2.0) @ V).norm(dim=-1).sub(1).abs().max()) < 1e-3
    assert bool(flow().log_prob(y).isfinite().all())


def test_a_zero_set_of_too_many_directions_is_refused():
    x = np.random.default_rng(0).normal(size=(400, 300))
    x[:, 2:] *= 0.05
    with pytest.raises(tg.errors.InvalidPoints, match=r"at most 200 directions .* 300 of 300"):
        tg.fit(tg.NeuralImplicit(1, 300), x)
