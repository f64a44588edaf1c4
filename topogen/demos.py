"""Five spaces with known answers: learn each from points, and measure against the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .datasets import alanine
from .distributions.base import ManifoldDistribution
from .distributions.uniform import Uniform
from .distributions.von_mises import VonMises
from .homology import Homology
from .manifolds.spaces import SPACES
from .pipeline import learn
from .point_cloud.arrays import diameter
from .results import LearnResult

_FRESH = 4000  # points: the NLL gap is then known to about .01 nats


@dataclass(frozen=True)
class Demo:
    """A cloud and the truth about it.

    Attributes:
        name: what the command line calls it.
        about: one line.
        sample: n points of the true distribution, shape (n, D).
        log_prob: the true log density at points of the true manifold, in nats w.r.t. its volume.
        distance: distance of points to the true manifold.
        homology: of the true manifold.
        orientable: whether the true manifold is.
        volume: of the true manifold.
        data: the cloud to learn from, where it is not just a sample.
        measure: what else is measured of samples, by name.
    """

    name: str
    about: str
    sample: Callable[[int, torch.Generator], Tensor]
    log_prob: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor], Tensor]
    homology: Homology
    orientable: bool
    volume: float
    data: Callable[[], Tensor] | None = None
    measure: Callable[[Tensor], dict[str, float]] | None = None

    def points(self, n: int, seed: int) -> Tensor:
        """The cloud to learn from."""
        if self.data is not None:
            return self.data()
        return self.sample(n, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class DemoResult:
    """What a demo measured against the truth.

    Attributes:
        result: what was learned.
        measurements: name to value, for a table.
        verdict: "agrees", "disagrees" or "undetermined", samples against the true homology.
    """

    result: LearnResult
    measurements: dict[str, float | str] = field(repr=False)
    verdict: str


def run(demo: Demo, *, n: int = 8000, seed: int = 0, progress: bool | None = None) -> DemoResult:
    """Draw, learn, sample, check, and compare with the truth.

    The NLL gap is the mean of log p*(x) - log q(x) over 4000 fresh points x of the true
    distribution p*, with its standard error; distances are to the true manifold, in per cent of
    the diameter.
    """
    x = demo.points(n, seed)
    result = learn(x, seed=seed, progress=progress)
    samples = result.sample(_FRESH, seed=seed + 20_000)
    off = 100 * demo.distance(samples) / diameter(x.numpy())
    fresh = demo.sample(_FRESH, torch.Generator().manual_seed(seed + 10_000))
    every = demo.log_prob(fresh) - result.log_prob(fresh)
    gap = every[every.isfinite()]
    measurements: dict[str, float | str] = {
        "off the true manifold, median, % of diameter": float(off.median()),
        "off the true manifold, 99 %, % of diameter": float(off.quantile(0.99)),
        "NLL gap (nats)": float(gap.mean()),
        "NLL gap, standard error": float(gap.std() / math.sqrt(gap.numel())),
        "fresh points without density": float(len(every) - len(gap)),
        "volume, true": demo.volume,
        "orientable, true": "yes" if demo.orientable else "no",
    }
    if demo.measure is not None:
        measurements |= demo.measure(samples)
    return DemoResult(result, measurements, verdict(result, demo.homology))


def verdict(result: LearnResult, truth: Homology) -> str:
    """What the homology found in the samples says of the true one."""
    pairs = {
        (number, truth.betti_number(k, p))
        for p, numbers in result.topology.betti.items()
        for k, number in enumerate(numbers)
    }
    if any(number is not None and number != true for number, true in pairs):
        return "disagrees"
    return "undetermined" if any(number is None for number, _ in pairs) else "agrees"


def _of(name: str, about: str, q: ManifoldDistribution) -> Demo:
    """Draws of a known distribution."""
    M = q.manifold
    if M.homology is None or M.orientable is None or M.volume is None:
        raise ValueError(f"expected a space whose homology is known, got {type(M).__name__}")
    return Demo(
        name,
        about,
        lambda n, generator: q.sample((n,), generator=generator),
        q.log_prob,
        lambda x: (M.project(x).value - x).norm(dim=-1),
        M.homology,
        M.orientable,
        M.volume,
    )


def _alanine() -> Demo:
    return Demo(
        "alanine",
        "conformers of alanine dipeptide, a curved torus in R^30",
        lambda n, g: alanine.embed(alanine.sample_torsions(n, g)),
        lambda x: alanine.log_prob(alanine.nearest(x)[0]),
        lambda x: alanine.nearest(x)[1],
        Homology((1, 2, 1)),
        True,
        alanine.AREA,
        data=lambda: torch.from_numpy(np.array(alanine.conformers())),
        measure=lambda x: {"worst bond error (Angstrom)": alanine.bond_error(x)},
    )


def _circle() -> Demo:
    about = "von Mises distribution of concentration 2 on the unit circle"
    return _of("circle", about, VonMises(0.0, 2.0))


def _uniform(name: str, about: str) -> Callable[[], Demo]:
    return lambda: _of(name, f"uniform distribution on {about}", Uniform(SPACES[name]()))


DEMOS: dict[str, Callable[[], Demo]] = {
    "circle": _circle,
    "sphere": _uniform("sphere", "the unit sphere"),
    "torus": _uniform("torus", "a ring torus in R^3"),
    "klein": _uniform("klein", "a Klein bottle in R^4"),
    "alanine": _alanine,
}
