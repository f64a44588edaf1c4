r"""
A Klein bottle of image patches
===============================

The patches of 3 x 3 pixels that show a straight edge or a line at some angle are the values of

.. math:: p = \cos(t)\, u + \sin(t)\, u^2, \qquad u = a x + b y, \quad a^2 + b^2 = 1,

on the pixels (x, y) in {-1, 0, 1}^2, without their mean and their contrast. Replacing (a, b) by
(-a, -b) and t by pi - t gives the same patch: it is a Klein bottle, in R^9.
"""

import numpy as np

import topogen as tg
from topogen.report import check_figure

rng = np.random.default_rng(0)
x, y = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
t, angle = 2 * np.pi * rng.random((2, 20000, 1))
u = np.cos(angle) * x.ravel() + np.sin(angle) * y.ravel()
p = np.cos(t) * u + np.sin(t) * u**2
p -= p.mean(axis=1, keepdims=True)
p /= np.linalg.norm(p, axis=1, keepdims=True)

# %%
# Over Z/2 it looks like a torus, over Z/3 it does not: the homology of a Klein bottle.
report = tg.check_topology(p, expected=tg.KleinBottle())
print(report)

# %%
# The frames of its tangent planes agree: there is no consistent orientation.
print("orientable:", tg.topology.orientability(p, dim=2).orientable)
figure = check_figure({"patches": p}, {"patches": report})

if __name__ == "__main__":
    figure.savefig("polynomial_patches.png", dpi=120)
