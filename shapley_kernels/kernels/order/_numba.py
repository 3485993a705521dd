"""`order` on the CPU: which form serves which row. Compiled without the GIL, so it may be called from many threads at
once and after a fork.

    "registers"  to 8 players: sorted and credited in registers, by code written out for this number of players
    "vectors"    to 32: a vector of rows at a time, with loops over the players
    "network"    to 1024: sorted as keys that hold the player, whose rewards are then looked up
    "rows"       rows above that, one after the other; and small calls, to 32 players a vector of rows at a time
    "linear"     rows that need no order, if the game asks for it: credits within the bound of the others

The first three take seconds to compile, which a small call does not win back: it takes them where they were compiled
before, by a large call, by `warm_up` or by another process, unless "rows" is as fast. Credits are bit for bit the same
in these and in "rows".
"""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.backends import BackendUnavailable
from shapley_kernels.kernels._compile import building, compiled
from shapley_kernels.kernels._marshal import THREADED, Kernel
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.order._cpu_lanes import rows_in_lanes, scratch
from shapley_kernels.kernels.order._cpu_registers import kernel as registers_kernel
from shapley_kernels.kernels.order._cpu_rows import order_of, rows_by_rank
from shapley_kernels.kernels.order._sorting_networks import fused_network, network

LONGEST = {"registers": 8, "vectors": 32, "network": 1024}
"""The longest rows that each form is the fastest for."""

SMALL = 1 << 12
"""Elements of a call for which "vectors" is not looked for: most of the time is not the kernel's."""

PAYS = 1 << 18
"""Elements of a call that pays for compiling a form of its own."""

