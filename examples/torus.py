"""
A torus is not a Klein bottle
=============================

Over Z/2 the two have the same Betti numbers, (1, 2, 1). Over Z/3 the Klein bottle has (1, 1, 0):
the field is part of every topological statement.
"""

import torch

import topogen as tg

torus, klein = tg.Torus(), tg.KleinBottle()
print(torus.homology, "|", klein.homology)

# %%
# A sample of the torus agrees with the torus, and not with the Klein bottle.
x = torus.sample_uniform(2500, generator=torch.Generator().manual_seed(0))
print(tg.check_topology(x, expected=torus))
print(tg.check_topology(x, expected=klein))

# %%
# The bars: those beyond the dashed lines are classes.
figure = tg.check_topology(x, expected=torus).plot()

# %%
# The atlas distinguishes them as well: the signs of its transitions can be made consistent, or
# not.
for M in (torus, klein):
    y = M.sample_uniform(2000, generator=torch.Generator().manual_seed(0))
    print(type(M).__name__, "orientable:", M.atlas().orientation(y).orientable)

# %%
# Partition-of-unity quadrature on the atlas gives its area, 4 pi^2 R r = 15.791.
area = torus.atlas().integrate(lambda y: torch.ones_like(y[..., 0]))
print(f"{float(area.value):.4f} +- {float(area.error):.0e}, closed form {torus.volume:.4f}")
