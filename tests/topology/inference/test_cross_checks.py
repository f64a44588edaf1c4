"""Cross-checks: witness complexes may only revoke, alpha complexes may only decide."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import topogen as tg
from topogen import check_topology
from topogen.point_cloud.cloud import prepare
from topogen.topology.inference.cross_checks import (
    check_by_witnesses,
    decide_by_alpha,
    decide_by_characteristic,
)
from topogen.topology.inference.evidence import Count, Evidence, Inconclusive
from topogen.topology.persistence.landmark_rips import Budget
from topogen.topology.persistence.null_distributions import rips_noise

LEVEL = 0.01 / 3


def evidence_of(two, three=None, dim=2):
    numbers = {2: list(two), 3: list(three or two)}
    cuts = [[rips_noise(dim, k, r).cut_off(LEVEL) for r in (0, 1)] for k in range(len(two))]
    p_values = {p: [None if b is None else 0.5 for b in v] for p, v in numbers.items()}
    evidence = Evidence(numbers, p_values, [], 0.08, cuts)
    for k, b in enumerate(two):
        if b is None:
            evidence.reasons[k] = "open"
    return evidence


def votes(two, three=None, times=3):
    return [{2: tuple(two), 3: tuple(three or two)}] * times


@pytest.mark.parametrize(
    ("two", "revoked"),
    [
        ((1, 2, 1), set()),  # the same
        ((1, 1, 0), set()),  # fewer: they have fewer landmarks
        ((1, 3, 1), {1}),
        ((1, 3, 2), {1, 2}),
        ((5, 2, 1), set()),  # degree 0 is left to Rips
    ],
)
def test_only_more_classes_in_all_complexes_revoke(two, revoked):
    evidence = evidence_of((1, 2, 1))
    check_by_witnesses(evidence, votes(two))
    assert set(evidence.reasons) == revoked
    for p in (2, 3):
        for k, b in enumerate((1, 2, 1)):
            assert evidence.betti[p][k] == (None if k in revoked else b)
            assert (evidence.p_values[p][k] is None) == (k in revoked)
    assert evidence.witness == {2: list(two), 3: list(two)}
    assert evidence.strategy.endswith("3 witness complexes")


def undetermined_torsion(two=(1, None, 1), three=(1, None, 0), clear=2, between=0.02):
    """Degree 1 clear over Z/2, with `clear` classes, and between noise and a class over Z/3."""
    evidence = evidence_of(two, three)
    inconclusive = Inconclusive("a bar lies between noise and a class", between)
    evidence.readings[1] = {2: Count(clear, 1e-6), 3: inconclusive}
    return evidence


def test_the_euler_characteristic_and_the_witnesses_determine_a_torsion_class():
    evidence = undetermined_torsion()
    check_by_witnesses(evidence, votes((1, 2, 1), (1, 1, 0)))
    decide_by_characteristic(evidence, 2)
    assert evidence.betti == {2: [1, 2, 1], 3: [1, 1, 0]}
    assert evidence.p_values == {2: [0.5, 1e-6, 0.5], 3: [0.5, 0.02, 0.5]}
    assert not evidence.reasons
    assert "over Z/3 determined by the Euler characteristic" in evidence.remarks[-1]


@pytest.mark.parametrize(
    ("evidence", "two", "three"),
    [
        # the witness complexes see another number, or do not say it
        (undetermined_torsion(), (1, 2, 1), (1, 2, 0)),
        (undetermined_torsion(), (1, 2, 1), (1, 0, 0)),
        # they see the number, but fewer classes elsewhere
        (undetermined_torsion(), (1, 2, 0), (1, 1, 0)),
        (undetermined_torsion(), (1, 1, 1), (1, 1, 0)),
        # the reason is not about one bar
        (undetermined_torsion(between=None), (1, 2, 1), (1, 1, 0)),
        # a degree of the other field is open as well
        (undetermined_torsion((1, None, None), (1, None, None)), (1, 2, 1), (1, 1, 0)),
        # the Euler characteristic asks for a number that is not seen
        (undetermined_torsion(clear=3), (1, 3, 1), (1, 1, 0)),
    ],
)
def test_what_does_not_agree_stays_open(evidence, two, three):
    check_by_witnesses(evidence, votes(two, three))
    decide_by_characteristic(evidence, 2)
    assert 1 in evidence.reasons
    assert evidence.betti[2][1] is None
    assert evidence.betti[3][1] is None


def test_without_all_degrees_or_witnesses_nothing_is_decided():
    decide_by_characteristic(evidence := undetermined_torsion(), 2)
    assert 1 in evidence.reasons
    check_by_witnesses(evidence, votes((1, 2, 1), (1, 1, 0)))
    decide_by_characteristic(evidence, 3)  # degree 3 was not computed
    assert 1 in evidence.reasons


def test_a_class_over_one_field_revokes_the_degree_over_all():
    evidence = evidence_of((1, 1, 0))
    check_by_witnesses(evidence, votes((1, 2, 0), (1, 1, 0)))
    assert evidence.betti == {2: [1, None, 0], 3: [1, None, 0]}
    assert "over Z/2" in evidence.reasons[1]


def test_divided_or_missing_complexes_say_nothing():
    for complexes in ([], votes((1, 9, 9), times=2)):
        evidence = evidence_of((1, 2, 1))
        check_by_witnesses(evidence, complexes)
        assert (evidence.witness, evidence.strategy) == ({}, "")
        assert evidence.betti[2] == [1, 2, 1]
    evidence = evidence_of((1, 2, None))
    check_by_witnesses(evidence, [*votes((1, 3, 1), times=2), *votes((1, 4, 1), times=1)])
    assert evidence.witness[2] == [1, None, 1]
    assert evidence.betti[2] == [1, 2, None]
    assert evidence.reasons == {2: "open"}


@pytest.mark.parametrize("unresolved", [1, 3])
def test_a_complex_that_does_not_resolve_a_degree_says_nothing_of_it(unresolved):
    evidence = evidence_of((1, 2, 1))
    clear = votes((1, 18, 0), times=3 - unresolved)
    check_by_witnesses(evidence, [*clear, *votes((1, None, 0), times=unresolved)])
    assert evidence.witness[2] == [1, None, 0]
    assert evidence.betti[2] == [1, 2, 1]


def route(evidence, x, dim=2, budget=None, seed=0):
    before = copy.deepcopy(evidence)
    decide_by_alpha(evidence, x, dim, LEVEL, np.random.default_rng(seed), budget or Budget())
    return before


SETTLED = {
    "fat torus": {2: [1, 2, 1], 3: [1, 2, 1]},
    "sphere": {2: [1, 0, 1], 3: [1, 0, 1]},
    "klein": {2: [1, 2, 1], 3: [1, 1, 0]},
}


@pytest.mark.parametrize(
    "name", ["fat torus", "sphere", pytest.param("klein", marks=pytest.mark.slow)]
)
def test_open_degrees_of_a_closed_surface_are_decided(cloud, name):
    evidence = evidence_of((1, None, None))
    route(evidence, prepare(cloud(name, 1000)).points)
    assert evidence.betti == SETTLED[name]
    assert evidence.reasons == {}
    assert evidence.p_values[2][0] == 0.5
    assert 0 <= evidence.p_values[2][2] < 0.01
    assert [r.split()[1] for r in evidence.remarks] == ["1", "2"]
    assert evidence.strategy == ", alpha complexes"


def test_decided_degrees_are_never_changed(cloud):
    x = prepare(cloud("sphere", 1000)).points
    for two in ((1, 0, 1), (None, 0, 1), (1, 0, None), (1, None, 1), (None, None, None)):
        evidence = evidence_of(two)
        before = route(evidence, x)
        for k, b in enumerate(two):
            if k == 0 or b is not None:  # degree 0 is left to Rips complexes
                assert [v[k] for v in evidence.betti.values()] == [b, b]
                assert evidence.p_values[2][k] == before.p_values[2][k]
        assert evidence.betti[2][1:] == [0, 1]


@pytest.mark.parametrize("wrong", [(1, 1, None), (1, None, 0), (1, None, 2), (1, 3, None)])
def test_what_contradicts_decided_degrees_decides_nothing(cloud, wrong):
    evidence = evidence_of(wrong)
    assert route(evidence, prepare(cloud("sphere", 600)).points) == evidence


@pytest.mark.parametrize("name", ["disc", "moebius", "cap", "noise"])
def test_sets_that_are_no_closed_surface_are_left_alone(cloud, name):
    # noise: 1 draw x 2 degrees x 2 fields at level 1/300
    if name == "cap":
        x = cloud("sphere", 1200)
        x = x[x[:, 2] < 0.5]
    elif name == "noise":
        x = np.random.default_rng(0).standard_normal((600, 3))
    else:
        x = cloud(name, 600)
    x = np.pad(x, ((0, 0), (0, 3 - x.shape[1])))
    evidence = evidence_of((1, None, None))
    assert route(evidence, prepare(x).points) == evidence


def test_it_keeps_out_where_it_cannot_help(cloud):
    sphere = prepare(cloud("sphere", 400)).points
    for x, dim, budget in [
        (prepare(cloud("sphere", 2501)).points, 2, None),
        (np.random.default_rng(0).random((200, 5)), 2, None),
        (sphere, 1, None),  # curves: Delaunay triangulations of them are quadratic
        (sphere, 3, None),
        (sphere, 2, Budget(1e-9)),
        (sphere[:, :2], 2, None),
    ]:
        evidence = evidence_of((1, None, None))
        assert route(evidence, x, dim, budget) == evidence
    only_three = evidence_of((1, None, None))
    only_three.betti.pop(2), only_three.p_values.pop(2)
    assert route(only_three, sphere) == only_three


def test_few_points_of_a_torus_are_enough(cloud, space):
    # degree 1 lies between noise and a class for Rips complexes, not for the alpha complex
    report = check_topology(cloud("fat torus", 600, 3), space("fat torus"), seed=3)
    assert report.verdict == "agrees", str(report)
    assert "degree 1 determined by alpha complexes of all points" in report.remarks
    assert "alpha" in report.strategy


@pytest.mark.parametrize(("tube", "n"), [(0.05, 300), (0.02, 300), (0.05, 1000)])
def test_a_tube_thinner_than_the_scale_reads_as_its_core_or_stays_open(tube, n):
    thin = tg.Torus(1.0, tube)
    x = thin.sample_uniform(n, generator=torch.Generator().manual_seed(n)).numpy()
    report = check_topology(x, seed=1)
    assert report.scale > tube
    for numbers in report.betti.values():
        assert all(b in (None, k) for b, k in zip(numbers, (1, 1, 0), strict=False)), str(report)
