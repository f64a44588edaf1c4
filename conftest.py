"""Shared by the tests and the doctests: one thread, seeded randomness, checked types, names.

jaxtyping decorates every function of topogen and beartype checks the shapes and types of its
arguments and result. Checking all calls would double the time of the suite: the first calls of a
function in a test are checked, and a function is made ready for it when it is first called.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import random
from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch

torch.set_num_threads(1)

CHECKED_CALLS = 2  # of a function in a test
_test = 0
_jaxtyped = jaxtyping.jaxtyped


def jaxtyped_at_first(fn: Callable | None = None, *, typechecker: Callable) -> Callable:
    """As jaxtyping.jaxtyped, for the first calls in a test."""
    if fn is None:
        return functools.partial(jaxtyped_at_first, typechecker=typechecker)
    if inspect.isclass(fn):
        if dataclasses.is_dataclass(fn):
            fn.__init__ = jaxtyped_at_first(fn.__init__, typechecker=typechecker)
        return fn
    checked, test, calls = None, -1, 0

    @functools.wraps(fn)
    def sampled(*args: object, **kwargs: object) -> object:
        nonlocal checked, test, calls
        __tracebackhide__ = True
        test, calls = (test, calls + 1) if test == _test else (_test, 1)
        if calls > CHECKED_CALLS:
            return fn(*args, **kwargs)
        if checked is None:
            checked = _jaxtyped(fn, typechecker=typechecker)
        return checked(*args, **kwargs)

    return sampled


jaxtyping.jaxtyped = jaxtyped_at_first


@pytest.fixture(autouse=True)
def _new_test() -> None:
    global _test
    _test += 1


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
