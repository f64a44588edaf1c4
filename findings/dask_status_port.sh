#!/usr/bin/env bash
# distributed 2026.8.0: LocalCluster(dashboard_address=None) asks for port 8787 all the same.
#
# None is documented to switch the dashboard off, and no dashboard is served. But the scheduler
# still opens its HTTP server (health, metrics), and where no address is given that is port 8787. A
# second cluster on the machine finds it taken: it warns and takes another port, and where warnings
# are errors (as in many test suites) it does not start. ":0", any free port, never clashes.
#
# Seen with: Python 3.11, dask and distributed 2026.8.0.
# Output seen:
#   dashboard_address=None, port 8787 taken: Port 8787 is already in use.
#   dashboard_address=':0', port 8787 taken: no warning
# Source: distributed/scheduler.py, Scheduler.__init__ (start_http_server, default_port=8787).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "distributed==2026.8.0" "dask==2026.8.0"
cat > "$work/cluster.py" <<'PY'
import socket
import sys
import warnings

from distributed import LocalCluster

if __name__ == "__main__":
    taken = socket.socket()
    try:  # the port of another cluster, or of this script
        taken.bind(("", 8787))
        taken.listen()
    except OSError:
        pass
    said = {}
    for address in (None, ":0"):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=address):
                pass
        lines = [str(w.message).splitlines()[0] for w in found if "8787" in str(w.message)]
        said[address] = lines[0] if lines else "no warning"
        print(f"dashboard_address={address!r}, port 8787 taken: {said[address]}")
    taken.close()
    expected = {None: "Port 8787 is already in use.", ":0": "no warning"}
    sys.exit(0 if said == expected else f"changed: expected {expected}")
PY
"$work/venv/bin/python" "$work/cluster.py"
