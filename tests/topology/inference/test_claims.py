"""Claims that are false, in every form: 40 clouds that do not have the homology of a closed space.

37 of them are decided, three are left open.
Arcs, discs, half and punctured spheres, chords, wedges and other closed spaces, 2500 points each,
against a claim given as a space (a name, on the command line, stands for it), as its homology, as
Betti numbers, and as points of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import topogen as tg
from topogen import check_topology

Cloud = Callable[[int, np.random.Generator], np.ndarray]
FORMS = ("space", "homology", "betti", "points")
SPACES: dict[str, Callable[[], tg.Manifold]] = {
    "circle": tg.Circle,
    "sphere": tg.Sphere,
    "torus": lambda: tg.Torus(2.0, 1.0),
    "klein": tg.KleinBottle,
    "rp2": tg.ProjectivePlane,
}


def sample(space: tg.Manifold, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points of a space, uniform by volume."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return space.sample_uniform(n, generator=generator).numpy()


def arc(degrees: float, centre: float = 0.0, D: int = 2) -> Cloud:
    """Part of the unit circle about (centre, 0), in the first axes of R^D."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        t = np.radians(degrees) * rng.random(n)
        return np.pad(np.c_[centre + np.cos(t), np.sin(t)], ((0, 0), (0, D - 2)))

    return draw


def chord(start: float, end: float) -> Cloud:
    """The segment between two points of the unit circle, given by their angles in degrees."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        a, b = (np.array([np.cos(t), np.sin(t)]) for t in np.radians((start, end)))
        return a + (b - a) * rng.random((n, 1))

    return draw


def disc(centre: float = 0.0, D: int = 2) -> Cloud:
    """The unit disc about (centre, 0, ...), in the first axes of R^D."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        t, r = 2 * np.pi * rng.random(n), np.sqrt(rng.random(n))
        return np.pad(np.c_[centre + r * np.cos(t), r * np.sin(t)], ((0, 0), (0, D - 2)))

    return draw


def part(space: Callable[[], tg.Manifold], where: Callable[[np.ndarray], np.ndarray]) -> Cloud:
    """The points of a space at which `where` holds, uniform by volume."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        kept = np.empty((0, space().ambient_dim))
        while len(kept) < n:
            x = sample(space(), 2 * n, rng)
            kept = np.concatenate([kept, x[where(x)]])
        return kept[:n]

    return draw


def union(*clouds: tuple[float, Cloud]) -> Cloud:
    """Parts with their shares of the points (their lengths, or areas)."""
    weights = np.array([weight for weight, _ in clouds])

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        counts = rng.multinomial(n, weights / weights.sum())
        return np.concatenate(
            [c(m, rng) for m, (_, c) in zip(counts.tolist(), clouds, strict=True)]
        )

    return draw


def moved(cloud: Cloud, shift: tuple[float, ...], angle: float = 0.0) -> Cloud:
    """The cloud turned in its last two axes, and shifted."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        x = cloud(n, rng).copy()
        c, s = np.cos(angle), np.sin(angle)
        x[:, -2:] = x[:, -2:] @ np.array([[c, s], [-s, c]])
        return x + np.array(shift)

    return draw


def noisy(cloud: Cloud, sigma: float) -> Cloud:
    """With isotropic Gaussian noise of standard deviation sigma."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        x = cloud(n, rng)
        return x + sigma * rng.standard_normal(x.shape)

    return draw


def square(n: int, rng: np.random.Generator) -> np.ndarray:
    """The unit square."""
    return rng.random((n, 2))


def segment(n: int, rng: np.random.Generator) -> np.ndarray:
    """A segment in R^3."""
    return rng.random((n, 1)) @ np.array([[1.0, 2.0, -1.0]])


def helix(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two turns of a helix in R^3."""
    t = 4 * np.pi * rng.random(n)
    return np.c_[np.cos(t), np.sin(t), 0.3 * t]


def moebius(n: int, rng: np.random.Generator) -> np.ndarray:
    """A Moebius band."""
    return sample(tg.MobiusBand(width=0.6), n, rng)


def cap(height: float, *, above: bool = False) -> Cloud:
    """The unit sphere where z lies below (or above) a height."""
    return part(tg.Sphere, lambda x: (x[:, 2] > height) == above)


def open_torus(where: Callable[[np.ndarray], np.ndarray]) -> Cloud:
    """The torus (2, 1) where a condition holds."""
    return part(SPACES["torus"], where)


def whole(space: str) -> Cloud:
    """A closed space itself."""
    return lambda n, rng: sample(SPACES[space](), n, rng)


def _angle(x: np.ndarray) -> np.ndarray:
    return np.arctan2(x[:, 1], x[:, 0])


