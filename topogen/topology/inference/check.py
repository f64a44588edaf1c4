"""What is the homology of this cloud, and is it the expected one?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from ...homology import DEFAULT_FIELDS, is_prime
from ...point_cloud.arrays import as_array
from ...point_cloud.cloud import LEAST_POINTS, MOST_POINTS, Cloud, prepare
from ..local.dimension import dimension_of
from ..persistence.diffusion import diffusion_cloud
from ..persistence.landmark_rips import Budget
from ..persistence.null_distributions import check_alpha
from ..persistence.rips import PRIMES_BELOW
from ..progress import Notify, progress_line
from .betti_decision import LEAST_LANDMARKS
from .causes import ADVICE, cause_of
from .collect import gather
from .evidence import Count, Evidence
from .flatness import room_below
from .hypothesis import Hypothesis, read_hypothesis
from .outliers import connected_degrees, trim_outliers
from .parts import MOST_PARTS, find_parts
from .published_tests import published_numbers
from .report import TopologyReport, Verdict, homology_of
from .union import union
from .verdict import judge
from .visible_boundary import VisibleBoundary, visible_boundary

MOST_DIM = 3  # beyond it Rips complexes of enough landmarks are out of reach


@dataclass(frozen=True)
class CheckOptions:
    """How :func:`check_topology` looks at clouds.

    Attributes:
        trim: fraction of points left out as outliers, those farthest from their neighbours;
            "auto" leaves out those off the manifold, where that makes the landmarks finer.
        metric: "diffusion" measures distances along the cloud, by a random walk on its neighbours:
            for noise that fills many dimensions, connected clouds only; scales are no lengths.
        max_memory: bytes that may be used beside the points; it costs points or landmarks.
        extras: also report what the tests of Bobrowski and Skraba and of Fasy et al. say.
        most_outliers: share of the points that may be left out, or stand apart; with more the
            verdict is "disagrees".

    Raises:
        ValueError: a value out of range.
    """

    trim: float | Literal["auto"] = "auto"
    metric: Literal["euclidean", "diffusion"] = "euclidean"
    max_memory: int | None = None
    extras: bool = False
    most_outliers: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.most_outliers <= 1:
            raise ValueError(f"expected 0 <= most_outliers <= 1, got {self.most_outliers}")
        if self.max_memory is not None and not self.max_memory >= 2**20:
            raise ValueError(f"expected max_memory >= 2**20 bytes, got {self.max_memory}")
        if self.metric not in ("euclidean", "diffusion"):
            raise ValueError(f"expected metric 'euclidean' or 'diffusion', got {self.metric!r}")


def check_topology(
    points: Any,
    expected: Any = None,
    *,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    max_seconds: float | None = None,
    progress: bool | None = None,
    options: CheckOptions | None = None,
) -> TopologyReport:
    r"""Find the Betti numbers of a cloud, and compare them with those expected.

    Farthest-point landmarks at two resolutions and from three starts give truncated Vietoris-Rips
    diagrams; a bar is a class when its ratio death/birth is beyond what noise gives. A degree is
    determined when all of them show it clearly, when the witness complexes of all points do not
    contradict unanimously, when the cloud is locally flat at the scale, and when the numbers could
    be those of a space. The alpha complex of up to
    2500 points on a surface or a 3-manifold in R^3 or R^4 may determine a degree left open.
    Otherwise it is None. "agrees" needs every degree determined and equal over every field,
    "disagrees" one determined degree that differs. A missing class counts only where every degree
    is determined and a sample of what is expected, of the same size, does show it; numbers that
    break the Poincare duality of those expected count only where the cloud shows its boundary.
    The form in which something is expected does not matter.

    Args:
        points: array-like, shape (n, D), any D.
        expected: a :class:`~topogen.homology.Homology` (or what makes one), anything with an
            attribute `homology` (and `dim`, `closed`), another cloud, or None.
        fields: primes p; homology is over Z/p.
        max_dim: largest degree, at most 3; by default the expected dimension, or the cloud's.
        alpha: bound on the probability to report a class that is not there at this scale.
        seed: of landmarks and samples; same seed, same report.
        max_seconds: time limit; it costs starts, longest edges or degrees, which the report says.
            :func:`~topogen.topology.estimate_cost` says beforehand what to expect.
        progress: a line on standard error that says what is done; by default on a terminal.
        options: trimming, metric, memory and extras.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points; with diffusion
            also fewer than 50, or a cloud of several parts.
        UnsupportedError: the homology of the expected manifold is not known.
        ValueError: an argument out of range, or homology expected over none of the fields.
    """
    primes = check_fields(fields)
    check_degree(max_dim)
    check_alpha(alpha)
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"expected max_seconds > 0, got {max_seconds}")
    options = options or CheckOptions()
    budget = Budget(max_seconds, options.max_memory)
    hypothesis = read_hypothesis(expected, primes)
    space = hypothesis or Hypothesis("nothing")
    with progress_line(progress) as notify:
        study = _Study(primes, alpha, seed, budget, options, notify)
        sample = study.read(points, "points")
        other, dims = None, [sample.dim]
        if space.points is not None:
            other = study.read(space.points, "expected")
            dims.append(other.dim)
        top = top_degree(dims, hypothesis) if max_dim is None else max_dim
        cloud, evidence = study.look(sample, top)
        known, n = space.homology, len(cloud.points)
        boundary = cache(partial(study.boundary, sample, cloud))
        verdict: Verdict | None = None
        about = cloud, evidence, sample.dim
        reason = "every degree is determined at this scale"
        if evidence.reasons:
            reason = f"undetermined in part: {evidence.first_reason}"
        if other is not None:
            notify("the other cloud")
            their_cloud, theirs = study.look(other, top)
            known = homology_of(theirs.betti)
            verdict, reason = judge(
                evidence,
                Hypothesis(space.name, found=theirs.betti),
                sample.dim,
                lambda: study.evidence_of_some(other.cloud, n, top) or theirs,
                boundary,
            )
            if known is None and verdict == "undetermined":
                about = their_cloud, theirs, other.dim
                reason = f"the homology of the other cloud is undetermined: {theirs.first_reason}"
        elif hypothesis is not None:
            drawn = partial(study.evidence_of_sample, space, n, top)
            below = cache(partial(study.below, sample, evidence))
            verdict, reason = judge(evidence, space, sample.dim, drawn, boundary, below)
        off = study.off(sample, cloud, evidence)
        if off > options.most_outliers * len(sample.whole.points):
            verdict = "disagrees"
            share = f"more than the share of {options.most_outliers:g} that may be left out"
            reason = f"{off} of {len(sample.whole.points)} points are off the manifold, {share}"
        unclear = verdict == "undetermined" or (verdict is None and bool(evidence.reasons))
        cause = cause_of(*about, seed) if unclear else None
        numbers: dict[str, Any] = {}
        if options.extras:
            notify("other tests")
            numbers = published_numbers(cloud.points, evidence.runs, alpha, seed)
    first = {r.resolution: r for r in reversed(evidence.runs)}
    diagrams = first[0].diagrams if first else {}
    return TopologyReport(
        verdict=verdict,
        betti={p: tuple(b) for p, b in evidence.betti.items()},
        p_values={p: tuple(v) for p, v in evidence.p_values.items()},
        scale=evidence.scale * cloud.unit,
        reason=reason,
        cause=cause,
        advice="" if cause is None else ADVICE[cause],
        strategy=evidence.strategy,
        witness={p: tuple(b) for p, b in evidence.witness.items()},
        diagrams={p: [b * cloud.unit for b in bars] for p, bars in diagrams.items()},
        cuts=tuple(c[0] for c in evidence.cuts),
        expected=known,
        fields=tuple(evidence.betti),
        alpha=alpha,
        dim=sample.dim,
        max_dim=top,
        n_points=cloud.given,
        outliers=cloud.outliers,
        left_out=tuple(map(int, sample.left_out(cloud))),
        landmarks=(len(first[0].landmarks), len(first[1].landmarks)) if first else (0, 0),
        seed=seed,
        seconds=time.monotonic() - budget.begin,
        remarks=(*cloud.remarks, *evidence.remarks, *_remarks(sample.dim, space, top)),
        extras=numbers,
    )


@dataclass(frozen=True)
class _Sample:
    """A prepared cloud, and how it falls apart.

    Attributes:
        cloud: the points.
        dim: their dimension, the largest of the parts'.
        parts: what is apart; none where nothing is, or too much.
        count: number of parts.
        p_value: of the least clear gap.
        reason: why the number of parts is undetermined, in words.
        before: the cloud before points were trimmed, where any were.
    """

    cloud: Cloud
    dim: int
    parts: tuple[_Sample, ...] = ()
    count: int = 1
    p_value: float = 1.0
    reason: str = ""
    before: Cloud | None = None

    @property
    def whole(self) -> Cloud:
        """The cloud before any point was trimmed."""
        return self.before or self.cloud

    def left_out(self, cloud: Cloud) -> np.ndarray:
        """Rows that a cloud cut from this one has no more."""
        return np.setdiff1d(self.whole.index, cloud.index)


@dataclass(frozen=True)
class _Study:
    """How clouds are looked at: the same way for the points, the other cloud and samples."""

    fields: tuple[int, ...]
    alpha: float
    seed: int
    budget: Budget
    options: CheckOptions
    notify: Notify

    def read(self, points: Any, name: str, dim: int | None = None) -> _Sample:
        """A cloud, prepared and split; its dimension where it is not given."""
        self.notify("reading the points")
        most = MOST_POINTS
        if self.budget.max_memory is not None:
            # four arrays of the size of the cloud at once, and 64 numbers per point of neighbours
            columns = 1 if isinstance(points, Cloud) else as_array(points, name=name).shape[1]
            affordable = self.budget.max_memory // (8 * (4 * columns + 64))
            most = max(LEAST_POINTS, min(most, affordable))
        trim = 0.0 if self.options.trim == "auto" else self.options.trim
        whole = prepare(points, seed=self.seed, name=name, most=most)
        cloud = prepare(whole, trim=trim)
        if self.options.metric == "diffusion":
            self.notify("diffusion distances")
            cloud, dim = diffusion_cloud(cloud, seed=self.seed), None
        return replace(self.split(cloud, dim), before=whole if trim else None)

    def split(self, cloud: Cloud, dim: int | None = None) -> _Sample:
        """The parts of a cloud, each with its dimension; in diffusion distance it is connected."""

        def dimension(points: Cloud) -> int:
            return dim or dimension_of(points, seed=self.seed).dim

        self.notify("components and dimension")
        if self.options.metric == "diffusion":
            return _Sample(cloud, dimension(cloud))
        found = find_parts(cloud.points, self.alpha)
        if found.count == 1 or found.count > MOST_PARTS:
            return _Sample(cloud, dimension(cloud), (), found.count, reason=found.reason)
        clouds = [cloud.part(rows) for rows in found.rows]
        parts = tuple(_Sample(part, dimension(part)) for part in clouds)
        largest = max(part.dim for part in parts)
        return _Sample(cloud, largest, parts, found.count, found.p_value, found.reason)

    def evidence_of_some(self, cloud: Cloud, n: int, top: int) -> Evidence | None:
        """The evidence of n random points of a cloud; None where there are no more."""
        if len(cloud.points) <= n:
            return None
        rows = np.random.default_rng(self.seed).choice(len(cloud.points), n, replace=False)
        some = cloud.only(np.sort(rows), f"{n} of {len(cloud.points)} points drawn at random")
        return self.evidence(self.split(some), top)[1]

    def evidence_of_sample(self, space: Hypothesis, n: int, top: int) -> Evidence | None:
        """The evidence of n points of the space, in the same metric, with none to trim."""
        self.notify("a sample of what is expected")
        drawn = space.sample(min(n, MOST_POINTS), self.seed)
        if drawn is None:
            return None
        study = replace(self, options=replace(self.options, trim=0.0))
        return study.evidence(study.read(drawn, "sample", space.dim), top)[1]

    def below(self, sample: _Sample, evidence: Evidence, degree: int) -> str:
        """Why classes of a degree could live below the scale; empty where they could not."""
        if degree == 0:
            return "two components closer than the points within them look like one"
        found = [each for _, each in evidence.parts] if sample.parts else [evidence]
        for part, its in zip(sample.parts or (sample,), found, strict=True):
            for cloud, each in its.connected(part.cloud):
                marks = each.runs[0].landmarks if each.runs else cloud.points[:0]
                if room_below(cloud, marks, each.scale, part.dim, degree):
                    return "the cloud is not flat within the scale, so smaller ones could hide"
        return ""

    def boundary(self, sample: _Sample, cloud: Cloud) -> VisibleBoundary:
        """What some component shows of its boundary; `cloud` is that of a connected sample."""
        self.notify("the boundary")
        clouds = [(part.cloud, part.dim) for part in sample.parts] or [(cloud, sample.dim)]
        seen = [visible_boundary(each, dim, self.seed) for each, dim in clouds]
        return VisibleBoundary(any(s.sharp for s in seen), any(s.thin for s in seen))

    def look(self, sample: _Sample, top: int) -> tuple[Cloud, Evidence]:
        """:meth:`evidence`, without degrees that the points left out may change."""
        cloud, evidence = self.evidence(sample, top)
        left, whole = sample.left_out(cloud), sample.whole
        if len(left) == 0 or not evidence.runs or self.options.metric == "diffusion":
            return cloud, evidence
        out = np.isin(whole.index, left)
        scale = evidence.scale * cloud.unit / whole.unit
        degrees = connected_degrees(whole.points[out], whole.points[~out], scale, top)
        for degree, count in degrees.items():
            # what they do as a relative class of this degree
            done = "connect parts" if degree == 1 else "fill a hole"
            reason = (
                f"among the points left out {count} lie close together and {done} of the cloud, "
                "so they may belong to it"
            )
            for k in (k for k in (degree - 1, degree) if k <= top):
                evidence.revoke(k, reason, "outliers")
        return cloud, evidence

    def off(self, sample: _Sample, cloud: Cloud, evidence: Evidence) -> int:
        """How many points are left out, or stand apart without being a component."""
        stray = float(np.median([run.stray for run in evidence.runs])) if evidence.runs else 0.0
        return len(sample.left_out(cloud)) + round(stray * len(cloud.points))

    def evidence(self, sample: _Sample, top: int) -> tuple[Cloud, Evidence]:
        """The evidence, and the points that it speaks of: without outliers where that helps."""
        if sample.parts:
            found = []
            for i, part in enumerate(sample.parts):
                study = replace(self, budget=self.budget.split(len(sample.parts) - i))
                found.append(study.evidence(part, top))
            cloud, evidence = union(found, sample.cloud, sample.p_value)
            if sample.reason:
                evidence.revoke(0, sample.reason)
            return cloud, evidence
        cloud, dim = sample.cloud, sample.dim
        evidence = gather(
            cloud, dim, top, self.fields, alpha=self.alpha, seed=self.seed,
            budget=self.budget, notify=self.notify,
        )  # fmt: skip
        fewest = min((len(run.landmarks) for run in evidence.runs), default=LEAST_LANDMARKS)
        # the links of so many points show that they are one component
        if fewest < LEAST_LANDMARKS and len(cloud.points) >= 100:
            evidence.decide(0, {p: Count(1, 1.0) for p in self.fields})
        if sample.reason:
            evidence.revoke(0, sample.reason)
            evidence.below = dict.fromkeys(range(top + 1), sample.reason)
            for k in range(top + 1) if sample.count > 1 else ():
                evidence.revoke(k, sample.reason)
        if self.options.trim != "auto":
            return cloud, evidence
        self.notify("outliers")
        rows = trim_outliers(cloud.points, dim, self.seed)
        count = len(cloud.points) - len(rows)
        if count == 0:
            return cloud, evidence
        off = f"{count} of {len(cloud.points)} points left out: they do not lie on the manifold"
        clean = cloud.only(rows, off, outliers=count)
        # it counts where it determines every degree, with no fewer classes than the landmarks
        # show with the outliers: trimming opens holes, too
        study = replace(self, options=replace(self.options, trim=0.0))
        clean, trimmed = study.evidence(study.split(clean, dim), top)
        if homology_of(trimmed.betti) is None:
            evidence.suspects = count
            return cloud, evidence
        for p in self.fields:
            for k in range(top + 1):
                b, t = evidence.betti[p][k], trimmed.betti[p][k]
                if t is not None and (b not in (None, t) or t < evidence.seen(p, k)):
                    without = f"Betti number {t} over Z/{p} without {count} outliers"
                    different = f"degree {k} has {without}, and more or other with them"
                    trimmed.revoke(k, different, "outliers")
        return clean, trimmed


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


def top_degree(dims: Sequence[int], hypothesis: Hypothesis | None) -> int:
    """The dimension seen, or the degree expected; in more than 3 dimensions what is affordable."""
    known = (hypothesis.top_degree if hypothesis else None) or 0
    dim = max(dims)
    if dim > MOST_DIM:  # thick or noisy: homology lives in lower degrees
        dim = 1 if known else 2
    return min(MOST_DIM, max(dim, known))


def _remarks(dim: int, space: Hypothesis, top: int) -> list[str]:
    remarks = []
    if space.dim not in (None, dim):
        remarks.append(
            f"the cloud looks {dim}-dimensional, {space.name} has dimension {space.dim}"
        )
    highest = dim if space.top_degree is None else space.top_degree
    if highest > top:
        remarks.append(f"degrees above {top} were not tested")
    return remarks
