r"""Whether a decoder is an embedding of its base onto the set of the data."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...errors import TrainingError
from ...manifolds.bases import Base
from .cells import Injectivity, prove_injective
from .cocycles import Landmarks, strongest_classes
from .decoder import Decoder, SpectralDecoder
from .graph import Graph
from .recover import Recovered

LARGEST_CONDITION = 60.0
LEAST_COLLISION = 0.02
LARGEST_EXCESS = 4.0
_SAMPLE = 3000


@dataclass(frozen=True)
class Certificate:
    r"""What was checked of a decoder g: B -> R^D of some data.

    Attributes:
        base: the name of B.
        accepted: whether g can be taken for an embedding of B whose image is the set of the data.
        reason: one sentence: what failed, or what it rests on.
        injectivity: the proof that g is an injective immersion, where there is one.
        condition: largest over least singular value of Dg over B.
        collision: least :math:`|g(b) - g(b')| / d_B(b, b')` over pairs of 3000 points.
        reconstruction: distance from held-out points to g(B), 99 %, in units of their size.
        allowed: the largest one that is accepted, by the spacing and the noise of the points.
        spacing: median distance from held-out points to the nearest of the others.
        excess: how much farther uniform points of g(B) are from the data than held-out points,
            at 99 %.
        winding: how often the loops of B, in columns, wind round the classes of the data; None
            where B has no integral class or the data's are not clear.
        onto: per field Z/p, whether g is one to one on H_1; None where the data's classes are not
            clear.
    """

    base: str
    accepted: bool
    reason: str
    injectivity: Injectivity
    condition: float
    collision: float
    reconstruction: float
    allowed: float
    spacing: float
    excess: float
    winding: np.ndarray | None
    onto: dict[int, bool | None]


def certify(
    found: Recovered, graph: Graph, x: Tensor, held: Tensor, *, marks: Landmarks, noise: float
) -> Certificate:
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
    spacing = tree.query(held.numpy())[0]
    beyond = np.quantile(tree.query(value.numpy())[0], 0.99)
    excess = float(beyond / np.quantile(spacing, 0.99))
    typical = float(np.median(spacing))
    allowed = 0.1 * typical + 5 * noise
    reconstruction = float(found.held_out.quantile(0.99))
    winding, onto = on_loops(decoder, graph, marks, tree)
    wrong = []
    if reconstruction > allowed:
        wrong.append(f"held-out points are {reconstruction:.1e} off, more than {allowed:.1e}")
    if condition > LARGEST_CONDITION:
        wrong.append(f"the decoder stretches by factors as far apart as {condition:.0f}")
    if collision < LEAST_COLLISION:
        wrong.append(f"points far apart on the base come together (ratio {collision:.3f})")
    if excess > LARGEST_EXCESS:
        wrong.append(f"the image leaves the data, by {excess:.1f} times their spacing")
    wrong += [f"loops are lost over Z/{p}" for p, fine in onto.items() if fine is False]
    unproved = Injectivity(None, float(sigma[:, -1].min()), 0, math.nan)
    reason = "; ".join(wrong) or "injective on samples (not proved); held-out points are near"
    return Certificate(
        base.name,
        not wrong, reason, unproved, condition, collision, reconstruction, allowed,
        typical, excess, winding, onto,
    )  # fmt: skip


def with_proof(certificate: Certificate, decoder: Decoder) -> Certificate:
    """The certificate, with a proof of injectivity where one is found."""
    if not isinstance(decoder, SpectralDecoder):
        return certificate
    proof = prove_injective(decoder)
    reason = certificate.reason
    if proof.proved and certificate.accepted:
        reason = f"injective, proved on {proof.cells} cells; held-out points are near"
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
