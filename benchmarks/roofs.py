"""How near the primitives behind the other games come to what the machine can do, on one thread of the CPU.

    python benchmarks/roofs.py      # the table of docs/explanation/cpu.md

Roofs, measured in turn with the calls: a copy, for what reads much and computes little, and half of a matrix product,
for what computes: products and sums are not fused here, since the same credits are promised on every machine.
"""

from collections.abc import Callable
from functools import partial
from math import ceil, log2, prod
from time import process_time
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels.bench.machine import limited_to
from shapley_kernels.bench.measure import Timing, cpu_sampler, first_call, interleaved

SIZE = 512
"""Of the matrices that are multiplied."""

COPIED = 1 << 20
"""Numbers that are copied."""


def work(dtype: str) -> dict[tuple[str, str], tuple[Callable[[], Any], int, str, float]]:
    """By primitive and call: the call, its numbers in and out, its roof, and the operations or numbers it moves."""
    rng = np.random.default_rng(0)
    jobs = {}
    for rows, n in ((2**15, 8), (2**12, 64)):
        p, nodes = rng.random((rows, n)).astype(dtype), (n + 1) // 2
        call = partial(sk.shapley, sk.NoisyOr(p))
        jobs["multilinear", f"NoisyOr [{rows}, {n}]"] = call, p.size, "product", 10.0 * p.size * nodes
    for rows, n, quota in ((2**12, 8, 20), (64, 64, 160)):
        weights, nodes = rng.integers(1, 6, (rows, n)), (n + 1) // 2
        call, steps = partial(sk.shapley, sk.WeightedVoting(weights, quota=quota)), n * ceil(log2(n))
        jobs["knapsack", f"WeightedVoting [{rows}, {n}], quota {quota}"] = (
            *(call, weights.size, "product"),
            3.0 * rows * steps * quota * nodes,
        )
    for rows, n in ((2**11, 8), (2**8, 64)):
        w = rng.random((rows, n, n)).astype(dtype)
        call = partial(sk.shapley, sk.Pairwise(w + w.swapaxes(1, 2)))
        jobs["pairwise", f"Pairwise [{rows}, {n}]"] = call, w.size, "copy", w.size / 2
    for rows, n in ((2**10, 8), (2**6, 12)):
        values = rng.random((rows, 2**n)).astype(dtype)
        call = partial(sk.shapley, sk.Table(values))
        jobs["table", f"Table [{rows}, {n}]"] = call, values.size, "product", 2.0 * n * values.size / 2
    return jobs


def main() -> None:
    """Print the table."""
    print("| primitive | call | dtype | ns a number | roof | of it |")
    print("|---|---|---|---|---|---|")
    with limited_to(1):
        for dtype in ("float32", "float64"):
            jobs = work(dtype)
            square, source, target = np.ones((SIZE, SIZE), dtype), np.ones(COPIED, dtype), np.zeros(COPIED, dtype)
            calls: dict[Any, Callable[[], Any]] = {name: job[0] for name, job in jobs.items()}
            calls |= {"product": lambda a=square: a @ a, "copy": lambda s=source, t=target: np.copyto(t, s)}
            timings = {name: Timing(first_call(call)[1]) for name, call in calls.items()}
            interleaved(timings, {name: cpu_sampler(call, process_time) for name, call in calls.items()}, 0.5)
            per_unit = {
                "product": 2 * timings["product"].median / (2 * prod(square.shape) * SIZE),
                "copy": timings["copy"].median / COPIED,
            }
            for name, (_, numbers, roof, units) in jobs.items():
                seconds = timings[name].median
                share = per_unit[roof] * units / seconds
                print(f"| `{name[0]}` | {name[1]} | {dtype} | {1e9 * seconds / numbers:.3g} | {roof} | {share:.2f} |")


if __name__ == "__main__":
    main()
