r"""Initial base points of a cloud: a point of the cover of B for every point, of the right degree.

Circles come from persistent cohomology, by harmonic representatives; the sphere from a discrete
conformal map; other factors from the lowest eigenfunctions that the circles leave. Those of
quotients are found on a double cover of the neighbour graph, where the group acts by sigma.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ...errors import TrainingError
from .bases import Base
from .bases.harmonic_factors import HarmonicFactor, RealLine, UnitInterval, UnitSphere
from .harmonic_functions import conjugate, eigenfunctions, harmonic_angles, solve_poisson
from .integral_classes import strongest_classes
from .neighbor_graph import Graph


def initial_base_points(
    base: Base, graph: Graph, *, count: int, equal_area: bool = True
) -> np.ndarray:
    """Initial base points on the cover of B, shape (n, w).

    Args:
        base: B.
        graph: of the cloud.
        count: number of landmarks for the persistent cohomology.
        equal_area: exchange each coordinate for the share of the area below it.

    Raises:
        TrainingError: the cloud does not have the loops of B, or there is no recipe for B.
    """
    factors, order = base.factors, len(base.group)
    others = [f for f in factors if f != UnitSphere(1)]
    if order > 2:
        raise TrainingError(
            f"expected a base with at most 2 sheets, for which initial base points are known, got "
            f"{base.name} with {order}; name another base, or use an atlas (tg.AtlasDensity)"
        )
    if not others:
        return _torus(base, graph, count, equal_area)
    if factors == (UnitSphere(2),):
        return _sphere(base, graph, count, equal_area)
    if factors == (UnitSphere(base.dim),):
        return _harmonic_sphere(base, graph, count)
    if len(factors) == 2 and others == [UnitInterval()]:
        return _band(base, graph, count, equal_area)
    if order == 1:
        return _product(base, graph, count, equal_area)
    raise _no_recipe(base)


def _no_recipe(base: Base) -> TrainingError:
    return TrainingError(
        f"expected a base for which initial base points are known, got {base.name}; name another "
        "base, or use an atlas (tg.AtlasDensity)"
    )


def _cos_sin(angles: np.ndarray) -> np.ndarray:
    """(cos, sin) of each column side by side."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(len(angles), -1)


