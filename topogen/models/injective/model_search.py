"""The search for a decoder that passes its checks: bases, base points, landmarks, residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InvalidPoints, TrainingError
from ...point_cloud.tensors import nearest_row
from ..base import Progress
from ..local_polynomials import LocalPolynomials
from ..local_regression import graph_error
from .bases import Base
from .certificate import EmbeddingCertificate, certify
from .decoder import SpectralDecoder
from .decoder_fit import FittedDecoder, fit_decoder, refit_decoder, with_residual
from .neighbor_graph import Graph, neighbour_graph

# points whose median distance from local fits is larger, in units of their size, are noisy
NOISY = 0.01


@dataclass(frozen=True)
class Attempt:
    """A decoder and what is known of it.

    Attributes:
        found: the decoder.
        certificate: what was checked of it.
        count: how many landmarks its initial base points are from.
    """

    found: FittedDecoder[SpectralDecoder]
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
        """Whether no other is tried: accepted, and well-conditioned or near, given the noise.

        Among several bases the homology must be known, too.
        """
        c = self.certificate
        enough = max(3e-5, 5 * noise if noise > NOISY else 0.0)
        near = c.condition < 12 or c.reconstruction < enough
        return c.accepted and near and (named or c.homology == "agrees")


@dataclass
class Search:
    """Tries bases and initial base points on one cloud, and notes each try.

    Attributes:
        dim: d.
        train: the points to fit, of mean 0 and mean square 1.
        held_out: points held out.
        attempts: one line for every base and choice that was tried.
    """

    dim: int
    train: Tensor
    held_out: Tensor
    attempts: list[str]

    @cached_property
    def noise(self) -> float:
        """The median distance of points from local quadratic graphs fitted without them.

        At least that from their projections, where the neighbourhoods may be balls of noise.
        """
        off = float((self.projections - self.train).norm(dim=-1).median())
        return max(self.local_error[0], off)

    @cached_property
    def projections(self) -> Tensor:
        """The points, or where they are noisy their projections onto :class:`LocalPolynomials`.

        Points count as noisy, too, if they are farther from local fits than a tenth of the radius
        of their neighbourhoods.
        """
        error, r = self.local_error
        if error < min(NOISY, 0.1 * r):
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
        good = found.converged & (off < 5 * local.noise) & local.in_domain(found.value)
        if not bool(good.any()):
            return self.train
        # others stand in the tangent plane of the nearest projection, outliers where they are
        rest = self.train[~good]
        j = nearest_row(found.value[good], rest)
        projection = found.value[good][j]
        T = local.tangent_basis(projection)
        beside = projection + (T @ (T.mT @ (rest - projection).unsqueeze(-1))).squeeze(-1)
        near = (beside - rest).norm(dim=-1, keepdim=True) < 10 * local.noise
        return found.value.index_put((~good,), torch.where(near, beside, rest))

    @cached_property
    def local_error(self) -> tuple[float, float]:
        """The median error of local quadratic graphs, and of their radii."""
        x = self.train
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:300]
        k = min(len(x) - 1, {1: 12, 2: 24, 3: 40}.get(self.dim, 20 * self.dim))
        return graph_error(x.numpy(), order.numpy(), self.dim, 2, k)

    @cached_property
    def graph(self) -> Graph:
        """The neighbours of the points, as their projections are."""
        return neighbour_graph(self.projections.numpy(), self.dim, noisy=self.noise > NOISY)

    def best(
        self, bases: list[Base], decoder: str, generator: torch.Generator
    ) -> Progress[tuple[FittedDecoder, EmbeddingCertificate]]:
        """The best decoder, with a residual where that is asked for or gains something.

        "auto" asks for one where points without noise stay farther away than 1e-4.
        """
        best = yield from self._tried(bases)
        certificate = best.certificate
        far = self.noise <= NOISY and certificate.reconstruction > 1e-4
        wanted = decoder == "residual" or (decoder == "auto" and far)
        # what a finer decoder may mend; it does not mend a base that is wrong
        if wanted and set(certificate.failed) <= {"reconstruction", "excess"}:
            finer = yield from with_residual(best.found, self.train, self.held_out, generator)
            if finer is not best.found:
                checked = self._certify(finer, best.count)
                self.attempts.append(f"{checked.base}, with residual: {checked.reason}")
                # a choice that was accepted is not given up for one that is not
                if checked.accepted or not certificate.accepted:
                    return finer, checked
        return best.found, certificate

    def _tried(self, bases: list[Base]) -> Progress[Attempt]:
        """Bases and initial base points, until one passes the checks well; else the best."""
        best: Attempt | None = None
        trouble: TrainingError | None = None
        counts = {1: (150,), 2: (150, 400), 3: (250, 400)}.get(self.dim, (250,))
        ways = [(how, count) for how in ("equal areas", "harmonic") for count in counts]
        ways.append(("of the image found", counts[-1]))
        for base in bases:
            mine: Attempt | None = None
            for how, count in ways:
                label = f"{base.name}, {count} landmarks, {how}"
                try:
                    found = yield from self._fitted(base, how, count, mine)
                except TrainingError as error:
                    trouble = error
                    self.attempts.append(f"{label}: no initial base points: {error}")
                    continue
                if found is None:
                    continue
                choice = Attempt(found, self._certify(found, count), count)
                self.attempts.append(f"{label}: {choice.certificate.reason}")
                if mine is None or choice.rank < mine.rank:
                    mine = choice
                if choice.good(self.noise, named=len(bases) == 1):
                    return choice
                if len(bases) > 1 and any(choice.certificate.extra_loops.values()):
                    break  # whatever the base points: the data have loops that this base has not
            if mine is not None and (best is None or mine.rank < best.rank):
                best = mine
        if best is None:
            raise trouble or TrainingError("no base was tried")
        return best

    def _fitted(
        self, base: Base, how: str, count: int, mine: Attempt | None
    ) -> Progress[FittedDecoder[SpectralDecoder] | None]:
        """A decoder from one kind of initial base points; None where there is no image yet."""
        x, held_out = self.train, self.held_out
        if how != "of the image found":
            equal = how == "equal areas"
            fit = fit_decoder(base, self.graph, x, held_out, count=count, equal_area=equal)
        elif mine is not None and mine.crowded:
            fit = refit_decoder(mine.found, x, held_out, count=count)
        else:
            return None
        return (yield from fit)

    def _certify(self, found: FittedDecoder, count: int) -> EmbeddingCertificate:
        marks = self.graph.landmarks(count)
        return certify(found, self.train, self.held_out, marks=marks, noise=self.noise)
