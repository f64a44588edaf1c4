"""A base of the general kind: a group that mixes harmonics."""

import math

import pytest
import torch

from topogen.homology import Homology
from topogen.models.injective.bases import Base
from topogen.models.injective.bases.harmonic_factors import UnitSphere


@pytest.fixture(scope="session")
def lens_space():
    """S^3 / Z_3, an element of order 3 that turns both planes."""
    c, s = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    once = torch.block_diag(turn, turn)
    return Base(
        [UnitSphere(3)],
        torch.stack([torch.eye(4, dtype=torch.float64), once, once @ once]),
        name="L(3, 1)",
        homology=Homology({2: (1, 0, 0, 1), 3: (1, 1, 1, 1)}),
    )
