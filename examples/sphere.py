"""
The sphere, learned
===================

A sphere has no single coordinate system: a model with one Euclidean latent space must tear it.
Here its points go in, and an atlas, an exact density and a verdict come out.
"""

import torch

import topogen as tg
from topogen.report import clouds_figure

sphere = tg.Sphere()
x = sphere.sample_uniform(2500, generator=torch.Generator().manual_seed(0))

# %%
# What can be said before learning anything.
print(tg.inspect(x))

# %%
# Learn the manifold, charts on it, and a density. Each colour is one chart.
r = tg.learn(x, seed=0)
print(r)
figure = clouds_figure(r)

# %%
# The density is with respect to area: the uniform distribution has log density -log(4 pi) = -2.531
# everywhere.
y = sphere.sample_uniform(1000, generator=torch.Generator().manual_seed(1))
print(f"mean log density {r.log_prob(y).mean():.3f}")

# %%
# Samples lie on the learned manifold, and it lies on the sphere.
off = (r.sample(1000, seed=2).norm(dim=-1) - 1).abs()
print(f"distance of samples to the true sphere: median {off.median():.1e}, worst {off.max():.1e}")

# %%
# The homology of the samples, checked against the expected one.
print(r.topology)
figure = r.topology.plot()
