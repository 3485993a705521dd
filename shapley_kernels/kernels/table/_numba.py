"""`table` on the CPU: of few players a vector of coalition tables at a time, one per lane; of many one after the other,
a vector of coalitions at a time. Compiled without the GIL, so it may be called from many threads at once and after a
fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._coalitions import FOUR, four_credits, set_weights
from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel, in_one_part
from shapley_kernels.kernels._simd import (
    BITS,
    aligned,
    from_lanes,
    lanes,
    load,
    ones,
    splat,
    store,
    to_lanes,
    total,
)

MOST_IN_LANES = 8
"""The most players of tables that are taken a vector at a time, as long as those stay in the L1 cache."""

CHUNK = 16
"""Sets of others whose differences are added up in fours; more are added up in a tree. A power of two."""


def run(values: Any, mask: Any, weights: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, values and out in the compute dtype.

    Returns:
        The first row with a non-finite live entry, -1 when there is none.
    """
    rows, players = out.shape
    size = BITS // 8 // weights.itemsize
    given: Any
    if players <= MOST_IN_LANES:
        kernel, given, vectors = _IN_LANES, (), _vectors(players)
    else:
        tree = FOUR * (players + 1)
        kernel, given, vectors = _IN_ROWS, (CHUNK,), (1 << players) // size + (CHUNK << FOUR) + 2 * players + tree
    arrays = values.reshape(-1), mask, weights, row_of_count, *given, out.reshape(-1)

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros((vectors + 1) * size, weights.dtype),)

    return kernel(rows, players << max(0, players - 1), weights.dtype, *arrays, scratch=scratch)


def bound(shape: tuple[int, int], weights: Any, row_of_count: Any) -> Any:
    """`run` of small calls of few players on these tables, as work(values, mask, out) that has nothing left to choose,
    and whose rows may have several axes; None for others."""
    rows, players = shape
    if not 0 < players <= MOST_IN_LANES or not in_one_part(rows, players << players):
        return None
    kernel, (_, nobody, *_) = _IN_LANES.ready(weights.dtype.char)  # type: ignore[misc]
    size = (_vectors(players) + 1) * BITS // 8 // weights.itemsize

    def work(values: Any, mask: Any, out: Any) -> int:
        live, room = nobody if mask is None else mask.view(np.uint8).reshape(shape), np.zeros(size, weights.dtype)
        return kernel(values.reshape(-1), live, weights, row_of_count, room, 0, rows, out.reshape(-1))

    return work


def _vectors(players: int) -> int:
    """That tables in lanes are worked out in."""
    bits = max(players, FOUR)
    return (1 << bits) + 2 * bits


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_IN_LANES, _IN_ROWS):
            kernel.ready(np.dtype(dtype).char)


