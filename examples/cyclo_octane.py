"""
Conformations of cyclo-octane are not a manifold
================================================

The eight carbons of the cyclo-octane ring move in a space of dimension 2: a sphere and a Klein
bottle that meet in two circles (Martin, Thompson, Coutsias and Watson, 2010,
https://doi.org/10.1063/1.3445267). Its Betti numbers are (1, 1, 2) over Z/2 and over Z/3.

The data, 6040 conformations in R^24, are not part of topogen: they come with JavaPlex
(https://github.com/appliedtopology/javaplex). Save them as a .npy, or an .npz with the key
`points`, and run ``python cyclo_octane.py DATA [PICTURE.png]``.
"""

import sys

from topogen import load_points
from topogen.topology import check_topology, dimension_across_scales, manifold_test, orientability


def main(data, picture=None):
    points = load_points(data)
    # two-dimensional, over a range of radii
    print(dimension_across_scales(points))
    # away from two circles the links are circles; on them four half-sheets meet
    check = manifold_test(points, dim=2)
    print(check)
    # so there is no orientation to speak of, and no closed surface has these Betti numbers
    print("orientable:", orientability(points, dim=2).reason)
    print(check_topology(points, expected=(1, 1, 2)))
    if picture is not None:  # the singular set, in the leading principal axes
        check.plot().savefig(picture, dpi=120)


if len(sys.argv) > 1:
    main(*sys.argv[1:3])
else:
    print("expected a file of conformations; see the top of this script for where to get it")
