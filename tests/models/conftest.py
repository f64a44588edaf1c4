import pytest
import torch

import topogen as tg
from tests import catalogue


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def torus_distribution():
    """A density learned from 2500 area-uniform points of the ring torus, and the truth."""
    fitted = catalogue.local_torus()
    return fitted.model, fitted.result, fitted.space


@pytest.fixture(scope="session")
def klein_atlas():
    """Charts learned from 3000 area-uniform points of the Klein bottle in R^4, and the truth."""
    M = tg.KleinBottle()
    x = uniform(M, 3000, 0)
    atlas = tg.ProjectedAtlas(tg.LocalPolynomials(2, 4))
    tg.fit(atlas, x)
    return atlas, x, M