def _table_in_lanes(values, mask, weights, row_of_count, work, start, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = row_of_count.size - 1, lanes(work), weights.dtype.type
    bits, whole = max(players, FOUR), 1 << players
    table = aligned(work)  # [coalition, lane]
    weight = table + (size << bits)  # [others, lane]
    credit = weight + bits * size  # [player, lane]
    known, first_bad = False, -1
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        if mask.size:
            for row in range(rows):
                live = _packed(values, mask, first + row, players, work, table + row, size, 1 << bits)
                set_weights(weights, row_of_count[live], 0, live, work, weight + row, size, bits)
        else:
            to_lanes(values, first << players, rows, whole, whole, work, table)
            for row in range(0 if known else size):
                set_weights(weights, row_of_count[players], 0, players, work, weight + row, size, bits)
            known = True
        for four in range(0, bits, FOUR):
            i = min(four, bits - FOUR)
            soon = ((first + size) << players) + (four * size << (bits - 3))  # half of the table for each four
            four_credits(work, table, size << i, 0, 1 << (bits - FOUR), weight, credit + i * size, values, soon)
        nan_flag = splat(work, real(0))  # 0, or NaN in a row with a credit that is not finite
        for i in range(players):
            nan_flag = nan_flag + load(work, credit + i * size) * splat(work, real(0))
        whole_vector = mask.size == 0 and total(nan_flag) == 0
        if whole_vector:
            from_lanes(work, credit, rows, players, out, first * players, players)
        for row in range(0 if whole_vector else rows):
            if _written(work, credit + row, size, mask, first + row, players, out) and first_bad < 0:
                first_bad = first + row
    return first_bad


def _table_in_rows(values, mask, weights, row_of_count, chunk, work, start, stop, out):  # type: ignore[no-untyped-def]
    """Lanes are the coalitions of the first players; while those are served, of the players behind the first four."""
    players, size = row_of_count.size - 1, lanes(work)
    table = aligned(work)
    turned = table + (1 << players)  # parts of the table: [place, coalition of the first four, lane]
    weight = turned + (chunk << FOUR) * size  # [others that are not in lanes, lane]
    sums = weight + players * size  # [height, player of a four, lane]
    credit = sums + FOUR * players * size
    known, first_bad = -1, -1
    for row in range(start, stop):
        if mask.size:
            live = _packed(values, mask, row, players, work, table, 1, 2 << MOST_IN_LANES)
        else:
            live = players
            for x in range(0, 1 << players, size):
                store(work, table + x, load(values, (row << players) + x))
        bits = max(live, MOST_IN_LANES + 1)
        for lane in range(0 if live == known else size):
            set_weights(weights, row_of_count[live], ones(lane), live, work, weight + lane, size, bits)
        known = live
        others, part = (1 << (bits - FOUR)) // size, size << FOUR
        for four in range(0, bits, FOUR):
            i, height, soon = min(four, bits - FOUR), 0, ((row + 1) << players) + (four << (bits - 3))
            for first in range(0, others, chunk):
                some, height = min(chunk, others - first), _ends_with(first // chunk)
                to = sums + height * FOUR * size
                if i == 0:
                    for k in range(some):
                        at = turned + k * part
                        to_lanes(work, table + (first + k) * part, size, 1 << FOUR, 1 << FOUR, work, at)
                    four_credits(work, turned - first * part, size, first, some, weight, to, values, soon)
                else:
                    four_credits(work, table, 1 << i, first, some, weight, to, values, soon)
                for lower in range(sums, to, FOUR * size):
                    for x in range(0, FOUR * size, size):
                        store(work, to + x, load(work, to + x) + load(work, lower + x))
            for x in range(FOUR):
                work[credit + i + x] = total(load(work, sums + (height * FOUR + x) * size))
        if _written(work, credit, 1, mask, row, players, out) and first_bad < 0:
            first_bad = row
    return first_bad


@helper
def _packed(values, mask, row, players, table, to, stride, width):  # type: ignore[no-untyped-def]
    """table[to + x * stride] of the live players alone, and zeros up to `width`; their number is returned."""
    live, everybody = 0, 0
    for i in range(players):
        present = np.int64(mask[row, i] != 0)
        live += present
        everybody |= present << i
    coalition = 0
    for x in range(1 << live):
        table[to + x * stride] = values[(row << players) + coalition]
        coalition = (coalition - everybody) & everybody
    for x in range(1 << live, width):
        table[to + x * stride] = 0
    return live


@helper
def _ends_with(x):  # type: ignore[no-untyped-def]
    """How many bits of x are 1 before one is 0."""
    return ones(x & ~(x + 1))


@helper
def _written(credit, at, stride, mask, row, players, out):  # type: ignore[no-untyped-def]
    """Write the credits of a row, those of its live players one after the other. Returns whether one is not finite."""
    live, usable = 0, True
    for i in range(players):
        share = credit.dtype.type(0)
        if mask.size == 0 or mask[row, i]:
            share = credit[at + live * stride]
            usable &= np.isfinite(share)
            live += 1
        out[row * players + i] = share
    for i in range(0 if usable else players):
        if mask.size == 0 or mask[row, i]:
            out[row * players + i] = np.nan
    return not usable


_IN_LANES = Kernel(_table_in_lanes, "r1 b2 r2 i1 R1", "r1", grain=16)
_IN_ROWS = Kernel(_table_in_rows, "r1 b2 r2 i1 l R1", "r1")
