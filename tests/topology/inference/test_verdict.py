"""The verdict: every degree for "agrees", one clear difference for "disagrees", else neither."""

from __future__ import annotations

import pytest

from topogen import Homology
from topogen.topology.inference.evidence import Evidence
from topogen.topology.inference.hypothesis import Hypothesis
from topogen.topology.inference.verdict import judge
from topogen.topology.inference.visible_boundary import VisibleBoundary

HYPOTHESIS = Hypothesis("the hypothesis", Homology((1, 2, 1)))


def evidence_of(numbers):
    evidence = Evidence(
        {p: list(numbers) for p in (2, 3)},
        {p: [0.5] * 3 for p in (2, 3)},
        [],
        1.0,
        [[1.0, 1.0]] * 3,
    )
    for k, b in enumerate(numbers):
        if b is None:
            evidence.revoke(k, f"degree {k} is open")
    return evidence


def never():
    raise AssertionError("the reference costs a whole check")


def seen(sharp, thin):
    return lambda: VisibleBoundary(sharp, thin)


SHARP, THIN, NONE = seen(True, False), seen(False, True), seen(False, False)


@pytest.mark.parametrize(
    ("found", "verdict", "word"),
    [
        ((1, 2, 1), "agrees", "degrees 0 to 2 over Z/2 and Z/3"),
        ((1, 2, None), "undetermined", "degree 2 is open"),
        ((1, 3, 1), "disagrees", "degree 1 has Betti number 3"),
        ((2, None, None), "disagrees", "degree 0 has Betti number 2"),
        ((1, 3, 0), "disagrees", "has Betti number 3"),  # one class too many is enough
    ],
)
def test_without_a_sample_of_the_claim(found, verdict, word):
    said, reason = judge(evidence_of(found), HYPOTHESIS, 2, never, SHARP)
    assert said == verdict
    assert word in reason


@pytest.mark.parametrize(
    ("sample", "verdict"),
    [
        ((1, 2, 1), "disagrees"),  # so many points do show the class that is missing
        ((1, 2, 0), "undetermined"),
        ((1, 2, None), "undetermined"),
        (None, "disagrees"),  # the hypothesis has no sampler
    ],
)
def test_a_missing_class_counts_if_a_sample_of_the_claim_shows_it(sample, verdict):
    reference = None if sample is None else evidence_of(sample)
    assert judge(evidence_of((1, 2, 0)), HYPOTHESIS, 2, lambda: reference, SHARP)[0] == verdict


def test_only_fields_of_the_claim_are_compared():
    over_two = Hypothesis("the hypothesis", Homology({2: (1, 2, 1)}))
    evidence = evidence_of((1, 2, 1))
    evidence.betti[3] = [1, 1, 0]
    assert judge(evidence, over_two, 2, never, never)[0] == "agrees"


@pytest.mark.parametrize(
    ("found", "boundary", "verdict"),
    [
        ((1, 2, 0), SHARP, "disagrees"),  # a torus with a hole
        ((1, 2, 0), THIN, "undetermined"),  # the density falls there: the hole may be empty
        ((1, 2, 0), NONE, "undetermined"),  # no closed manifold, and no boundary: not resolved
        ((1, 3, 0), NONE, "disagrees"),  # a class too many: not a manifold
        ((1, 3, 0), THIN, "undetermined"),
        ((1, 0, 1), never, "disagrees"),  # a sphere obeys duality: no boundary is looked for
        ((1, 4, 1), never, "disagrees"),
        ((1, 1, None), never, "undetermined"),  # missing, and not all is known
    ],
)
def test_numbers_of_no_closed_manifold_need_a_boundary(found, boundary, verdict):
    assert judge(evidence_of(found), HYPOTHESIS, 2, lambda: None, boundary)[0] == verdict


def test_a_claim_of_no_closed_manifold_asks_for_no_boundary():
    band = Hypothesis("a band", Homology((1, 1)))
    assert judge(evidence_of((1, 0, 0)), band, 2, lambda: None, never)[0] == "disagrees"
    # of a curve, the same numbers are those of a closed one
    arc = evidence_of((1, 0, 0))
    arc.betti = {p: b[:2] for p, b in arc.betti.items()}
    assert judge(arc, band, 1, lambda: None, NONE)[0] == "undetermined"
    assert judge(arc, band, 1, lambda: None, SHARP)[0] == "disagrees"


def test_what_hides_below_the_scale_hides_over_every_field():
    evidence = evidence_of((1, 2, 1))
    evidence.betti[3] = [1, 1, 0]  # of a Klein bottle

    def hidden(degree):
        return "smaller ones could hide"

    assert judge(evidence, HYPOTHESIS, 2, lambda: None, never, hidden)[0] == "disagrees"
    evidence = evidence_of((1, 0, 1))
    assert judge(evidence, HYPOTHESIS, 2, lambda: None, never, hidden)[0] == "undetermined"


def test_a_class_that_could_live_below_the_scale_is_not_missing():
    lacking = evidence_of((1, 1, 1))
    said, reason = judge(
        lacking, HYPOTHESIS, 2, lambda: None, SHARP, lambda degree: "it is crooked"
    )
    assert said == "undetermined"
    assert "degree 1 has Betti number 1" in reason
    assert "it is crooked" in reason
    assert judge(lacking, HYPOTHESIS, 2, lambda: None, SHARP, lambda degree: "")[0] == "disagrees"
    # where a part may hide, a sample of the claim says nothing of the cloud
    lacking.below[1] = "a dense part is near"
    assert (
        judge(lacking, HYPOTHESIS, 2, lambda: evidence_of((1, 2, 1)), SHARP)[0] == "undetermined"
    )
    # what hides is missing over every field
    lacking.betti[2][1] = 2
    assert (
        judge(lacking, HYPOTHESIS, 2, lambda: None, SHARP, lambda degree: "crooked")[0]
        == "disagrees"
    )
    # one class too many is enough
    assert judge(evidence_of((1, 3, 0)), HYPOTHESIS, 2, lambda: None, SHARP, str)[0] == "disagrees"


def test_what_is_unknown_of_another_cloud_decides_nothing():
    other = Hypothesis("the other cloud", found={2: (1, 0, None), 3: (1, 0, None)})
    # no closed surface has (1, 1, 0), which a thin edge leaves open: also against less
    for known in (HYPOTHESIS, other):
        assert judge(evidence_of((1, 3, 0)), known, 2, never, THIN)[0] == "undetermined"
    assert judge(evidence_of((1, 1, 0)), other, 2, never, SHARP)[0] == "disagrees"
    assert judge(evidence_of((1, 0, 1)), other, 2, never, SHARP)[0] == "undetermined"
