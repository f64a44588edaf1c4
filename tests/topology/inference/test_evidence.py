"""What no space can have is revoked, with the first reason; what one can have stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topogen import Homology
from topogen.topology.inference.evidence import Count, Evidence, check_consistency, is_dual

SPHERE, TORUS, CIRCLE = Homology((1, 0, 1)), Homology((1, 2, 1)), Homology((1, 1))
KLEIN, PLANE = Homology({2: (1, 2, 1), 3: (1, 1, 0)}), Homology({2: (1, 1, 1), 3: (1, 0, 0)})
SURFACES = {"sphere": SPHERE, "torus": TORUS, "klein": KLEIN, "plane": PLANE}
distribution = settings(max_examples=60, deadline=None, derandomize=True)


def evidence_of(betti):
    degrees = len(next(iter(betti.values())))
    return Evidence(
        {p: list(v) for p, v in betti.items()},
        {p: [None if b is None else 0.5 for b in v] for p, v in betti.items()},
        [], 1.0, [[1.0, 1.0]] * degrees,
    )  # fmt: skip


def padded(homology, degrees):
    return {p: [homology.betti_number(k, p) for k in range(degrees)] for p in homology.fields}


@pytest.mark.parametrize("a", SURFACES)
@pytest.mark.parametrize("b", [*SURFACES, None])
def test_closed_manifolds_are_consistent(a, b):
    # surfaces, their unions, and their products with circles: dimension 2, 2 and 3
    one = SURFACES[a]
    cases = [(one, 2), (one.product(CIRCLE), 3)]
    if b is not None:
        cases.append((one.disjoint_union(SURFACES[b]), 2))
    for homology, dim in cases:
        betti = padded(homology, dim + 1)
        evidence = evidence_of(betti)
        check_consistency(evidence, dim)
        assert evidence.betti == betti
        assert not evidence.reasons
        assert is_dual(betti[2], dim)


@distribution
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.integers(0, 2))
def test_the_euler_characteristic_is_one_number(two, degree):
    three = list(two)
    three[degree] += 1
    evidence = evidence_of({2: two, 3: three})
    check_consistency(evidence, 2)
    assert set(evidence.reasons) == {degree}
    assert "Euler" in evidence.reasons[degree]
    for p, numbers in ((2, two), (3, three)):
        assert evidence.betti[p] == [None if k == degree else b for k, b in enumerate(numbers)]


@distribution
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4))
def test_duality_pairs_degrees(betti):
    dim = len(betti) - 1
    assert is_dual(betti, dim) == (betti == betti[::-1])
    assert is_dual([*betti[:-1], None], dim) or betti[1:-1] != betti[1:-1][::-1]
    assert is_dual(betti, dim + 1)  # the top degree was not looked at: nothing is broken


def test_nothing_is_said_of_what_is_open_or_not_computed():
    open_ = {2: [1, None, 1], 3: [1, 2, 0]}
    check_consistency(evidence := evidence_of(open_), 2)
    assert evidence.betti == open_
    short = {2: [1, 2], 3: [1, 1]}  # degree 2 was not looked at
    check_consistency(evidence := evidence_of(short), 2)
    assert evidence.betti == short
    # degrees above the dimension do not enter
    long = {2: [1, 2, 1, 5], 3: [1, 2, 1, 5]}
    check_consistency(evidence := evidence_of(long), 2)
    assert evidence.betti == long


def test_the_first_reason_and_its_cause_stay():
    evidence = evidence_of({2: [1, 2, 1], 3: [1, 2, 1]})
    evidence.revoke(2, "too coarse", "noise")
    evidence.revoke(2, "something else", "outliers")
    evidence.revoke(1, "no time")
    assert evidence.reasons == {2: "too coarse", 1: "no time"}
    assert evidence.causes == {2: "noise"}
    assert evidence.first_cause is None  # of the lowest degree: not known
    assert evidence.first_reason == "no time"  # of the lowest degree
    assert evidence.betti == {2: [1, None, None], 3: [1, None, None]}
    assert evidence.p_values == {2: [0.5, None, None], 3: [0.5, None, None]}


def test_settling_takes_the_reason_away():
    evidence = evidence_of({2: [1, 2], 3: [1, 2]})
    evidence.revoke(1, "too coarse", "limits")
    evidence.decide(1, {2: Count(2, 0.1), 3: Count(1, 0.2)})
    assert evidence.betti == {2: [1, 2], 3: [1, 1]}
    assert evidence.p_values[3][1] == 0.2
    assert not evidence.reasons
    assert not evidence.causes


@pytest.mark.parametrize(
    ("two", "three", "possible"),
    [
        ((1, 2, 1), (1, 1, 0), True),  # Klein bottle
        ((1, 1, 1, 1), (1, 0, 0, 1), True),  # SO(3)
        ((1, 1, 0), (1, 0, 0), False),  # 2-torsion in H_1 shows in degree 2 as well
        ((1, 2, 0), (1, 2, 0), True),  # a torus with a hole
    ],
)
def test_impossible_numbers_are_revoked(two, three, possible):
    evidence = evidence_of({2: two, 3: three})
    check_consistency(evidence, len(two) - 1)
    assert (evidence.betti == {2: list(two), 3: list(three)}) is possible
    assert bool(evidence.reasons) is not possible
