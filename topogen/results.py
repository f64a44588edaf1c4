"""What :func:`topogen.learn` returns: a learned distribution, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .distributions.base import ManifoldDistribution
from .inspection import Summary
from .manifolds.base import Manifold
from .models.base import LearnedDistribution
from .point_cloud.tensors import as_rows
from .report import write_report
from .topology.inference.report import TopologyReport


@dataclass
class LearnResult:
    """A learned distribution with its manifold, the verdict on its topology, and how it was made.

    Attributes:
        model: the learned distribution, a module; ``model()`` is `distribution`.
        family: which family learned it.
        seed: of the fit and of the checks.
        summary: what :func:`topogen.inspect` said of the data.
        topology: homology of samples of the model against that of the data.
        history: the progress records of the fit.
        measurements: what was measured of the model on its own samples, for tables.
        seconds: wall time of the whole.
        status: how the fit ended.
        remarks: what the user should know.
        points: the data; None after loading from a file.
    """

    model: LearnedDistribution
    family: str
    seed: int
    summary: Summary
    topology: TopologyReport
    history: list[dict[str, Any]] = field(repr=False)
    measurements: dict[str, float | str] = field(repr=False)
    seconds: float
    status: str
    remarks: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict, repr=False)
    points: np.ndarray | None = field(default=None, repr=False)

    @property
    def distribution(self) -> ManifoldDistribution:
        """The learned distribution on `manifold`."""
        return self.model()

    @property
    def manifold(self) -> Manifold:
        """The learned manifold."""
        return self.distribution.manifold

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n D"]:
        """N independent points; with a seed, always the same ones."""
        if n < 1:
            raise ValueError(f"expected n >= 1 samples, got {n}")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        return self.distribution.sample((n,), generator=generator)

    def log_prob(self, x: Any) -> Float[Tensor, " n"]:
        """Log density at points x, shape (n, D), in nats w.r.t. the d-dimensional volume of M.

        -inf where x is farther from M than its tolerance, NaN where x is NaN. A tensor that
        requires gradients keeps them.
        """
        q = self.distribution
        if not (isinstance(x, Tensor) and x.requires_grad):
            x = as_rows(x, ambient_dim=q.manifold.ambient_dim)
        return q.log_prob(x)

    def report(self, path: str | Path = "report.html", *, command: str | None = None) -> Path:
        """Write one self-contained HTML file; see :func:`topogen.report.write_report`."""
        return write_report(self, path, command=command)

    def to_dict(self) -> dict[str, Any]:
        """All but the model and the points, as plain data."""
        topology = self.topology.to_dict() | {"diagrams": self.topology.diagrams}
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data |= {"summary": self.summary.to_dict(), "topology": topology}
        del data["model"], data["points"]
        return data

    @classmethod
    def from_dict(cls, model: LearnedDistribution, data: Mapping[str, Any]) -> LearnResult:
        """The result that :meth:`to_dict` described, of this model."""
        summary = Summary.from_dict(data["summary"])
        topology = TopologyReport.from_dict(data["topology"])
        rebuilt = {"summary": summary, "topology": topology, "remarks": tuple(data["remarks"])}
        return cls(model=model, **{**data, **rebuilt})

    def __str__(self) -> str:
        lines = [
            f"{type(self.model).__name__} of dimension {self.manifold.dim} in "
            f"R^{self.manifold.ambient_dim}, "
            f"seed {self.seed}, {self.seconds:.1f} s, fit {self.status}",
            *(
                f"  {name:<32} {value if isinstance(value, str) else format(value, '.6g')}"
                for name, value in self.measurements.items()
            ),
            f"  topology of samples against data: {self.topology.verdict}",
            *(f"  note: {remark}" for remark in self.remarks),
        ]
        return "\n".join(lines)
