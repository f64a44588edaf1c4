"""Betti numbers of a union from those of two parts and of what they share."""

from __future__ import annotations

from ...homology import Homology


def mayer_vietoris(a: Homology, b: Homology, c: Homology) -> Homology | None:
    r"""Homology of A u B from those of A, B and C = A n B, over the fields that determine it.

    From the exact sequence :math:`H_n(C) \to H_n(A) \oplus H_n(B) \to H_n(A \cup B) \to
    H_{n-1}(C)`,

    .. math:: \beta_n(A \cup B) = \beta_n(A) + \beta_n(B) - r_n + \beta_{n-1}(C) - r_{n-1},

    with :math:`r_n` the rank of the first map. Betti numbers alone determine it where its source
    or its target is 0, and in degree 0 where A and B are connected, or C is; elsewhere (a meridian
    bounds outside a torus, a circle in the torus may not) the answer is None.

    Args:
        a: homology of A.
        b: homology of B.
        c: homology of A n B; all zeros where they do not meet.

    Reference:
        Hatcher, Algebraic Topology, section 2.2, 2002, https://pi.math.cornell.edu/~hatcher/AT/

    Example:
        >>> sphere, circle = Homology((1, 0, 1)), Homology((1, 1))
        >>> str(mayer_vietoris(sphere, sphere, circle))
        'Z/2: (1, 0, 3), Z/3: (1, 0, 3)'
        >>> mayer_vietoris(Homology((1, 2, 1)), sphere, circle) is None
        True
    """
    found = {}
    for p in set(a.fields) & set(b.fields) & set(c.fields):
        degrees = range(max(h.top_degree for h in (a, b, c)) + 2)
        ranks = [r for n in degrees if (r := _rank(a, b, c, n, p)) is not None]
        if len(ranks) < len(degrees):
            continue
        # lost[n] = dim ker(H_{n-1}(C) -> H_{n-1}(A) + H_{n-1}(B))
        lost = [0, *(c.betti_number(n, p) - r for n, r in enumerate(ranks))]
        numbers = [
            a.betti_number(n, p) + b.betti_number(n, p) - ranks[n] + lost[n] for n in degrees
        ]
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers.pop()
        found[p] = tuple(numbers)
    return Homology(found) if found else None


def _rank(a: Homology, b: Homology, c: Homology, n: int, p: int) -> int | None:
    """The rank of H_n(C) -> H_n(A) + H_n(B), where Betti numbers determine it."""
    source = c.betti_number(n, p)
    parts = a.betti_number(n, p), b.betti_number(n, p)
    if source == 0 or parts == (0, 0):
        return 0
    return 1 if n == 0 and (source == 1 or parts == (1, 1)) else None
