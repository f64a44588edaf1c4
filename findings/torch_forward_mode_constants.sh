#!/usr/bin/env bash
# torch 2.13.0, forward mode: an operation of a dual tensor with a constant runs Python meta kernels.
#
# torch.func.jvp of x * x makes a few Python calls, all of torch.func itself. With one operand that
# is no dual tensor (x * 2.0, 1 + x, x / c, x - c) the missing tangent is an "efficient zero
# tensor", and the shape of the result is found by torch._prims and torch._refs, in Python: hundreds
# of calls for every single operation, about .4 ms, where the operation itself takes 3 us. A
# formula with ten constants costs a hundred times more in forward mode than by itself, and
# reverse mode (torch.func.vjp), which has no such path, is the faster one even for maps from R^2
# to R^4. Large tensors hide it: the price is per operation, not per number.
#
# Seen with: Python 3.11, torch 2.13.0 (CPU).
# Output seen (counts of calls may differ a little between Python versions):
#   Python calls of a jvp: x * x 175, x * 2.0 537; in torch/_prims*, torch/_refs: 0 and 177
#   of a vjp of x * 2.0: in torch/_prims*, torch/_refs: 0
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# PIP_ARGS may name the index of the CPU builds
"$work/venv/bin/pip" install -q --disable-pip-version-check ${PIP_ARGS:-} torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import sys

import torch

x = torch.rand(100, dtype=torch.float64)
functions = {"x * x": lambda x: x * x, "x * 2.0": lambda x: x * 2.0}


def calls(run):
    """Python calls of a run, and those of them in the meta kernels."""
    run()  # lazy imports
    files = []
    sys.setprofile(lambda frame, event, _: files.append(frame.f_code.co_filename) if event == "call" else None)
    try:
        run()
    finally:
        sys.setprofile(None)
    return len(files), sum("torch/_prims" in f or "torch/_refs" in f for f in files)


jvp = {name: calls(lambda f=f: torch.func.jvp(f, (x,), (x,))) for name, f in functions.items()}
_, reverse = calls(lambda: torch.func.vjp(functions["x * 2.0"], x)[1](x))
(both, none), (constant, meta) = jvp["x * x"], jvp["x * 2.0"]
print(f"Python calls of a jvp: x * x {both}, x * 2.0 {constant}; in torch/_prims*, torch/_refs: {none} and {meta}")
print(f"of a vjp of x * 2.0: in torch/_prims*, torch/_refs: {reverse}")
sys.exit(0 if none == reverse == 0 and meta > 50 else "changed")
PY
