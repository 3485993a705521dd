"""`sk.shapley(sk.Max(r))` on the CPU beside the five lines of numpy and torch that a user would write instead.

    python benchmarks/five_liners.py

float32, uniform random rewards, one thread; interleaved, medians; each result is checked before anything is timed.
"""

from time import perf_counter

import numpy as np
import torch

import shapley_kernels as sk

SHAPES = {(32, 8, 5): 3000, (2**18, 8): 9, (2**15, 64): 9, (2**11, 1024): 7}


def numpy_rows(r: np.ndarray) -> np.ndarray:
    n = r.shape[-1]
    order = np.argsort(r, -1)
    gaps = np.diff(np.take_along_axis(r, order, -1), axis=-1, prepend=np.float32(0)) / np.arange(
        n, 0, -1, dtype=r.dtype
    )
    out = np.empty_like(r)
    np.put_along_axis(out, order, np.cumsum(gaps, -1), -1)
    return out


def torch_rows(r: torch.Tensor) -> torch.Tensor:
    n = r.shape[-1]
    s, order = torch.sort(r, dim=-1)
    gaps = torch.diff(s, dim=-1, prepend=torch.zeros_like(s[..., :1])) / torch.arange(n, 0, -1, dtype=r.dtype)
    return torch.empty_like(r).scatter_(-1, order, gaps.cumsum(-1))


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'shape':>14} {'shapley_kernels':>16} {'numpy':>11} {'torch':>11}   ratios")
    for shape, repeats in SHAPES.items():
        rewards = np.random.default_rng(0).random(shape, dtype=np.float32)
        tensor = torch.from_numpy(rewards)
        calls = (
            lambda r=rewards: sk.shapley(sk.Max(r)),
            lambda r=rewards: numpy_rows(r),
            lambda t=tensor: torch_rows(t),
        )
        first, *others = (np.asarray(call()) for call in calls)
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-5)
        times: list[list[float]] = [[], [], []]
        for _ in range(repeats):
            for call, seconds in zip(calls, times, strict=True):
                start = perf_counter()
                call()
                seconds.append(perf_counter() - start)
        ours, by_numpy, by_torch = (float(np.median(t)) * 1e6 for t in times)
        ratios = f"{by_numpy / ours:.2f} x numpy, {by_torch / ours:.2f} x torch"
        print(f"{shape!s:>14} {ours:13.1f} us {by_numpy:8.1f} us {by_torch:8.1f} us   {ratios}")


if __name__ == "__main__":
    main()