def _by_rank(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """The share of the area below each value, in (0, 1)."""
    order = np.argsort(values, kind="stable")
    share = np.empty(len(values))
    share[order] = np.cumsum(area[order]) - area[order] / 2
    return share / area.sum()


def _circular_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The angle half-way from a to b the short way."""
    return a + 0.5 * np.angle(np.exp(1j * (b - a)))


def _torus(base: Base, graph: Graph, count: int, equal_area: bool) -> np.ndarray:
    """Harmonic angles; over a double cover those in which sigma is a shift or a reflection."""
    k, n = base.dim, graph.n
    if len(base.group) == 1:
        return _cos_sin(_circles(graph, count, k, equal_area))
    # each circle of the base is shifted by half a turn (-1, -1), reflected (1, -1), or fixed
    gamma = base.group[1].diagonal().reshape(k, 2).tolist()
    if any(g not in ([-1, -1], [1, -1], [1, 1]) for g in gamma):
        raise _no_recipe(base)
    cover = _connected(graph.cover(graph.sign), base)
    angles, eta = _angles(cover, 2 * count, k)
    angles = angles @ _eigenbasis(eta, cover, [g == [1, -1] for g in gamma]).T
    columns = []
    for g, angle in zip(gamma, angles.T, strict=True):
        up, down = angle[:n], angle[n:]
        if g == [1, -1]:
            # s(sigma x) = c - s(x) becomes -s(x)
            half = np.angle(np.exp(1j * (up + down)).mean()) / 2
            s = _circular_mean(up - half, -(down - half))
            image = -s
        else:
            shift = math.pi if g == [-1, -1] else 0.0
            s = _mean_angle(up, down, shift, base)
            image = s + shift
        if equal_area:
            t = np.concatenate([s, image]) % (2 * math.pi)
            s = 2 * math.pi * _by_rank(t, cover.area)[:n]
        columns.append(s)
    return _cos_sin(np.stack(columns, axis=1))


def _angles(graph: Graph, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The harmonic angles of the k strongest integral classes, and their differentials."""
    classes = strongest_classes(graph.landmarks(count), k)
    return harmonic_angles(graph, classes.along(graph.i, graph.j))


def _circles(graph: Graph, count: int, k: int, equal_area: bool) -> np.ndarray:
    """The same k angles, or the shares of the area below them as angles."""
    angles, _ = _angles(graph, count, k)
    if equal_area:
        angles = 2 * math.pi * np.apply_along_axis(_by_rank, 0, angles, graph.area)
    return angles


def _mean_angle(up: np.ndarray, down: np.ndarray, shift: float, base: Base) -> np.ndarray:
    """The mean of an angle and of the angle on the other sheet, less the shift between them."""
    measured = np.angle(np.exp(1j * (down - up)).mean())
    if abs(np.angle(np.exp(1j * (measured - shift)))) > 0.5:
        raise TrainingError(
            f"expected the double cover of the data to turn a circle by {shift:.2f}, got "
            f"{measured:.2f}: the data do not have the base {base.name}"
        )
    return _circular_mean(up, down - shift)


def _connected(cover: Graph, base: Base) -> Graph:
    """The cover, if it is connected, and not two copies of the cloud."""
    components = int(cover.component.max()) + 1
    if components > 1:
        raise TrainingError(
            f"expected data whose double cover is connected for the base {base.name}, got "
            f"{components} components: no loop of the data changes the sheet"
        )
    return cover


def _eigenbasis(eta: np.ndarray, cover: Graph, reflected: list[bool]) -> np.ndarray:
    """Integral combinations of the forms that sigma preserves, or reverses, in this order."""
    k, e = len(eta), eta.shape[1] // 2
    weighted = eta * cover.weight
    A = np.linalg.solve(weighted @ eta.T, weighted @ np.roll(eta, e, axis=1).T).T
    nearest = np.rint(A)
    rows: dict[bool, list[np.ndarray]] = {False: [], True: []}
    vectors = sorted(itertools.product(range(-2, 3), repeat=k), key=lambda v: sum(map(abs, v)))
    for v in (np.array(v) for v in vectors if any(v)):
        for flip in (False, True):
            known = rows[flip]
            fits = np.array_equal(v @ nearest, -v if flip else v)
            if fits and np.linalg.matrix_rank(np.array([*known, v])) > len(known):
                known.append(v)
    U = np.array([rows[flip].pop(0) for flip in reflected if rows[flip]])
    if np.abs(A - nearest).max() > 0.3 or len(U) < k or abs(round(np.linalg.det(U))) != 1:
        raise TrainingError(
            "expected the double cover to act on the loops as the group of the base does, got "
            f"the matrix {np.round(A, 2).tolist()}: the data do not have this base"
        )
    return U


def _sphere(base: Base, graph: Graph, count: int, equal_area: bool) -> np.ndarray:
    """A discrete conformal map to S^2 from a potential between two poles; RP^2 on its cover."""
    odd = len(base.group) == 2
    g = _connected(graph.cover(graph.sign), base) if odd else graph
    marks = g.landmarks(8)
    # both nodes over one point, or the farthest node from the farthest node, and that one
    north = int(marks.nodes[0] if odd else marks.distance[0].argmax())
    south = int(g.sigma[north] if odd else g.distances(north).argmax())
    L = g.laplacian()
    right = np.zeros(g.n)
    right[south], right[north] = -1.0, 1.0
    u = solve_poisson(L, right)
    # polar caps of 40 degrees on a round sphere, where the angle is extended harmonically
    to = g.distances([north, south])
    caps = (to < 0.22 * to[0, south]).any(axis=0)
    belt, rows = g.without(np.flatnonzero(caps))
    theta = _angles(belt, count, 1)[0][:, 0]
    if odd:
        u = (u - u[g.sigma]) / 2
    # height by rank is equal-area; else the inverse stereographic projection of exp(u + i theta)
    # so that half of the nodes lie between the latitudes +-30 degrees, as on a round sphere
    low, high = np.quantile(u, [0.25, 0.75])
    conformal = np.tanh((2 * u - low - high) * math.atanh(0.5) / (high - low))
    height = 2 * _by_rank(u, g.area) - 1 if equal_area else conformal
    w = np.zeros(g.n, dtype=complex)
    w[rows] = np.sqrt(1 - height[rows] ** 2) * np.exp(1j * theta)
    inner = np.setdiff1d(np.arange(g.n), rows)
    for unit in (1.0, 1j):
        values = np.real(w * np.conj(unit))
        w[inner] += unit * solve_poisson(L, -(L @ values), fixed=rows)[inner]
    if odd:
        w = _antipodal(w, g.sigma, rows, base)
    height[inner] = np.sign(height[inner]) * np.sqrt(np.maximum(1 - np.abs(w[inner]) ** 2, 0))
    p = np.stack([np.real(w), np.imag(w), height], axis=1)
    return (p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-300))[: graph.n]


def _antipodal(w: np.ndarray, sigma: np.ndarray, rows: np.ndarray, base: Base) -> np.ndarray:
    """The part of w with w(sigma x) = -w(x), where sigma turns longitudes by half a turn."""
    rotation = np.angle((np.conj(w[rows]) * w[sigma[rows]]).sum())
    # the belt's angle may run the other way round on the other sheet
    if abs(abs(rotation) - math.pi) > 0.7:
        raise TrainingError(
            "expected sigma to turn the longitude by half a turn, got "
            f"{rotation:.2f}: the data do not have the base {base.name}"
        )
    return (w - w[sigma]) / 2


