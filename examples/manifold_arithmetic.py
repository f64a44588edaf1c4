"""
Two spheres: union, intersection, restriction
=============================================

Manifolds are combined, with the distributions on them. What can be known of the result is stated:
volume, homology, whether they cross at all.
"""

import math

import torch
from matplotlib.figure import Figure

import topogen as tg
from topogen.distributions.pushforward import Pushforward
from topogen.manifolds.operations import Similarity, TransversalityError
from topogen.sampling import Plan, random_walk

g = torch.Generator().manual_seed(0)
A, B = (Similarity(tg.Sphere(), [s, 0.0, 0.0]) for s in (0.5, -0.5))

# %%
# The union is stored as its two parts. Crossing spheres enclose three bounded regions, and each
# area counts once.
both = tg.Union(A, B)
print(f"union: area {both.volume:.5f} = 8 pi, homology {both.homology}")
x = both.sample_uniform(40_000, g)
print(f"uniform points: {(x[:, 0] > 0).double().mean():.3f} of them have x > 0")

# %%
# A product of the two equations, as is usual, has derivative 0 where the spheres cross; those of
# the parts stay regular.
F = [
    lambda x, s=s: (x - x.new_tensor([s, 0, 0])).square().sum(-1, keepdim=True) - 1
    for s in (0.5, -0.5)
]
product = tg.ImplicitManifold(lambda x: F[0](x) * F[1](x), dim=2, ambient_dim=3)
point = torch.tensor([[0.0, 0.0, math.sqrt(0.75) + 0.01]], dtype=torch.float64)
for name, M in (("product", product), ("union", both)):
    size = M.linearize(M.project(point).value)[1].norm()
    print(f"{name}: {int(M.project(point).steps)} steps, then |DF| = {size:.0e}")

# %%
# A distribution on each part makes a distribution on the union, with densities with respect to
# area.
experts = [
    Pushforward(tg.VonMisesFisher(mean, 4.0), part)
    for mean, part in (([0.0, 0.6, 0.8], A), ([0.0, -0.6, 0.8], B))
]
mixture = tg.Mixture([0.5, 0.5], experts, manifold=both)
y = mixture.sample((4000,), g)
print(f"entropy of the mixture {-mixture.log_prob(y).mean():.3f} nats ({mixture.likelihood})")

# %%
# The intersection is a circle. The normals of the spheres are 60 degrees apart there; its length
# is found by following it.
circle = tg.Intersection(A, B)
print(f"intersection: length {circle.volume:.5f} +- {circle.volume_error:.0e}, {circle.homology}")
print(
    f"closed form {2 * math.pi * math.sqrt(0.75):.5f}; least singular value of the normals "
    f"{circle.transversality:.4f}"
)

# %%
# There the energies add: the product of the two experts, drawn by random walks on the circle.
energy = lambda x: experts[0].log_prob(x) + experts[1].log_prob(x)
plan = Plan(start=circle.found[:64], chains=64)
chain = random_walk(circle, energy, 200, plan=plan, seed=0)
z = chain.samples.reshape(-1, 3)
print(
    f"product of experts: mean height {z[:, 2].mean():.3f}, largest |x| {z[:, 0].abs().max():.0e}"
)

# %%
# Manifolds that touch, or do not meet, have no such intersection, and numbers say why.
for shift in (2.0, 2.5):
    try:
        tg.Intersection(tg.Sphere(), Similarity(tg.Sphere(), [shift, 0.0, 0.0]))
    except TransversalityError as error:
        print(error)

# %%
# Inequalities restrict a manifold; points that violate them are rejected, never moved.
cap = tg.Restriction(tg.Sphere(), lambda x: 0.2 - x[..., 2])
area = cap.measure(100_000, g)
print(f"cap: area {area.value:.4f} +- {area.error:.4f}, closed form {1.6 * math.pi:.4f}")
roof = tg.Restriction(both, lambda x: 0.2 - x[..., 2])

# %%
# All of it works for learned manifolds.
learned = []
for part in (A, B):
    M = tg.LocalPolynomials(2, 3)
    tg.fit(M, part.sample_uniform(1500, g))
    learned.append(M)
curve = tg.Intersection(*learned)
off = circle.residual(curve.found)
print(f"learned: length {curve.volume:.4f}, {curve.homology}, off the circle {off.max():.0e}")

# %%
# The mixture on the union, the product of experts on the intersection, the roof.
figure = Figure(figsize=(12, 4.2), layout="constrained")
w = roof.sample_uniform(3000, g)
t = circle.project(torch.randn(1500, 3, generator=g, dtype=torch.float64)).value
panels = {
    "union: a mixture": (y, mixture.log_prob(y)),
    "intersection: energies add": (t, energy(t)),
    "restriction: height >= 0.2": (w, w[:, 2]),
}
for k, (title, (points, colour)) in enumerate(panels.items()):
    ax = figure.add_subplot(1, 3, k + 1, projection="3d")
    if k == 1:
        ax.scatter(*x[:1500].T.numpy(), s=1, color="0.85")
    ax.scatter(*points.T.numpy(), c=colour.numpy(), cmap="viridis", s=4)
    ax.set_title(title, y=0.93)
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.1, 1.1), zlim=(-1.1, 1.1))
    ax.set_box_aspect((1.3, 1.1, 1.1), zoom=1.25)
    ax.set_axis_off()

if __name__ == "__main__":
    figure.savefig("manifold_arithmetic.png", dpi=120)
