"""Five spaces with known answers: learn each from points, and measure against the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .datasets import alanine
from .distributions.uniform import Uniform
from .distributions.von_mises import VonMises
from .homology import Homology
from .manifolds import spaces
from .manifolds.spaces.base import ReferenceSpace
from .pipeline import learn
from .point_cloud.arrays import diameter
from .results import LearnResult

_FRESH = 4000


@dataclass(frozen=True)
class Demo:
    """A cloud and the truth about it.

    Attributes:
        name: what the command line calls it.
        about: one line.
        sample: n points of the true distribution, shape (n, D).
        log_prob: the true log density at points of the true set, in nats w.r.t. its volume.
        distance: distance of points to the true set.
        homology: of the true set.
        orientable: whether the true set is.
        volume: of the true set.
        data: the cloud to learn from, where it is not just a sample.
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
        verdict: "agrees", "disagrees" or "undetermined", samples against the
            true homology.
    """

    result: LearnResult
    measurements: dict[str, float | str] = field(repr=False)
    verdict: str


def run(demo: Demo, *, n: int = 8000, seed: int = 0, progress: bool | None = None) -> DemoResult:
    """Draw, learn, sample, check, and compare with the truth.

    The NLL gap is the mean of log p*(x) - log q(x) over 4000 fresh points x of the true
    distribution p*, with its standard error; distances are to the true set, in per cent of the
    diameter.
    """
    x = demo.points(n, seed)
    result = learn(x, seed=seed, progress=progress)
    generator = torch.Generator().manual_seed(seed + 10_000)
    size = diameter(x.numpy())
    samples = result.sample(_FRESH, seed=seed + 20_000)
    off = 100 * demo.distance(samples) / size
    fresh = demo.sample(_FRESH, generator)
    gap = demo.log_prob(fresh) - result.log_prob(fresh)
    outside = int((~gap.isfinite()).sum())
    gap = gap[gap.isfinite()]
    numbers: dict[str, float | str] = {
        "off the true set, median, % of diameter": float(off.median()),
        "off the true set, 99 %, % of diameter": float(off.quantile(0.99)),
        "NLL gap (nats)": float(gap.mean()),
        "NLL gap, standard error": float(gap.std() / math.sqrt(gap.numel())),
        "fresh points without density": float(outside),
        "volume, true": demo.volume,
        "orientable, true": "yes" if demo.orientable else "no",
    }
    if demo.name == "alanine":
        numbers["worst bond error (Angstrom)"] = alanine.bond_error(samples)
    return DemoResult(result, numbers, verdict(result, demo.homology))


def verdict(result: LearnResult, truth: Homology) -> str:
    """What the homology found in the samples says of the true one."""
    found = result.topology.betti
    pairs = [
        (number, truth.betti_number(k, p))
        for p, numbers in found.items()
        for k, number in enumerate(numbers)
    ]
    if any(number is not None and number != true for number, true in pairs):
        return "disagrees"
    if any(number is None for number, _ in pairs):
        return "undetermined"
    return "agrees"


def _uniform(name: str, about: str, M: ReferenceSpace) -> Demo:
    distribution = Uniform(M)
    return _of_distribution(
        name, about, M, distribution.log_prob, lambda n, g: M.sample_uniform(n, generator=g)
    )


def _of_distribution(
    name: str,
    about: str,
    M: ReferenceSpace,
    log_prob: Callable[[Tensor], Tensor],
    sample: Callable[[int, torch.Generator], Tensor],
) -> Demo:
    if M.homology is None or M.orientable is None or M.volume is None:
        raise ValueError(f"expected a space whose homology is known, got {type(M).__name__}")
    return Demo(
        name,
        about,
        sample,
        log_prob,
        lambda x: (M.project(x).value - x).norm(dim=-1),
        M.homology,
        M.orientable,
        M.volume,
    )


def _circle() -> Demo:
    distribution = VonMises(0.0, 2.0)
    return _of_distribution(
        "circle",
        "von Mises distribution of concentration 2 on the unit circle",
        spaces.Circle(),
        distribution.log_prob,
        lambda n, g: distribution.sample((n,), generator=g),
    )


def _alanine() -> Demo:
    torus = Homology((1, 2, 1))
    return Demo(
        "alanine",
        "conformers of alanine dipeptide, a curved torus in R^30",
        lambda n, g: alanine.embed(alanine.sample_torsions(n, g)),
        lambda x: alanine.log_prob(alanine.nearest(x)[0]),
        lambda x: alanine.nearest(x)[1],
        torus,
        True,
        alanine.AREA,
        data=lambda: torch.from_numpy(np.array(alanine.conformers())),
    )


DEMOS: dict[str, Callable[[], Demo]] = {
    "circle": _circle,
    "sphere": lambda: _uniform(
        "sphere", "uniform distribution on the unit sphere", spaces.Sphere()
    ),
    "torus": lambda: _uniform(
        "torus", "uniform distribution on a ring torus in R^3", spaces.Torus()
    ),
    "klein": lambda: _uniform(
        "klein", "uniform distribution on a Klein bottle in R^4", spaces.KleinBottle()
    ),
    "alanine": _alanine,
}
