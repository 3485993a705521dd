"""What the first calls of a fresh machine cost: CPU seconds beyond importing numba, with nothing on disk; and what
`import shapley_kernels` adds to numpy's.

python benchmarks/cold_start.py [players,players,..]
"""

import os
import statistics
import subprocess
import sys
import tempfile
from itertools import product

CODE = """
import sys, time
import numpy as np, numba, shapley_kernels as sk
players, dtype, masked = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "masked"
rng = np.random.default_rng(0)
rewards = rng.normal(size=(256, players)).astype(dtype)
mask = rng.random(rewards.shape) < 0.7 if masked else None
allocator, ids = sk.RewardAllocator(), rng.integers(0, players + 1, (256, 64))
calls = {
    "shapley": lambda: sk.shapley(sk.Max(rewards, mask=mask)),
    "advantages": lambda: allocator.advantages(rewards, mask, num_generations=8),
    "tokens": lambda: allocator.token_advantages(rewards, ids, mask, num_generations=8),
}
for name in sys.argv[4:]:
    started = time.process_time()
    calls[name]()
    print(time.process_time() - started)
"""
IMPORT = """
import time
import numpy
started = time.process_time()
import shapley_kernels
print(time.process_time() - started)
"""
CALLS = ("shapley", "advantages", "tokens")


def measured(players: int, dtype: str, masked: str) -> list[float]:
    """CPU seconds of the three calls, one after the other, in a process of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", CODE, str(players), dtype, masked, *CALLS]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [float(x) for x in said.split()]


def importing() -> float:
    """CPU seconds of `import shapley_kernels` where numpy is imported: the median of several processes."""
    environment = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", IMPORT]
    runs = [subprocess.run(command, env=environment, capture_output=True, check=True) for _ in range(9)]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    """Print the table."""
    sizes = [int(x) for x in sys.argv[1].split(",")] if len(sys.argv) > 1 else [5, 8, 9, 32, 64]
    print("| players | dtype | mask | " + " | ".join(CALLS) + " | sum |")
    print("|---|---|---|" + "---|" * (len(CALLS) + 1))
    for players, dtype, masked in product(sizes, ("float32", "float64"), ("", "masked")):
        seconds = measured(players, dtype, masked)
        cells = " | ".join(f"{x:.1f}" for x in (*seconds, sum(seconds)))
        print(f"| {players} | {dtype} | {masked} | {cells} |", flush=True)
    print(f"\nimport: {1000 * importing():.0f} ms")


if __name__ == "__main__":
    main()
