"""`pairwise` on the CPU: one row at a time, compiled without the GIL, so it may be called from many threads at once and
after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, w, values and out in the compute dtype.

    Returns:
        The first row with a non-finite live value or pair, -1 when there is none.
    """
    rows, players = out.shape
    return _KERNEL(rows, players * players // 2, own.dtype, w, values, mask, own, pair, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


def _pairwise(w, values, mask, own, pair, row_of_count, start, stop, out):  # type: ignore[no-untyped-def]
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
            if mask.size == 0 or mask[b, i]:
                live += 1
                for j in range(i):
                    total[j] += w[b, i, j]
                for j in range(i + 1, players):
                    total[j] += w[b, i, j]
        level = row_of_count[live]
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                credit = pair[level] * total[i]
                if values.size:
                    credit += own[level] * values[b, i]
                usable &= np.isfinite(credit)
                out[b, i] = credit
        if not usable:
            for i in range(players):
                if mask.size == 0 or mask[b, i]:
                    out[b, i] = np.nan
            if first_bad < 0:
                first_bad = b
    return first_bad


_KERNEL = Kernel(_pairwise, "r3 r2 b2 r1 r1 i1")
