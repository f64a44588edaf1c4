"""
Events on a learned sphere
==========================

Volcanoes, earthquakes and fires are points of a sphere that the code does not know: learn the
sphere, and a density on it. After Ross, Loaiza-Ganem, Caterini and Cresswell, 2024
(https://arxiv.org/abs/2206.11267), notebook 04: floods. What they report of the manifold, the
distances of the data to it, is printed beside ours. Of the density they report a score of
exp(-E/2), which is not the distribution they learned, and no likelihood: there is nothing to
compare ours with.

The tables of latitudes and longitudes are not part of topogen. They come with
https://github.com/oxcsml/riemannian-score-sde, folder data. Run ``python implicit_earth.py
volcano.csv [PICTURE.png]``.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import topogen as tg
from topogen.models.energy import EnergyModel
from topogen.models.implicit import NeuralImplicit


def load(path):
    """Unit vectors of the different places in a file: repeated events would be in both splits."""
    rows = [line.split(",")[:2] for line in Path(path).read_text().splitlines()]
    degrees = np.unique([r for r in rows if r[0].lstrip("-")[:1].isdigit()], axis=0)
    lat, lon = torch.from_numpy(np.deg2rad(degrees.astype(np.float64))).unbind(-1)
    x = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))], len(rows)


# Of floods, in their units, the sphere of radius 1; and minutes of both stages.
PUBLISHED = 0.0013, 0.0181, 22 + 67


def main(path, picture=None):
    x, events = load(path)
    test, train = x[: len(x) // 5], x[len(x) // 5 :][:2000]
    print(f"{events} lines, {len(x)} places: {len(train)} to learn from, {len(test)} held out")
    # where there are no events the data do not determine the sphere: that part is not learned
    median, largest, minutes = PUBLISHED
    print(
        f"published, floods, data: distance median {median:.1e}, largest {largest:.1e}; "
        f"{60 * minutes} s; NLL not reported"
    )
    if "flood" not in Path(path).name:
        print("these are other events, so that the published distances are for scale only")
    results = {}
    for name, manifold in (("learned", NeuralImplicit(2, 3)), ("exact", tg.Sphere())):
        model = EnergyModel(manifold)
        start = time.process_time()
        tg.fit(model, train, seed=0, progress=False)
        start = time.process_time() - start
        distribution = results[name] = model()
        fitted = (model.manifold.project(train).value - train).norm(dim=-1)
        distance = (model.manifold.project(test).value - test).norm(dim=-1)
        value = distribution.log_prob(test)
        on = value.isfinite()
        area = float(distribution.levels.fine.weights.sum())
        print(
            f"{name} sphere: distance of data median {fitted.median():.1e}, largest "
            f"{fitted.max():.1e}, of held-out places median {distance[on].median():.1e}, largest "
            f"{distance[on].max():.1e}; {area / (4 * np.pi):.1%} of its area; "
            f"NLL {-value[on].mean():.3f} +- {value[on].std() / on.sum() ** 0.5:.3f} nats, "
            f"{int((~on).sum())} places without a density; {start:.0f} s CPU; "
            f"{distribution.log_z.method} log Z +- {distribution.log_z_error:.0e}: "
            f"{distribution.likelihood}"
        )
    print(f"uniform distribution: NLL {np.log(4 * np.pi):.3f} nats")
    if picture is not None:
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots(subplot_kw={"projection": "mollweide"})
        lon, lat = np.linspace(-np.pi, np.pi, 91), np.linspace(-np.pi / 2, np.pi / 2, 46)
        a, b = (torch.from_numpy(t) for t in np.meshgrid(lon, lat))
        y = torch.stack([b.cos() * a.cos(), b.cos() * a.sin(), b.sin()], -1)
        shown = axes.pcolormesh(lon, lat, results["learned"].log_prob(y), vmin=-6, vmax=2)
        axes.scatter(torch.atan2(test[:, 1], test[:, 0]), test[:, 2].asin(), s=2, color="tab:red")
        figure.colorbar(shown, label="log density on the learned sphere; red: held out")
        figure.savefig(picture, dpi=120)


if len(sys.argv) > 1:
    main(*sys.argv[1:3])
else:
    print("expected a table of events; see the top of this script for where to get it")
