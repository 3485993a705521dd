"""Threads of the CPU kernels: rows in parts, on a pool of our own that is made when it is first needed.

Not numba's: its pools abort a process that calls from two threads, or that forks.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from shapley_kernels.arrays import integer

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PARTS = 4
"""Parts of the rows per thread, so that a thread that is held up does not hold up the others."""


class _State:
    lock = threading.Lock()
    limit: int | None = None
    pool: "ThreadPoolExecutor | None" = None
    width: int = 0


def set_num_threads(threads: int | None) -> None:
    """Use at most this many threads for a call on the CPU; results do not depend on it.

    Args:
        threads: integer >= 1; 1: the calling thread alone. None: what `get_num_threads` says without a limit.

    Raises: TypeError, ValueError: another number.
    """
    if threads is not None:
        threads = integer("set_num_threads: threads", threads, 1, "an integer >= 1 or None")
    with _State.lock:
        _State.limit = threads


def get_num_threads() -> int:
    """Threads that a large call on the CPU uses: the limit that was set, else OMP_NUM_THREADS, at most the processors
    this process may run on."""
    if _State.limit is not None:
        return _State.limit
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else allowed


def over_rows(work: Callable[[int, int], int], rows: int, grain: int, smallest: int) -> int:
    """Call work(start, stop) on parts of range(rows), on several threads when there are enough rows.

    Args:
        work: releases the GIL; returns the first bad row of its part, or -1.
        grain: parts begin at multiples of this.
        smallest: rows that are worth a thread.

    Returns:
        The first bad row, or -1.
    """
    threads = rows // max(1, smallest)
    if threads > 1:
        threads = min(threads, get_num_threads())
    if threads < 2:
        return work(0, rows)
    step = -(-rows // (threads * PARTS * grain)) * grain
    starts = range(0, rows, step)
    taken = count()  # next() is atomic
    bad_rows: list[int] = []

    def help_out() -> None:
        while (part := next(taken)) < len(starts):
            bad_rows.append(work(starts[part], min(starts[part] + step, rows)))

    helpers: list[Future[None]] = []
    # the interpreter may be shutting down, or the pool be replaced just now: do without
    with contextlib.suppress(RuntimeError):
        while len(helpers) < threads - 1:
            helpers.append(_pool().submit(help_out))
    help_out()
    for helper in helpers:
        if not helper.cancel():  # it never began: all parts are taken
            helper.result()
    return min((row for row in bad_rows if row >= 0), default=-1)


def _pool() -> "ThreadPoolExecutor":
    """A pool for as many threads as may help: the one there is, unless it is narrower."""
    from concurrent.futures import ThreadPoolExecutor

    width = max(1, get_num_threads() - 1)
    with _State.lock:
        if _State.pool is None or _State.width < width:
            if _State.pool is not None:
                _State.pool.shutdown(wait=False)
            _State.pool = ThreadPoolExecutor(width, thread_name_prefix="shapley_kernels")
            _State.width = width
        return _State.pool


def _after_fork() -> None:
    """Threads do not survive a fork, and the lock may have been held by one of them."""
    _State.lock = threading.Lock()
    _State.pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
