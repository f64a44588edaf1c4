"""One call: points in; a learned manifold, a distribution on it, and a verdict on its topology out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from . import serialization
from ._version import versions
from .distributions.base import ManifoldDistribution
from .distributions.bumps import BumpMixture
from .distributions.uniform import Uniform
from .errors import InvalidPoints, SaveError, TrainingError
from .homology import Homology
from .inspection import Summary, look
from .manifolds.atlas import BaseAtlas
from .manifolds.base import Manifold
from .models.atlas_density import AtlasDensity
from .models.base import LearnedDistribution
from .models.energy import EnergyModel
from .models.implicit import NeuralImplicit
from .models.injective import InjectiveFlow
from .models.local_polynomials import LocalPolynomials
from .models.projected_atlas import ProjectedAtlas
from .point_cloud.arrays import as_array, diameter
from .point_cloud.tensors import as_tensor
from .topology.inference.check import TopologyReport, check_topology
from .training import FitResult, fit, one_thread

# Samples whose homology is compared with that of the data. On a curve they cost little, and many
# are needed where its density is small.
_CHECKED = 4000
_CHECKED_ON_CURVES = 30_000
# quadrature nodes for the volume of M and the mass of the distribution
_NODES = 20_000


class _Family(NamedTuple):
    """How a family makes its model from (dim, ambient_dim)."""

    build: Callable[[int, int], LearnedDistribution]
    about: str


FAMILIES: dict[str, _Family] = {
    "atlas": _Family(
        lambda d, D: AtlasDensity(ProjectedAtlas(LocalPolynomials(d, D))),
        "blended local polynomials, charts on them, compact bumps by EM",
    ),
    "implicit": _Family(
        lambda d, D: EnergyModel(NeuralImplicit(d, D)),
        "the zero set of a network, charts on it, a learned energy",
    ),
    "injective": _Family(
        lambda d, D: InjectiveFlow(d, D),
        "the image of a circle, torus, sphere, Klein bottle, ... found from the homology",
    ),
}


@dataclass
class LearnResult:
    """A learned distribution with its manifold, the verdict on its topology, and how it was made.

    Attributes:
        model: the learned distribution, a module; ``model()`` is `distribution`.
        family: which family learned it.
        seed: of the fit and of the checks.
        summary: what :func:`topogen.inspect` said of the data.
        topology: homology of samples of the model against that of the data.
        history: the progress records of the fit.
        measurements: what was measured of the model on its own samples, for tables.
        seconds: wall time of the whole.
        status: how the fit ended.
        remarks: what the user should know.
        points: the data; None after loading from a file.
    """

    model: LearnedDistribution
    family: str
    seed: int
    summary: Summary
    topology: TopologyReport
    history: list[dict[str, Any]] = field(repr=False)
    measurements: dict[str, float | str] = field(repr=False)
    seconds: float
    status: str
    remarks: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict, repr=False)
    points: np.ndarray | None = field(default=None, repr=False)

    @property
    def distribution(self) -> ManifoldDistribution:
        """The learned distribution on `manifold`."""
        return self.model()

    @property
    def manifold(self) -> Manifold:
        """The learned manifold."""
        return self.distribution.manifold

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n D"]:
        """N independent points; with a seed, always the same ones."""
        if n < 1:
            raise ValueError(f"expected n >= 1 samples, got {n}")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        return self.distribution.sample((n,), generator=generator)

    def log_prob(self, x: Any) -> Float[Tensor, " n"]:
        """Log density at points x, shape (n, D), in nats w.r.t. the d-dimensional volume of M.

        -inf where x is farther from M than its tolerance; see
        :meth:`ManifoldDistribution.log_prob`.
        """
        return self.distribution.log_prob(as_tensor(x, ambient_dim=self.manifold.ambient_dim))

    def report(self, path: str | Path = "report.html", *, command: str | None = None) -> Path:
        """Write one self-contained HTML file: pictures, diagrams, numbers, how to get them."""
        from .report import write_report

        return write_report(self, path, command=command)

    def __str__(self) -> str:
        verdict = self.topology.verdict
        lines = [
            f"{type(self.model).__name__} of dimension {self.manifold.dim} in "
            f"R^{self.manifold.ambient_dim}, "
            f"seed {self.seed}, {self.seconds:.1f} s, fit {self.status}",
            *(
                f"  {name:<32} {value if isinstance(value, str) else format(value, '.6g')}"
                for name, value in self.measurements.items()
            ),
            f"  topology of samples against data: {verdict}",
            *(f"  note: {remark}" for remark in self.remarks),
        ]
        return "\n".join(lines)


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
        family: one of `FAMILIES`: "atlas" (blended local polynomials and compact bumps),
            "implicit" (a neural implicit manifold and an energy on it) or "injective" (an
            injective flow on a base with the homology of the data); "auto" takes "atlas".
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
        D = x.shape[1]
        d = _dimension(summary, dim)
        model = FAMILIES[chosen].build(d, D)

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

        generator = torch.Generator().manual_seed(seed)
        samples = model().sample((_checked(d, x.shape[0]),), generator=generator)
        with ThreadPoolExecutor(1) as beside:  # most of it runs outside the interpreter's lock
            # where the data's own homology is settled, it need not be found a second time
            checking = beside.submit(
                check_topology,
                samples,
                expected=seen.homology or x,
                fields=seen.fields,
                seed=seed,
            )
            numbers = measure(model, samples, x)
            topology = checking.result()
        remarks = list(summary.advice)
        if result.status == "max_steps":
            remarks.append(result.message)
        return LearnResult(
            model=model,
            family=chosen,
            seed=seed,
            summary=summary,
            topology=topology,
            history=result.history,
            measurements=numbers,
            seconds=time.perf_counter() - start,
            status=result.status,
            remarks=tuple(remarks),
            versions=versions(),
            points=x,
        )


def _checked(dim: int, n: int) -> int:
    """How many samples to check, for a manifold of this dimension learned from n points."""
    return _CHECKED_ON_CURVES if dim == 1 else max(_CHECKED, min(n, 2 * _CHECKED))


def _dimension(summary: Summary, dim: int | None) -> int:
    D = summary.ambient_dim
    if dim is not None and not 1 <= dim < D:
        raise InvalidPoints(
            f"expected 1 <= dim < {D} for points in R^{D}, got dim={dim}; leave dim out to "
            "estimate it"
        )
    d = summary.dim if dim is None else dim
    if d >= D:
        raise InvalidPoints(
            f"expected points on a manifold of dimension < {D}, got a cloud that fills R^{D}; "
            "pass dim if it should be read as a thickened manifold"
        )
    return d


def _require_ended(result: FitResult, max_seconds: float | None) -> None:
    """Turn a fit that cannot be used into an exception."""
    if result.status == "diverged":
        raise TrainingError(result.message)
    if result.status == "interrupted":
        if "callback" in result.message:
            raise TrainingError(
                f"expected the fit to end within {max_seconds} s, but stage {result.stage!r} "
                "was still "
                "running; give it more time, or fewer points"
            )
        raise KeyboardInterrupt(result.message)


def measure(
    model: LearnedDistribution, samples: Tensor, points: np.ndarray
) -> dict[str, float | str]:
    """Numbers that need no ground truth: distances to M, normalisation, held-out NLL."""
    distribution = model()
    M = distribution.manifold
    size = diameter(points)
    on = M.project(samples)
    data = M.project(torch.from_numpy(points))
    moved = (data.value - torch.from_numpy(points)).norm(dim=-1)[data.converged]
    numbers: dict[str, float | str] = {
        "dimension": float(M.dim),
        "samples off M (unconverged)": float((~on.converged).sum()),
        "sample residual, worst, % of diameter": 100 * float(on.residual.max()) / size,
        "data off M (unconverged)": float((~data.converged).sum()),
        "data to M, median, % of diameter": 100 * float(moved.median()) / size,
        "data to M, 99 %, % of diameter": 100 * float(moved.quantile(0.99)) / size,
    }
    atlas = getattr(distribution, "atlas", None)
    if isinstance(atlas, BaseAtlas):
        numbers["charts"] = float(len(atlas))
        if M.dim <= 3:
            numbers |= _integrals(atlas, distribution)
    if isinstance(model, InjectiveFlow):
        numbers |= model.numbers()
    held_out = getattr(model, "held_out", None)
    if held_out is not None:
        numbers["held-out NLL (nats)"] = -float(held_out)
    return numbers


def _integrals(atlas: BaseAtlas, distribution: ManifoldDistribution) -> dict[str, float | str]:
    """Volume of M and mass of the distribution by quadrature, and w1 at the nodes.

    The even and the odd nodes of the grids are two rules of half the density; the error is
    estimated by what they differ by.
    """
    nodes = _NODES if atlas.ambient_dim <= 8 else _NODES // 2
    per_axis = min(200, max(8, round((nodes / len(atlas)) ** (1 / atlas.dim))))
    q = atlas.quadrature(per_axis)
    if isinstance(distribution, BumpMixture):
        p = distribution.log_prob_on(q.points, q.frame).exp()
    else:
        p = distribution.log_prob(q.points).exp()
    corners = [chart.domain.bounding_box() for chart in atlas._listed()]
    low, high = (torch.stack(corner)[q.chart] for corner in zip(*corners, strict=True))
    index = ((q.latent - low) / (high - low) * per_axis).floor()
    sign = 1 - 2 * torch.remainder(index.sum(-1), 2)
    orientable = atlas.orientation(q.points, tangent=q.frame).orientable
    return {
        "volume of M": float(q.weights.sum()),
        "volume of M, error": 2 * abs(float(q.weights @ sign)),
        "integral of p": float(q.weights @ p),
        "integral of p, error": 2 * abs(float((q.weights * p) @ sign)),
        "orientable": {True: "yes", False: "no", None: "unknown"}[orientable],
    }


def save(thing: Any, path: str | Path) -> None:
    """Write a result of :func:`learn`, or a set, atlas or distribution of topogen, to one safetensors file.

    Tensors, and JSON in the metadata; never pickle. The data themselves are not written.
    Distributions are learned ones, and :class:`Uniform`.

    Raises:
        SaveError: it holds a function of the user's own, or the place cannot be written.
    """
    if isinstance(thing, LearnResult):
        serialization.write(path, thing.model, {"learned": _record(thing)})
    elif isinstance(thing, nn.Module):
        serialization.write(path, thing)
    elif isinstance(thing, Uniform):
        serialization.write_uniform(path, thing)
    else:
        raise SaveError(
            f"expected a LearnResult, or a set, atlas or distribution of topogen, got "
            f"{type(thing).__name__}; "
            "save its parameters instead"
        )


def load(path: str | Path) -> Any:
    """Read what :func:`save` wrote: a :class:`LearnResult`, or the set, atlas or distribution.

    Raises:
        SaveError: the file is missing, truncated, of another kind or of another format.
    """
    module, record = serialization.read(path)
    if "learned" not in record:
        return serialization.uniform_of(module, record)
    if not isinstance(module, LearnedDistribution):
        raise SaveError(f"{path}: expected a learned distribution, got a {type(module).__name__}")
    kept = record["learned"]
    return LearnResult(
        model=module,
        summary=Summary.from_dict(kept.pop("summary")),
        topology=_topology(kept.pop("topology")),
        remarks=tuple(kept.pop("remarks")),
        **kept,
    )


def _record(result: LearnResult) -> dict[str, Any]:
    names = "family seed history measurements seconds status remarks versions".split()
    kept = {name: getattr(result, name) for name in names}
    kept["summary"] = result.summary.to_dict()
    kept["topology"] = {**result.topology.to_dict(), "diagrams": result.topology.diagrams}
    return serialization.plain(kept)


def _topology(kept: dict[str, Any]) -> TopologyReport:
    """The topology report that was kept as plain data."""

    def tuples(rows: dict[str, list[Any]]) -> dict[int, tuple[Any, ...]]:
        return {int(p): tuple(row) for p, row in rows.items()}

    expected = kept["expected"]
    return TopologyReport(
        **{
            **kept,
            "betti": tuples(kept["betti"]),
            "p_values": tuples(kept["p_values"]),
            "witness": tuples(kept["witness"]),
            "expected": None if expected is None else Homology(tuples(expected)),
            "diagrams": {
                int(p): [np.array(bars).reshape(-1, 2) for bars in by_degree]
                for p, by_degree in kept["diagrams"].items()
            },
            **{k: tuple(kept[k]) for k in ("fields", "cuts", "landmarks", "remarks")},
        }
    )
