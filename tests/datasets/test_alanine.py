import math

import torch

from topogen import calculus
from topogen.datasets import alanine


def test_embedding_reproduces_the_file():
    x = alanine.embed(torch.from_numpy(alanine.torsions()))
    assert (x - torch.from_numpy(alanine.conformers())).abs().max() < 1e-6
    stored = torch.from_numpy(alanine._file()["log_density"].astype("float64"))
    assert (alanine.log_density(torch.from_numpy(alanine.torsions())) - stored).abs().max() < 1e-5


def test_area_entropy_and_normalisation_by_quadrature():
    s = torch.arange(180, dtype=torch.float64) * (2 * math.pi / 180) - math.pi
    grid = torch.cartesian_prod(s, s)
    cell = (2 * math.pi / 180) ** 2
    log_area = calculus.log_volume(alanine.embed, grid)
    assert abs(float(log_area.exp().sum()) * cell - alanine.AREA) < 1e-3
    log_p = alanine.log_density(grid)
    assert abs(float(log_p.exp().sum()) * cell - 1) < 1e-3
    entropy = -float((log_p.exp() * (log_p - log_area)).sum()) * cell
    assert abs(entropy - alanine.ENTROPY) < 2e-3


def test_samples_have_the_entropy():
    x = alanine.sample_torsions(20_000, torch.Generator().manual_seed(1))
    # standard deviation of log p is 0.86, so 0.03 is 5 standard errors: false alarm < 1e-6
    assert abs(float(-alanine.log_prob(x).mean()) - alanine.ENTROPY) < 0.03


def test_nearest_and_bonds():
    generator = torch.Generator().manual_seed(0)
    angles = alanine.sample_torsions(50, generator)
    x = alanine.embed(angles)
    normal = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    Q = calculus.tangent_basis(calculus.jacobian(alanine.embed, angles))
    normal = normal - (Q @ (Q.mT @ normal.unsqueeze(-1))).squeeze(-1)
    normal = 0.05 * normal / normal.norm(dim=-1, keepdim=True)
    found, distance = alanine.nearest(x + normal)
    assert torch.allclose(alanine.embed(found), x, atol=1e-9)
    assert torch.allclose(distance, torch.full_like(distance, 0.05), atol=1e-9)
    assert alanine.bond_error(x) < 1e-12
    assert alanine.bond_error(1.01 * x) > 0.01
