"""InjectiveFlow on distributions that leave parts of M nearly empty."""

import math

import numpy as np
import pytest
import torch

import topogen as tg
from topogen.models.injective.neighbor_graph import neighbour_graph

# entropies of the von Mises distributions, in nats
ENTROPY = {2.0: 1.2663212919642852, 3.0: 0.993228806353252}


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [2.0, 3.0])
def test_von_mises_distributions_on_a_circle(kappa):
    g = torch.Generator().manual_seed(1)
    distribution = tg.VonMises(0.0, kappa)
    flow = tg.InjectiveFlow(1, 2, "circle")
    assert (
        tg.fit(flow, distribution.sample((4000,), generator=g), progress=False).status
        == "converged"
    )
    assert flow.certificate.accepted
    assert flow.manifold.volume == pytest.approx(2 * math.pi, rel=1e-5)
    y = distribution.sample((20_000,), generator=g)
    entropy = -float(distribution.log_prob(y).mean())
    # the standard error of the entropy is .005
    assert entropy == pytest.approx(ENTROPY[kappa], abs=0.02)
    assert float((distribution.log_prob(y) - flow().log_prob(y)).mean()) < 0.01


def test_the_graph_of_a_curve_crosses_gaps_beside_dense_points():
    t = np.sort(np.random.default_rng(0).random(2000)) * 2 * np.pi
    t[1000:1030] = t[1000] + np.linspace(0, 1e-4, 30)
    t = np.delete(t, slice(1030, 1040))
    x = np.stack([np.cos(t), np.sin(t)], axis=1)
    graph = neighbour_graph(x, 1)
    edges = set(zip(graph.i.tolist(), graph.j.tolist(), strict=True))
    assert (1029, 1030) in edges
