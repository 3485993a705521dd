"""`pairwise` on the CPU: one row at a time, compiled without the GIL, so it may be called from many threads at once and
after a fork."""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, compiled, read, written
from shapley_kernels.kernels._threads import over_rows

THREADED = 1 << 19
"""Pairs that are worth a thread: 0.2 ms or more."""


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, level_of: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, w, values and out in the compute dtype.

    Returns:
        The first row with a non-finite live value or pair, -1 when there is none.
    """
    rows, players = out.shape
    kernel = _compiled(own.dtype.char, values is not None, mask is not None)

    def work(start: int, stop: int) -> int:
        return kernel(w, values, mask, own, pair, level_of, start, stop, out)

    return over_rows(work, rows, 1, THREADED // max(1, players * players))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype, valued, masked in product(dtypes, (False, True), (False, True)):
        _compiled(np.dtype(dtype).char, valued, masked)


@lru_cache
def _compiled(dtype: str, valued: bool, masked: bool) -> Any:
    """The kernel for one dtype ("f" or "d")."""
    real = REAL[dtype]
    signature = numba.int64(
        read(real, 3),
        read(real, 2) if valued else numba.types.none,
        read(numba.boolean, 2) if masked else numba.types.none,
        read(real, 1),
        read(real, 1),
        read(numba.int32, 1),
        numba.int64,
        numba.int64,
        written(real, 2),
    )
    return compiled(_pairwise, signature)


def _pairwise(w, values, mask, own, pair, level_of, start, stop, out):  # type: ignore[no-untyped-def]
    players = out.shape[1]
    zero = w.dtype.type(0)
    total = np.empty(players, w.dtype)
    first_bad = -1
    for b in range(start, stop):
        # w is symmetric, so its columns are summed, all at once: rows are read in order and the additions are
        # independent. What gathers at masked players is not used.
        total[:] = zero
        live = 0
        for i in range(players):
            if mask is None or mask[b, i]:
                live += 1
                for j in range(i):
                    total[j] += w[b, i, j]
                for j in range(i + 1, players):
                    total[j] += w[b, i, j]
        level = level_of[live]
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask is None or mask[b, i]:
                credit = pair[level] * total[i]
                if values is not None:
                    credit += own[level] * values[b, i]
                usable &= np.isfinite(credit)
                out[b, i] = credit
        if not usable:
            for i in range(players):
                if mask is None or mask[b, i]:
                    out[b, i] = np.nan
            if first_bad < 0:
                first_bad = b
    return first_bad
