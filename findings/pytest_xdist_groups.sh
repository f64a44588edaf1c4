#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: `--dist loadgroup` ignores every xdist_group, in silence.
#
# xdist marks a test of a group by writing "@group" to the private attribute `_nodeid` of the test.
# pytest 9.2.0 keeps the node id elsewhere, so the write has no effect: each test is a group of its
# own, tests of one group run on different workers, and what a module sets up once is set up on
# every worker. Nothing fails and nothing warns; the suite only becomes slower, and tests that rely
# on running on one worker race. pytest 9.1.1 with the same xdist keeps the groups.
#
# Seen with: Python 3.11, pytest 9.1.1 and 9.2.0, pytest-xdist 3.8.0.
# Output seen:
#   pytest 9.1.1: workers of the 8 tests of one group: 1
#   pytest 9.2.0: workers of the 8 tests of one group: 2
# Source: xdist/remote.py, WorkerInteractor.pytest_collection_modifyitems (`item._nodeid = ...`),
# and _pytest/nodes.py, Node.nodeid.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cat > "$work/test_group.py" <<'PY'
import os
import time

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("i", range(8))
def test_worker(i):
    time.sleep(0.3)
    with open(os.environ["WORKERS"], "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PY
python3 -m venv "$work/venv"
for pair in 9.1.1:1 9.2.0:2; do
  version="${pair%%:*}" expected="${pair##*:}"
  "$work/venv/bin/pip" install -q --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
  (cd "$work" && WORKERS="$work/$version" venv/bin/python -m pytest -q -n 2 --dist loadgroup test_group.py >"$work/log")
  seen="$(sort -u "$work/$version" | wc -l)"
  echo "pytest $version: workers of the 8 tests of one group: $seen"
  if [ "$seen" != "$expected" ]; then
    echo "changed: expected $expected"
    exit 1
  fi
done
