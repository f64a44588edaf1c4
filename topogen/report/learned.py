"""The page that shows a learned result."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .. import plotting
from ..inspection import Summary
from ..models.base import LearnedDistribution
from ..topology.inference.report import TopologyReport, row
from .page import (
    betti_table,
    diagrams,
    how_checked,
    notes,
    number,
    page,
    png,
    table,
    write_figure,
    write_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SENTENCE = {
    "agrees": "The samples have the homology of the data.",
    "disagrees": "The samples do not have the homology of the data.",
    "undetermined": "The homology could not be determined.",
}
_MEASURES = {
    "hausdorff": "the {dim}-dimensional volume of M in the units of the points",
    "lebesgue": "Lebesgue measure",
}


@runtime_checkable
class Result(Protocol):
    """What the page shows of a :class:`topogen.LearnResult`, which calls this module."""

    model: LearnedDistribution
    family: str
    seed: int
    summary: Summary
    topology: TopologyReport
    measurements: dict[str, float | str]
    seconds: float
    status: str
    remarks: tuple[str, ...]
    versions: dict[str, str]
    points: np.ndarray | None

    def sample(self, n: int, seed: int | None = None) -> Tensor:
        """Points of the learned distribution."""
        ...


def write_report(result: Result, path: str | Path, *, command: str | None = None) -> Path:
    """Write the report of a learned result.

    Args:
        result: from :func:`topogen.learn` or :func:`topogen.load`.
        path: the HTML file; SaveError where it cannot be written.
        command: what reproduces it; None shows the Python call.
    """
    call = f"topogen.learn(points, family={result.family!r}, seed={result.seed})"
    e = html.escape
    distribution, summary, topology = result.model(), result.summary, result.topology
    verdict = topology.verdict or "undetermined"
    data = [
        ("points", f"{summary.n} in R<sup>{summary.ambient_dim}</sup>"),
        ("estimated dimension", str(summary.dim)),
        ("components", str(summary.components)),
        *((f"Betti numbers over Z/{p}", row(numbers)) for p, numbers in summary.betti.items()),
        ("orientable", {True: "yes", False: "no", None: "?"}[summary.orientable]),
        ("noise", f"{summary.noise:.3g}"),
        ("duplicates", str(summary.duplicates)),
        ("outliers, left out", str(summary.outliers)),
    ]
    made = [
        ("command", f"<code>{e(command or call)}</code>"),
        ("seed", str(result.seed)),
        ("fit", f"{e(result.status)}, {result.seconds:.1f} s in all"),
        *((e(name), e(version)) for name, version in result.versions.items()),
    ]
    measured = [(e(name), number(value)) for name, value in result.measurements.items()]
    measure = _MEASURES[distribution.measure].format(dim=distribution.dim)
    said, caption = "data and samples", "The data, and as many points drawn from the model."
    clouds, colours = _clouds(result)
    if not isinstance(colours["samples"], str):
        said += ", coloured by chart"
        caption = "Each colour is one chart of the atlas: the chart in which a point weighs most."
    picture = png(plotting.clouds_figure(clouds, colours=colours), said)
    body = f"""<figure>{picture}
<figcaption>{caption}</figcaption></figure>
<section class="columns">{table(measured, "Measured")}{table(data, "Data")}</section>
<section class="columns">{betti_table(topology, "Homology of the samples")}
{table(how_checked(topology), "How it was checked")}</section>
{diagrams(topology, " of the samples")}
{notes([*result.remarks, *topology.remarks])}
<section><h2>What the density is</h2><p>log p is in nats with respect to {measure}; its kind is
<b>{e(distribution.likelihood)}</b>. It can be compared with another distribution only where
measure and dimension are the same. A held-out NLL belongs to points that chose the model's size
but not its weights.</p>
</section>"""
    title = f"{type(result.model).__name__} on a {distribution.dim}-manifold in "
    title += f"R<sup>{summary.ambient_dim}</sup>"
    text = page(title, verdict, _SENTENCE[verdict], topology.reason, body, made)
    return write_text(path, text)


def write_picture(result: Result, path: str | Path) -> Path:
    """Data and samples side by side, as .png or .svg; SaveError where it cannot be written."""
    return write_figure(path, clouds_figure(result))


def clouds_figure(result: Result) -> Figure:
    """Data and samples side by side, coloured by chart; over 3 columns by principal axes."""
    clouds, colours = _clouds(result)
    return plotting.clouds_figure(clouds, colours=colours)


def _clouds(result: Result) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Data and samples, and their colours."""
    clouds = {"samples": result.sample(plotting.MOST_POINTS, seed=result.seed).numpy()}
    if result.points is not None:
        order = np.random.default_rng(result.seed).permutation(len(result.points))
        clouds = {"data": result.points[order[: plotting.MOST_POINTS]], **clouds}
    return clouds, {name: _colours(result, cloud) for name, cloud in clouds.items()}


def _colours(result: Result, cloud: np.ndarray) -> Any:
    """A colour per point: the chart in which it weighs most."""
    plotting.import_matplotlib()
    from matplotlib import colormaps

    chart = result.model().chart_of(torch.from_numpy(cloud))
    if chart is None:
        return "#3b6fb6"
    number = chart.numpy()
    count = max(int(number.max()) + 1, 2)
    # neighbouring numbers get distant hues; the ends of the map are too pale or too dark
    order = (np.arange(count) * 0.618034) % 1.0
    return colormaps["turbo"](0.08 + 0.84 * order)[number]
