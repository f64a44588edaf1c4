"""
Angles of a torus, and of a Klein bottle
========================================

Each class of H^1(X; Z) is a map to the circle. The torus has two, the Klein bottle one, and RP^2,
whose only loop is torsion, has none.
"""

import math

import torch
from matplotlib.figure import Figure

import topogen as tg
from topogen.topology import circular_coordinates

torus = tg.Torus()
x = torus.sample_uniform(3000, generator=torch.Generator().manual_seed(0)).double().numpy()
c = circular_coordinates(x)
print(c.values.shape[1], "angles:", c.reason)

# %%
# The two are the angles of the torus: in colour on it, and against each other, where they fill
# the square.
figure = Figure(figsize=(11, 3.8), layout="constrained")
for a in range(2):
    ax = figure.add_subplot(1, 3, a + 1, projection="3d")
    ax.scatter(*x.T, c=c.values[:, a], cmap="twilight", vmin=0, vmax=2 * math.pi, s=5)
    ax.set(title=f"angle {a + 1}", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), zlim=(-1.2, 1.2))
    ax.set_axis_off()
ax = figure.add_subplot(1, 3, 3)
ax.scatter(*c.values.T, s=3, color="0.3")
ax.set(xlabel="angle 1", ylabel="angle 2", aspect="equal")

# %%
# Degrees of loops are exact integers: once round the hole, and once round the tube. The image of a
# latent circle under a decoder is such a loop; degree 0 means that the decoder tears it.
t = 2 * math.pi * torch.arange(100, dtype=torch.float64) / 100
R, r = torus.R, torus.r
hole = torch.stack([(R + r) * t.cos(), (R + r) * t.sin(), 0 * t], dim=-1)
tube = torch.stack([R + r * t.cos(), 0 * t, r * t.sin()], dim=-1)
print("degrees round the hole", c.winding(hole), "and round the tube", c.winding(tube))

# %%
# Overlapping arcs of one angle are charts whose nerve, a circle, is known in advance.
arcs = c.arcs(4)
print("points per arc", arcs.sum(axis=0), "shared with the next", (arcs[:, 0] & arcs[:, 1]).sum())

# %%
# A torsion class has no angle.
for M in (tg.KleinBottle(), tg.ProjectivePlane()):
    y = M.sample_uniform(2500, generator=torch.Generator().manual_seed(0))
    d = circular_coordinates(y)
    print(f"{type(M).__name__}: {d.values.shape[1]} angles; {d.reason}")
