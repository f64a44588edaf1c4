"""Options of published injective flows: the networks, the log volume, the descent."""

from __future__ import annotations

from dataclasses import dataclass

from ..storable import Options

NETWORKS = ("auto", "free", "coupling", "splines", "conformal", "trumpet", "star", "graph")


@dataclass(frozen=True)
class NetworkOptions(Options):
    """The networks g and f; ValueError for an unknown kind or sizes that make no sense.

    Attributes:
        kind: "free" perceptrons; "coupling" and "splines", a flow of R^D after padding, by affine
            or spline layers; "conformal"; "trumpet"; "star", a hypersurface around a point;
            "graph" over a plane. "auto" is the one that the objective needs, else "free".
        width: units of a hidden layer of perceptrons, and of conditioners of coupling layers.
        depth: hidden layers of perceptrons; 0 is affine.
        layers: coupling, or conformal, layers.
    """

    kind: str = "auto"
    width: int = 96
    depth: int = 2
    layers: int = 8

    def __post_init__(self) -> None:
        if self.kind not in NETWORKS:
            raise ValueError(f"expected a network among {NETWORKS}, got {self.kind!r}")
        if min(self.width, self.layers) < 1 or self.depth < 0:
            raise ValueError(
                "expected width, layers >= 1 and depth >= 0, got "
                f"{self.width}, {self.layers} and {self.depth}"
            )


@dataclass(frozen=True)
class VolumeOptions(Options):
    """The log volume in the loss, and regularisers of the Jacobian.

    Attributes:
        form: "exact", or "stochastic" where the objective has such a form.
        probes: random vectors per point of stochastic forms.
        strength: of the regulariser of "principal", "canonical" and "relaxed".
        at: where free-form takes f': at the "data" or at the "reconstruction".
        cg_tolerance: of the linear systems of the stochastic volume.
        cg_relative: whether it is relative to each row; False with 1.0 is the published default,
            and biased.

    Raises:
        ValueError: an unknown form or place, or no probes.
    """

    form: str = "exact"
    probes: int = 1
    strength: float = 1.0
    at: str = "data"
    cg_tolerance: float = 1e-3
    cg_relative: bool = True

    def __post_init__(self) -> None:
        if self.form not in ("exact", "stochastic"):
            raise ValueError(f"expected form 'exact' or 'stochastic', got {self.form!r}")
        if self.at not in ("data", "reconstruction"):
            raise ValueError(f"expected at 'data' or 'reconstruction', got {self.at!r}")
        if self.probes < 1:
            raise ValueError(f"expected probes >= 1, got {self.probes}")


@dataclass(frozen=True)
class DescentOptions(Options):
    """A descent by Adam; ValueError for fewer than one step or point, or a rate <= 0.

    Attributes:
        steps: how many.
        batch: points in each.
        rate: of Adam; where it falls, to 0.
    """

    steps: int = 3000
    batch: int = 256
    rate: float = 3e-3

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.rate > 0:
            raise ValueError(
                "expected at least 1 step, at least 1 point in a batch and rate > 0, got steps="
                f"{self.steps}, batch={self.batch}, rate={self.rate}"
            )
