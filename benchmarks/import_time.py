"""Seconds that `import topogen` takes once torch is imported; the bar is 1 second."""

import statistics
import subprocess
import sys

PROGRAM = """
import torch, numpy, time
start = time.perf_counter()
import topogen
print(time.perf_counter() - start)
"""

if __name__ == "__main__":
    runs = [
        float(
            subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout
        )
        for _ in range(7)
    ]
    print(f"import topogen: median {statistics.median(runs):.2f} s, best {min(runs):.2f} s")
