"""
Are these conformers a torus?
=============================

Alanine dipeptide has two free torsions, so its conformers lie on a curved torus in R^30. The check
alone, without learning anything: of the 8000 conformers, and of what is left when one torsion is
excluded from a quarter of its range.
"""

import math

import topogen as tg
from topogen.datasets import alanine
from topogen.report import check_figure

x = alanine.conformers()
report = tg.check_topology(x, expected=tg.FlatTorus())
print(report)

# %%
# A barrier that no conformer crosses tears the torus open: an annulus, with one loop.
phi = alanine.torsions()[:, 0]
torn = x[phi % (2 * math.pi) > math.pi / 2]
other = tg.check_topology(torn, expected=tg.FlatTorus())
print(other)
figure = check_figure({"conformers": x, "torn": torn}, {"conformers": report, "torn": other})

if __name__ == "__main__":
    figure.savefig("check_alanine.png", dpi=120)
