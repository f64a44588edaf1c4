"""
Injective flows with the right base
===================================

An injective flow on R^2 cannot close up to a torus: whatever its likelihood says, samples leave
the data. On a torus it can, and on a Klein bottle too, which is no regular zero
set and has no single chart.
"""

import torch

import topogen as tg

generator = torch.Generator().manual_seed(0)

# %%
# A ring torus with two von Mises angles, and an exactly known density w.r.t. area.
R, r = 2.0, 0.7
u, v = tg.VonMises(torch.pi, 1.0), tg.VonMises(0.0, 0.5)


def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of the torus, and their log density in nats w.r.t. area."""
    p, q = u.sample((n,), generator), v.sample((n,), generator)
    ring = R + r * q[:, :1]
    x = torch.cat([ring * p, r * q[:, 1:]], dim=1)
    return x, u.log_prob(p) + v.log_prob(q) - (r * ring[:, 0]).log()


x, _ = draw(8000)
fresh, exact = draw(4000)

flow = tg.InjectiveFlow(2, 3)  # base="auto": from the homology of the data
print(tg.fit(flow, x, progress=False))
print(*flow.attempts, sep="\n")
print(flow.certificate)

# %%
# Area, density, and the distance of a sample to the torus.
M, distribution = flow.manifold, flow()
print(f"area {M.volume:.5f} +- {M.volume_error:.0e}, exact {4 * torch.pi**2 * R * r:.5f}")
gap = exact - distribution.log_prob(fresh)
print(
    f"NLL {-distribution.log_prob(fresh).mean():.4f}, "
    f"gap {gap.mean():.4f} +- {gap.std() / 63:.4f} nats"
)


def off(x: torch.Tensor) -> torch.Tensor:
    """The distance to the exact torus."""
    ring = x[:, :2].norm(dim=1) - R
    return (torch.stack([ring, x[:, 2]], 1).norm(dim=1) - r).abs()


print(f"samples off the torus: at most {off(distribution.sample((4000,), generator)).max():.1e}")

# %%
# The control: the same data with the base R^2. Its likelihood looks better, since M is not the
# torus; a good part of its samples is nowhere near it.
plane = tg.InjectiveFlow(2, 3, base="euclidean")
tg.fit(plane, x, progress=False)
samples = plane().sample((4000,), generator)
share = float((off(samples) > 0.1).double().mean())
print(f"base R^2: {100 * share:.0f} % of the samples more than .1 off the torus")

# %%
# A Klein bottle in R^4, as the quotient of a torus by (t, s) ~ (t + pi, -s).
K = tg.KleinBottle()
bottle = tg.InjectiveFlow(2, 4)
tg.fit(bottle, K.sample_uniform(6000, generator=generator), progress=False)
print(*bottle.attempts, sep="\n")
print(f"area {bottle.manifold.volume:.5f}, exact {K.volume:.5f}")
report = tg.check_topology(bottle().sample((8000,), generator), expected=K)
print(report)
