"""Other complexes beside Rips: one that may contradict it, one that may settle what it leaves."""

from __future__ import annotations

import math

import numpy as np

from .alpha import MOST_AMBIENT, alpha_cut_off, alpha_diagrams, alpha_p_value
from .evidence import Evidence
from .persistence import ratios
from .runs import Budget

OPINIONS = 3  # witness complexes that must agree to be heard
MOST_ALPHA_POINTS = 2500
ALPHA_SHARE = 0.8


def second_opinion(evidence: Evidence, opinions: list[dict[int, tuple[int, ...]]]) -> None:
    """Withdraw what the witness complexes contradict with one voice: they see a class more.

    They have fewer landmarks, so not to see a class is no contradiction. Degree 0, where stray
    points count, is left to Rips.
    """
    if len(opinions) < OPINIONS:
        return
    for p, numbers in evidence.betti.items():
        votes = [opinion[p] for opinion in opinions]
        evidence.witness[p] = [
            v[0] if len(set(v)) == 1 else None for v in zip(*votes, strict=True)
        ]
        for k, (b, w) in enumerate(zip(numbers, evidence.witness[p], strict=False)):
            if k > 0 and b is not None and w is not None and w > b:
                evidence.withdraw(
                    k,
                    f"over Z/{p} degree {k} has {b} classes by Rips complexes and {w} by witness "
                    "complexes; give more points",
                    2.0,
                )
    evidence.strategy += f" and {len(opinions)} witness complexes"


def alpha_route(
    evidence: Evidence,
    x: np.ndarray,
    dim: int,
    level: float,
    rng: np.random.Generator,
    budget: Budget,
) -> None:
    """Settle open degrees of few points in R^2..R^4 by the alpha complex of all of them.

    It must give every degree that is settled the number it has, and again on two random parts.
    """
    n, D = x.shape
    if n > MOST_ALPHA_POINTS or not 2 <= D <= MOST_AMBIENT or dim < 2 or budget.left() <= 0:
        return
    fields, top = list(evidence.betti), min(len(evidence.cuts), D) - 1
    size = math.ceil(ALPHA_SHARE * n)
    parts = [x, *(x[rng.choice(n, size, replace=False)] for _ in range(2))]
    found: list[dict[int, list[int | None]]] = []
    p_values: dict[int, list[float]] = {}
    for part in parts:
        run = alpha_diagrams(part, fields, top, seed=int(rng.integers(2**31)))
        if run.diagrams is None:
            return
        numbers: dict[int, list[int | None]] = {p: [] for p in fields}
        for p in fields:
            for k in range(1, top + 1):
                strength = np.r_[ratios(run.diagrams[p][k]), 1.0]
                count = int((strength > alpha_cut_off(level, dim, k, len(part))).sum())
                clear = strength[count] < alpha_cut_off(0.05, dim, k, len(part))
                numbers[p].append(count if clear else None)
                if part is x:
                    weakest = float(strength[max(count - 1, 0)])
                    p_values.setdefault(p, [1.0]).append(alpha_p_value(weakest, dim, k, n))
        found.append(numbers)
    if any(numbers != found[0] for numbers in found[1:]):
        return
    known = {p: [None, *found[0][p]] for p in fields}
    settled = [(p, k, b) for p in fields for k, b in enumerate(evidence.betti[p][: top + 1])]
    if any(b is not None and known[p][k] not in (None, b) for p, k, b in settled):
        return
    for k in range(1, top + 1):
        numbers_k = {p: known[p][k] for p in fields}
        if k in evidence.reasons and all(b is not None for b in numbers_k.values()):
            evidence.settle(
                k,
                {p: b or 0 for p, b in numbers_k.items()},
                {p: p_values[p][k] for p in fields},
            )
            evidence.remarks.append(f"degree {k} settled by alpha complexes of all points")
    evidence.strategy += ", alpha complexes"
