r"""Closed surfaces from polygon words: ``"a b a^-1 b"`` glues a square to a Klein bottle.

The polygon with its sides identified is a cell complex with one face, one edge per letter, and the
classes of corners as vertices. Orientability and Euler characteristic determine it (classification
of surfaces, Seifert and Threlfall 1934).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import AtlasError, UnsupportedError
from ...homology import DEFAULT_FIELDS, Homology
from ..atlas import Atlas
from .base import ReferenceSpace
from .genus import GenusSurface
from .klein import KleinBottle
from .projective import ProjectivePlane
from .spheres import Sphere
from .tori import FlatTorus

_LETTER = re.compile(r"([A-Za-z]\w*)(\^-1)?")


def rank_mod_p(rows: Sequence[Sequence[int]], p: int) -> int:
    """The rank of an integer matrix over Z/p, by elimination."""
    matrix = [[a % p for a in row] for row in rows]
    rank = 0
    for column in range(len(matrix[0]) if matrix else 0):
        pivot = next((i for i in range(rank, len(matrix)) if matrix[i][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        inverse = pow(matrix[rank][column], -1, p)
        for i in range(rank + 1, len(matrix)):
            factor, pairs = matrix[i][column] * inverse, zip(matrix[i], matrix[rank], strict=True)
            matrix[i] = [(a - factor * b) % p for a, b in pairs]
        rank += 1
    return rank


@dataclass(frozen=True)
class Gluing:
    r"""A closed surface as a polygon whose sides are identified in pairs.

    Args:
        sides: letter and exponent +1 or -1 of every side, in order around the polygon.

    Raises:
        AtlasError: some letter does not occur exactly twice.

    Example:
        >>> klein = surface("a b a^-1 b")
        >>> klein.orientable, klein.euler_characteristic, str(klein.homology())
        (False, 0, 'Z/2: (1, 2, 1), Z/3: (1, 1, 0)')
    """

    sides: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        counts = Counter(letter for letter, _ in self.sides)
        wrong = {letter: count for letter, count in counts.items() if count != 2}
        if wrong or not counts:
            raise AtlasError(
                "expected every letter exactly twice (a closed surface), got "
                f'{wrong or "no letters"}; write a word such as "a b a^-1 b^-1"'
            )

    @property
    def letters(self) -> tuple[str, ...]:
        """The edges of the surface, in order of appearance."""
        return tuple(dict.fromkeys(letter for letter, _ in self.sides))

    @property
    def orientable(self) -> bool:
        """Whether every letter occurs once with each sign."""
        return len(set(self.sides)) == len(self.sides)

    def edges(self) -> dict[str, tuple[int, int]]:
        """Start and end of every edge, as numbers of vertices (classes of corners)."""
        n = len(self.sides)
        vertex = list(range(n))
        ends: dict[str, tuple[int, int]] = {}
        for i, (letter, sign) in enumerate(self.sides):
            # side i runs from corner i to corner i + 1
            here = (i, (i + 1) % n) if sign > 0 else ((i + 1) % n, i)
            for a, b in zip(ends.setdefault(letter, here), here, strict=True):
                vertex = [vertex[a] if v == vertex[b] else v for v in vertex]
        number = {v: j for j, v in enumerate(dict.fromkeys(vertex))}
        return {a: (number[vertex[s]], number[vertex[t]]) for a, (s, t) in ends.items()}

    def homology(self, fields: Sequence[int] = DEFAULT_FIELDS) -> Homology:
        """Betti numbers from the ranks of the two boundary matrices over each Z/p."""
        edges = self.edges()
        V = 1 + max(max(ends) for ends in edges.values())
        d1 = [[(t == v) - (s == v) for v in range(V)] for s, t in edges.values()]
        d2 = [[sum(sign for letter, sign in self.sides if letter == a) for a in edges]]
        betti = {}
        for p in fields:
            r1, r2 = rank_mod_p(d1, p), rank_mod_p(d2, p)
            betti[p] = (V - r1, len(edges) - r1 - r2, 1 - r2)
        return Homology(betti)

    @property
    def euler_characteristic(self) -> int:
        """Vertices - edges + 1."""
        edges = self.edges()
        return len({v for ends in edges.values() for v in ends}) - len(edges) + 1

    def reference(self) -> ReferenceSpace:
        """The reference space that is homeomorphic to the surface.

        Raises:
            UnsupportedError: the library has none: not orientable, beyond the Klein bottle.
        """
        chi = self.euler_characteristic
        if self.orientable:
            if chi == 2:
                return Sphere()
            return FlatTorus(2) if chi == 0 else GenusSurface((2 - chi) // 2)
        if chi == 1:
            return ProjectivePlane()
        if chi == 0:
            return KleinBottle()
        raise UnsupportedError(
            f"expected a surface that the library has charts for, got the sum of {2 - chi} "
            f"projective planes (Euler characteristic {chi}, homology {self.homology()}); use "
            "tg.surface(word).homology(), or build an Atlas from charts of your own"
        )

    def atlas(self) -> Atlas:
        """The exact atlas of :meth:`reference`; raises UnsupportedError as that does."""
        return self.reference().atlas()


def surface(word: str) -> Gluing:
    r"""The closed surface of a polygon word: letters separated by blanks.

    A letter is followed by ^-1 where the side is run through backwards: ``a a^-1`` is the sphere,
    ``a b a^-1 b^-1`` the torus, ``a b a^-1 b`` (or ``a a b b``) the Klein bottle, ``a a`` the
    projective plane; orientable words of genus g >= 2 give GenusSurface(g).

    Raises:
        AtlasError: the word cannot be read, or is not that of a closed surface.

    Example:
        >>> len(surface("a b a^-1 b").atlas()), surface("a a").reference().dim
        (9, 2)
    """
    sides = []
    for token in word.split():
        match = _LETTER.fullmatch(token)
        if match is None:
            raise AtlasError(
                "expected letters such as a or a^-1 separated by blanks, got "
                f'{token!r} in {word!r}; write a word such as "a b a^-1 b^-1"'
            )
        sides.append((match[1], -1 if match[2] else 1))
    return Gluing(tuple(sides))
