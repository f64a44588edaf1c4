"""The page, and the picture, that show a topology check."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plotting
from .._version import versions
from ..topology.inference.report import TopologyReport, row
from .page import betti_table, diagrams, how_checked, notes, page, png, table, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TESTS = {
    "bobrowski_skraba": "Bobrowski and Skraba, from degree 1",
    "fasy": "Fasy et al., from degree 0",
}
_SENTENCE = {
    "agrees": "The points have the homology expected of them.",
    "disagrees": "The points do not have the homology expected of them.",
    "undetermined": "The points do not determine it at this scale.",
    None: "Nothing was expected of the points.",
}


def _colours(reports: Mapping[str, TopologyReport]) -> dict[str, np.ndarray]:
    """Per cloud that some points were left out of: the colours of its points, those red."""
    colours = {}
    for name, report in reports.items():
        if report.left_out:
            colours[name] = np.full(report.n_points, "#3b6fb6")
            colours[name][list(report.left_out)] = "#d62728"
    return colours


def check_figure(clouds: Mapping[str, Any], reports: Mapping[str, TopologyReport]) -> Figure:
    """Clouds in one view, and under each its persistence diagram.

    It is over the first field over which their Betti numbers differ, or the first of all.

    Args:
        clouds: per name, points of shape (n, D).
        reports: under the same names, what was found; the first carries the verdict.
    """
    first = next(iter(reports.values()))
    differ = (p for p in first.fields if len({r.betti[p] for r in reports.values()}) > 1)
    p = next(differ, first.fields[0])
    return plotting.comparison_figure(
        clouds,
        {name: report.diagrams.get(p, []) for name, report in reports.items()},
        {name: report.cuts for name, report in reports.items()},
        {name: report.scale for name, report in reports.items()},
        colours=_colours(reports),
        title=f"{next(iter(reports))}: {first.verdict or 'no hypothesis'}; diagrams over Z/{p}",
        seed=first.seed,
    )


def write_check(
    path: str | Path,
    clouds: Mapping[str, Any],
    reports: Mapping[str, TopologyReport],
    *,
    command: str | None = None,
) -> Path:
    """Write the report of a topology check.

    Args:
        path: the HTML file; SaveError where it cannot be written.
        clouds: per name, points of shape (n, D): the cloud checked, then the other if any.
        reports: under the same names, what was found; the first carries the verdict.
        command: what reproduces it; None shows the Python call.
    """
    name, report = next(iter(reports.items()))
    n, D = np.shape(next(iter(clouds.values())))
    several = len(reports) > 1
    call = f"topogen.check_topology(points, ..., fields={report.fields}, seed={report.seed})"
    if several:
        figure = check_figure(clouds, reports)
        caption = "Both clouds, and their persistence diagrams."
    else:
        figure = plotting.clouds_figure(clouds, colours=_colours(reports), seed=report.seed)
        caption = "The points."
    if left := sum(len(one.left_out) for one in reports.values()):
        caption += f" The {left} that were left out are red."
    tables = "".join(
        f"""<section class="columns">
{betti_table(one, f"Betti numbers: {html.escape(which)}" if several else "Betti numbers")}
{table(how_checked(one), "How it was checked")}</section>"""
        for which, one in reports.items()
    )
    extras = [
        (_TESTS[test], ", ".join(f"{row(found)} over Z/{p}" for p, found in numbers.items()))
        for test, numbers in report.extras.items()
    ]
    made = [
        ("command", f"<code>{html.escape(command or call)}</code>"),
        ("seed", str(report.seed)),
        ("time", f"{report.seconds:.1f} s"),
        *((html.escape(what), html.escape(number)) for what, number in versions().items()),
    ]
    single = "" if several else ' class="one"'
    picture = png(figure, caption, transparent=not several)
    body = f"""<figure{single}>{picture}<figcaption>{caption}</figcaption></figure>
{tables}
{diagrams(report, f" of {html.escape(name)}" if several else "")}
{table(extras, "Classes by other tests (they decide nothing)") if extras else ""}
{notes(report.remarks)}"""
    title = f"Topology of {html.escape(name)}, {n} points in R<sup>{D}</sup>, "
    title += f"dimension {report.dim}"
    sentence = _SENTENCE[report.verdict]
    return write_text(path, page(title, report.verdict or "", sentence, report.reason, body, made))
