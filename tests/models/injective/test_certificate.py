"""Certificates: right bases are accepted, wrong ones rejected or refused."""

import pytest
import torch

import topogen as tg
from topogen.errors import TrainingError
from topogen.manifolds.bases import standard
from topogen.models.injective.certificate import certify
from topogen.models.injective.cocycles import landmarks
from topogen.models.injective.graph import neighbour_graph
from topogen.models.injective.recover import recover


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


SETS = {
    "torus": lambda n: tg.Torus(R=2.0, r=0.8).sample_uniform(n, generator=seeded()),
    "sphere": lambda n: tg.Sphere().sample_uniform(n, generator=seeded()),
    "klein": lambda n: tg.KleinBottle().sample_uniform(n, generator=seeded()),
    "projective": lambda n: tg.ProjectivePlane().sample_uniform(n, generator=seeded()),
    "mobius": lambda n: tg.MobiusBand(width=0.8).sample_uniform(n, generator=seeded()),
    "genus 2": lambda n: tg.Genus(2).sample_uniform(n, generator=seeded()),
}


def certificate(points, base, *, remap=True, count=150):
    """What is found of a base for a set; None where there is no seed."""
    x = points - points.mean(0)
    x = x / x.square().sum(-1).mean().sqrt()
    held, train = x[: len(x) // 10], x[len(x) // 10 :]
    graph = neighbour_graph(train.numpy(), 2)
    steps = recover(standard(base), graph, train, held, count=count, remap=remap)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        found = stop.value
    except TrainingError:
        return None
    return certify(found, graph, train, held, marks=landmarks(graph, count), noise=0.0)


RIGHT = [
    ("torus", 2000),
    ("sphere", 1000),
    ("klein", 3000),
    ("projective", 2000),
    ("mobius", 2000),
]


def is_right(name, n):
    found = certificate(SETS[name](n), name)
    assert found is not None
    assert found.accepted, found.reason
    assert found.condition < 30
    assert found.collision > 0.05
    assert found.reconstruction < found.allowed
    assert False not in found.onto.values()


@pytest.mark.parametrize(("name", "n"), RIGHT[:2])
def test_right_bases_are_accepted(name, n):
    is_right(name, n)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), RIGHT[2:])
def test_right_bases_of_more_sets_are_accepted(name, n):
    is_right(name, n)


WRONG = [
    ("sphere", "torus", 1000),
    ("projective", "klein", 1500),
    ("torus", "sphere", 1500),
    ("klein", "torus", 2500),
    ("torus", "klein", 2000),
    ("klein", "projective", 2500),
    ("genus 2", "torus", 3000),
    ("mobius", "cylinder", 2000),
]


def is_refused(name, base, n):
    for remap in (True, False):
        found = certificate(SETS[name](n), base, remap=remap)
        assert found is None or not found.accepted, found
        if found is not None:
            assert found.reason


@pytest.mark.parametrize(("name", "base", "n"), WRONG[:2])
def test_wrong_bases_are_refused(name, base, n):
    is_refused(name, base, n)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "base", "n"), WRONG[2:])
def test_more_wrong_bases_are_refused(name, base, n):
    is_refused(name, base, n)
