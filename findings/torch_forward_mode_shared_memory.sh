#!/usr/bin/env bash
# torch 2.13.0, forward mode: tangents of a point whose rows share memory are silently wrong.
#
# A dual number lays its tangent out in memory as its point, with the same strides. The windows of a
# series (`Tensor.unfold`, the usual delay embedding) are views whose rows overlap: the rows of the
# tangent then overwrite each other, and torch.func.jvp, jacfwd, jvp of grad (Hessian-vector
# products) and forward_ad.make_dual give wrong derivatives without a word. Reverse mode (jacrev,
# torch.autograd.functional.jvp) is right. Where rows share all their memory (`expand`, stride 0)
# the same copy raises instead, and the error asks to clone "the tensor": it is the point that has
# to be cloned, for cloning the tangent is what brings the error about; with a tangent that is
# expanded too there is none.
#
# Seen with: Python 3.11, torch 2.13.0 (CPU).
# Output seen:
#   tangent 0..8 of 3 windows: [0, 3, 6, 3, 6, 7, 6, 7, 8]
#   jacfwd against jacrev of the row sums of squares: wrong at windows, right at their clone
#   Hessian-vector product: wrong at windows, right at their clone
#   expanded point: tangent of its own memory refused, expanded tangent taken
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# PIP_ARGS may name the index of the CPU builds
"$work/venv/bin/pip" install -q --disable-pip-version-check ${PIP_ARGS:-} torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import sys

import torch
from torch.autograd import forward_ad

series = torch.arange(5, dtype=torch.float64)
windows = series.unfold(0, 3, 1)
tangent = torch.arange(9, dtype=torch.float64).reshape(3, 3)
with forward_ad.dual_level():
    kept = forward_ad.unpack_dual(forward_ad.make_dual(windows, tangent)).tangent.flatten()
print(f"tangent 0..8 of 3 windows: {[int(t) for t in kept]}")


def row_sums(x):
    return (x * x).sum(-1)


def hessian_product(x):
    v = torch.arange(3, dtype=torch.float64).expand(x.shape).contiguous()
    return torch.func.jvp(torch.func.grad(lambda y: (y**3).sum()), (x,), (v,))[1] - 6 * x * v


def verdict(off):
    return "right" if float(off.abs().max()) < 1e-12 else "wrong"


def jacobians(x):
    return torch.func.jacfwd(row_sums)(x) - torch.func.jacrev(row_sums)(x)


lines = [
    ("jacfwd against jacrev of the row sums of squares", jacobians),
    ("Hessian-vector product", hessian_product),
]
words = [(verdict(f(windows)), verdict(f(windows.clone()))) for _, f in lines]
for (name, _), (shared, own) in zip(lines, words, strict=True):
    print(f"{name}: {shared} at windows, {own} at their clone")

point = torch.ones(3, dtype=torch.float64).expand(4, 3)


def taken(v):
    try:
        torch.func.jvp(lambda x: 2 * x, (point,), (v,))
    except RuntimeError:
        return "refused"
    return "taken"


own, shared = taken(point.contiguous()), taken(point)
print(f"expanded point: tangent of its own memory {own}, expanded tangent {shared}")
seen = [int(t) for t in kept] == [0, 3, 6, 3, 6, 7, 6, 7, 8]
same = seen and set(words) == {("wrong", "right")} and (own, shared) == ("refused", "taken")
sys.exit(0 if same else "changed")
PY
