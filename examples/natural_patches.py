"""
Patches of natural images lie on a circle
=========================================

High-contrast patches of 3 x 3 pixels, taken from photographs, are spread very unevenly over a
sphere of dimension 7. The densest 30 %, judged by the distance to the 300th neighbour, are a thick
circle: light beside dark, at every angle (Carlsson, Ishkhanov, de Silva and Zomorodian, 2008,
https://doi.org/10.1007/s11263-007-0056-x).

The data, 15000 patches in R^8, are not part of topogen: they come with JavaPlex
(https://github.com/appliedtopology/javaplex) as X(300, 30). Save them as a .npy, or an .npz with
the key `points`, and run ``python natural_patches.py DATA [PICTURE.png]``.
"""

import sys

from topogen import check_topology, load_points
from topogen.report import check_figure


def main(data, picture=None):
    points = load_points(data)
    report = check_topology(points, expected=(1, 1))
    print(report)
    if picture is not None:
        check_figure({"patches": points}, {"patches": report}).savefig(picture, dpi=120)


if len(sys.argv) > 1:
    main(*sys.argv[1:3])
else:
    print("expected a file of patches; see the top of this script for where to get it")
