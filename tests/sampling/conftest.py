"""Zero sets with known volumes, for the tests of uniform distributions without a chain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import topogen as tg


class Known:
    TORUS_AREA = 4 * math.pi**2 * 0.5  # R = 1, r = 1/2
    CLIFFORD_AREA = 4 * math.pi**2
    ROTATIONS_VOLUME = 2**1.5 * 8 * math.pi**2

    @staticmethod
    def seeded(seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    @staticmethod
    def torus() -> tg.ImplicitManifold:
        def F(x: Tensor) -> Tensor:
            rho = (x[..., :2].square().sum(-1, keepdim=True) + 1e-300).sqrt()
            return (rho - 1) ** 2 + x[..., 2:] ** 2 - 0.25

        return tg.ImplicitManifold(F, 2, 3, scale=1.5)

    @staticmethod
    def clifford() -> tg.ImplicitManifold:
        """(x1^2 + x2^2 - 1, x3^2 + x4^2 - 1): J J^T = 4 I."""
        return tg.ImplicitManifold(
            lambda x: x.square().unflatten(-1, (2, 2)).sum(-1) - 1, 2, 4, scale=1.0
        )

    @staticmethod
    def orthogonal() -> tg.ImplicitManifold:
        """The upper triangle of A^T A - I: both components of O(3)."""
        i, j = torch.triu_indices(3, 3)

        def F(x: Tensor) -> Tensor:
            A = x.unflatten(-1, (3, 3))
            return (A.mT @ A - torch.eye(3, dtype=x.dtype))[..., i, j]

        return tg.ImplicitManifold(F, 3, 9, scale=1.7)

    @staticmethod
    def cos_phi(x: Tensor) -> Tensor:
        """The cosine of the tube angle of the torus."""
        return (x[:, :2].norm(dim=-1) - 1) / 0.5

    @staticmethod
    def z_score(values: Tensor, expected: float) -> float:
        return abs(float(values.mean()) - expected) / (
            float(values.std()) / math.sqrt(len(values))
        )

    @staticmethod
    def kolmogorov(values: Tensor, F: Tensor) -> float:
        """Kolmogorov-Smirnov, times sqrt(n); F the distribution at the sorted values."""
        n = values.numel()
        k = torch.arange(n, dtype=torch.float64)
        return float(torch.maximum((k + 1) / n - F, F - k / n).max()) * math.sqrt(n)

    @staticmethod
    def tube_angle_statistic(x: Tensor) -> float:
        """Kolmogorov-Smirnov of the tube angle: CDF (phi + r/R sin phi) / 2 pi."""
        phi = torch.atan2(x[:, 2], x[:, :2].norm(dim=-1) - 1).sort().values
        return Known.kolmogorov(phi, (phi + math.pi + 0.5 * phi.sin()) / (2 * math.pi))


@pytest.fixture(scope="session")
def known() -> type[Known]:
    return Known
