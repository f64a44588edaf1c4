"""The search for a decoder that the certificate accepts: bases, seeds, landmarks, residuals."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InvalidPoints, TrainingError
from ...point_cloud.tensors import nearest_row
from ..local_polynomials import LocalPolynomials
from ..local_regression import graph_error
from .bases import Base
from .certificate import EmbeddingCertificate, certify
from .decoder_fit import Recovered, recover, reseeded, sharpened
from .integral_classes import landmarks
from .neighbor_graph import Graph, neighbour_graph

_COUNTS = {1: (150,), 2: (150, 400), 3: (250, 400)}
_SEEDS = ("equal areas", "harmonic", "of the image found")
# a choice that is accepted with one of these is not bettered
_GOOD_CONDITION = 12.0
_GOOD_RECONSTRUCTION = 3e-5
_GOOD_NOISE = 5.0  # ... or so many times the noise
# points farther than this off local fits are noisy; held-out points farther than that off M want
# finer functions
_NOISY, _FAR = 0.01, 1e-4
# so are points whose neighbourhoods are off local fits by more than this share of their radius;
# projections are believed where they are not farther than so many times the noise
_BALL, _OFF, _FAR_OFF = 0.1, 5.0, 10.0
# what a finer decoder may mend; it does not mend a base that is wrong
_MENDABLE = {"reconstruction", "excess"}


@dataclass(frozen=True)
class Attempt:
    """A decoder, what is known of it, and how many landmarks it was seeded with."""

    found: Recovered
    certificate: EmbeddingCertificate
    count: int

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Accepted ones first, of known homology first, then by how near held-out points are."""
        c = self.certificate
        return not c.accepted, c.homology != "agrees", self.found.score

    @property
    def crowded(self) -> bool:
        """Whether the image was found, but not good coordinates on it."""
        failed = set(self.certificate.failed)
        return bool(failed) and failed <= {"reconstruction", "condition", "collision"}

    def good(self, noise: float, *, named: bool) -> bool:
        """Whether no other choice is tried: among several bases the homology must be known."""
        c = self.certificate
        enough = max(_GOOD_RECONSTRUCTION, _GOOD_NOISE * noise if noise > _NOISY else 0.0)
        near = c.condition < _GOOD_CONDITION or c.reconstruction < enough
        return c.accepted and near and (named or c.homology == "agrees")


