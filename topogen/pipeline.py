"""One call: points in; a learned manifold, a distribution on it, a verdict on its topology out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._version import versions
from .deadline import Deadline, OutOfTime
from .errors import AtlasError, InvalidPoints, TrainingError
from .evaluation import measure
from .inspection import Summary, look
from .models.atlas_density import AtlasDensity
from .models.base import LearnedDistribution
from .models.energy import EnergyModel
from .models.implicit import NeuralImplicit
from .models.injective import InjectiveFlow
from .models.local_polynomials import LocalPolynomials
from .models.projected_atlas import ProjectedAtlas
from .models.subspace_model import SubspaceModel
from .point_cloud.arrays import as_array
from .point_cloud.conventions import recognise
from .point_cloud.span import affine_span
from .results import LearnResult
from .topology.inference.causes import ADVICE
from .topology.inference.check import check_topology
from .topology.inference.report import TopologyReport
from .training import FitResult, fit, one_thread

Betti = dict[int, tuple[int | None, ...]]
Family = Callable[[int, int, Betti], LearnedDistribution]

# per family, how it makes its model from (dim, ambient_dim, Betti numbers of the data)
FAMILIES: dict[str, Family] = {
    "atlas": lambda d, D, betti: AtlasDensity(ProjectedAtlas(LocalPolynomials(d, D))),
    "implicit": lambda d, D, betti: EnergyModel(NeuralImplicit(d, D)),
    "injective": lambda d, D, betti: InjectiveFlow(d, D, betti=betti),
}


def _recognising(call: Callable[..., LearnResult]) -> Callable[..., LearnResult]:
    """Its errors say, too, what the points look like."""

    @wraps(call)
    def recognised(points: Any, **options: Any) -> LearnResult:
        try:
            return call(points, **options)
        except (InvalidPoints, TrainingError, AtlasError) as error:
            try:
                words = [w for w in recognise(as_array(points)) if w not in str(error)]
            except InvalidPoints:
                words = []
            if not words:
                raise
            said = type(error)("; ".join([str(error), *words]))
            vars(said).update(vars(error))  # what else it carries
            raise said from error

    return recognised


@_recognising
def learn(
    points: Any,
    *,
    family: str = "auto",
    dim: int | None = None,
    seed: int = 0,
    max_seconds: float | None = None,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> LearnResult:
    """Learn the manifold that points lie on and a density on it, and check its topology.

    Points that do not lie on the manifold of the others are left out, as `summary.outliers` says.

    Args:
        points: array-like of shape (n, D).
        family: "atlas" (blended local polynomials and compact bumps), "implicit" (a neural
            implicit manifold and an energy on it) or "injective" (an injective flow on a base with
            the homology of the data); "auto" takes "atlas".
        dim: dimension of the manifold; None estimates it.
        seed: the same seed gives the same result on the same machine.
        max_seconds: most wall time of all. Where it is over after the fit, the result says what
            was not checked.
        progress: show a progress bar; None shows it on a terminal only.
        checkpoint: a file for finished stages, as in :func:`topogen.fit`.
        resume: start from `checkpoint` where it exists.

    Raises:
        InvalidPoints: the points are not a finite (n, D) array, all equal, too few, or fill R^D.
        TrainingError: the fit diverged, or did not end within `max_seconds`; its attribute `model`
            has the stages that are finished.
        ValueError: an unknown family.
        KeyboardInterrupt: Ctrl-C; finished stages are in the checkpoint, if one was named.
    """
    chosen = "atlas" if family == "auto" else family
    if chosen not in FAMILIES:
        raise ValueError(f"expected family 'auto' or one of {sorted(FAMILIES)}, got {family!r}")
    with one_thread():
        deadline = Deadline(max_seconds)
        given = as_array(points, minimum=2)
        summary, seen, regular = _looked_at(given, seed, deadline)
        x = given[regular]
        d = _dimension(summary, dim)
        model, inside = _in_span(x, d, FAMILIES[chosen], summary.betti)
        try:
            with deadline.interrupting():
                result = fit(
                    model, x, seed=seed, progress=progress, checkpoint=checkpoint, resume=resume
                )
        except OutOfTime:
            raise _too_late(deadline, model, "fit", checkpoint) from None
        _require_ended(result, deadline, model, checkpoint)
        learned, z = (model, x) if inside is None else inside
        topology, measurements = _checked(learned, z, seen, seed, deadline)
        said = (result.message,) if result.status == "max_steps" else ()
        if inside is not None:
            said += (
                f"the points span {z.shape[1]} of {x.shape[1]} columns: M was learned there, "
                "distances being the same",
            )
        known = {True: "yes", False: "no", None: None}[summary.orientable]
        if known and {known, measurements.get("orientable")} == {"yes", "no"}:
            said += (
                f"orientability is open: the points say {known}, the charts "
                f"{measurements['orientable']}; nearly empty regions decide",
            )
            measurements["orientable"] = "unknown"
        if deadline.over:
            said += (f"the {max_seconds} s were over before the model was checked and measured",)
        return LearnResult(
            model=model,
            family=chosen,
            seed=seed,
            summary=summary,
            topology=topology,
            history=result.history,
            measurements=measurements,
            seconds=time.perf_counter() - deadline.begin,
            status=result.status,
            remarks=summary.advice + said,
            versions=versions(),
            points=given,
        )


def _looked_at(
    x: np.ndarray, seed: int, deadline: Deadline
) -> tuple[Summary, TopologyReport, np.ndarray]:
    """The first look, whose homology gets a third of the time."""
    most = None if deadline.seconds is None else deadline.seconds / 3
    try:
        with deadline.interrupting():
            return look(x, seed=seed, max_seconds=most)
    except OutOfTime:
        raise TrainingError(
            f"expected the fit to end within {deadline.seconds} s, but the points were still "
            "being inspected; give it more time, or fewer points"
        ) from None


def _checked(
    model: LearnedDistribution,
    x: np.ndarray,
    seen: TopologyReport,
    seed: int,
    deadline: Deadline,
) -> tuple[TopologyReport, dict[str, float | str]]:
    """The homology of samples against that of the data, and what is measured of the model."""
    try:
        with deadline.interrupting():
            # samples cost little on a curve, and many are needed where its density is small
            count = 30_000 if model().dim == 1 else max(4000, min(len(x), 8000))
            samples = model().sample((count,), generator=torch.Generator().manual_seed(seed))
    except OutOfTime:
        return _unchecked(seen), model.measurements()

    def check() -> TopologyReport:
        try:
            with deadline.interrupting():
                # where the data's own homology is determined, it need not be found again
                return check_topology(
                    samples,
                    expected=seen.homology or x,
                    fields=seen.fields,
                    seed=seed,
                    max_seconds=deadline.left or None,  # at 0 the clock is about to ring
                )
        except OutOfTime:
            return _unchecked(seen)

    with ThreadPoolExecutor(1) as beside:  # most of it runs outside the interpreter's lock
        checking = beside.submit(check)
        try:
            with deadline.interrupting():
                measurements = measure(model, samples, x)
        except OutOfTime:
            measurements = model.measurements()
        return checking.result(), measurements


def _unchecked(seen: TopologyReport) -> TopologyReport:
    """The report of samples for whose homology there was no time."""
    unknown = {p: (None,) * len(numbers) for p, numbers in seen.betti.items()}
    return replace(
        seen,
        verdict="undetermined",
        betti=unknown,
        p_values=unknown,
        witness=unknown,
        diagrams={},
        expected=seen.homology,
        reason="there was no time left to check samples of the model",
        cause="limits",
        advice=ADVICE["limits"],
        left_out=(),
        n_points=0,
        outliers=0,
    )


def _in_span(
    x: np.ndarray, d: int, family: Family, betti: Betti
) -> tuple[LearnedDistribution, tuple[LearnedDistribution, np.ndarray] | None]:
    """The model to fit; and where x lies in a subspace, its part there and coordinates of x."""
    span = affine_span(x, d + 1)
    if span is None:
        return family(d, x.shape[1], betti), None
    inner = family(d, span.V.shape[1], betti)
    return SubspaceModel.of(inner, span), (inner, span.inner(x))


def _dimension(summary: Summary, dim: int | None) -> int:
    D = summary.ambient_dim
    elsewhere = f"a density on R^{D} itself needs no manifold (sklearn.neighbors.KernelDensity)"
    if D == 1:
        raise InvalidPoints(f"expected points of two columns or more, got one column; {elsewhere}")
    if dim is not None and not 1 <= dim < D:
        remedy = "leave dim out to estimate it" if dim < 1 else elsewhere
        raise InvalidPoints(
            f"expected 1 <= dim < {D} for points in R^{D}, got dim={dim}; {remedy}"
        )
    d = summary.dim if dim is None else dim
    if d >= D:
        raise InvalidPoints(
            f"expected points on a manifold of dimension < {D}, got a cloud that fills R^{D}; "
            f"pass a dim below {D} where they lie near a manifold; {elsewhere}"
        )
    return d


def _require_ended(
    result: FitResult,
    deadline: Deadline,
    model: LearnedDistribution,
    checkpoint: str | Path | None,
) -> None:
    """Turn a fit that cannot be used into an exception."""
    if result.status == "diverged":
        raise TrainingError(result.message)
    if result.status == "interrupted":
        if deadline.over:
            raise _too_late(deadline, model, f"stage {result.stage!r}", checkpoint)
        raise KeyboardInterrupt(result.message)


def _too_late(
    deadline: Deadline, model: LearnedDistribution, stage: str, checkpoint: str | Path | None
) -> TrainingError:
    """The error that carries what is finished."""
    where = "the error's `model` has the finished stages"
    if checkpoint is not None:
        where = f"finished stages are in {checkpoint}, go on with resume=True"
    return TrainingError(
        f"expected the fit to end within {deadline.seconds} s, but {stage} was still running; "
        f"{where}; give it more time, or fewer points",
        model,
    )
