"""
Conformers of a molecule
========================

Alanine dipeptide has two free torsions, so its conformers lie on a curved torus in R^30. Learn it
from 8000 conformers, sample new ones, and see whether bond lengths survive.
"""

import torch

import topogen as tg
from topogen.datasets import alanine

x = alanine.conformers()
r = tg.learn(x, seed=0)
print(r)

# %%
# The code knows nothing of torsions: it found dimension 2 and the homology of a torus.
print(r.topology)

# %%
# New conformers, and the worst error of any of their nine bond lengths.
samples = r.sample(4000, seed=1)
print(f"worst bond error {alanine.bond_error(samples):.2e} Angstrom")
off = alanine.nearest(samples)[1]
print(f"distance to the exact torus: median {off.median():.1e}, worst {off.max():.1e} Angstrom")

# %%
# The negative log likelihood on fresh conformers, against the exact entropy.
generator = torch.Generator().manual_seed(2)
fresh = alanine.embed(alanine.sample_torsions(4000, generator))
log_p = r.log_prob(fresh)
on = log_p.isfinite()
exact = alanine.log_prob(alanine.nearest(fresh[on])[0])
gap = exact - log_p[on]
print(f"NLL {-log_p[on].mean():.4f}, exact entropy {alanine.ENTROPY:.4f} nats w.r.t. area")
print(
    f"gap {gap.mean():.4f} +- {gap.std() / len(gap) ** 0.5:.4f} nats, "
    f"{int((~on).sum())} of 4000 points without density"
)

if __name__ == "__main__":
    r.report("alanine.html")
