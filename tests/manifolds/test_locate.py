"""Every kind of set refuses what are no points of its space, in the same words."""

from __future__ import annotations

import math

import pytest
import torch

import topogen as tg

CIRCLE = torch.linspace(0, 2 * math.pi, 301, dtype=torch.float64)[1:]
SETS = {
    "reference": tg.Circle,
    "implicit": lambda: tg.ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, 1, 2),
    "union": lambda: tg.Union(tg.Circle(), tg.Similarity(tg.Circle(), torch.tensor([3.0, 0.0]))),
    "learned": lambda: _learned(tg.LocalPolynomials(1, 2)),
    "network": lambda: _learned(tg.NeuralImplicit(1, 2, width=16, features=50)),
}


def _learned(M):
    tg.fit(M, torch.stack([CIRCLE.cos(), CIRCLE.sin()], -1))
    return M


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SETS)
def test_other_columns_and_integers_are_refused(name):
    M = SETS[name]()
    for points in (torch.zeros(4, 3, dtype=torch.float64), torch.tensor([[1, 0]])):
        for ask in (M.project, M.residual, M.contains, M.tangent_basis):
            with pytest.raises((ValueError, TypeError), match=r"\(\.\.\., 2\)|Float|beartype"):
                ask(points)


def test_a_point_that_is_nan_has_no_tangents():
    x = torch.full((1, 3), math.nan, dtype=torch.float64)
    assert tg.Sphere().tangent_basis(x).isnan().all()
    assert not tg.Sphere().project(x).converged.any()
