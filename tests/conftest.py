import math

import pytest
import torch

import topogen as tg


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of a file run on one worker (`--dist loadgroup`): its fixtures are made once.

    Files and laws that share a fitted model of the catalogue name their group.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


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
