import math

import pytest
import torch

import topogen as tg


def circle_points(n=800, seed=0):
    """One point in each of n equal arcs: enough for every check, with no large gap."""
    u = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    t = 2 * math.pi * (torch.arange(n) + u) / n
    return torch.stack([t.cos(), t.sin()], -1)


@pytest.fixture(scope="session")
def circle():
    return circle_points()


@pytest.fixture(scope="session")
def learned(circle):
    return tg.learn(circle, seed=0)
