"""What a topology check says, as plain data that prints and plots itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...homology import Homology
from ...plotting import barcode_figure, persistence_figure
from .evidence import Cause

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict = Literal["agrees", "disagrees", "undetermined"]
Betti = dict[int, tuple[int | None, ...]]
TABLES = ("betti", "p_values", "witness")  # entries of a report by field and degree
LISTS = ("fields", "cuts", "left_out", "landmarks", "remarks")


def homology_of(betti: Mapping[int, Sequence[int | None]]) -> Homology | None:
    """The homology with these Betti numbers {p: per degree}; None where one is undetermined."""
    known = {p: tuple(b for b in numbers if b is not None) for p, numbers in betti.items()}
    whole = all(len(known[p]) == len(numbers) for p, numbers in betti.items())
    return Homology(known) if whole else None


def row(values: Sequence[Any], form: str = "") -> str:
    """Numbers by degree in brackets; ? where undetermined."""
    return "(" + ", ".join("?" if v is None else format(v, form) for v in values) + ")"


@dataclass(frozen=True)
class TopologyReport:
    r"""Betti numbers of a cloud at a scale, and the verdict on what was expected.

    Attributes:
        verdict: "agrees", "disagrees", "undetermined"; None when nothing was expected.
        betti: {p: (b_0, b_1, ...)} over Z/p, with None per degree that is undetermined.
        p_values: same shape: the probability that noise alone gives bars as strong as the weakest
            class counted, or as the strongest bar where none is (but the first component).
        scale: :math:`\epsilon`, the covering radius of the landmarks in the units of the points:
            gaps and tears narrower than about :math:`2\epsilon`, and holes in a surface narrower
            than :math:`4\epsilon`, are not seen.
        reason: one sentence.
        cause: what the verdict, or the lowest degree, is undetermined by: "few points",
            "noise", "uneven density", "outliers", "creases", "not a manifold" or "limits" (of time
            or memory); None where nothing is undetermined.
        advice: what to do about it; empty without a cause.
        strategy: which complexes were computed.
        witness: {p: (b_0, ...)} by the witness complexes; None where their starts differ.
        diagrams: {p: [(birth, death) arrays by degree]} of the first landmarks, in the same units.
        cuts: per degree, the ratio death/birth (0: death/scale) from which a bar is a class.
        expected: the hypothesis; for another cloud, its homology, None where undetermined.
        fields: the primes p.
        alpha: bound on the probability that a class was reported that is not there.
        dim: estimated dimension of the cloud.
        max_dim: the largest degree tested.
        n_points: number of points given.
        outliers: how many points were left out because they do not lie on the manifold.
        left_out: their rows.
        landmarks: numbers of landmarks at the fine and the coarse resolution.
        seed: of everything random.
        seconds: wall time.
        remarks: what else a reader should know.
        extras: other published numbers, where they were asked for.

    Example:
        >>> from topogen import Homology, check_topology
        >>> t = np.random.default_rng(0).random(500) * 2 * np.pi
        >>> rep = check_topology(np.stack([np.cos(t), np.sin(t)], axis=1), Homology((1, 1)))
        >>> rep.verdict, rep.betti
        ('agrees', {2: (1, 1), 3: (1, 1)})
    """

    verdict: Verdict | None
    betti: Betti
    p_values: dict[int, tuple[float | None, ...]]
    scale: float
    reason: str
    cause: Cause | None
    advice: str
    strategy: str
    witness: Betti
    diagrams: dict[int, list[np.ndarray]] = field(repr=False)
    cuts: tuple[float, ...]
    expected: Homology | None
    fields: tuple[int, ...]
    alpha: float
    dim: int
    max_dim: int
    n_points: int
    outliers: int
    left_out: tuple[int, ...] = field(repr=False)
    landmarks: tuple[int, int]
    seed: int
    seconds: float
    remarks: tuple[str, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def determined(self) -> bool:
        """Whether every tested degree has a Betti number over every field."""
        return all(b is not None for numbers in self.betti.values() for b in numbers)

    @property
    def homology(self) -> Homology | None:
        """The homology, where it is determined in every degree."""
        return homology_of(self.betti)

    def __str__(self) -> str:
        lines = [f"topology  {self.verdict or 'no hypothesis'}: {self.reason}"]
        for p, numbers in self.betti.items():
            line = f"  Z/{p}  Betti {row(numbers)}  p {row(self.p_values[p], '.1g')}"
            if self.expected is not None and p in self.expected.fields:
                want = [self.expected.betti_number(k, p) for k in range(self.max_dim + 1)]
                line += f"  expected {row(want)}"
            lines.append(line)
        lines.append(
            f"  scale {self.scale:.3g}: gaps narrower than {2 * self.scale:.3g} and holes "
            f"narrower than {4 * self.scale:.3g} are not seen"
        )
        if self.cause is not None:
            lines.append(f"  cause: {self.cause}; {self.advice}")
        lines.append(
            f"  dimension {self.dim}, {self.n_points} points, landmarks {self.landmarks[0]} and "
            f"{self.landmarks[1]}, {self.strategy}, seed {self.seed}, {self.seconds:.1f} s"
        )
        lines += [f"  {name}: {value}" for name, value in self.extras.items()]
        return "\n".join(lines + [f"  - {remark}" for remark in self.remarks])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the diagrams, in types that JSON knows; fields become string keys."""

        def keyed(table: Mapping[int, tuple[Any, ...]]) -> dict[str, list[Any]]:
            return {str(p): list(row) for p, row in table.items()}

        return {
            **{name: value for name, value in vars(self).items() if name != "diagrams"},
            **{name: keyed(getattr(self, name)) for name in TABLES},
            **{name: list(getattr(self, name)) for name in LISTS},
            "expected": None if self.expected is None else keyed(self.expected.betti),
            "extras": dict(self.extras),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TopologyReport:
        """The report that :meth:`to_dict` described, with `diagrams` {p: bars by degree} added."""

        def tuples(rows: Mapping[str, Sequence[Any]]) -> dict[int, tuple[Any, ...]]:
            return {int(p): tuple(row) for p, row in rows.items()}

        expected = data["expected"]
        rebuilt = {
            **{name: tuples(data[name]) for name in TABLES},
            **{name: tuple(data[name]) for name in LISTS},
            "expected": None if expected is None else Homology(tuples(expected)),
            "diagrams": {
                int(p): [np.array(bars).reshape(-1, 2) for bars in by_degree]
                for p, by_degree in data["diagrams"].items()
            },
        }
        return cls(**{**data, **rebuilt})

    def plot(self, kind: Literal["diagram", "barcode"] = "diagram") -> Figure:
        """Persistence diagrams or barcodes, one panel per field, with the cut-offs drawn.

        Raises:
            ValueError: another kind.
        """
        if kind not in ("diagram", "barcode"):
            raise ValueError(f'expected kind "diagram" or "barcode", got {kind!r}')
        panels = {f"Z/{p}": bars for p, bars in self.diagrams.items()}
        title = f"{self.verdict or 'no hypothesis'}, scale {self.scale:.3g}"
        figure = barcode_figure if kind == "barcode" else persistence_figure
        return figure(panels, self.cuts, self.scale, title=title)
