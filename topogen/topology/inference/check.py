"""What is the homology of this cloud, and is it the expected one?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...homology import DEFAULT_FIELDS, is_prime
from ...point_cloud.cloud import LEAST_POINTS, MOST_POINTS, Cloud, prepare
from ..local.dimension import DimensionEstimate, dimension_of
from ..persistence.landmark_rips import Budget
from ..persistence.null_distributions import check_alpha
from ..persistence.rips import PRIMES_BELOW
from ..progress import Notify, progress_line
from .evidence import Evidence, check_consistency
from .gather import gather
from .hypothesis import Claim, homology_of, read_claim
from .outliers import trim_outliers
from .report import TopologyReport as TopologyReport
from .report import Verdict as Verdict
from .verdict import judge

MOST_DIM = 3
# arrays of the size of the cloud that are held at once, and numbers per point of neighbours
COPIES, NEIGHBOUR_NUMBERS = 4, 64


def check_topology(
    points: Any,
    expected: Any = None,
    *,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    max_seconds: float | None = None,
    max_memory: int | None = None,
    trim: float | Literal["auto"] = "auto",
    metric: Literal["euclidean", "diffusion"] = "euclidean",
    extras: bool = False,
    progress: bool | None = None,
) -> TopologyReport:
    r"""Find the Betti numbers of a cloud, and compare them with a claim.

    Farthest-point landmarks at two resolutions and from three starts give truncated Vietoris-Rips
    diagrams; a bar is a class when its ratio death/birth is beyond what noise gives. A degree is
    determined when all of them say so clearly, when the witness complexes of all points do not
    contradict with one voice, when the cloud is flat at the scale, and when the numbers could be
    those of a space (for a claimed closed manifold: of one such). A degree that up to 2500 points
    on a surface or a 3-manifold in R^3 or R^4 leave open may be settled by the alpha complex of
    all of them. Otherwise it is None.
    "agrees" needs every degree determined and equal over every field, "disagrees" one determined
    degree that differs; a missing class counts only if a sample of the claim, of the same size,
    does show it.

    Args:
        points: array-like, shape (n, D), any D.
        expected: a :class:`~topogen.homology.Homology` (or what makes one), anything with an
            attribute `homology` (and `dim`, `closed`), another cloud, or None.
        fields: primes p; homology is over Z/p.
        max_dim: largest degree, at most 3; by default the dimension of the claim or the cloud.
        alpha: bound on the probability to report a class that is not there at this scale.
        seed: of landmarks and samples; same seed, same report.
        max_seconds: time limit; it costs starts, longest edges or degrees, which the report says.
            :func:`~topogen.topology.estimate_cost` says beforehand what to expect.
        max_memory: bytes that may be used beside the points; it costs points or landmarks.
        trim: fraction of points left out as outliers, those farthest from their neighbours;
            "auto" finds those that do not continue the set of their neighbours, and leaves them
            out where that makes the landmarks finer.
        metric: "diffusion" measures distances along the cloud, by a random walk on its nearest
            neighbours: for noise that fills many dimensions, and connected clouds only. Scales are
            then no lengths.
        extras: also report what the tests of Bobrowski and Skraba and of Fasy et al. say.
        progress: a line on standard error that says what is done; by default on a terminal.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points; with diffusion
            also fewer than 50, or a cloud of several parts.
        UnsupportedError: the homology of the claimed manifold is not known.
        ValueError: an argument out of range, or a claim over none of the fields.
    """
    primes = check_fields(fields)
    check_degree(max_dim)
    _check_arguments(alpha, max_seconds, max_memory, metric)
    budget = Budget(max_seconds, max_memory)
    claim = read_claim(expected, primes)
    with progress_line(progress) as notify:
        study = _Study(primes, alpha, seed, budget, trim, metric, notify)
        cloud, estimate = study.read(points, "points")
        other: Cloud | None = None
        dims = [estimate.dim]
        if claim is not None and claim.points is not None:
            other, other_estimate = study.read(claim.points, "expected")
            dims.append(other_estimate.dim)
        top = top_degree(dims, claim) if max_dim is None else max_dim
        closed_dim = claim.dim if claim is not None and claim.closed else None
        cloud, evidence = study.look(cloud, estimate.dim, top, closed_dim)
        known = claim.homology if claim is not None else None
        verdict: Verdict | None = None
        reason = "every degree is determined at this scale"
        if evidence.reasons:
            reason = f"undetermined in part: {evidence.first_reason}"
        n = len(cloud.points)
        if claim is not None and other is not None:
            notify("the other cloud")
            theirs = study.look(other, dims[1], top, None)[1]
            known = homology_of(theirs.betti)
            if known is None:
                verdict = "undetermined"
                reason = f"the homology of the other cloud is undetermined: {theirs.first_reason}"
            else:
                claim = Claim(claim.name, known)
                verdict, reason = judge(
                    evidence, claim, lambda: study.look_at_part(other, n, dims[1], top) or theirs
                )
        elif (space := claim) is not None:
            verdict, reason = judge(evidence, space, lambda: study.look_at_sample(space, n, top))
        numbers: dict[str, Any] = {}
        if extras:
            from .published_tests import published_numbers

            notify("other tests")
            numbers = published_numbers(cloud.points, evidence.runs, alpha, seed)
    first = {r.resolution: r for r in reversed(evidence.runs)}
    diagrams = first[0].diagrams if first else {}
    times = max(evidence.needed.values(), default=None)
    return TopologyReport(
        verdict=verdict,
        betti={p: tuple(b) for p, b in evidence.betti.items()},
        p_values={p: tuple(v) for p, v in evidence.p_values.items()},
        scale=evidence.scale * cloud.unit,
        reason=reason,
        points_needed=None if times is None else _rounded(times * len(cloud.points)),
        strategy=evidence.strategy,
        witness={p: tuple(b) for p, b in evidence.witness.items()},
        diagrams={p: [b * cloud.unit for b in bars] for p, bars in diagrams.items()},
        cuts=tuple(c[0] for c in evidence.cuts),
        expected=known,
        fields=tuple(evidence.betti),
        alpha=alpha,
        dim=estimate.dim,
        max_dim=top,
        n_points=cloud.given,
        outliers=cloud.outliers,
        landmarks=(len(first[0].landmarks), len(first[1].landmarks)) if first else (0, 0),
        seed=seed,
        seconds=time.monotonic() - budget.begin,
        remarks=(*cloud.remarks, *evidence.remarks, *_remarks(estimate.dim, claim, top)),
        extras=numbers,
    )


@dataclass(frozen=True)
class _Study:
    """How clouds are looked at: the same way for the points, the other cloud and references."""

    fields: tuple[int, ...]
    alpha: float
    seed: int
    budget: Budget
    trim: float | Literal["auto"]
    metric: str
    notify: Notify

    def read(self, points: Any, name: str) -> tuple[Cloud, DimensionEstimate]:
        """A cloud ready for :meth:`look`, and its dimension."""
        self.notify("reading the points")
        most, columns = MOST_POINTS, np.shape(points)[1] if np.ndim(points) == 2 else 1
        if self.budget.max_memory is not None:
            per_point = 8 * (COPIES * columns + NEIGHBOUR_NUMBERS)
            most = min(most, self.budget.max_memory // per_point)
            most = max(LEAST_POINTS, most)
        trim = 0.0 if self.trim == "auto" else self.trim
        cloud = prepare(points, trim=trim, seed=self.seed, name=name, most=most)
        if self.metric == "diffusion":
            from ..persistence.diffusion import diffusion_cloud

            self.notify("diffusion distances")
            cloud = diffusion_cloud(cloud, seed=self.seed)
        self.notify("dimension")
        return cloud, dimension_of(cloud, seed=self.seed)

    def look_at_part(self, cloud: Cloud, n: int, dim: int, top: int) -> Evidence | None:
        """The evidence of a random part of n points; None where there are no more."""
        if len(cloud.points) <= n:
            return None
        rows = np.random.default_rng(self.seed).choice(len(cloud.points), n, replace=False)
        remark = f"{n} of {len(cloud.points)} points drawn at random"
        return self.look(cloud.only(np.sort(rows), remark), dim, top, None)[1]

    def look_at_sample(self, claim: Claim, n: int, top: int) -> Evidence | None:
        """The evidence of n points of the claimed space, in the same metric, with none to trim."""
        self.notify("a sample of the claim")
        sample = claim.sample(min(n, MOST_POINTS), self.seed)
        if sample is None:
            return None
        study = replace(self, trim=0.0)
        drawn, seen = study.read(sample, "sample")
        dim = claim.dim if self.metric == "euclidean" else None
        return study.look(drawn, dim or seen.dim, top, claim.dim if claim.closed else None)[1]

    def look(
        self, cloud: Cloud, dim: int, top: int, closed_dim: int | None
    ) -> tuple[Cloud, Evidence]:
        """The evidence, and the points that it speaks of: without outliers where that helps.

        What is said without them must settle every degree, and must not have fewer classes than
        the landmarks show with them: trimming opens holes, too.
        """
        evidence = self._gather(cloud, dim, top, closed_dim)
        if self.trim != "auto":
            return cloud, evidence
        self.notify("outliers")
        rows = trim_outliers(cloud.points, dim, self.seed)
        if len(rows) == len(cloud.points):
            return cloud, evidence
        count = len(cloud.points) - len(rows)
        clean = cloud.only(
            rows,
            f"{count} of {len(cloud.points)} points left out: they do not lie on the set",
            outliers=count,
        )
        trimmed = self._gather(clean, dim, top, closed_dim)
        if homology_of(trimmed.betti) is None:
            return cloud, evidence
        for p in self.fields:
            for k in range(top + 1):
                b, t = evidence.betti[p][k], trimmed.betti[p][k]
                if t is not None and (b not in (None, t) or t < evidence.seen(p, k)):
                    trimmed.withdraw(
                        k,
                        f"degree {k} has Betti number {t} over Z/{p} without {count} outliers, "
                        "and more or other with them",
                    )
        return clean, trimmed

    def _gather(self, cloud: Cloud, dim: int, top: int, closed_dim: int | None) -> Evidence:
        evidence = gather(
            cloud,
            dim,
            top,
            self.fields,
            alpha=self.alpha,
            seed=self.seed,
            budget=self.budget,
            notify=self.notify,
        )
        check_consistency(evidence, closed_dim or dim, closed_dim is not None)
        return evidence


def check_fields(fields: Sequence[int]) -> tuple[int, ...]:
    """The fields, or ValueError where they are not primes that gudhi can compute with."""
    primes = tuple(int(p) for p in fields)
    if not primes or not all(is_prime(p) and p < PRIMES_BELOW for p in primes):
        raise ValueError(f"expected primes below {PRIMES_BELOW} as fields, got {tuple(fields)}")
    return primes


def check_degree(max_dim: int | None) -> None:
    """ValueError where the largest degree is out of range; None stands for a default."""
    if max_dim is not None and not 0 <= max_dim <= MOST_DIM:
        raise ValueError(f"expected 0 <= max_dim <= {MOST_DIM}, got {max_dim}")


def _check_arguments(
    alpha: float, max_seconds: float | None, max_memory: int | None, metric: str
) -> None:
    check_alpha(alpha)
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"expected max_seconds > 0, got {max_seconds}")
    if max_memory is not None and not max_memory >= 2**20:
        raise ValueError(f"expected max_memory >= 2**20 bytes, got {max_memory}")
    if metric not in ("euclidean", "diffusion"):
        raise ValueError(f"expected metric 'euclidean' or 'diffusion', got {metric!r}")


def top_degree(dims: Sequence[int], claim: Claim | None) -> int:
    """The dimension of the claim or the cloud; in more than 3 dimensions what is affordable."""
    known = claim.homology.top_degree if claim is not None and claim.homology is not None else 0
    if claim is not None and claim.dim is not None:
        return min(MOST_DIM, max(claim.dim, known))
    dim = max(dims)
    if dim > MOST_DIM:  # thick or noisy: its homology lives in lower degrees
        dim = 1 if known else 2
    return min(MOST_DIM, max(dim, known))


def _remarks(dim: int, claim: Claim | None, top: int) -> list[str]:
    remarks = []
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


def _rounded(n: float) -> int:
    """One significant digit, upwards."""
    unit = 10 ** math.floor(math.log10(n))
    return int(math.ceil(n / unit) * unit)
