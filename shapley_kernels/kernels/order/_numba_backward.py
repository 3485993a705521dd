"""Gradients of `order` on the CPU: one row at a time over numpy's argsort, without the GIL."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import THREADED, Kernel
from shapley_kernels.kernels._threads import over_rows

SORTING = 4
"""Steps that an element takes, most of them to be sorted."""


def run(
    grad_out: Any,
    rewards: Any,
    mask: Any,
    v_empty: Any,
    A: Any,
    B: Any,
    C: Any,
    row_of_count: Any,
    grad_rewards: Any,
    grad_v_empty: Any,
) -> None:
    """See `backward` in the package docstring; numpy arrays, those of floats in the compute dtype."""
    rows, players = rewards.shape
    if grad_v_empty is None:
        grad_v_empty = np.empty(rows, rewards.dtype)
    arrays = (grad_out, rewards, mask, v_empty, A, B, C, row_of_count)
    work = _KERNEL.bound(rewards.dtype, *arrays, grad_rewards, grad_v_empty)

    def sorted_first(start: int, stop: int) -> int:
        part = slice(start, stop)
        ascending = np.argsort(rewards[part] if mask is None else np.where(mask[part], rewards[part], -np.inf), axis=1)
        return work(ascending, start, stop)

    over_rows(sorted_first, rows, 1, THREADED // (SORTING * max(1, players)))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


def _order_backward(  # type: ignore[no-untyped-def]
    grad_out, rewards, mask, v_empty, A, B, C, row_of_count, ascending, start, stop, grad_rewards, grad_v_empty
):
    players = rewards.shape[1]
    zero = rewards.dtype.type(0)
    for b in range(start, stop):
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        usable = np.isfinite(c)
        total = zero
        for i in range(players):
            grad_rewards[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                usable &= np.isfinite(rewards[b, i])
                total += grad_out[b, i]
                live += 1
        grad_v_empty[b] = zero
        if not usable or live == 0:
            continue
        level = row_of_count[live]
        grad_v_empty[b] = (C[level] - A[level, live - 1]) * total
        above = zero  # incoming gradient of the k best
        before = zero  # E(k, above), see the package docstring
        k = 0
        while k < live:
            first = k
            value = rewards[b, ascending[b - start, players - 1 - k]]
            while k < live and rewards[b, ascending[b - start, players - 1 - k]] == value:
                above += grad_out[b, ascending[b - start, players - 1 - k]]
                k += 1
            after = A[level, k - 1] * above
            if B.size and k < live:
                after += B[level, k - 1] * (total - above)
            step = (after - before) / rewards.dtype.type(k - first)
            for t in range(first, k):
                grad_rewards[b, ascending[b - start, players - 1 - t]] = step
            before = after
    return -1


_KERNEL = Kernel(_order_backward, "r2 r2 b2 r1 r2 r2 r1 i1 L2", "r2 r1")
