"""The verdict: every degree for "agrees", one clear difference for "disagrees", else neither."""

from __future__ import annotations

import pytest

from topogen import Homology
from topogen.topology.inference.evidence import Evidence
from topogen.topology.inference.hypothesis import Hypothesis
from topogen.topology.inference.verdict import judge

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
    said, reason = judge(evidence_of(found), HYPOTHESIS, never)
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
    assert judge(evidence_of((1, 2, 0)), HYPOTHESIS, lambda: reference)[0] == verdict


def test_only_fields_of_the_claim_are_compared():
    over_two = Hypothesis("the hypothesis", Homology({2: (1, 2, 1)}))
    evidence = evidence_of((1, 2, 1))
    evidence.betti[3] = [1, 1, 0]
    assert judge(evidence, over_two, never)[0] == "agrees"


def test_a_class_that_could_live_below_the_scale_is_not_missing():
    lacking = evidence_of((1, 1, 1))
    said, reason = judge(lacking, HYPOTHESIS, lambda: None, lambda degree: "it is crooked")
    assert said == "undetermined"
    assert "degree 1 has Betti number 1" in reason
    assert "it is crooked" in reason
    assert judge(lacking, HYPOTHESIS, lambda: None, lambda degree: "")[0] == "disagrees"
    # where a part may hide, a sample of the claim says nothing of the cloud
    lacking.below[1] = "a dense part is near"
    assert judge(lacking, HYPOTHESIS, lambda: evidence_of((1, 2, 1)))[0] == "undetermined"
    # what hides is missing over every field
    lacking.betti[2][1] = 2
    assert judge(lacking, HYPOTHESIS, lambda: None, lambda degree: "crooked")[0] == "disagrees"
    # one class too many is enough
    assert judge(evidence_of((1, 3, 0)), HYPOTHESIS, lambda: None, str)[0] == "disagrees"
