"""
A distribution on the circle
============================

Eight thousand points of a von Mises distribution: learn the circle and the density, and compare
with the truth.
"""

import torch

import topogen as tg

truth = tg.VonMises(0.0, 2.0)
x = truth.sample((8000,), generator=torch.Generator().manual_seed(0))

r = tg.learn(x, seed=0)
print(r)

# %%
# The gap in nats on points that the fit has not seen, and its standard error.
fresh = truth.sample((4000,), generator=torch.Generator().manual_seed(1))
gap = truth.log_prob(fresh) - r.log_prob(fresh)
gap = gap[gap.isfinite()]
print(f"NLL gap {gap.mean():.4f} +- {gap.std() / len(gap) ** 0.5:.4f} nats")
