r"""Whether a decoder is an embedding of its base onto the set of the data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import TrainingError
from ...topology.inference.report import Verdict
from .bases import Base
from .decoder import Decoder, SpectralDecoder
from .decoder_fit import Recovered
from .homology_checks import image_homology, spare_loops
from .injectivity_proof import InjectivityProof, prove_injective
from .integral_classes import Landmarks, strongest_classes
from .neighbor_graph import Graph

LARGEST_CONDITION = 60.0
LEAST_COLLISION = 0.02
LARGEST_EXCESS = 4.0
# of condition and collision, where the homology of the image is undetermined
_STRICTER = 2.0
_SAMPLE = 3000
_LOCAL = 8  # the neighbour at which the spacing around a point is measured


@dataclass(frozen=True)
class EmbeddingCertificate:
    r"""What was checked of a decoder g: B -> R^D of some data.

    Attributes:
        base: the name of B.
        accepted: whether g can be taken for an embedding of B whose image is the set of the data.
        reason: one sentence: what failed, or what it rests on.
        failed: what failed, of "reconstruction", "condition", "collision", "excess", "loops" and
            "homology".
        injectivity: the proof that g is an injective immersion, where there is one.
        condition: largest over least singular value of Dg over B.
        collision: least :math:`|g(b) - g(b')| / d_B(b, b')` over pairs of 3000 points.
        reconstruction: distance from held-out points to g(B), 99 %, in units of their size.
        allowed: the largest one that is accepted, by the spacing and the noise of the points.
        spacing: median distance from held-out points to the nearest of the others.
        gap: largest distance from uniform points of g(B) to the data.
        excess: how much farther uniform points of g(B) are from the data than held-out points,
            at 99 %, in units of the distance from the nearest point to its eighth neighbour: where
            the distribution is thin, so are the data.
        winding: how often the loops of B, in columns, wind round the classes of the data; None
            where B has no integral class or the data's are not clear.
        onto: per field Z/p, whether g is one to one on H_1; None where the data's classes are not
            clear.
        spare: per field Z/p, how many clear loops the data have that B does not have.
        homology: the verdict of :func:`topogen.check_topology` on uniform points of g(B), against
            the homology of B over Z/2 and Z/3; where it is undetermined, condition and collision
            have to be twice as good. None where something else had failed already.
    """

    base: str
    accepted: bool
    reason: str
    failed: tuple[str, ...]
    injectivity: InjectivityProof
    condition: float
    collision: float
    reconstruction: float
    allowed: float
    spacing: float
    gap: float
    excess: float
    winding: np.ndarray | None
    onto: dict[int, bool | None]
    spare: dict[int, int]
    homology: Verdict | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for files."""
        data = asdict(self)
        data["failed"] = list(self.failed)
        data["winding"] = None if self.winding is None else self.winding.tolist()
        for name in ("onto", "spare"):
            data[name] = {str(p): value for p, value in data[name].items()}
        return data

    @staticmethod
    def of(data: Mapping[str, Any]) -> EmbeddingCertificate:
        """The certificate from its plain data."""
        d = dict(data)
        d["injectivity"] = InjectivityProof(**d["injectivity"])
        d["failed"] = tuple(d["failed"])
        d["winding"] = None if d["winding"] is None else np.array(d["winding"])
        for name in ("onto", "spare"):
            d[name] = {int(p): value for p, value in d[name].items()}
        return EmbeddingCertificate(**d)


