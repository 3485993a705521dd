"""`scatter` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel


def run(table: Any, ids: Any, starts: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, table and out of any dtype of 2, 4 or 8 bytes, which are moved as they
    are."""
    bits = np.dtype(f"i{table.itemsize}")
    place, tokens = _places(ids, starts, len(table))
    return _SCATTER[ids.itemsize](len(table), tokens, bits, table.view(bits), *place, out.view(bits))


def count(ids: Any, starts: Any, counts: Any) -> int:
    """See the package docstring; numpy arrays."""
    place, tokens = _places(ids, starts, len(counts))
    return _COUNT[ids.itemsize](len(counts), tokens, counts.dtype, *place, counts)


def _places(ids: Any, starts: Any, rollouts: int) -> tuple[Any, int]:
    """ids and starts, and the tokens of a rollout, roughly."""
    tokens = len(ids) // max(1, rollouts)
    return (ids, np.arange(rollouts + 1) * tokens if starts is None else starts), tokens


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for tables of these dtypes and ids of int64."""
    for dtype in dtypes:
        _SCATTER[8].ready(np.dtype(f"i{np.dtype(dtype).itemsize}").char)
    _COUNT[8].ready(np.dtype(np.int64).char)


# rows and slices of their own: an index that may be negative takes twice the time


def _scatter(table, ids, starts, first, last, out):  # type: ignore[no-untyped-def]
    width = np.uint64(table.shape[1])
    for rollout in range(first, last):
        start, stop = starts[rollout], starts[rollout + 1]
        row, own, result = table[rollout], ids[start:stop], out[start:stop]
        for t in range(len(own)):
            k = np.uint64(own[t])  # below 0 is above all
            if k >= width:
                return start + t
            result[t] = row[k]
    return -1


def _count(ids, starts, first, last, counts):  # type: ignore[no-untyped-def]
    width = np.uint64(counts.shape[1])
    for rollout in range(first, last):
        start, stop = starts[rollout], starts[rollout + 1]
        row, own = counts[rollout], ids[start:stop]
        row[:] = 0
        for t in range(len(own)):
            k = np.uint64(own[t])
            if k >= width:
                return start + t
            row[k] += 1
    return -1


_SCATTER = {4: Kernel(_scatter, "r2 i1 l1", "r1"), 8: Kernel(_scatter, "r2 l1 l1", "r1")}
_COUNT = {4: Kernel(_count, "i1 l1", "r2"), 8: Kernel(_count, "l1 l1", "r2")}
"""By the bytes of an id."""
