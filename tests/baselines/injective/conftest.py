"""Fixtures of published flows."""

import pytest

from tests.known_decoders import Known


@pytest.fixture(scope="session")
def known():
    return Known
