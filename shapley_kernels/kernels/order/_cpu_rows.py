"""Long rows, one after the other, sorted by numpy. Credits are bit for bit those of `_cpu_lanes`."""

import numpy as np

from shapley_kernels.kernels._compile import helper

CHUNK = 1 << 16
"""Elements argsorted at a time, so that the order stays in the cache."""


def order_of(rewards, mask, start, stop):  # type: ignore[no-untyped-def]
    """(first row, ranks) of the rows start .. stop, a chunk of them at a time; masked players last."""
    step = max(1, CHUNK // rewards.shape[1])
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        falling = -rewards[part] if mask is None else np.where(mask[part], -rewards[part], np.inf)
        yield first, np.argsort(falling, axis=1)


def rows_by_rank(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, ranks, start, stop, out
):
    """Rows start .. stop as `_cpu_lanes` adds them up, whose order is known: ranks [stop - start, players], best
    first, masked players last. Returns the first bad row, or -1."""
    first_bad = -1
    for b in range(start, stop):
        reward, result, rank = rewards[b], out[b], ranks[b - start]
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        finite = np.isfinite(c)
        for i in range(reward.size):
            if mask.size == 0 or mask[b, i]:
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
        nan_flag = zero = rewards.dtype.type(0)
        level = row_of_count[live]
        lower = reward[rank[live - 1]]
        total, shift = (lower - c) * A[level, live - 1], c * C[level] + zero
        result[rank[live - 1]] = total + shift
        for t in range(live - 2, -1, -1):
            upper = reward[rank[t]]
            total += (upper - lower) * A[level, t]
            result[rank[t]] = total + shift
            lower = upper
        if B.size:
            total = zero
            upper = reward[rank[0]]
            for t in range(1, live):
                lower = reward[rank[t]]
                total += (upper - lower) * B[level, t - 1]
                result[rank[t]] += total
                upper = lower
        for i in range(result.size):
            nan_flag += result[i] * zero
        if nan_flag != 0 and first_bad < 0:
            first_bad = b
    return first_bad


@helper
def refuse(mask, b, out):  # type: ignore[no-untyped-def]
    """NaN for the live players of row b, 0 for the others."""
    for i in range(out.shape[1]):
        out[b, i] = np.nan if mask.size == 0 or mask[b, i] else 0
