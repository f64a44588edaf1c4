"""Shared by the tests and the doctests: one thread, seeded randomness, common names."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    # tests pass their own seeds; this only keeps a forgotten one from making a test flicker
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    import topogen

    doctest_namespace.update(np=np, torch=torch, tg=topogen)