_IN_LANES = Kernel(rows_in_lanes, "r2 b2 r1 r2 r2 r1 i1 i2 l R1", grain=16)
_BY_RANK = Kernel(rows_by_rank, "r2 b2 r1 r2 r2 r1 i1 L2")


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
    dtype, tables, steps = A.dtype, (v_empty, A, B, C, row_of_count), max(1, players)
    fastest, ready = form or _fastest(players), None
    more: Any
    flat: Any
    if fastest == "vectors" and form is None and rewards.size <= SMALL:
        fastest = "rows"
    if fastest != "rows":
        make = form is not None or rewards.size >= PAYS
        ready = _ready(fastest, players, dtype.char, mask is not None, B is not None, make)
    if ready is None and players <= LONGEST["vectors"]:
        more = (network(players), _ascending(players))
        bad = _IN_LANES(
            rows, steps, dtype, rewards, mask, *tables, *more, out, scratch=lambda *_: (scratch(players, dtype),)
        )
    elif ready is None:
        work = _BY_RANK.bound(dtype, rewards, mask, *tables, out)
        bad = over_rows(lambda *part: _by_rank(work, rewards, mask, *part), rows, 1, THREADED // steps)
    elif fastest == "registers":
        bad = _in_registers(ready, rewards, mask, tables, out)
    elif fastest in ("vectors", "linear"):
        flat = rewards.reshape(-1), None if mask is None else mask.reshape(-1), *tables
        more = (network(players), players, _ascending(players))
        if fastest == "linear":
            more = (float(np.finfo(dtype).eps), players)
        bad = ready(rows, steps, dtype, *flat, *more, out.reshape(-1))
    else:
        bits = rewards.view(f"i{rewards.itemsize}")
        more = (fused_network(players), out)
        bad = ready(rows, steps, dtype, rewards, bits, mask, *tables, *more)
    if bad >= 0:
        _spread_nan(out, mask)
    return bad


def bound(shape: tuple[int, int], A: Any, B: Any, C: Any, row_of_count: Any, *, form: str | None = None) -> Any:
    """`run` of small calls on these tables, as work(rewards, mask, v_empty, out) that has nothing left to choose, and
    whose rows may have several axes; None where no kernel of "registers" serves them."""
    rows, players = shape
    if form is not None or not 0 < players <= LONGEST["registers"] or rows * players > THREADED:
        return None
    kernels = [_ready("registers", players, A.dtype.char, masked, B is not None, False) for masked in (False, True)]
    if kernels == [None, None]:
        return None

    def work(rewards: Any, mask: Any, v_empty: Any, out: Any) -> int:
        kernel, live = kernels[mask is not None], None if mask is None else mask.view(np.uint8).reshape(-1)
        x, c, result = rewards.reshape(-1), v_empty.reshape(-1), out.reshape(-1)
        if kernel is not None and kernel(x, live, c, A, B, C, row_of_count, 0, rows, result) < 0:
            return -1
        mask = None if mask is None else mask.reshape(shape)
        return run(rewards.reshape(shape), mask, c, A, B, C, row_of_count, out.reshape(shape))

    return work


def warm_up(dtypes: list[str], players: list[int]) -> None:
    """Have the kernels ready for small calls, and the form of large ones for these numbers of players."""
    for dtype in dtypes:
        char = np.dtype(dtype).char
        for kernel in (_IN_LANES, _BY_RANK):
            kernel.ready(char)
        _ready("linear", 0, char, False, False, True)
        for n, masked, has_b in product(players, (False, True), (False, True)):
            if (form := _fastest(n)) != "rows":
                _ready(form, n, char, masked, has_b, True)


@lru_cache(maxsize=64)
def _fastest(players: int) -> str:
    return next((form for form, longest in LONGEST.items() if players <= longest), "rows")


def _ascending(players: int) -> int:
    """In which order the written-out form adds up a player's levels, and so all others of this number of players."""
    return int(players <= LONGEST["registers"])


_READY: dict[tuple[Any, ...], Any] = {}


def _ready(form: str, players: int, dtype: str, masked: bool, has_b: bool, make: bool) -> Any:
    """The kernel of a form; None if it would have to be compiled and is not to be made."""
    key = (form, dtype, players, masked, has_b) if form == "registers" else (form, dtype)
    known = _READY.get(key, "unknown")
    if known == "unknown" or (known is None and make):
        if form == "registers":
            known = _registers(players, dtype, masked, has_b, make)
        else:
            known = _in_vectors(form, dtype, make)
        _READY[key] = known
    return known


def _in_vectors(form: str, dtype: str, make: bool) -> Kernel | None:
    try:
        kernel = _kernel(form)
    except BackendUnavailable:
        if make:
            raise
        return None
    return kernel if kernel.ready(dtype, make) else None


@lru_cache
def _kernel(form: str) -> Kernel:
    with building():  # these need numba's own modules, which a release may move
        from shapley_kernels.kernels.order._cpu_linear import rows_linear
        from shapley_kernels.kernels.order._cpu_network import rows_by_network
        from shapley_kernels.kernels.order._cpu_vectors import rows_in_vectors
    if form == "linear":
        return Kernel(rows_linear, "r1 b1 r1 r2 r2 r1 i1 e l", "r1")
    if form == "vectors":
        return Kernel(rows_in_vectors, "r1 b1 r1 r2 r2 r1 i1 i2 l l", "r1", grain=16)
    return Kernel(rows_by_network, "r2 n2 b2 r1 r2 r2 r1 i1 l2", grain=128)


def _registers(players: int, dtype: str, masked: bool, has_b: bool, make: bool) -> Any:
    real, none = numba.float32 if dtype == "f" else numba.float64, numba.types.none

    def read(kind: Any, dims: int) -> Any:
        return numba.types.Array(kind, dims, "C", readonly=True)

    mask, b = read(numba.uint8, 1) if masked else none, read(real, 2) if has_b else none
    tables = (read(real, 2), b, read(real, 1), read(numba.int32, 1))
    part, out = (numba.int64, numba.int64), numba.types.Array(real, 1, "C")
    signature = numba.int64(read(real, 1), mask, read(real, 1), *tables, *part, out)
    return compiled(registers_kernel(players, masked, has_b), signature, make)


def _in_registers(kernel: Any, rewards: Any, mask: Any, tables: Any, out: Any) -> int:
    """Rows of few players. Returns the first bad row, or -1."""
    rows, players = out.shape
    x, result = rewards.reshape(-1), out.reshape(-1)
    live = None if mask is None else mask.view(np.uint8).reshape(-1)
    bad = over_rows(lambda *part: kernel(x, live, *tables, *part, result), rows, 1, THREADED // players)
    return bad if bad < 0 else int((~np.isfinite(out)).any(axis=1).argmax())


def _by_rank(work: Any, rewards: Any, mask: Any, start: int, stop: int) -> int:
    """Rows start .. stop, sorted by numpy. Returns the first bad row, or -1."""
    bad = [work(ranks, first, first + len(ranks)) for first, ranks in order_of(rewards, mask, start, stop)]
    return min((row for row in bad if row >= 0), default=-1)


def _spread_nan(out: Any, mask: Any) -> None:
    """NaN for all live players of the rows with a credit that is not finite."""
    rows = np.flatnonzero(~np.isfinite(out).all(1))
    out[rows] = np.nan if mask is None else np.where(mask[rows], out.dtype.type(np.nan), 0)