@dataclass
class Search:
    """Tries bases and seeds on one cloud, and notes each try.

    Attributes:
        dim: d.
        train: the points to fit, of mean 0 and mean square 1.
        held: points held out.
        attempts: one line for every base and choice that was tried.
    """

    dim: int
    train: Tensor
    held: Tensor
    attempts: list[str]

    @cached_property
    def noise(self) -> float:
        """The median distance of points from local quadratic graphs fitted without them.

        At least that of points from their projections, where the neighbourhoods may be balls of
        noise.
        """
        error, _ = self._local_error
        return max(error, float((self.projections - self.train).norm(dim=-1).median()))

    @cached_property
    def projections(self) -> Tensor:
        """The points, or where they are noisy their projections onto :class:`LocalPolynomials`."""
        error, r = self._local_error
        if error < min(_NOISY, _BALL * r):
            return self.train
        local = LocalPolynomials(self.dim, self.train.shape[1])
        try:
            for stage in local.stages(self.train):
                for _ in stage.run(torch.Generator().manual_seed(0)):
                    pass
        except InvalidPoints:
            return self.train
        found = local.project(self.train)
        off = (found.value - self.train).norm(dim=-1)
        kept = found.converged & (off < _OFF * local.noise) & local.in_domain(found.value)
        if not bool(kept.any()):
            return self.train
        # others stand in the tangent plane of the nearest projection, outliers where they are
        rest = self.train[~kept]
        j = nearest_row(found.value[kept], rest)
        projection = found.value[kept][j]
        T = local.tangent_basis(projection)
        beside = projection + (T @ (T.mT @ (rest - projection).unsqueeze(-1))).squeeze(-1)
        near = (beside - rest).norm(dim=-1, keepdim=True) < _FAR_OFF * local.noise
        return found.value.index_put((~kept,), torch.where(near, beside, rest))

    @cached_property
    def _local_error(self) -> tuple[float, float]:
        """The median error of local quadratic graphs, and of their radii."""
        x = self.train
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:300]
        k = min(len(x) - 1, {1: 12, 2: 24, 3: 40}.get(self.dim, 20 * self.dim))
        return graph_error(x.numpy(), order.numpy(), self.dim, 2, k)

    @cached_property
    def graph(self) -> Graph:
        """The neighbours of the points, as their projections are."""
        return neighbour_graph(self.projections.numpy(), self.dim, noisy=self.noise > _NOISY)

    def best(
        self, bases: list[Base], decoder: str, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, tuple[Recovered, EmbeddingCertificate]]:
        """The best decoder, with a residual where that is asked for or gains something."""
        best = yield from self._tried(bases)
        rough = self.noise <= _NOISY and best.certificate.reconstruction > _FAR
        wanted = decoder == "residual" or (decoder == "auto" and rough)
        if wanted and set(best.certificate.failed) <= _MENDABLE:
            sharper = yield from sharpened(best.found, self.train, self.held, generator)
            if sharper is not best.found:
                finer = Attempt(sharper, self._certify(sharper, best.count), best.count)
                known = finer.certificate
                self.attempts.append(f"{known.base}, with residual: {known.reason}")
                # a choice that was accepted is not given up for one that is not
                if known.accepted or not best.certificate.accepted:
                    best = finer
        return best.found, best.certificate

    def _tried(self, bases: list[Base]) -> Generator[Mapping[str, float], None, Attempt]:
        """Bases and choices of the seed, until one passes the checks well; else the best."""
        best: Attempt | None = None
        trouble: TrainingError | None = None
        counts = _COUNTS.get(self.dim, (250,))
        ways = [(how, count) for how in _SEEDS[:2] for count in counts]
        ways.append((_SEEDS[2], counts[-1]))
        for base in bases:
            mine: Attempt | None = None
            for how, count in ways:
                try:
                    found = yield from self._seeded(base, how, count, mine)
                except TrainingError as error:
                    trouble = error
                    self._note(base, count, how, f"no seed: {error}")
                    continue
                if found is None:
                    continue
                choice = Attempt(found, self._certify(found, count), count)
                self._note(base, count, how, choice.certificate.reason)
                if mine is None or choice.rank < mine.rank:
                    mine = choice
                if choice.good(self.noise, named=len(bases) == 1):
                    return choice
                if len(bases) > 1 and any(choice.certificate.spare.values()):
                    break  # whatever the seed: the data have loops that this base has not
            if mine is not None and (best is None or mine.rank < best.rank):
                best = mine
        if best is None:
            raise trouble or TrainingError("no base was tried")
        return best

    def _seeded(
        self, base: Base, how: str, count: int, mine: Attempt | None
    ) -> Generator[Mapping[str, float], None, Recovered | None]:
        """A decoder from one kind of seed; None where that kind has nothing to start from."""
        if how != _SEEDS[2]:
            remap = how == _SEEDS[0]
            return (
                yield from recover(
                    base, self.graph, self.train, self.held, count=count, remap=remap
                )
            )
        if mine is None or not mine.crowded:
            return None
        return (yield from reseeded(mine.found, self.train, self.held, count=count))

    def _certify(self, found: Recovered, count: int) -> EmbeddingCertificate:
        marks = landmarks(self.graph, count)
        return certify(found, self.graph, self.train, self.held, marks=marks, noise=self.noise)

    def _note(self, base: Base, count: int, how: str, words: str) -> None:
        self.attempts.append(f"{base.name}, {count} landmarks, {how}: {words}")
