"""
How stable is the homology of a cloud?
======================================

The same check on resamples of the cloud. They run on threads by default; here on a Dask cluster,
of two local workers. For a cluster of many machines the two lines are the same.
"""

import numpy as np
import torch
from dask.distributed import Client, LocalCluster
from matplotlib.figure import Figure

import topogen as tg
from topogen.topology import bootstrap

sphere = tg.Sphere()
x = sphere.sample_uniform(1200, generator=torch.Generator().manual_seed(0)).numpy()

cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0")
with cluster, Client(cluster) as client:
    print(len(client.scheduler_info()["workers"]), "workers")
    result = bootstrap(x, repeats=12, fields=(2,), executor=client)
print(result)

# %%
# In 95 % of the resamples the diagram stays within the band: a class beyond it is always there.
figure = Figure(figsize=(9, 3.2), layout="constrained")
for k, ax in enumerate(figure.subplots(1, 3)):
    bars, c, betti = result.diagrams[2][k], result.band[2][k], result.estimate.betti[2][k]
    strongest = np.argsort(bars[:, 0] - bars[:, 1])
    classes, noise = np.split(bars[strongest], [betti or 0])
    top = np.array([0, 1.05 * bars.max()])
    ax.fill_between(top, top, top + 2 * c, color="0.9", label=f"95 % band, c = {c:.2g}")
    ax.plot(top, top, color="0.6", lw=0.8)
    ax.scatter(*noise.T, s=8, color="0.5")
    ax.scatter(*classes.T, s=36, color="#d1495b", label=f"Betti number {betti}")
    ax.set(title=f"$H_{k}$", xlabel="birth", ylabel="death" if k == 0 else None, ylim=top)
    ax.legend(loc="lower right", frameon=False)
