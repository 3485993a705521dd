"""Gradients of `order` on the CPU: one row at a time over numpy's argsort, without the GIL."""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, compiled, read, written
from shapley_kernels.kernels._threads import over_rows

THREADED = 1 << 16
"""Elements that are worth a thread: most of the time goes into sorting them."""


def run(
    grad_out: Any,
    rewards: Any,
    mask: Any,
    v_empty: Any,
    inside: Any,
    outside: Any,
    empty: Any,
    level_of: Any,
    grad_rewards: Any,
    grad_v_empty: Any,
) -> None:
    """See `backward` in the package docstring; numpy arrays, those of floats in the compute dtype."""
    rows, players = rewards.shape
    if grad_v_empty is None:
        grad_v_empty = np.empty(rows, rewards.dtype)
    kernel = _compiled(rewards.dtype.char, mask is not None, outside is not None)

    def work(start: int, stop: int) -> int:
        part = slice(start, stop)
        x, live, c = rewards[part], None if mask is None else mask[part], v_empty[part] if v_empty.size > 1 else v_empty
        ascending = np.argsort(x if live is None else np.where(live, x, -np.inf), axis=1)
        results = grad_rewards[part], grad_v_empty[part]
        kernel(grad_out[part], x, live, c, inside, outside, empty, level_of, ascending, *results)
        return -1

    over_rows(work, rows, 1, THREADED // max(1, players))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype, masked, outside in product(dtypes, (False, True), (False, True)):
        _compiled(np.dtype(dtype).char, masked, outside)


@lru_cache
def _compiled(dtype: str, masked: bool, has_outside: bool) -> Any:
    """The kernel for one dtype ("f" or "d")."""
    real, none = REAL[dtype], numba.types.none
    signature = numba.void(
        read(real, 2),
        read(real, 2),
        read(numba.boolean, 2) if masked else none,
        read(real, 1),
        read(real, 2),
        read(real, 2) if has_outside else none,
        read(real, 1),
        read(numba.int32, 1),
        read(numba.int64, 2),
        written(real, 2),
        written(real, 1),
    )
    return compiled(_order_backward, signature)


def _order_backward(  # type: ignore[no-untyped-def]
    grad_out, rewards, mask, v_empty, inside, outside, empty, level_of, ascending, grad_rewards, grad_v_empty
):
    rows, players = rewards.shape
    zero = rewards.dtype.type(0)
    for b in range(rows):
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        usable = np.isfinite(c)
        total = zero
        for i in range(players):
            grad_rewards[b, i] = zero
            if mask is None or mask[b, i]:
                usable &= np.isfinite(rewards[b, i])
                total += grad_out[b, i]
                live += 1
        grad_v_empty[b] = zero
        if not usable or live == 0:
            continue
        level = level_of[live]
        grad_v_empty[b] = (empty[level] - inside[level, live - 1]) * total
        above = zero  # incoming gradient of the k best
        before = zero  # E(k, above), see the package docstring
        k = 0
        while k < live:
            first = k
            value = rewards[b, ascending[b, players - 1 - k]]
            while k < live and rewards[b, ascending[b, players - 1 - k]] == value:
                above += grad_out[b, ascending[b, players - 1 - k]]
                k += 1
            after = inside[level, k - 1] * above
            if outside is not None and k < live:
                after += outside[level, k - 1] * (total - above)
            step = (after - before) / rewards.dtype.type(k - first)
            for t in range(first, k):
                grad_rewards[b, ascending[b, players - 1 - t]] = step
            before = after
