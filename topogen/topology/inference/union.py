"""The homology of a disjoint union: what is known of each part, at a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...point_cloud.cloud import Cloud, least_component
from ..persistence.landmark_rips import Run
from .evidence import Count, Evidence
from .report import row


def union(
    parts: Sequence[tuple[Cloud, Evidence]], whole: Cloud, p_value: float
) -> tuple[Cloud, Evidence]:
    """The points that the parts retain, and the evidence of their union: Betti numbers add up.

    Args:
        parts: clouds cut from `whole`, each with its evidence.
        whole: the cloud; lengths of the union are in its unit.
        p_value: of the least clear gap between the parts.
    """
    clouds, found = zip(*parts, strict=True)
    for cloud, each in parts:  # one too small for two components is one
        if 0 in each.reasons and len(cloud.points) < 2 * least_component(len(whole.points)):
            each.decide(0, {p: Count(1, 1.0) for p in each.betti})
    units = [cloud.unit / whole.unit for cloud in clouds]
    first = found[0]
    evidence = replace(
        first,
        betti={p: _sums([e.betti[p] for e in found]) for p in first.betti},
        p_values={p: _weakest(found, p) for p in first.betti},
        runs=_runs([e.runs for e in found], units),
        scale=max(e.scale * unit for e, unit in zip(found, units, strict=True)),
        reasons={},
        causes={},
        remarks=[],
        deviation=max(e.deviation for e in found),
        witness={p: _sums([e.witness[p] for e in found]) for p in _shared_witness(found)},
        readings={},
        below={},
        parts=tuple(parts),
        suspects=sum(e.suspects for e in found),
        strategy=f"{first.strategy}, of {len(parts)} components one by one",
    )
    for p, values in evidence.p_values.items():
        if evidence.betti[p][0] is not None:
            values[0] = p_value
    for cloud, each in parts:
        name = f"component of {len(cloud.points)} points"
        for degree, reason in each.reasons.items():
            evidence.revoke(degree, f"{name}: {reason}", each.causes.get(degree))
        for degree, reason in each.below.items():
            evidence.below.setdefault(degree, f"{name}: {reason}")
        numbers = ", ".join(f"Z/{p} {row(b)}" for p, b in each.betti.items())
        evidence.remarks.append(f"{name}: Betti {numbers}, scale {each.scale * cloud.unit:.3g}")
        evidence.remarks += [f"{name}: {remark}" for remark in (*cloud.remarks, *each.remarks)]
    retained = np.isin(whole.index, np.concatenate([cloud.index for cloud in clouds]))
    outliers = whole.outliers + sum(cloud.outliers for cloud in clouds)
    points, index = whole.points[retained], whole.index[retained]
    return replace(whole, points=points, index=index, outliers=outliers), evidence


def _sums(rows: Sequence[Sequence[int | None]]) -> list[int | None]:
    """Sums by degree; None where one is."""
    columns = [[b for b in column if b is not None] for column in zip(*rows, strict=True)]
    return [sum(known) if len(known) == len(rows) else None for known in columns]


def _weakest(parts: Sequence[Evidence], p: int) -> list[float | None]:
    """By degree, the p-value of the weakest class of all, or of the strongest noise."""
    values: list[float | None] = []
    for k in range(len(parts[0].cuts)):
        pairs = [(e.betti[p][k], e.p_values[p][k]) for e in parts]
        known = [(b, v) for b, v in pairs if b is not None and v is not None]
        classes = [v for b, v in known if b > int(k == 0)]
        noise = [v for _, v in known]
        whole = len(known) == len(pairs)
        values.append((max(classes) if classes else min(noise)) if whole else None)
    return values


def _shared_witness(found: Sequence[Evidence]) -> list[int]:
    return [p for p in found[0].witness if all(p in e.witness for e in found)]


def _runs(several: Sequence[Sequence[Run]], units: Sequence[float]) -> list[Run]:
    """Runs side by side: the bars of all parts, lengths in the unit of the whole.

    Landmarks are those of the parts, each about its own centre: only their number means anything.
    """
    joined = []
    for runs in zip(*several, strict=False):
        pairs = [*zip(runs, units, strict=True)]
        degrees = min(len(bars) for run in runs for bars in run.diagrams.values())
        diagrams = {
            p: [np.concatenate([r.diagrams[p][k] * u for r, u in pairs]) for k in range(degrees)]
            for p in runs[0].diagrams
        }
        apart = np.array([[np.inf, 1.0]] * (len(runs) - 1))
        merges = np.concatenate([apart, *(r.merges * np.array([u, 1.0]) for r, u in pairs)])
        joined.append(
            Run(
                resolution=runs[0].resolution,
                landmarks=np.concatenate([r.landmarks * u for r, u in pairs]),
                scale=max(r.scale * u for r, u in pairs),
                threshold=max(r.threshold * u for r, u in pairs),
                diagrams=diagrams,
                merges=merges,
                simplices=sum(r.simplices for r in runs),
            )
        )
    return joined
