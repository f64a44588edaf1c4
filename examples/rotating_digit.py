"""
A rotating digit is a circle
============================

A handwritten digit of scikit-learn, enlarged to 48 x 48 pixels and rotated by 1000 random angles:
points in R^2304 that lie on a closed curve.
"""

import numpy as np
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits

import topogen as tg
from topogen.report import check_figure

digit = zoom(np.pad(load_digits().images[3], 2), 4, order=3)
angles = 360 * np.random.default_rng(0).random(1000)
images = np.stack([rotate(digit, a, reshape=False, order=3).ravel() for a in angles])

report = tg.check_topology(images, expected=tg.Circle())
print(report)

# %%
# The circle-valued coordinate is the angle by which the digit was rotated: along the curve it goes
# round once, forwards or backwards.
found = tg.topology.circular_coordinates(images)
order = np.argsort(angles)
print("degree of the coordinate along all angles:", found.winding(images[order]))
figure = check_figure({"images": images}, {"images": report})

if __name__ == "__main__":
    figure.savefig("rotating_digit.png", dpi=120)