_circle, _half = arc(360), np.pi
CLOUDS: dict[str, tuple[str, Cloud]] = {
    # a circle is claimed
    **{f"arc {a}": ("circle", arc(a)) for a in (120, 180, 270, 330)},
    "arc in R^6": ("circle", arc(300, D=6)),
    "noisy arc": ("circle", noisy(arc(270), 0.01)),
    "segment": ("circle", segment),
    "helix": ("circle", helix),
    "two arcs": ("circle", union((1, arc(150)), (1, moved(arc(150), (0, 0), _half)))),
    "disc": ("circle", disc()),
    "square": ("circle", square),
    "quarter disc": ("circle", lambda n, rng: np.abs(disc()(n, rng))),
    "circle with a chord": ("circle", union((2 * _half, _circle), (2, chord(0, 180)))),
    "circle with a short chord": ("circle", union((2 * _half, _circle), (1.41, chord(0, 90)))),
    "circle with two chords": (
        "circle",
        union((2 * _half, _circle), (1.41, chord(0, 90)), (1.41, chord(180, 270))),
    ),
    "wedge of two circles": ("circle", union((1, _circle), (1, arc(360, 2.0)))),
    "circle with its disc beside": ("circle", union((2, arc(360, 3.0)), (1, disc()))),
    # a sphere is claimed
    "half sphere": ("sphere", cap(0.0)),
    "cap": ("sphere", cap(0.5, above=True)),
    **{f"sphere punctured at {h}": ("sphere", cap(h)) for h in (0.5, 0.8, 0.9)},
    "noisy half sphere": ("sphere", noisy(cap(0.0), 0.01)),
    "sphere with two holes": ("sphere", part(tg.Sphere, lambda x: np.abs(x[:, 2]) < 0.8)),
    "disc in R^3": ("sphere", disc(D=3)),
    "plane square": ("sphere", square),
    "wedge of two spheres": (
        "sphere",
        union((1, whole("sphere")), (1, moved(whole("sphere"), (2, 0, 0)))),
    ),
    "sphere with a disc inside": ("sphere", union((4, whole("sphere")), (1, disc(D=3)))),
    "Moebius band": ("sphere", moebius),
    # others
    "punctured torus": ("torus", open_torus(lambda x: np.linalg.norm(x - [3, 0, 0], axis=1) > 1)),
    "cut torus": ("torus", open_torus(lambda x: np.abs(_angle(x)) > 0.4)),
    "half torus": ("torus", open_torus(lambda x: x[:, 2] > 0)),
    "sphere, not a torus": ("torus", whole("sphere")),
    "disc, not a torus": ("torus", disc(D=3)),
    "Klein bottle": ("torus", whole("klein")),
    "torus": ("klein", whole("torus")),
    "Moebius band, not closed": ("klein", moebius),
    "punctured Klein bottle": ("klein", part(tg.KleinBottle, lambda x: x[:, 0] < 1.2)),
    "Moebius band, not a plane": ("rp2", moebius),
    "half sphere, not a plane": ("rp2", cap(0.0)),
}


def claim(name: str, form: str, n: int, rng: np.random.Generator) -> Any:
    """A space in one of the forms."""
    space = SPACES[name]()
    if form == "space":
        return space
    if form == "points":
        return sample(space, n, rng)
    homology = space.homology
    if form == "homology" or name in ("klein", "rp2"):
        return homology
    return tuple(homology.betti[2])


N = 2500
FAST = [
    ("arc 270", "space"),
    ("arc 270", "betti"),
    ("circle with a chord", "space"),
    ("half sphere", "betti"),
]


# not reached: the noise of the one and the singular points of the others leave degrees open; where
# the control sample of a space shows a difference all the same, the claim may disagree
LEFT_OPEN = ("noisy half sphere", "wedge of two spheres", "sphere with a disc inside")


def assert_disagrees(name: str, form: str) -> None:
    claimed, draw = CLOUDS[name]
    x = draw(N, np.random.default_rng(0))
    report = check_topology(x, claim(claimed, form, N, np.random.default_rng(1)))
    if name in LEFT_OPEN:
        assert report.verdict != "agrees", str(report)
        assert (report.cause is None) == (report.verdict == "disagrees")
        return
    assert report.verdict == "disagrees", str(report)
    assert report.cause is None


def test_there_are_forty():
    assert len(CLOUDS) == 40


@pytest.mark.parametrize(("name", "form"), FAST)
def test_a_false_claim_disagrees_in_any_form(name, form):
    assert_disagrees(name, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CLOUDS)
def test_every_false_claim_disagrees_in_every_form(name, form):
    assert_disagrees(name, form)


@pytest.mark.parametrize("form", ["space", "betti"])
def test_the_tail_of_a_density_is_no_edge(form):
    # a circle all the same: its points thin out, and leave a gap
    t = np.random.default_rng(0).vonmises(0.0, 8.0, N)
    report = check_topology(np.c_[np.cos(t), np.sin(t)], claim("circle", form, N, None))
    assert report.verdict == "undetermined", str(report)
    assert report.cause == "uneven density"
    assert report.advice


def test_degrees_do_not_depend_on_the_form():
    x = np.random.default_rng(0).standard_normal((3000, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for form in ("space", "betti"):
        report = check_topology(x, claim("circle", form, N, None))
        assert report.max_dim == 2
        assert report.verdict == "disagrees"
