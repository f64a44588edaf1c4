"""
A union and an intersection of learned spheres
==============================================

Two spheres are learned, each with a distribution on it; then the distributions are combined on
what the two spheres are together, and on what they have in common. After Ross, Loaiza-Ganem,
Caterini and Cresswell, 2024 (https://arxiv.org/abs/2206.11267), notebook 02, which shows plots and
no figures but the distance of the data to the sphere: median .0077, largest .0181, in 131 + 135 s.
"""

import math
import sys
import time

import torch
from matplotlib.figure import Figure

import topogen as tg
from topogen.distributions.energy import EnergyDistribution
from topogen.manifolds.operations import Intersection, Union
from topogen.models.energy import EnergyModel
from topogen.models.implicit import NeuralImplicit

# %%
# A mixture of projected normal distributions on the unit sphere, moved to either side.
modes = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def draw(side, n, seed):
    g = torch.Generator().manual_seed(seed)
    mean = modes[torch.randint(4, (n,), generator=g)]
    v = mean + torch.randn(n, 3, generator=g, dtype=torch.float64)
    return v / v.norm(dim=-1, keepdim=True) + torch.tensor([side, 0, 0], dtype=torch.float64)


distributions = []
for side in (0.5, -0.5):
    x = draw(side, 1000, seed=int(10 * side))
    model = EnergyModel(NeuralImplicit(2, 3))
    start = time.process_time()
    tg.fit(model, x, seed=0, progress=False)
    start = time.process_time() - start
    distance = (model.manifold.project(x).value - x).norm(dim=-1)
    distributions.append(model())
    print(
        f"sphere at {side:+.1f}: distance of the data median {distance.median():.5f}, largest "
        f"{distance.max():.5f}, {start:.0f} s CPU; "
        f"likelihood {distributions[-1].likelihood}, "
        f"log Z error {distributions[-1].log_z_error:.0e}"
    )

# %%
# The union is a list of parts, not the zero set of a product: half of the mass is on each.
A, B = (distribution.manifold for distribution in distributions)
union = tg.Mixture([0.5, 0.5], distributions, manifold=Union(A, B), validate_args=False)
y = union.sample((4000,), torch.Generator().manual_seed(0))
on_right = A.residual(y) < B.residual(y)
print(f"union: share of samples on the right sphere {on_right.double().mean():.3f} +- .008")

# %%
# The intersection is a circle of radius sqrt(.75); energies add on it: the product of experts.
circle = Intersection(A, B)
atlas = tg.ProjectedAtlas(circle)
tg.fit(atlas, circle.found, seed=0, progress=False)
product = EnergyDistribution(
    atlas,
    lambda x: sum(distribution.log_prob(x) for distribution in distributions),
    validate_args=False,
)
length = float(atlas.volume(tol=1e-4))
print(
    f"intersection: length {length:.4f}, exactly {2 * math.pi * math.sqrt(0.75):.4f}; least "
    f"singular value of the normals {circle.transversality:.3f}, exactly {math.sqrt(0.5):.3f}"
)
print(f"product of experts: log Z {product.log_z}, likelihood {product.likelihood}")
z = product.sample((1000,), torch.Generator().manual_seed(1))

figure = Figure(figsize=(9, 4), layout="constrained")
for i, (points, distribution, title) in enumerate(
    ((y, union, "union"), (z, product, "intersection"))
):
    ax = figure.add_subplot(1, 2, i + 1, projection="3d")
    ax.scatter(*points.T, c=distribution.log_prob(points).exp(), s=3)
    ax.set(title=f"{title}, samples", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), zlim=(-1.5, 1.5))
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
