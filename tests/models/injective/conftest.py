"""Fixtures of injective flows."""

import pytest

from tests import catalogue
from tests.known_decoders import Known


@pytest.fixture(scope="session")
def known():
    return Known


@pytest.fixture(scope="session")
def ellipse():
    return catalogue.ellipse
