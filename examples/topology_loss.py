"""
A loss that closes a gap
========================

Persistence diagrams have gradients: each end of a bar is a distance of two points. So a condition
on homology can be added to the loss of any model that makes points.
"""

import math

import torch

import topogen as tg
from topogen.plotting import scatter_figure
from topogen.topology.persistence.differentiable import TopologyLoss, persistence_diagrams

# %%
# A decoder maps an interval to data on a circle with an arc of 0.9 radians missing. Alone it
# learns the torn circle; with the condition that Betti numbers are (1, 1) it joins the ends. The
# loop should die at 25 times its longest gap, and should not grow for that.
u = torch.linspace(0, 1, 100)[:, None]
angle = u * (2 * math.pi - 0.9)
data = torch.cat([angle.cos(), angle.sin()], dim=1)
topology = TopologyLoss((1, 1), margin=math.log(25), hold="deaths")


def fit(weight):
    generator = torch.Generator().manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    for w, std in zip(net.parameters(), (4.0, 2.0, 0.3, 0.01), strict=True):
        torch.nn.init.normal_(w, std=std, generator=generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(400):
        x = net(u)
        loss = (x - data).square().sum(dim=1).mean()
        if weight and step >= 100:
            loss = loss + weight * topology(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return net(torch.rand(1500, 1, generator=generator))


curves = {"data alone": fit(0.0), "with the loss": fit(0.05)}
for name, y in curves.items():
    print(name, "|", tg.check_topology(y, expected=tg.Homology((1, 1))))

# %%
# The loss on the points themselves fills the hole of an annulus. With births fixed it moves
# points into the hole; free to choose, it would rather tear the annulus open.
r, t = torch.rand(2, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ring = torch.stack(
    [(1 + r) / 2 * (2 * math.pi * t).cos(), (1 + r) / 2 * (2 * math.pi * t).sin()], 1
)
x = ring.clone().requires_grad_()
no_hole, optimiser = TopologyLoss((1, 0), hold="births"), torch.optim.Adam([x], lr=0.01)
for _ in range(250):
    optimiser.zero_grad()
    no_hole(x).backward()
    optimiser.step()
for name, y in (("annulus", ring), ("filled", x.detach())):
    loops = persistence_diagrams(y)[1]
    strongest = max((loops[:, 1] / loops[:, 0]).tolist(), default=1.0)
    print(f"{name}: the strongest loop dies at {strongest:.2f} times its birth")

figure = scatter_figure({**curves, "annulus": ring, "filled": x.detach()})
