"""One call: points in; a learned manifold, a distribution on it, a verdict on its topology out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._version import versions
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
from .topology.inference.check import check_topology
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
            raise type(error)("; ".join([str(error), *words])) from error

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

    Args:
        points: array-like of shape (n, D).
        family: "atlas" (blended local polynomials and compact bumps), "implicit" (a neural
            implicit manifold and an energy on it) or "injective" (an injective flow on a base with
            the homology of the data); "auto" takes "atlas".
        dim: dimension of the manifold; None estimates it.
        seed: the same seed gives the same result on the same machine.
        max_seconds: most wall time for the fit.
        progress: show a progress bar; None shows it on a terminal only.
        checkpoint: a file for finished stages, as in :func:`topogen.fit`.
        resume: start from `checkpoint` where it exists.

    Raises:
        InvalidPoints: the points are not a finite (n, D) array, all equal, too few, or fill R^D.
        TrainingError: the fit diverged, or did not end within `max_seconds`.
        ValueError: an unknown family.
        KeyboardInterrupt: Ctrl-C; finished stages are in the checkpoint, if one was named.
    """
    chosen = "atlas" if family == "auto" else family
    if chosen not in FAMILIES:
        raise ValueError(f"expected family 'auto' or one of {sorted(FAMILIES)}, got {family!r}")
    with one_thread():
        start = time.perf_counter()
        x = as_array(points, minimum=2)
        summary, seen = look(x, seed=seed)
        d = _dimension(summary, dim)
        model, inside = _in_span(x, d, FAMILIES[chosen], summary.betti)

        def out_of_time(stage: str, record: Any) -> bool:
            return max_seconds is not None and time.perf_counter() - start > max_seconds

        result = fit(
            model,
            x,
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
            callbacks=(out_of_time,),
        )
        _require_ended(result, max_seconds)

        # samples cost little on a curve, and many are needed where its density is small
        count = 30_000 if d == 1 else max(4000, min(len(x), 8000))
        learned, z = (model, x) if inside is None else inside
        samples = learned().sample((count,), generator=torch.Generator().manual_seed(seed))
        with ThreadPoolExecutor(1) as beside:  # most of it runs outside the interpreter's lock
            # where the data's own homology is determined, it need not be found a second time
            checking = beside.submit(
                check_topology, samples, expected=seen.homology or z, fields=seen.fields, seed=seed
            )
            measurements = measure(learned, samples, z)
            topology = checking.result()
        said = (result.message,) if result.status == "max_steps" else ()
        if inside is not None:
            said += (
                f"the points span {z.shape[1]} of {x.shape[1]} columns: M was learned there, "
                "distances being the same",
            )
        return LearnResult(
            model=model,
            family=chosen,
            seed=seed,
            summary=summary,
            topology=topology,
            history=result.history,
            measurements=measurements,
            seconds=time.perf_counter() - start,
            status=result.status,
            remarks=summary.advice + said,
            versions=versions(),
            points=x,
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


def _require_ended(result: FitResult, max_seconds: float | None) -> None:
    """Turn a fit that cannot be used into an exception."""
    if result.status == "diverged":
        raise TrainingError(result.message)
    if result.status == "interrupted":
        if "callback" in result.message:
            raise TrainingError(
                f"expected the fit to end within {max_seconds} s, but stage {result.stage!r} was "
                "still running; give it more time, or fewer points"
            )
        raise KeyboardInterrupt(result.message)
