"""Two clouds side by side: their homology, and how far apart their diagrams are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..homology import DEFAULT_FIELDS
from .report import TopologyReport, Verdict, check_topology


@dataclass(frozen=True)
class Comparison:
    """Two clouds compared.

    Attributes:
        verdict: "agrees" when both are determined and equal, "disagrees" when both are determined
            in a degree that differs, else "undetermined".
        first: what is known of the first cloud.
        second: what is known of the second cloud.
        bottleneck: {p: (d_0, d_1, ...)}, bottleneck distances of the diagrams in the units of the
            points. They move with the scale of the landmarks too: look at both scales.
    """

    verdict: Verdict
    first: TopologyReport
    second: TopologyReport
    bottleneck: dict[int, tuple[float, ...]]


def compare(
    a: Any,
    b: Any,
    *,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare the homology of two clouds.

    Args:
        a: array-like, shape (n, D).
        b: array-like, shape (n', D').
        fields: primes p; homology is over Z/p.
        max_dim: largest degree, at most 3; by default the larger dimension of the two.
        seed: of landmarks.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
    """
    from gudhi.hera import bottleneck_distance

    first = check_topology(a, fields=fields, max_dim=max_dim, seed=seed)
    second = check_topology(b, fields=fields, max_dim=max_dim, seed=seed)
    if max_dim is None and first.max_dim != second.max_dim:
        top = max(first.max_dim, second.max_dim)
        first = check_topology(a, fields=fields, max_dim=top, seed=seed)
        second = check_topology(b, fields=fields, max_dim=top, seed=seed)
    verdict: Verdict = "undetermined"
    pairs = [
        (x, y) for p in first.fields for x, y in zip(first.betti[p], second.betti[p], strict=True)
    ]
    if any(x is not None and y is not None and x != y for x, y in pairs):
        verdict = "disagrees"
    elif first.determined and second.determined:
        verdict = "agrees"
    distance = {
        p: tuple(
            float(bottleneck_distance(x, y))
            for x, y in zip(first.diagrams[p], second.diagrams[p], strict=False)
        )
        for p in first.fields
    }
    return Comparison(verdict, first, second, distance)
