"""`rl.scatter_to_tokens` beside the line of numpy or torch that a user would write instead, which checks no ids.

    python benchmarks/tokens.py [--device cuda] [--cpu-time]

float32, ids int64 of 5 candidates in runs, one thread; interleaved, medians, in microseconds. --cpu-time takes the
processor time of the thread, for machines that others use too.
"""

import argparse
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import torch

import shapley_kernels as sk

SHAPES = ((32, 256), (256, 2048), (1024, 8192))
"""Rollouts, tokens of each."""


def calls_of(rollouts: int, tokens: int, device: str) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(0, 6, (rollouts, tokens)), 1)
    advantages, zeros = rng.random((rollouts, 5), dtype=np.float32), np.zeros((rollouts, 1), np.float32)
    a, i, z = (torch.from_numpy(x).to(device) for x in (advantages, ids, zeros))
    offsets = torch.arange(rollouts + 1) * tokens
    target = torch.empty_like(i)

    def ours(**options: Any) -> Callable[[], Any]:
        return lambda: sk.rl.scatter_to_tokens(a, i, **options)

    calls = {
        "scatter_to_tokens": ours(),
        "length=candidate": ours(length="candidate"),
        "packed": lambda: sk.rl.scatter_to_tokens(a, i.view(-1), cu_seqlens=offsets),
        "torch": lambda: torch.cat([z, a], 1).gather(1, i),
        "copy of the ids": lambda: target.copy_(i),
    }
    if device == "cpu":
        calls["scatter_to_tokens, numpy"] = lambda: sk.rl.scatter_to_tokens(advantages, ids)
        calls["numpy"] = lambda: np.take_along_axis(np.concatenate([zeros, advantages], 1), ids, 1)
    expected = calls["torch"]()
    for name in set(calls) - {"length=candidate", "copy of the ids"}:
        np.testing.assert_array_equal(torch.as_tensor(calls[name]()).cpu().reshape(ids.shape), expected.cpu())
    return calls


def medians(calls: dict[str, Callable[[], Any]], clock: Callable[[], float], device: str) -> dict[str, float]:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(21):
        for name, call in calls.items():
            call()
            wait()
            start = clock()
            for _ in range(3):
                call()
            wait()
            times[name].append((clock() - start) / 3)
    return {name: float(np.median(found)) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sk.set_num_threads(1)
    for shape in SHAPES:
        found = medians(
            calls_of(*shape, options.device), thread_time if options.cpu_time else perf_counter, options.device
        )
        print(f"{list(shape)}: " + ", ".join(f"{name} {s * 1e6:.0f}" for name, s in found.items()), flush=True)


if __name__ == "__main__":
    main()
