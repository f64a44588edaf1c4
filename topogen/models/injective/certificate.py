r"""Whether a decoder is an embedding of its base onto the manifold of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...topology.inference.report import Verdict
from .bases import Base
from .decoder import Decoder
from .decoder_fit import FittedDecoder
from .homology_checks import action_on_loops, extra_loops, image_homology
from .injectivity_proof import InjectivityProof, prove_injective
from .neighbor_graph import Landmarks

# beyond these a decoder is nearly singular, or nearly two to one
LARGEST_CONDITION, LEAST_COLLISION = 60.0, 0.02
# ... or its image leaves the data, in distances from a point to its eighth neighbour
LARGEST_EXCESS = 4.0


@dataclass(frozen=True)
class EmbeddingCertificate:
    r"""What was checked of a decoder g: B -> R^D of some data.

    Attributes:
        base: the name of B.
        failures: what failed, of "reconstruction", "condition", "collision", "excess", "loops"
            and "homology", each with a sentence.
        injectivity: the proof that g is an injective immersion, where there is one.
        condition: largest over least singular value of Dg over B.
        collision: least :math:`|g(b) - g(b')| / d_B(b, b')` over pairs of 3000 points.
        reconstruction: distance from held-out points to g(B), 99 %, in units of their size.
        allowed: the largest one that is accepted, by the spacing and the noise of the points.
        spacing: median distance from held-out points to the nearest of the others.
        gap: largest distance from uniform points of g(B) to the data.
        excess: how much farther uniform points of g(B) are from the data than held-out points,
            at 99 %, in units of the distance from the nearest point to its eighth neighbour.
        winding: how often the loops of B, in columns, wind round the classes of the data; None
            where B has no integral class or the data's are not clear.
        one_to_one: per field Z/p, whether g is one to one on H_1; None where that is not clear.
        extra_loops: per field Z/p, how many clear loops the data have that B does not have.
        homology: the verdict of :func:`topogen.check_topology` on uniform points of g(B), against
            that of B over Z/2 and Z/3; where it is undetermined, condition and collision have to
            be twice as good. None where something else had failed already.
        homology_reason: the sentence that goes with it.
    """

    base: str
    failures: tuple[tuple[str, str], ...]
    injectivity: InjectivityProof
    condition: float
    collision: float
    reconstruction: float
    allowed: float
    spacing: float
    gap: float
    excess: float
    winding: np.ndarray | None
    one_to_one: dict[int, bool | None]
    extra_loops: dict[int, int]
    homology: Verdict | None = None
    homology_reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether g can be taken for an embedding of B whose image is the manifold of the data."""
        return not self.failures

    @property
    def failed(self) -> tuple[str, ...]:
        """What failed, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.failures))

    @property
    def reason(self) -> str:
        """One sentence: what failed, or what it rests on."""
        if self.failures:
            return "; ".join(sentence for _, sentence in self.failures)
        proof = self.injectivity
        how = f"proved on {proof.cells} cells" if proof.proved else "on samples (not proved)"
        image = "its image has the homology of the base"
        if self.homology != "agrees":
            image = f"the homology of its image is undetermined: {self.homology_reason}"
        return f"injective{',' if proof.proved else ''} {how}; held-out points are near; {image}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for files."""
        data = asdict(self)
        data["failures"] = [list(failure) for failure in self.failures]
        data["winding"] = None if self.winding is None else self.winding.tolist()
        for name in ("one_to_one", "extra_loops"):
            data[name] = {str(p): value for p, value in data[name].items()}
        return data

    @staticmethod
    def of(data: Mapping[str, Any]) -> EmbeddingCertificate:
        """The certificate from its plain data."""
        d = dict(data)
        d["injectivity"] = InjectivityProof(**d["injectivity"])
        d["failures"] = tuple((name, sentence) for name, sentence in d["failures"])
        d["winding"] = None if d["winding"] is None else np.array(d["winding"])
        for name in ("one_to_one", "extra_loops"):
            d[name] = {int(p): value for p, value in d[name].items()}
        return EmbeddingCertificate(**d)


