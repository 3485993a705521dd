"""`sk.shapley(sk.Max(r))` on the CPU by number of players, beside the five lines of numpy and torch that a user would
write instead (those of `shapley-bench`), a copy, and our other paths: `Mean`, a mask, float64, two threads; before
that, small calls, and advantages.

    python benchmarks/cpu_order.py [--players 4,8,16] [--elements 1048576] [--cpu-time]

float32, uniform random rewards, one thread unless said; interleaved, medians; each result is checked before anything is
timed. --cpu-time takes the processor time of the thread, for machines that others use too (no figure for two threads
then).
"""

import argparse
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import torch

import shapley_kernels as sk
from shapley_kernels.bench.methods import numpy_rows, torch_rows
from shapley_kernels.rl import RewardAllocator

PLAYERS = (4, 5, 7, 8, 12, 16, 24, 32, 48, 64, 100, 128, 256, 1024)
SMALL = (32, 8, 5)


def seconds(
    calls: dict[str, Callable[[], Any]], repeats: int, loops: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median of each call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            for _ in range(loops):
                call()
            times[name].append((clock() - start) / loops)
    return {name: float(np.median(found)) for name, found in times.items()}


def two_threads(call: Callable[[], Any]) -> float:
    """How much faster on two threads: each time the second of two calls, for a processor that slept takes a while to
    join in."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(15):
        for threads, found in times.items():
            sk.set_num_threads(threads)
            call()
            start = perf_counter()
            call()
            found.append(perf_counter() - start)
    sk.set_num_threads(1)
    return float(np.median(times[1]) / np.median(times[2]))


def inside_of(players: int) -> np.ndarray:
    return (1 / np.arange(players, 0, -1)).astype(np.float32)


def rows_of(players: int, elements: int, clock: Callable[[], float]) -> str:
    """One line of the table: ns per element, and ratios."""
    rng = np.random.default_rng(0)
    rewards = rng.random((max(1, elements // players), players), dtype=np.float32)
    wide, tensor, target = rewards.astype(np.float64), torch.from_numpy(rewards), np.empty_like(rewards)
    mask = rng.random(rewards.shape) < 0.8
    inside = inside_of(players)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: sk.shapley(sk.Max(rewards)),
        "numpy": lambda: numpy_rows(rewards, inside),
        "torch": lambda: torch_rows(tensor, torch.from_numpy(inside)),
        "copy": lambda: np.copyto(target, rewards),
        "Mean": lambda: sk.shapley(sk.Mean(rewards)),
        "masked": lambda: sk.shapley(sk.Max(rewards, mask=mask)),
        "float64": lambda: sk.shapley(sk.Max(wide)),
    }
    for other in ("numpy", "torch", "float64"):
        np.testing.assert_allclose(np.asarray(calls[other]()), calls["ours"](), atol=1e-5)
    t = {name: s / rewards.size * 1e9 for name, s in seconds(calls, 7, 1, clock).items()}
    best, ours = min(t["numpy"], t["torch"]), t["ours"]
    two = f"{two_threads(calls['ours']):7.2f}x" if clock is perf_counter else f"{'-':>8}"
    columns = [f"{t[name]:7.2f}" for name in ("ours", "numpy", "torch", "copy")]
    multiples = [best / ours, ours / t["copy"], *(t[name] / ours for name in ("Mean", "masked", "float64"))]
    return " ".join([f"{players:7}", *columns, *(f"{x:7.2f}x" for x in multiples), two])


def small_call(clock: Callable[[], float]) -> str:
    rewards = np.random.default_rng(0).random(SMALL, dtype=np.float32)
    tensor, inside = torch.from_numpy(rewards), inside_of(SMALL[-1])
    calls: dict[str, Callable[[], Any]] = {
        "numpy five-liner": lambda: numpy_rows(rewards, inside),
        "sk.shapley(sk.Max(array))": lambda: sk.shapley(sk.Max(rewards)),
        "torch five-liner": lambda: torch_rows(tensor, torch.from_numpy(inside)),
        "sk.shapley(sk.Max(tensor))": lambda: sk.shapley(sk.Max(tensor)),
    }
    for call in calls.values():
        call()
    found = seconds(calls, 61, 20, clock)
    return f"{list(SMALL)}: " + ", ".join(f"{name} {s * 1e6:.1f} us" for name, s in found.items())


def advantages_call(shape: tuple[int, int, int], loops: int, clock: Callable[[], float]) -> str:
    """Credits, and their mean and standard deviation over each group: one call of ours beside numpy's lines."""
    rng = np.random.default_rng(0)
    rewards, mask = rng.random(shape, dtype=np.float32), rng.random(shape) < 0.8
    inside, allocator = inside_of(shape[-1]), RewardAllocator(utility=sk.Max)
    ids = rng.permutation(np.repeat(np.arange(shape[0]), shape[1]))
    credits, names = sk.shapley(sk.Max(rewards)), ids.astype(str).tolist()
    flat = credits.reshape(-1, shape[-1])

    def numpy_lines() -> np.ndarray:
        credits = numpy_rows(rewards, inside)
        mean, std = credits.mean((1, 2), keepdims=True), credits.std((1, 2), ddof=1, keepdims=True)
        return (credits - mean) / (std + 1e-4)

    calls: dict[str, Callable[[], Any]] = {
        "numpy lines": numpy_lines,
        "RewardAllocator.advantages": lambda: allocator.advantages(rewards),
        "masked": lambda: allocator.advantages(rewards, mask),
        "grpo_advantages alone": lambda: sk.grpo_advantages(credits),
        "masked, alone": lambda: sk.grpo_advantages(credits, mask),
        "shuffled integers as group_ids": lambda: sk.grpo_advantages(flat, group_ids=ids),
        "as strings": lambda: sk.grpo_advantages(flat, group_ids=names),
    }
    np.testing.assert_allclose(calls["RewardAllocator.advantages"](), numpy_lines(), atol=1e-4)
    for call in calls.values():
        call()
    found = seconds(calls, 31, loops, clock)
    return f"{list(shape)}: " + ", ".join(f"{name} {s * 1e6:.1f} us" for name, s in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--players", type=lambda s: [int(k) for k in s.split(",")], default=PLAYERS)
    parser.add_argument("--elements", type=int, default=2**20)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    clock = thread_time if options.cpu_time else perf_counter
    torch.set_num_threads(1)
    sk.set_num_threads(1)
    print(small_call(clock), flush=True)
    print(advantages_call(SMALL, 20, clock), flush=True)
    print(advantages_call((2**14, 8, 8), 1, clock), flush=True)
    print(f"ns per element, {options.elements} elements; ratio to the better five-liner, to a copy, then to ours")
    names = ("players", "ours", "numpy", "torch", "copy", "faster", "of copy", "Mean", "masked", "float64", "2 threads")
    print(" ".join(f"{name:>{8 if i > 4 else 7}}" for i, name in enumerate(names)))
    for players in options.players:
        print(rows_of(players, options.elements, clock), flush=True)


if __name__ == "__main__":
    main()
