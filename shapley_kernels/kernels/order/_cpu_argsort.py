"""Long rows, whose order is numpy's: one after the other, as one alone may be longer than the cache."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper

CHUNK = 1 << 16
"""Elements argsorted at a time, so that the order stays in the cache."""


def by_argsort(kernel: Any, rewards: Any, mask: Any, v_empty: Any, tables: Any, start: int, stop: int, out: Any) -> int:
    """Rows start .. stop, sorted by numpy. Returns the first bad row, or -1."""
    first_bad = -1
    step = max(1, CHUNK // rewards.shape[1])
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        falling = -rewards[part] if mask is None else np.where(mask[part], -rewards[part], np.inf)
        ranks = np.argsort(falling, axis=1)  # masked players last
        bad = kernel(rewards, mask, v_empty, *tables, ranks, first, out)
        if bad >= 0 and first_bad < 0:
            first_bad = bad
    return first_bad


def rows_by_argsort(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, inside, outside, empty, level_of, ranks, first, out
):
    """The rows from `first` on whose order is known: ranks [rows, players], best first, masked players
    last. Returns the first bad row, or -1."""
    first_bad = -1
    for row in range(len(ranks)):
        b = first + row
        reward, result, rank = rewards[b], out[b], ranks[row]
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        finite = np.isfinite(c)
        for i in range(reward.size):
            if mask is None or mask[b, i]:
                finite &= np.isfinite(reward[i])
                live += 1
        for t in range(live, reward.size):
            result[rank[t]] = 0
        if live == 0:
            continue
        if not finite:
            refuse(mask, b, out)
            first_bad = b if first_bad < 0 else first_bad
            continue
        odd = zero = rewards.dtype.type(0)
        level = level_of[live]
        lower = reward[rank[live - 1]]
        total, shift = (lower - c) * inside[level, live - 1], c * empty[level]
        result[rank[live - 1]] = total + shift
        for t in range(live - 2, -1, -1):
            upper = reward[rank[t]]
            total += (upper - lower) * inside[level, t]
            result[rank[t]] = total + shift
            lower = upper
        if outside is not None:
            total = rewards.dtype.type(0)
            upper = reward[rank[0]]
            for t in range(1, live):
                lower = reward[rank[t]]
                total += (upper - lower) * outside[level, t - 1]
                result[rank[t]] += total
                upper = lower
        for i in range(result.size):
            odd += result[i] * zero
        if odd != 0 and first_bad < 0:
            first_bad = b
    return first_bad


@helper
def refuse(mask, b, out):  # type: ignore[no-untyped-def]
    """NaN for the live players of row b, 0 for the others."""
    for i in range(out.shape[1]):
        out[b, i] = np.nan if mask is None or mask[b, i] else 0