def certify(
    found: Recovered, graph: Graph, x: Tensor, held: Tensor, *, marks: Landmarks, noise: float
) -> EmbeddingCertificate:
    """Check a decoder against the data.

    Args:
        found: the decoder, and base points of the data.
        graph: of the data.
        x: data.
        held: points held out.
        marks: landmarks of the graph.
        noise: how far the data are from a smooth set.
    """
    from scipy.spatial import KDTree

    decoder = found.decoder
    base = decoder.base
    generator = torch.Generator().manual_seed(0)
    b = base.sample(_SAMPLE, generator=generator)
    value, J = decoder.value_and_jacobian(b)
    sigma = torch.linalg.svdvals(J)
    condition = float(sigma[:, 0].max() / sigma[:, -1].min().clamp_min(1e-300))
    collision = _collision(base, b, value)
    tree = KDTree(x.numpy())
    local = tree.query(x.numpy(), _LOCAL + 1)[0][:, -1]
    spacing, nearest = tree.query(held.numpy())
    usual = np.quantile(spacing / local[nearest], 0.99)
    distance, nearest = tree.query(value.numpy())
    area = sigma.log().sum(-1).exp().numpy()
    excess = _quantile(distance / local[nearest], area, 0.99) / float(usual)
    typical = float(np.median(spacing))
    allowed = 0.1 * typical + 5 * noise
    reconstruction = float(found.held_out.quantile(0.99))
    winding, onto = on_loops(decoder, graph, marks, tree)
    spare = spare_loops(base, graph, marks)
    wrong: list[tuple[str, str]] = []
    if reconstruction > allowed:
        words = f"held-out points are {reconstruction:.1e} off, more than {allowed:.1e}"
        wrong.append(("reconstruction", words))
    if condition > LARGEST_CONDITION:
        words = f"the decoder stretches by factors as far apart as {condition:.0f}"
        wrong.append(("condition", words))
    if collision < LEAST_COLLISION:
        words = f"points far apart on the base come together (ratio {collision:.3f})"
        wrong.append(("collision", words))
    if excess > LARGEST_EXCESS:
        words = f"the image leaves the data, by {excess:.1f} times their spacing"
        wrong.append(("excess", words))
    for p, fine in onto.items():
        if fine is False:
            wrong.append(("loops", f"loops are lost over Z/{p}"))
    for p, more in spare.items():
        if more:
            wrong.append(("loops", f"over Z/{p} the data have {more} loops more than {base.name}"))
    verdict: Verdict | None = None
    words = "injective on samples (not proved); held-out points are near"
    if not wrong:
        report = image_homology(decoder)
        verdict = report.verdict
        if verdict == "agrees":
            words += "; its image has the homology of the base"
        elif verdict == "disagrees":
            wrong.append(("homology", f"the image is another set: {report.reason}"))
        else:
            words += f"; the homology of its image is undetermined: {report.reason}"
            if condition * _STRICTER > LARGEST_CONDITION or (
                collision < _STRICTER * LEAST_COLLISION
            ):
                wrong.append(
                    (
                        "homology",
                        f"the homology of the image is undetermined ({report.reason}), and the "
                        f"decoder is nearly singular (condition {condition:.0f}, collision "
                        f"{collision:.3f})",
                    )
                )
    unproved = InjectivityProof(None, float(sigma[:, -1].min()), 0, math.nan)
    return EmbeddingCertificate(
        base.name, not wrong, "; ".join(w for _, w in wrong) or words,
        tuple(dict.fromkeys(name for name, _ in wrong)), unproved, condition, collision,
        reconstruction, allowed, typical, float(distance.max()), excess, winding, onto, spare,
        verdict,
    )  # fmt: skip


def _quantile(values: np.ndarray, weight: np.ndarray, q: float) -> float:
    """Of values with weights."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    return float(values[order[min(np.searchsorted(share, q), len(values) - 1)]])


def with_proof(certificate: EmbeddingCertificate, decoder: Decoder) -> EmbeddingCertificate:
    """The certificate, with a proof of injectivity where it is accepted and one is found."""
    if not certificate.accepted or not isinstance(decoder, SpectralDecoder):
        return certificate
    proof = prove_injective(decoder)
    reason = certificate.reason
    if proof.proved:
        proved = f"injective, proved on {proof.cells} cells;"
        reason = reason.replace("injective on samples (not proved);", proved)
    return replace(certificate, injectivity=proof, reason=reason)


def _collision(base: Base, b: Tensor, value: Tensor) -> float:
    least = math.inf
    for k in range(0, len(b), 500):
        apart = base.distance(b[k : k + 500, None], b[None])
        ratio = torch.cdist(value[k : k + 500], value) / apart
        least = min(least, float(ratio[apart > 0.02].min()))
    return least


def on_loops(
    decoder: Decoder, graph: Graph, marks: Landmarks, tree: object
) -> tuple[np.ndarray | None, dict[int, bool | None]]:
    """The winding matrix, and whether g is one to one on H_1 over Z/2 and over Z.

    Args:
        decoder: g.
        graph: of the data.
        marks: landmarks of the graph.
        tree: a KDTree of the data.
    """
    base = decoder.base
    loops = base.loops()
    near = [tree.query(decoder(loop).numpy())[1] for loop in loops]  # type: ignore[attr-defined]
    onto: dict[int, bool | None] = {}
    winding = None
    for p in base.homology.fields:
        rank = base.homology.betti_number(1, p)
        if rank == 0:
            continue
        try:
            classes = strongest_classes(graph, marks, rank, *((2,) if p == 2 else ()))
        except TrainingError:
            onto[p] = None
            continue
        rows = [(i, np.roll(i, -1)) for i in near]
        if max(classes.undefined(i, j) for i, j in rows) > 0:
            onto[p] = None
            continue
        W = np.stack([classes.along(i, j).sum(axis=1) for i, j in rows], axis=1)
        if p == 2:
            onto[p] = _rank_mod_2(W) == rank
        else:
            winding = W
            onto[p] = _spans(W)
    return winding, onto


def _rank_mod_2(W: np.ndarray) -> int:
    """Rank of an integral matrix over Z/2."""
    work, rank = W % 2, 0
    for column in range(work.shape[1]):
        pivot = np.flatnonzero(work[rank:, column])
        if len(pivot):
            work[[rank, rank + pivot[0]]] = work[[rank + pivot[0], rank]]
            others = np.arange(len(work)) != rank
            work[others] = (work[others] + work[others, column : column + 1] * work[rank]) % 2
            rank += 1
            if rank == len(work):
                break
    return rank


def _spans(W: np.ndarray) -> bool:
    """Whether the columns span Z^k: the minors of full size have no common divisor."""
    k = len(W)
    minors = [
        round(float(np.linalg.det(W[:, list(columns)])))
        for columns in itertools.combinations(range(W.shape[1]), k)
    ]
    return math.gcd(*minors) == 1
