"""Certificates: right bases are accepted, wrong ones rejected or refused."""

import warnings

import pytest
import torch

import topogen as tg
from topogen.errors import TrainingError
from topogen.models.injective import model_search as searches
from topogen.models.injective.bases import standard
from topogen.models.injective.certificate import EmbeddingCertificate, certify
from topogen.models.injective.decoder import SpectralDecoder
from topogen.models.injective.decoder_fit import fit_decoder
from topogen.models.injective.homology_checks import extra_loops, image_homology
from topogen.models.injective.neighbor_graph import neighbour_graph
from topogen.point_cloud.arrays import diameter


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


SETS = {
    "torus": lambda n: tg.Torus(R=2.0, r=0.8).sample_uniform(n, generator=seeded()),
    "sphere": lambda n: tg.Sphere().sample_uniform(n, generator=seeded()),
    "klein": lambda n: tg.KleinBottle().sample_uniform(n, generator=seeded()),
    "projective": lambda n: tg.ProjectivePlane().sample_uniform(n, generator=seeded()),
    "mobius": lambda n: tg.MobiusBand(width=0.8).sample_uniform(n, generator=seeded()),
    "genus 2": lambda n: tg.GenusSurface(2).sample_uniform(n, generator=seeded()),
}


def certificate(points, base, *, equal_area=True, count=150):
    """What is found of a base for a set; None where there are no initial base points."""
    x = points - points.mean(0)
    x = x / x.square().sum(-1).mean().sqrt()
    held_out, train = x[: len(x) // 10], x[len(x) // 10 :]
    graph = neighbour_graph(train.numpy(), 2)
    steps = fit_decoder(standard(base), graph, train, held_out, count=count, equal_area=equal_area)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        found = stop.value
    except TrainingError:
        return None
    return certify(found, train, held_out, marks=graph.landmarks(count), noise=0.0)


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
    assert False not in found.one_to_one.values()


@pytest.mark.parametrize(("name", "n"), RIGHT[1:2])
def test_right_bases_are_accepted(name, n):
    is_right(name, n)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), RIGHT[:1] + RIGHT[2:])
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
    for equal_area in (True, False):
        found = certificate(SETS[name](n), base, equal_area=equal_area)
        assert found is None or not found.accepted, found
        if found is not None:
            assert found.reason


@pytest.mark.parametrize(("name", "base", "n"), WRONG[1:2])
def test_wrong_bases_are_refused(name, base, n):
    is_refused(name, base, n)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "base", "n"), WRONG[:1] + WRONG[2:])
def test_more_wrong_bases_are_refused(name, base, n):
    is_refused(name, base, n)


def noisy(M, n, part=0.02):
    g = seeded(2)
    x = M.sample_uniform(n, generator=g)
    return x + part * diameter(x.numpy()) * torch.randn(x.shape, generator=g, dtype=x.dtype)


def fitted(x, dim, base):
    flow = tg.InjectiveFlow(dim, x.shape[1], base=base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flow, tg.fit(flow, x, progress=False).status


def test_loops_of_noisy_data_that_a_base_lacks_are_seen():
    graph = neighbour_graph(noisy(tg.ProjectivePlane(), 2000).numpy(), 2, noisy=True)
    marks = graph.landmarks(150)
    assert extra_loops(standard("sphere"), marks) == {2: 1, 3: 0}
    assert extra_loops(standard("projective"), marks) == {2: 0, 3: 0}


def test_an_image_that_crosses_itself_has_other_homology():
    decoder = SpectralDecoder(standard("circle"), 2, 2)
    t = torch.linspace(0, 6.2832, 200, dtype=torch.float64)
    b = torch.stack([t.cos(), t.sin()], -1)
    decoder.regress(b, b, 1e-12)
    assert image_homology(decoder).verdict == "agrees"
    decoder.regress(b, torch.stack([t.sin(), (2 * t).sin()], -1), 1e-12)
    assert image_homology(decoder).verdict == "disagrees"


@pytest.mark.slow
def test_the_homology_of_the_image_is_in_the_certificate():
    found = certificate(SETS["sphere"](1000), "sphere")
    assert found.homology == "agrees"
    assert found.failed == ()
    again = EmbeddingCertificate.of(found.to_dict())
    assert again.to_dict() == found.to_dict()
    assert again.extra_loops == {2: 0, 3: 0}


@pytest.mark.slow
def test_a_wrong_base_gets_no_residual(ellipse, monkeypatch):
    def never(*_):
        raise AssertionError("residual")

    monkeypatch.setattr(searches, "with_residual", never)
    flow, status = fitted(ellipse(800), 1, "interval")
    assert status != "converged"
    assert "collision" in flow.certificate.failed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("M", "n", "base"),
    [(tg.ProjectivePlane(), 4000, "sphere"), (tg.SpecialOrthogonal(), 6000, "sphere")],
    ids=["RP^2", "SO(3)"],
)
def test_noisy_quotients_are_not_taken_for_their_covers(M, n, base):
    flow, status = fitted(noisy(M, n), M.dim, base)
    assert status != "converged"
    assert "loops" in flow.certificate.failed
    assert "loops more" in flow.certificate.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("M", "n", "base"),
    [
        (tg.ProjectivePlane(), 4000, "auto"),
        (tg.Torus(), 4000, "torus"),
        (tg.Sphere(), 4000, "sphere"),
        (tg.KleinBottle(), 6000, "klein"),
        (tg.SpecialOrthogonal(), 6000, "projective"),
    ],
    ids=["RP^2", "torus", "sphere", "Klein", "SO(3)"],
)
def test_noisy_sets_are_accepted_on_their_own_bases(M, n, base):
    flow, status = fitted(noisy(M, n), M.dim, base)
    assert status == "converged", flow.certificate.reason
    assert flow.manifold.homology == M.homology
    assert flow.certificate.homology == "agrees"
