r"""Persistent cohomology of degree 1 with its cocycles, and integral, harmonic representatives.

A 1-cochain on a graph with m vertices is an antisymmetric matrix, zero off the edges; a cocycle
when :math:`\eta_{ij} + \eta_{jk} + \eta_{ki} = 0` on every triangle; a coboundary is :math:`(d_0
f)_{ij} = f_j - f_i`. Cochains of k classes are stacked to shape (k, m, m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer


@dataclass(frozen=True, eq=False)
class PersistentClass:
    """A class of H^1(Rips; Z/p), with a cocycle on all edges shorter than `death`.

    Attributes:
        birth: length of the edge that closes the loop.
        death: length of the edge that fills it; the threshold where none does.
        cocycle: values in 0..p-1, antisymmetric modulo p, shape (m, m); zero off [birth, death).
    """

    birth: float
    death: float
    cocycle: np.ndarray


class _Annotations:
    """The values of all living cocycles on the edges so far: a column per class, oldest first."""

    def __init__(self, edges: int, p: int) -> None:
        self.p = p
        self.table = np.zeros((2 * edges, 8), dtype=np.int32)  # rows 2e, 2e + 1: both orientations
        self.births: list[int] = []  # the edge that gave birth to each living class

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.table[rows, : len(self.births)]

    def write(self, edge: int, value: np.ndarray) -> None:
        self.table[2 * edge, : len(value)] = value
        self.table[2 * edge + 1, : len(value)] = -value % self.p

    def give_birth(self, edge: int) -> None:
        alive = len(self.births)
        if alive == self.table.shape[1]:
            self.table = np.pad(self.table, ((0, 0), (0, alive)))
        self.births.append(edge)
        self.table[2 * edge : 2 * edge + 2, alive] = 1, self.p - 1

    def kill(self, relations: np.ndarray, edge: int) -> tuple[int, np.ndarray, np.ndarray]:
        r"""Make the first relation hold, :math:`a \cdot z = 0`: its youngest class y dies.

        Every other class j survives as :math:`z_j - (a_j / a_y) z_y`. Returns the edge where y was
        born, its values up to `edge`, and the relations that still fail.
        """
        a, p, last = relations[0], self.p, len(self.births) - 1
        y = int(np.flatnonzero(a)[-1])
        factor = a * pow(int(a[y]), -1, p) % p
        relations = np.delete((relations - relations[:, [y]] * factor) % p, y, axis=1)
        used = self.table[: 2 * edge + 2]
        lost = used[:, y].copy()
        for j in np.flatnonzero(factor[:y]):
            used[:, j] = (used[:, j] - factor[j] * lost) % p
        used[:, y:last] = used[:, y + 1 : last + 1]
        used[:, last] = 0
        return self.births.pop(y), lost[: 2 * edge], relations[relations.any(axis=1)]


def persistent_classes(
    distance: Float[np.ndarray, "m m"], threshold: float, *, prime: int, least_ratio: float = 1.0
) -> list[PersistentClass]:
    r"""The bars of degree 1 of the Vietoris-Rips filtration, with their cocycles over Z/p.

    A new edge ij in no triangle joins two components or gives birth to a class, whose cocycle is 1
    on ij. Otherwise the first triangle ijk gives it the value :math:`\eta_{ij} = \eta_{ik} +
    \eta_{kj}`, and every further one that disagrees kills the youngest class on which it does:
    the annotations of Dey, Fan and Wang, 2014 (https://arxiv.org/abs/1208.5018), for degree 1.

    Args:
        distance: symmetric, shape (m, m).
        threshold: the longest edge.
        prime: p < 2^15.
        least_ratio: only classes with death > least_ratio * birth are returned.

    Returns:
        the classes, largest death / birth first.
    """
    m = len(distance)
    i, j = np.nonzero(np.triu(distance <= threshold, 1))
    order = np.argsort(distance[i, j], kind="stable")
    i, j = i[order], j[order]
    length = distance[i, j]
    adjacent = np.zeros((m, m), dtype=bool)
    row = np.zeros((m, m), dtype=np.int64)
    row[i, j] = 2 * np.arange(len(i))
    row[j, i] = row[i, j] + 1
    component = np.arange(m)
    live = _Annotations(len(i), prime)
    classes: list[PersistentClass] = []

    def record(birth: int, death: float, values: np.ndarray) -> None:
        if death > least_ratio * length[birth]:
            cocycle, used = np.zeros((m, m), dtype=np.int32), slice(len(values) // 2)
            cocycle[i[used], j[used]], cocycle[j[used], i[used]] = values[::2], values[1::2]
            classes.append(PersistentClass(float(length[birth]), death, cocycle))

    for e, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        common = np.flatnonzero(adjacent[a] & adjacent[b])
        adjacent[a, b] = adjacent[b, a] = True
        if len(common) == 0:
            if component[a] == component[b]:
                live.give_birth(e)
            else:
                component[component == component[b]] = component[a]
        elif live.births:
            value = (live[row[a, common]] + live[row[common, b]]) % prime
            live.write(e, value[0])
            relations = (value[1:] - value[0]) % prime
            relations = relations[relations.any(axis=1)]
            while len(relations):
                birth, lost, relations = live.kill(relations, e)
                record(birth, float(length[e]), lost)
    for y, birth in enumerate(live.births):
        record(birth, threshold, live.table[:, y])
    return sorted(classes, key=lambda c: -c.death / c.birth)


def integral_basis(
    cocycles: Integer[np.ndarray, "k m m"],
    graph: Bool[np.ndarray, "m m"],
    prime: int,
    most: int = 100,
) -> Integer[np.ndarray, "k m m"] | None:
    r"""Integral cocycles whose reductions modulo p span the given classes over Z/p.

    A coboundary is added so that every class vanishes on a spanning forest; an edge then carries
    the value of the class on the loop that it closes. Row reduction gives the basis of classes
    that is dual to k independent loops, the commonest first; other loops are tried, in random
    orders, until all values, lifted to (-p/2, p/2), are below p/3 in size. Then the lift is a
    cocycle: on a triangle its values add to a multiple of p that is less than p in size. And it is
    a basis of all integral classes in its rational span: the k loops read off the coefficients.
    After de Silva, Morozov and Vejdemo-Johansson, 2011 (https://arxiv.org/abs/0905.4887).

    Args:
        cocycles: modulo p.
        graph: edges of the complex; only these are used.
        prime: p.
        most: bases of loops that are tried.

    Returns:
        the lift; None where no loops that were tried give one, or the classes are dependent.
    """
    result = np.zeros(cocycles.shape, dtype=np.int64)
    if len(cocycles) == 0:
        return result
    i, j = np.nonzero(np.triu(graph, 1))
    g = _forest_potential(cocycles, graph) % prime
    loops = (cocycles[:, i, j] - g[:, j] + g[:, i]) % prime
    # a loop and its reverse count as one: of the two the first nonzero entry is at most p/2
    first = loops[(loops != 0).argmax(axis=0), np.arange(len(i))]
    upright = np.where(2 * first > prime, -loops % prime, loops)
    distinct, count = np.unique(upright, axis=1, return_counts=True)
    order = np.argsort(-count, kind="stable")
    rng = np.random.default_rng(0)
    for _ in range(most):
        dual = _row_reduced(np.concatenate([distinct[:, order], loops], axis=1), prime)
        if dual is None:
            return None
        lift = dual[:, len(order) :]
        lift = np.where(2 * lift > prime, lift - prime, lift)
        if 3 * np.abs(lift).max() < prime:
            result[:, i, j], result[:, j, i] = lift, -lift
            return result
        order = rng.permutation(order)
    return None


def _forest_potential(cochains: np.ndarray, graph: np.ndarray) -> np.ndarray:
    """Functions g, shape (k, m), with d_0 g equal to the cochains on a breadth-first forest."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    sparse = csr_matrix(graph)
    _, label = connected_components(sparse, directed=False)
    g = np.zeros(cochains.shape[:2], dtype=np.int64)
    for root in np.unique(label, return_index=True)[1]:
        order, before = breadth_first_order(sparse, root, directed=False)
        for v in order[1:]:
            g[:, v] = g[:, before[v]] + cochains[:, before[v], v]
    return g


def _row_reduced(matrix: np.ndarray, p: int) -> np.ndarray | None:
    """Over Z/p the first independent columns become unit vectors; None where the rank is less."""
    work = matrix.astype(np.int64)
    for r in range(len(work)):
        below = work[r:] != 0
        c = int(below.any(axis=0).argmax())
        if not below[:, c].any():
            return None
        pivot = r + int(below[:, c].argmax())
        work[[r, pivot]] = work[[pivot, r]]
        work[r] = work[r] * pow(int(work[r, c]), -1, p) % p
        others = np.arange(len(work)) != r
        work[others] = (work[others] - work[others, c : c + 1] * work[r]) % p
    return work


def harmonic_potential(
    cocycles: Integer[np.ndarray, "k m m"],
    graph: Bool[np.ndarray, "m m"],
    weights: Float[np.ndarray, "m m"] | None = None,
) -> Float[np.ndarray, "k m"]:
    r"""The functions f for which :math:`\eta - d_0 f` is harmonic: its energy is least.

    .. math:: \min_f \sum_{ij} w_{ij} (\eta_{ij} - f_j + f_i)^2

    Args:
        cocycles: real or integral.
        graph: edges of the complex.
        weights: w > 0 on the edges; 1 where not given.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import lsqr

    i, j = np.nonzero(np.triu(graph, 1))
    root = np.ones(len(i)) if weights is None else np.sqrt(weights[i, j])
    rows, columns = np.tile(np.arange(len(i)), 2), np.concatenate([j, i])
    d0 = csr_matrix((np.concatenate([root, -root]), (rows, columns)), (len(i), len(graph)))
    solutions = [lsqr(d0, root * eta[i, j], atol=1e-12, btol=1e-12)[0] for eta in cocycles]
    return np.array(solutions).reshape(len(cocycles), len(graph))


def reduced_basis(gram: Float[np.ndarray, "k k"]) -> Integer[np.ndarray, "k k"]:
    r"""A unimodular U for which the basis with Gram matrix :math:`U G U^T` is short.

    Lenstra, Lenstra and Lovasz, 1982 (https://doi.org/10.1007/BF01457454), with delta = 0.99.

    Args:
        gram: G, symmetric and positive definite.
    """
    k, U = len(gram), np.eye(len(gram), dtype=np.int64)

    def factor() -> tuple[np.ndarray, np.ndarray]:
        L = np.linalg.cholesky(U @ gram @ U.T)
        return L / np.diag(L), np.diag(L) ** 2  # mu_ij and |b_i*|^2

    row = 1
    while row < k:
        for column in range(row - 1, -1, -1):
            U[row] -= round(float(factor()[0][row, column])) * U[column]
        mu, squares = factor()
        if squares[row] >= (0.99 - mu[row, row - 1] ** 2) * squares[row - 1]:
            row += 1
        else:
            U[[row - 1, row]] = U[[row, row - 1]]
            row = max(row - 1, 1)
    return U
