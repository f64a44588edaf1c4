"""Other complexes beside Rips: one that may revoke, one that may decide what Rips leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..persistence.alpha import MOST_AMBIENT, alpha_diagrams, alpha_noise
from ..persistence.landmark_rips import Budget
from ..persistence.rips import ratios
from .evidence import Count, Evidence, Inconclusive


def check_by_witnesses(
    evidence: Evidence, witnesses: Sequence[Mapping[int, Sequence[int | None]]], *, least: int = 3
) -> None:
    """Revoke what all witness complexes contradict: they see a class more.

    They have fewer landmarks, so not to see a class is no contradiction.

    Args:
        evidence: changed in place.
        witnesses: {p: Betti numbers} of the complexes; None where one does not resolve a degree.
        least: fewer complexes say nothing.
    """
    if len(witnesses) < least:
        return
    for p, numbers in evidence.betti.items():
        votes = [betti[p] for betti in witnesses]
        shown = [v[0] if len(set(v)) == 1 else None for v in zip(*votes, strict=True)]
        evidence.witness[p] = shown
        for k, (b, w) in enumerate(zip(numbers, shown, strict=False)):
            if k > 0 and b is not None and w is not None and w > b:
                both = f"{b} classes by Rips complexes and {w} by witness complexes"
                evidence.revoke(k, f"over Z/{p} degree {k} has {both}")
    evidence.strategy += f" and {len(witnesses)} witness complexes"


def decide_by_characteristic(evidence: Evidence, dim: int) -> None:
    r"""Decide a degree that is undetermined over one field by the Euler characteristic of another.

    A class of p-torsion makes a bar over Z/p alone, weaker than the others. Where all degrees are
    clear over q, :math:`\sum_k (-1)^k \beta_k(p) = \sum_k (-1)^k \beta_k(q)` gives the one number
    that p lacks. All witness complexes must show it too, and contradict no other number.

    Args:
        evidence: changed in place.
        dim: intrinsic dimension of the cloud; degrees above it have no homology.
    """
    degrees = range(len(evidence.cuts))
    if len(evidence.reasons) != 1 or len(degrees) <= dim or len(evidence.witness) < 2:
        return
    (k,) = evidence.reasons
    readings = evidence.readings.get(k, {})
    clear = {p: r for p, r in readings.items() if isinstance(r, Count)}
    between = {
        p: r.p_value for p, r in readings.items() if isinstance(r, Inconclusive) and r.p_value
    }
    if not clear or not between or len(clear) + len(between) < len(evidence.betti):
        return

    def characteristic(p: int) -> int:
        return sum((-1) ** j * b for j, b in enumerate(evidence.betti[p]) if b is not None)

    chi = {characteristic(p) + (-1) ** k * count.betti for p, count in clear.items()}
    if len(chi) > 1:
        return
    counts = clear | {
        p: Count((-1) ** k * (min(chi) - characteristic(p)), value) for p, value in between.items()
    }
    for p, numbers in evidence.betti.items():
        expected = [*numbers[:k], counts[p].betti, *numbers[k + 1 :]]
        shown = [b if w is None else w for b, w in zip(numbers, evidence.witness[p], strict=True)]
        if shown != expected:
            return
    evidence.decide(k, counts)
    means = "determined by the Euler characteristic and the witness complexes"
    evidence.remarks.append(f"degree {k} over Z/{', Z/'.join(map(str, between))} {means}")


def decide_by_alpha(
    evidence: Evidence,
    x: np.ndarray,
    dim: int,
    level: float,
    rng: np.random.Generator,
    budget: Budget,
    *,
    most: int = 2500,
) -> None:
    """Decide open degrees of few points on a closed surface in R^3 or R^4, by alpha complexes.

    All points and a random part of 80 % must give the same numbers, those of the degrees that are
    decided, a class of top degree over Z/2 (else the surface is not closed at this radius), and
    one Euler characteristic over all fields.

    Args:
        evidence: changed in place.
        x: points, shape (n, D).
        dim: intrinsic dimension.
        level: bound on the probability to report a class that is not there, per degree.
        rng: draws the part.
        budget: nothing is done where no time is left.
        most: nor with more points: the null distributions are simulated up to there.
    """
    n, D = x.shape
    fields, top = list(evidence.betti), len(evidence.cuts) - 1
    if n > most or not 2 <= dim < D <= MOST_AMBIENT or budget.left() <= 0:
        return
    if top != dim or 2 not in fields:
        return
    part = x[rng.choice(n, math.ceil(0.8 * n), replace=False)]
    found: list[dict[int, list[int]]] = []
    strengths: dict[int, list[np.ndarray]] = {}
    for y in (part, x):
        # a radius is half an edge: where Rips edges of 4.4 scales end
        run = alpha_diagrams(y, fields, top, seed=0, most_radius=2.2 * evidence.scale)
        if run.diagrams is None:
            return
        nulls = [alpha_noise(dim, k, len(y)) for k in range(1, top + 1)]
        numbers: dict[int, list[int]] = {}
        for p in fields:
            strengths[p] = [np.r_[ratios(b), 1.0] for b in run.diagrams[p][1:]]
            pairs = [*zip(strengths[p], nulls, strict=True)]
            numbers[p] = [int((s > null.cut_off(level)).sum()) for s, null in pairs]
            for count, (s, null) in zip(numbers[p], pairs, strict=True):
                if s[count] > null.cut_off(0.05):
                    return
        found.append(numbers)
    characteristics = {sum((-1) ** k * b for k, b in enumerate(found[0][p])) for p in fields}
    if found[0] != found[1] or found[0][2][-1] == 0 or len(characteristics) > 1:
        return
    for p in fields:
        for k, b in enumerate(evidence.betti[p][1:]):
            if b is not None and b != found[0][p][k]:
                return
    for k in range(1, top + 1):
        if k in evidence.reasons:
            null, counts = alpha_noise(dim, k, n), {p: found[0][p][k - 1] for p in fields}
            weakest = {p: float(s[k - 1][max(counts[p] - 1, 0)]) for p, s in strengths.items()}
            evidence.decide(k, {p: Count(b, null.p_value(weakest[p])) for p, b in counts.items()})
            evidence.remarks.append(f"degree {k} determined by alpha complexes of all points")
    evidence.strategy += ", alpha complexes"
