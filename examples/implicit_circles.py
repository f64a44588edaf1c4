"""
Densities on learned circles
============================

The first two experiments of Ross, Loaiza-Ganem, Caterini and Cresswell, "Neural implicit manifold
learning for topology-aware density estimation", 2024 (https://arxiv.org/abs/2206.11267): von Mises
distributions of concentration 2 on one circle, and on each of two. Learn the manifold as a zero
set, put charts on it, learn an energy on it, and compare with the truth.

The published figures are those of the authors' notebooks 01 and 03. They have no likelihood, so
the last columns have no published counterpart.
"""

import math
import sys
import time

import torch
from matplotlib.figure import Figure

import topogen as tg
from topogen.models.energy import EnergyModel
from topogen.models.implicit import NeuralImplicit

truth = tg.VonMises(0.0, 2.0, validate_args=False)
centre = torch.tensor([1.8, 0.0], dtype=torch.float64)


def draw(circles, n, seed):
    g = torch.Generator().manual_seed(seed)
    x = truth.sample((n,), g)
    return x if circles == 1 else x + (2 * torch.randint(2, (n, 1), generator=g) - 1) * centre


def log_prob(circles, x):
    if circles == 1:
        return truth.log_prob(x)
    return truth.log_prob(x - x[:, :1].sign() * centre) - math.log(2)


# %%
# A thousand points each. The distance is that of the data to the learned manifold; the gap is the
# mean of log p*(x) - log p(x) over 20 000 fresh points x, p at their projections onto the charts;
# missed are those farther from the learned manifold than its tolerance, or in a hole of it, to
# which the distribution itself gives density 0.
PUBLISHED = {1: (0.0012, 0.0154, 189 + 141), 2: (0.0037, 0.0380, 217 + 81)}
print("              median   largest  CPU s  NLL gap  missed  log Z error  right half")
distributions = {}
for circles, (median, largest, seconds) in PUBLISHED.items():
    x = draw(circles, 1000, seed=0)
    model = EnergyModel(NeuralImplicit(1, 2))
    start = time.process_time()
    tg.fit(model, x, seed=0, progress=False)
    start = time.process_time() - start
    distribution = distributions[circles] = model()
    distance = (model.manifold.project(x).value - x).norm(dim=-1)
    fresh = draw(circles, 20_000, seed=1)
    missed = int((distribution.log_prob(fresh) == -math.inf).sum())
    gap = log_prob(circles, fresh) - distribution.log_prob(model.manifold.project(fresh).value)
    q = distribution.levels.fine
    right = float(q.weights @ (distribution.log_prob(q.points).exp() * (q.points[:, 0] > 0)))
    print(f"{circles} published  {median:9.1e} {largest:9.1e} {seconds:6.0f}")
    print(
        f"{circles} topogen    {distance.median():9.1e} {distance.max():9.1e} {start:6.0f} "
        f"{gap[gap.isfinite()].mean():8.4f} {missed:7d} "
        f"{distribution.log_z_error:12.0e} {right:11.3f}"
    )

# %%
# The free constant of noise-contrastive estimation against quadrature: log Z without, and with.
print(
    f"log Z by contrast {-model.constant:.3f}, by quadrature {float(distribution.log_z):.3f} nats"
)

# %%
# Samples lie on the manifold, and follow the density.
figure = Figure(figsize=(9, 3.4), layout="constrained")
for axes, (circles, distribution) in zip(
    figure.subplots(1, 2), distributions.items(), strict=True
):
    y = distribution.sample((1000,), torch.Generator().manual_seed(2))
    shown = axes.scatter(*y.T, c=distribution.log_prob(y).exp(), s=4)
    axes.set(aspect="equal", title=f"{circles} learned, 1000 samples")
    figure.colorbar(shown, ax=axes, label="density")
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
