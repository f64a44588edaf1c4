"""What is the homology of this cloud, and is it the expected one?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..homology import DEFAULT_FIELDS, Homology, is_prime
from .claims import Betti, Claim, read_claim
from .dimension import dimension_of, isolated
from .inference import Evidence, check_consistency, gather
from .landmarks import MOST_POINTS, Cloud, prepare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict = Literal["agrees", "disagrees", "undetermined"]
MOST_DIM = 3


@dataclass(frozen=True)
class TopologyReport:
    r"""Betti numbers of a cloud at a scale, and the verdict on a claim.

    Attributes:
        verdict: "agrees", "disagrees", "undetermined"; None when nothing was expected.
        betti: {p: (b_0, b_1, ...)} over Z/p, with None per degree that is undetermined.
        p_values: same shape: the probability that noise alone gives bars as strong as the weakest
            class counted, or, where none is counted (the one first component aside), as the
            strongest bar.
        scale: :math:`\epsilon`, the covering radius of the landmarks in the units of the points:
            holes, gaps and tears narrower than about :math:`2\epsilon` are not seen.
        reason: one sentence.
        diagrams: {p: [(birth, death) arrays by degree]} of the first landmarks, in the same units.
        cuts: per degree, the ratio death/birth (degree 0: death/scale) from which a bar is a
            class.
        expected: what was claimed; for another cloud, its determined homology, None where it has
            none.
        fields: the primes p.
        dim: estimated dimension of the cloud.
        max_dim: the largest degree tested.
        n_points: number of points given.
        landmarks: numbers of landmarks at the fine and the coarse resolution.
        seed: of everything random.
        seconds: wall time.
        remarks: what else a reader should know.

    Example:
        >>> t = np.random.default_rng(0).random(500) * 2 * np.pi
        >>> rep = check_topology(np.stack([np.cos(t), np.sin(t)], axis=1), Homology((1, 1)))
        >>> rep.verdict, rep.betti
        ('agrees', {2: (1, 1), 3: (1, 1)})
    """

    verdict: Verdict | None
    betti: Betti
    p_values: dict[int, tuple[float | None, ...]]
    scale: float
    reason: str
    diagrams: dict[int, list[np.ndarray]] = field(repr=False)
    cuts: tuple[float, ...]
    expected: Homology | None
    fields: tuple[int, ...]
    dim: int
    max_dim: int
    n_points: int
    landmarks: tuple[int, int]
    seed: int
    seconds: float
    remarks: tuple[str, ...] = ()

    @property
    def determined(self) -> bool:
        """Whether every tested degree has a Betti number over every field."""
        return all(b is not None for numbers in self.betti.values() for b in numbers)

    @property
    def homology(self) -> Homology | None:
        """The homology, where it is determined in every degree."""
        if not self.determined:
            return None
        return Homology({p: tuple(b or 0 for b in numbers) for p, numbers in self.betti.items()})

    def __str__(self) -> str:
        def row(values: Sequence[Any], form: str = "") -> str:
            return "(" + ", ".join("?" if v is None else format(v, form) for v in values) + ")"

        lines = [f"topology  {self.verdict or 'no claim'}: {self.reason}"]
        for p, numbers in self.betti.items():
            line = f"  Z/{p}  Betti {row(numbers)}  p {row(self.p_values[p], '.1g')}"
            if self.expected is not None and p in self.expected.fields:
                want = [self.expected.betti_number(k, p) for k in range(self.max_dim + 1)]
                line += f"  expected {row(want)}"
            lines.append(line)
        lines.append(
            f"  scale {self.scale:.3g}, dimension {self.dim}, {self.n_points} points, landmarks "
            f"{self.landmarks[0]} and {self.landmarks[1]}, seed {self.seed}, {self.seconds:.1f} s"
        )
        return "\n".join(lines + [f"  - {remark}" for remark in self.remarks])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the diagrams, in types that JSON knows; fields become string keys."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "betti": {str(p): list(b) for p, b in self.betti.items()},
            "p_values": {str(p): list(v) for p, v in self.p_values.items()},
            "expected": None
            if self.expected is None
            else {str(p): list(b) for p, b in self.expected.betti.items()},
            "scale": self.scale,
            "dim": self.dim,
            "max_dim": self.max_dim,
            "fields": list(self.fields),
            "cuts": list(self.cuts),
            "n_points": self.n_points,
            "landmarks": list(self.landmarks),
            "seed": self.seed,
            "seconds": self.seconds,
            "remarks": list(self.remarks),
        }

    def plot(self) -> Figure:
        """The persistence diagrams, one panel per field, with the cut-offs drawn."""
        from ..plotting import persistence_figure

        panels = {f"Z/{p}": bars for p, bars in self.diagrams.items()}
        title = f"{self.verdict or 'no claim'}, scale {self.scale:.3g}"
        return persistence_figure(panels, self.cuts, self.scale, title=title)


def check_topology(
    points: Any,
    expected: Any = None,
    *,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    max_seconds: float | None = None,
    trim: float = 0.0,
) -> TopologyReport:
    r"""Find the Betti numbers of a cloud, and compare them with a claim.

    Farthest-point landmarks at two resolutions and from three starts give truncated Vietoris-Rips
    diagrams; a bar is a class when its ratio death/birth is beyond what noise gives. A degree is
    determined when all of them say so clearly, when the cloud is flat at the scale, and when the
    numbers could be those of a space (for a claimed closed manifold: of one such). Otherwise it
    is None. "agrees" needs every degree determined and equal over every field, "disagrees" one
    determined degree that differs; a missing class counts only if a uniform sample of the
    claimed manifold, of the same size, does show it.

    Args:
        points: array-like, shape (n, D), any D.
        expected: a :class:`~topogen.homology.Homology` (or what makes one), anything with an
            attribute `homology` (and `dim`, `closed`), another cloud, or None.
        fields: primes p; homology is over Z/p.
        max_dim: largest degree, at most 3; by default the dimension of the claim or the cloud.
        alpha: bound on the probability to report a class that is not there at this scale.
        seed: of landmarks and samples; same seed, same report.
        max_seconds: time limit; it costs starts, which the report says.
        trim: fraction of points left out as outliers, those farthest from their neighbours.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        UnsupportedError: the homology of the claimed manifold is not known.
        ValueError: an argument out of range, or a claim over none of the fields.
    """
    begin = time.monotonic()
    primes = _check_arguments(fields, max_dim, alpha, max_seconds)
    claim = read_claim(expected, primes)
    cloud = prepare(points, trim=trim, seed=seed)
    estimate = dimension_of(cloud, seed=seed)
    other: Cloud | None = None
    dims = [estimate.dim]
    if claim is not None and claim.points is not None:
        other = prepare(claim.points, trim=trim, seed=seed, name="expected")
        dims.append(dimension_of(other, seed=seed).dim)
    top = _top_degree(dims, claim) if max_dim is None else max_dim

    def left() -> float | None:
        return None if max_seconds is None else max_seconds - (time.monotonic() - begin)

    def look(at: Cloud, dim: int, closed_dim: int | None) -> Evidence:
        evidence = gather(at, dim, top, primes, alpha=alpha, seed=seed, max_seconds=left())
        check_consistency(evidence, closed_dim or dim, closed_dim is not None)
        return evidence

    closed_dim = claim.dim if claim is not None and claim.closed else None
    evidence = look(cloud, estimate.dim, closed_dim)
    remarks = [*cloud.remarks, *evidence.remarks]
    remarks += _remarks(cloud, estimate.dim, trim, claim, top)
    known = claim.homology if claim is not None else None
    verdict: Verdict | None = None
    if claim is not None and other is not None:
        theirs = look(other, dims[1], None)
        known = _homology(theirs)
        if known is None:
            verdict = "undetermined"
            reason = f"the homology of the other cloud is undetermined: {_first(theirs)}"
        else:
            claim = Claim(claim.name, known)
            verdict, reason = _judge(evidence, claim, None)
    elif claim is not None:

        def reference() -> Evidence | None:
            sample = claim.sample(min(len(cloud.points), MOST_POINTS), seed)
            return (
                None if sample is None else look(prepare(sample), claim.dim or dims[0], closed_dim)
            )

        verdict, reason = _judge(evidence, claim, reference)
    elif evidence.reasons:
        reason = f"undetermined in part: {_first(evidence)}"
    else:
        reason = "every degree is determined at this scale"
    return _assemble(
        evidence, cloud, verdict, reason,
        expected=known, dim=estimate.dim, max_dim=top, seed=seed,
        seconds=time.monotonic() - begin, remarks=tuple(remarks),
    )  # fmt: skip


def _check_arguments(
    fields: Sequence[int], max_dim: int | None, alpha: float, max_seconds: float | None
) -> tuple[int, ...]:
    primes = tuple(int(p) for p in fields)
    if not primes or not all(is_prime(p) and p < 46337 for p in primes):
        raise ValueError(f"expected primes below 46337 as fields, got {tuple(fields)}")
    if max_dim is not None and not 0 <= max_dim <= MOST_DIM:
        raise ValueError(f"expected 0 <= max_dim <= {MOST_DIM}, got {max_dim}")
    if not 0 < alpha <= 0.1:
        raise ValueError(f"expected 0 < alpha <= 0.1, got {alpha}")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"expected max_seconds > 0, got {max_seconds}")
    return primes


def _top_degree(dims: Sequence[int], claim: Claim | None) -> int:
    wanted = list(dims)
    if claim is not None and claim.dim is not None:
        wanted = [claim.dim]
    if claim is not None and claim.homology is not None:
        wanted.append(claim.homology.top_degree)
    return min(MOST_DIM, max(wanted))


def _remarks(cloud: Cloud, dim: int, trim: float, claim: Claim | None, top: int) -> list[str]:
    remarks = []
    far = isolated(cloud.points)
    if far > 0 and trim == 0:
        remarks.append(
            f"{far:.2%} of the points lie far from the rest; outliers coarsen the landmarks, "
            "trim= leaves them out"
        )
    if claim is not None and claim.dim is not None and claim.dim != dim:
        remarks.append(
            f"the cloud looks {dim}-dimensional, {claim.name} has dimension {claim.dim}"
        )
    highest = (
        claim.homology.top_degree if claim is not None and claim.homology is not None else dim
    )
    if highest > top:
        remarks.append(f"degrees above {top} were not tested")
    return remarks


def _homology(evidence: Evidence) -> Homology | None:
    if any(b is None for numbers in evidence.betti.values() for b in numbers):
        return None
    return Homology({p: tuple(b or 0 for b in numbers) for p, numbers in evidence.betti.items()})


def _first(evidence: Evidence) -> str:
    return evidence.reasons[min(evidence.reasons)]


def _judge(evidence: Evidence, claim: Claim, reference: Any) -> tuple[Verdict, str]:
    """The verdict and its reason; `reference()` gives the evidence of a sample of the claim."""
    fields = [p for p in evidence.betti if claim.homology and p in claim.homology.fields]
    differing = [
        (p, k, found, claim.number(k, p))
        for p in fields
        for k, found in enumerate(evidence.betti[p])
        if found is not None and found != claim.number(k, p)
    ]
    if not differing:
        if all(b is not None for p in fields for b in evidence.betti[p]):
            names = " and ".join(f"Z/{p}" for p in fields)
            top = len(evidence.cuts) - 1
            return "agrees", f"degrees 0 to {top} over {names} are those of {claim.name}"
        return "undetermined", _first(evidence)
    control: Evidence | None = None
    if reference is not None and all(found < want for _, _, found, want in differing):
        control = reference()
    for p, k, found, want in differing:
        if found > want or control is None or control.betti[p][k] == want:
            return "disagrees", (
                f"over Z/{p} degree {k} has Betti number {found}, {claim.name} has {want}"
            )
    p, k, found, want = differing[0]
    return "undetermined", (
        f"over Z/{p} degree {k} has Betti number {found} where {claim.name} has {want}, but a "
        "uniform sample of that many of its points does not show it either; give more points"
    )


def _assemble(
    evidence: Evidence,
    cloud: Cloud,
    verdict: Verdict | None,
    reason: str,
    *,
    expected: Homology | None,
    dim: int,
    max_dim: int,
    seed: int,
    seconds: float,
    remarks: tuple[str, ...],
) -> TopologyReport:
    first = {r.resolution: r for r in reversed(evidence.runs)}
    diagrams: Mapping[int, list[np.ndarray]] = first[0].diagrams if first else {}
    return TopologyReport(
        verdict=verdict,
        betti={p: tuple(b) for p, b in evidence.betti.items()},
        p_values={p: tuple(v) for p, v in evidence.p_values.items()},
        scale=evidence.scale * cloud.unit,
        reason=reason,
        diagrams={p: [b * cloud.unit for b in bars] for p, bars in diagrams.items()},
        cuts=tuple(c[0] for c in evidence.cuts),
        expected=expected,
        fields=tuple(evidence.betti),
        dim=dim,
        max_dim=max_dim,
        n_points=cloud.given,
        landmarks=(len(first[0].landmarks), len(first[1].landmarks)) if first else (0, 0),
        seed=seed,
        seconds=seconds,
        remarks=remarks,
    )
