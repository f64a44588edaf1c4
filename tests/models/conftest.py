import pytest
import torch

import topogen as tg
from topogen.point_cloud.tensors import as_tensor


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed))


def learn_distribution(points, dim, seed=0):
    M = tg.LocalPolynomials(dim, points.shape[1])
    distribution = tg.AtlasDensity(tg.ProjectedAtlas(M))
    result = tg.fit(distribution, as_tensor(points), seed=seed)
    return distribution, result


@pytest.fixture(scope="session")
def torus_distribution():
    """A density learned from 2500 area-uniform points of the ring torus, and the truth."""
    M = tg.Torus()
    distribution, result = learn_distribution(uniform(M, 2500, 0), 2)
    return distribution, result, M


@pytest.fixture(scope="session")
def klein_atlas():
    """Charts learned from 3000 area-uniform points of the Klein bottle in R^4, and the truth."""
    M = tg.KleinBottle()
    x = uniform(M, 3000, 0)
    atlas = tg.ProjectedAtlas(tg.LocalPolynomials(2, 4))
    tg.fit(atlas, x)
    return atlas, x, M