def certify(
    found: FittedDecoder, x: Tensor, held_out: Tensor, *, marks: Landmarks, noise: float
) -> EmbeddingCertificate:
    """Check a decoder against the data.

    Args:
        found: the decoder, and base points of the data.
        x: data.
        held_out: points held out.
        marks: landmarks of the neighbour graph of the data.
        noise: how far the data are from a smooth manifold.
    """
    from scipy.spatial import KDTree

    decoder = found.decoder
    base = decoder.base
    b = base.sample(3000, generator=torch.Generator().manual_seed(0))
    value, J = decoder.value_and_jacobian(b)
    sigma = torch.linalg.svdvals(J)
    tree = KDTree(x.numpy())
    local = tree.query(x.numpy(), 9)[0][:, -1]
    apart, nearest = tree.query(held_out.numpy())
    usual = float(np.quantile(apart / local[nearest], 0.99))
    distance, nearest = tree.query(value.numpy())
    area = sigma.log().sum(-1).exp().numpy()
    spacing = float(np.median(apart))
    winding, one_to_one = action_on_loops(decoder, marks, tree)
    certificate = EmbeddingCertificate(
        base=base.name,
        failures=(),
        injectivity=InjectivityProof(None, float(sigma[:, -1].min()), 0, math.nan),
        condition=float(sigma[:, 0].max() / sigma[:, -1].min().clamp_min(1e-300)),
        collision=_collision(base, b, value),
        reconstruction=float(found.held_out.quantile(0.99)),
        allowed=0.1 * spacing + 5 * noise,
        spacing=spacing,
        gap=float(distance.max()),
        excess=_quantile(distance / local[nearest], area, 0.99) / usual,
        winding=winding,
        one_to_one=one_to_one,
        extra_loops=extra_loops(base, marks),
    )
    failures = tuple(_failures(certificate))
    if failures:
        return replace(certificate, failures=failures)
    report = image_homology(decoder)
    certificate = replace(certificate, homology=report.verdict, homology_reason=report.reason)
    return replace(certificate, failures=tuple(_failures_of_homology(certificate)))


def _failures(c: EmbeddingCertificate) -> Iterator[tuple[str, str]]:
    """What is wrong with the geometry and the loops of a decoder."""
    if c.reconstruction > c.allowed:
        words = f"held-out points are {c.reconstruction:.1e} off, more than {c.allowed:.1e}"
        yield "reconstruction", words
    if c.condition > LARGEST_CONDITION:
        yield "condition", f"the decoder stretches by factors as far apart as {c.condition:.0f}"
    if c.collision < LEAST_COLLISION:
        words = f"points far apart on the base come together (ratio {c.collision:.3f})"
        yield "collision", words
    if c.excess > LARGEST_EXCESS:
        yield "excess", f"the image leaves the data, by {c.excess:.1f} times their spacing"
    for p, fine in c.one_to_one.items():
        if fine is False:
            yield "loops", f"loops are lost over Z/{p}"
    for p, more in c.extra_loops.items():
        if more:
            yield "loops", f"over Z/{p} the data have {more} loops more than {c.base}"


def _failures_of_homology(c: EmbeddingCertificate) -> Iterator[tuple[str, str]]:
    """What is wrong with the homology of the image; where undetermined, margins are doubled."""
    if c.homology == "disagrees":
        yield "homology", f"the image is another manifold: {c.homology_reason}"
    elif c.homology != "agrees" and (
        2 * c.condition > LARGEST_CONDITION or c.collision < 2 * LEAST_COLLISION
    ):
        words = (
            f"the homology of the image is undetermined ({c.homology_reason}), and the decoder "
            f"is nearly singular (condition {c.condition:.0f}, collision {c.collision:.3f})"
        )
        yield "homology", words


def _quantile(values: np.ndarray, weight: np.ndarray, q: float) -> float:
    """Of values with weights."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    return float(values[order[min(np.searchsorted(share, q), len(values) - 1)]])


def with_proof(certificate: EmbeddingCertificate, decoder: Decoder) -> EmbeddingCertificate:
    """The certificate, with a proof of injectivity where it is accepted and one is found."""
    if not certificate.accepted:
        return certificate
    try:
        return replace(certificate, injectivity=prove_injective(decoder))
    except UnsupportedError:
        return certificate


def _collision(base: Base, b: Tensor, value: Tensor) -> float:
    least = math.inf
    for c, y in zip(b.split(500), value.split(500), strict=True):
        apart = base.distance(c[:, None], b[None])
        least = min(least, float((torch.cdist(y, value) / apart)[apart > 0.02].min()))
    return least