def _harmonic_sphere(base: Base, graph: Graph, count: int) -> np.ndarray:
    """The n + 1 lowest (odd) eigenfunctions, normalised; right on shapes that are nearly round."""
    if len(base.group) == 1:
        return _on_sphere(eigenfunctions(graph, base.width + 1)[:, 1:])
    found = strongest_classes(graph.landmarks(count), 1, prime=2)
    cover = _connected(graph.cover(1 - 2 * found.along(graph.i, graph.j)[0]), base)
    return _on_sphere(eigenfunctions(cover, base.width, odd=True)[: graph.n])


def _on_sphere(u: np.ndarray) -> np.ndarray:
    """Functions of mean square 1, as points of a sphere."""
    u = u / np.sqrt((u**2).mean(axis=0))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def _band(base: Base, graph: Graph, count: int, equal_area: bool) -> np.ndarray:
    """An angle by cohomology, and its conjugate across the band, on the orientation cover."""
    n, odd = graph.n, len(base.group) == 2
    cover = graph.cover(graph.sign)
    g = _connected(cover, base) if odd else graph
    theta = _angles(g, count * (1 + odd), 1)[0][:, 0]
    if odd:
        t = _mean_angle(theta[:n], theta[n:], math.pi, base)
        theta = np.concatenate([t, t + math.pi])
        h = conjugate(cover, theta)
        h = (h - h[cover.sigma]) / 2
    else:
        h = conjugate(cover, np.tile(theta, 2))[cover.one_sheet()]
    if equal_area:
        theta = 2 * math.pi * _by_rank(theta % (2 * math.pi), g.area)
        h = 2 * _by_rank(h, g.area) - 1
    h = h / np.abs(h).max() if odd else 2 * (h - h.min()) / (h.max() - h.min()) - 1
    return np.concatenate([_cos_sin(theta[:, None]), h[:, None]], axis=1)[:n]


def _product(base: Base, graph: Graph, count: int, equal_area: bool) -> np.ndarray:
    """Circles by cohomology; the other factors from the eigenfunctions that these leave."""
    circles = sum(f == UnitSphere(1) for f in base.factors)
    known, cosines = [np.ones(graph.n)], np.zeros((graph.n, 0))
    if circles:
        angles = _circles(graph, count, circles, equal_area)
        cosines = _cos_sin(angles)
        # functions of the angles alone; waves of one sign, as m and -m span the same two
        waves = {1: 24, 2: 5}.get(circles, 2)
        for m in itertools.product(range(-waves, waves + 1), repeat=circles):
            if m > (0,) * circles:
                wave = np.exp(1j * (angles @ np.array(m)))
                known += [np.real(wave), np.imag(wave)]
    sizes = [f.width for f in base.factors if f != UnitSphere(1)]
    rest = _orthogonal(graph, np.stack(known, axis=1), sum(sizes))
    of_circles = iter(np.split(cosines, max(circles, 1), axis=1))
    of_others = iter(np.split(rest, np.cumsum(sizes)[:-1], axis=1))
    parts = [
        next(of_circles)
        if f == UnitSphere(1)
        else _points_of_factor(next(of_others), f, graph.area)
        for f in base.factors
    ]
    return np.concatenate(parts, axis=1)


def _orthogonal(graph: Graph, known: np.ndarray, count: int) -> np.ndarray:
    """The lowest eigenfunctions orthogonal to known functions, shape (n, count)."""
    tried = eigenfunctions(graph, min(graph.n - 2, 8 * count + known.shape[1]))
    q = graph.degree
    # weights next to underflow: beyond 15 times the usual distance of neighbours
    alone = ~(q > 1e-100 * q.max())
    if alone.any():
        raise TrainingError(
            f"expected points with neighbours, got {int(alone.sum())} without any; look for "
            "outliers and repeated points"
        )
    root = np.sqrt(q)
    basis, _ = np.linalg.qr(root[:, None] * known)
    # each in turn, without what is known, taken where most of it is left
    found: list[np.ndarray] = []
    for u in tried.T:
        v = root * u
        left = v - basis @ (basis.T @ v)
        if np.linalg.norm(left) > 0.7 * np.linalg.norm(v):
            found.append(left / root)
            if len(found) == count:
                return np.stack(found, axis=1)
    raise TrainingError(
        f"expected {count} eigenfunctions besides those of the circles, got {len(found)}; give "
        "more points"
    )


def _points_of_factor(u: np.ndarray, factor: HarmonicFactor, area: np.ndarray) -> np.ndarray:
    """Eigenfunctions as points of a factor."""
    if factor.width > 1:
        return _on_sphere(u)
    share = _by_rank(u[:, 0], area)[:, None]
    if factor == RealLine():
        from scipy.special import ndtri

        return ndtri(share)
    return 2 * share - 1
