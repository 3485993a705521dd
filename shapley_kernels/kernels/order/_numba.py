"""`order` on the CPU: which form serves which row. Compiled without the GIL, so it may be called from many threads at
once and after a fork.

    "lanes"    to 1024 players: a vector of rows at a time, one per lane
    "rows"     above: one row after the other, sorted by numpy
    "linear"   rows that need no order, if the game asks for it: credits within the bound of the others

Credits are bit for bit the same in the first two.
"""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import THREADED, Kernel, in_one_part
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.order._cpu_lanes import rows_in_lanes, steps_of
from shapley_kernels.kernels.order._cpu_lanes_llvm import room
from shapley_kernels.kernels.order._cpu_linear import rows_linear
from shapley_kernels.kernels.order._cpu_rows import order_of, rows_by_rank

LONGEST = 1024
"""The most players that "lanes" serves."""

_KERNELS = {
    "lanes": Kernel(rows_in_lanes, "r2 b2 r1 r2 r2 r1 i1 i2 R1", grain=16),
    "rows": Kernel(rows_by_rank, "r2 b2 r1 r2 r2 r1 i1 L2"),
    "linear": Kernel(rows_linear, "r1 b1 r1 r2 r2 r1 i1 e l", "r1"),
}


def run(
    rewards: Any,
    mask: Any,
    v_empty: Any,
    A: Any,
    B: Any,
    C: Any,
    row_of_count: Any,
    out: Any,
    *,
    form: str | None = None,
) -> int:
    """See the package docstring; numpy arrays, rewards and out in the compute dtype.

    Args:
        form: None chooses, but "linear".

    Returns:
        The first row with a live credit that is not finite, or may not be, -1 when there is none.
    """
    rows, players = rewards.shape
    form = form or ("lanes" if players <= LONGEST else "rows")
    kernel, dtype, tables, steps = _KERNELS[form], A.dtype, (v_empty, A, B, C, row_of_count), max(1, players)
    if form == "lanes":
        network, size = steps_of(players, dtype.itemsize), room(players, dtype.itemsize)
        bad = kernel(
            rows, steps, dtype, rewards, mask, *tables, network, out, scratch=lambda *_: (np.empty(size, dtype),)
        )
    elif form == "linear":
        flat = rewards.reshape(-1), None if mask is None else mask.reshape(-1), *tables
        bad = kernel(rows, steps, dtype, *flat, float(np.finfo(dtype).eps), players, out.reshape(-1))
    else:
        work = kernel.bound(dtype, rewards, mask, *tables, out)
        bad = over_rows(lambda *part: _by_rank(work, rewards, mask, *part), rows, 1, THREADED // steps)
    if bad >= 0:
        _spread_nan(out, mask)
    return bad


def bound(shape: tuple[int, int], A: Any, B: Any, C: Any, row_of_count: Any, *, form: str | None = None) -> Any:
    """`run` of small calls on these tables, as work(rewards, mask, v_empty, out) that has nothing left to choose, and
    whose rows may have several axes; None for other calls."""
    rows, players = shape
    if form is not None or not 0 < players <= LONGEST or not in_one_part(rows, players):
        return None
    dtype, network = A.dtype, steps_of(players, A.dtype.itemsize)
    kernel, (_, everybody, _, _, none, *_) = _KERNELS["lanes"].ready(dtype.char)  # type: ignore[misc]
    b, size = none if B is None else B, room(players, dtype.itemsize)

    def work(rewards: Any, mask: Any, v_empty: Any, out: Any) -> int:
        x, live, out = rewards.reshape(shape), mask if mask is None else mask.reshape(shape), out.reshape(shape)
        alive = everybody if live is None else live.view(np.uint8)
        given = x, alive, v_empty.reshape(-1), A, b, C, row_of_count, network, np.empty(size, dtype)
        bad: int = kernel(*given, 0, rows, out)
        if bad >= 0:
            _spread_nan(out, live)
        return bad

    return work


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in _KERNELS.values():
            kernel.ready(np.dtype(dtype).char)


def _by_rank(work: Any, rewards: Any, mask: Any, start: int, stop: int) -> int:
    """Rows start .. stop, sorted by numpy. Returns the first bad row, or -1."""
    bad = [work(ranks, first, first + len(ranks)) for first, ranks in order_of(rewards, mask, start, stop)]
    return min((row for row in bad if row >= 0), default=-1)


def _spread_nan(out: Any, mask: Any) -> None:
    """NaN for all live players of the rows with a credit that is not finite."""
    rows = np.flatnonzero(~np.isfinite(out).all(1))
    out[rows] = np.nan if mask is None else np.where(mask[rows], out.dtype.type(np.nan), 0)
