"""Rows of up to 32 players in code that takes half a second to compile, and serves all numbers of players, with and
without a mask: what small calls take. A vector of rows at a time, one per lane; credits are bit for bit those of the forms
that large calls take.

    out_i = sum_k (s_k - s_{k+1}) (A_k if s_k <= x_i else B_k) + c C,      s = x sorted, best first, s_{n+1} = c

What numba compiles takes milliseconds for each statement. So only what is done to a row alone is left to it; what is
done to vectors is one function, `credit`, written in instructions of LLVM, and once more in numpy, which says what it
does and runs under NUMBA_DISABLE_JIT=1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

BYTES = 64
"""Of a vector."""

TOGETHER = 4
"""Players whose sums run side by side: one has to wait for its last addition, and a level is loaded once for all."""

FIELDS = 7
REWARD, LIVE, SORTED, GAIN, LOSS, OF_BEST, OF_OTHERS = range(FIELDS)
"""Vectors of a player, one behind the other: x, 1 where it takes part, s, gap * A, gap * B, A, B. Its credits replace x."""
COUNT, BAD, BOTTOM, SHIFT = range(4)
"""Those behind the last player: live players, 0 or NaN in a row with a credit that is not finite, c (where s_{n+1} is),
and c C."""


def room(players: int, dtype: Any) -> Any:
    """What `rows_in_lanes` works in."""
    return np.zeros((_padded(players) + 1) * FIELDS * (BYTES // dtype.itemsize), dtype)


def _padded(players: int) -> int:
    return -(-players // TOGETHER) * TOGETHER


def rows_in_lanes(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, network, ascending, work, start, stop, out
):
    """Rows start .. stop of `order`; `network` as of `_sorting_networks`, `work` as of `room`. Returns the first row with
    a credit that is not finite, or -1.

    ascending: in which order a player's levels are added up, 1: from the best on, else from the last.
    """
    lanes, players = BYTES // A.itemsize, rewards.shape[1]
    record, first_bad = FIELDS * lanes, -1
    end = (players + TOGETHER - 1) // TOGETHER * TOGETHER * record
    for first in range(start, stop, lanes):
        rows = min(lanes, stop - first)
        for lane in range(rows):
            b, at, live = first + lane, lane, 0
            for k in range(players):
                work[at] = rewards[b, k]
                if mask.size:
                    here = mask[b, k]
                    work[at + LIVE * lanes] = here
                    live += here
                at += record
            if mask.size or v_empty.size > 1 or first == start:
                live = live if mask.size else players
                level = row_of_count[max(1, live)]
                beyond = row_of_count[players] if ascending else level
                c, at = v_empty[b if v_empty.size > 1 else 0], end + lane
                work[at], work[at + BOTTOM * lanes], work[at + SHIFT * lanes] = live, c, c * C[level]
                at = lane + OF_BEST * lanes
                for k in range(players):
                    j = level if k < live else beyond
                    work[at] = A[j, k]
                    if B.size:
                        work[at + lanes] = B[j, k]
                    at += record
        credit(work, network, players, ascending, mask.size)
        for lane in range(rows):
            if work[end + BAD * lanes + lane] != 0 and first_bad < 0:
                first_bad = first + lane
            at = lane
            for k in range(players):
                out[first + lane, k] = work[at]
                at += record
    return first_bad


def _credit(typing: Any, work: Any, network: Any, players: Any, ascending: Any, masked: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, pairs, players, ascending, masked = arguments
        pairs, word = context.make_array(network)(context, builder, pairs), players.type
        do = _Vectors(context, builder, work, array)
        zero, one, record, step = do.constant(0.0), do.constant(1.0), word(FIELDS * do.lanes), word(TOGETHER)
        groups = builder.sdiv(builder.add(players, word(TOGETHER - 1)), step)
        end = builder.mul(builder.mul(groups, step), record)
        rising, some = (builder.icmp_signed("!=", x, x.type(0)) for x in (ascending, masked))
        nothing, least_live = builder.select(rising, do.constant(-0.0), zero), builder.select(some, one, zero)

        odd = do.variable(nothing)  # 0, or NaN in a row with a reward that is not finite
        with do.loop(players) as k:
            at = builder.mul(k, record)
            live, x = do.at_most(least_live, do.load(at, LIVE)), do.load(at, REWARD)
            do.add(odd, builder.fmul(builder.select(live, x, zero), zero))
            do.store(at, SORTED, builder.select(live, x, do.constant(-np.inf)))

        with do.loop(builder.extract_value(pairs.shape, 0)) as k:
            place = builder.gep(pairs.data, [builder.mul(k, word(2))])
            i, j = (builder.load(builder.gep(place, [word(side)])) for side in (0, 1))
            i, j = (builder.mul(builder.sext(x, word), record) for x in (i, j))
            x, y = do.load(i, SORTED), do.load(j, SORTED)
            do.store(i, SORTED, do.one_of(">", x, y))
            do.store(j, SORTED, do.one_of("<", x, y))

        count, bottom = do.load(end, COUNT), do.load(end, BOTTOM)
        odd_or_c = builder.fadd(builder.load(odd), builder.fmul(bottom, zero))
        shift, lower = builder.fadd(do.load(end, SHIFT), odd_or_c), do.variable(bottom)
        with do.loop(players) as down:
            k = builder.sub(builder.sub(players, word(1)), down)
            at, place = builder.mul(k, record), do.splat(builder.sitofp(k, do.real))
            s = builder.select(builder.fcmp_ordered("<", place, count), do.load(at, SORTED), bottom)
            gap = builder.fsub(s, builder.load(lower))  # those of masked players are 0
            do.store(at, SORTED, s)
            do.store(at, GAIN, builder.fmul(gap, do.load(at, OF_BEST)))
            do.store(at, LOSS, builder.fmul(gap, do.load(at, OF_OTHERS)))
            builder.store(s, lower)

        builder.store(zero, odd)
        best, worst = word(0), builder.mul(builder.sub(players, word(1)), record)
        begin, stride = (builder.select(rising, up, down) for up, down in ((best, worst), (record, builder.neg(record))))
        with do.loop(groups) as group:
            own = [builder.add(builder.mul(group, step), word(i)) for i in range(TOGETHER)]
            places = [builder.mul(k, record) for k in own]
            xs, totals = [do.load(at, REWARD) for at in places], [do.variable(nothing) for _ in own]
            with do.loop(players) as k:
                at = builder.add(begin, builder.mul(k, stride))
                s, gain, loss = (do.load(at, field) for field in (SORTED, GAIN, LOSS))
                for x, total in zip(xs, totals, strict=True):
                    do.add(total, builder.select(do.at_most(s, x), gain, loss))
            for k, at, total in zip(own, places, totals, strict=True):
                y = builder.fadd(builder.load(total), shift)
                y = builder.select(do.at_most(least_live, do.load(at, LIVE)), y, zero)
                do.store(at, REWARD, y)
                exists = builder.icmp_signed("<", k, players)
                do.add(odd, builder.select(exists, builder.fmul(y, zero), zero))
        do.store(end, BAD, builder.load(odd))
        return context.get_dummy_value()

    return numba.void(work, network, players, ascending, masked), generate


class _Vectors:
    """What `_credit` has the builder do with the vectors of an array."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder, self.data = builder, context.make_array(kind)(context, builder, array).data
        self.real, self.size = context.get_value_type(kind.dtype), kind.dtype.bitwidth // 8
        self.lanes = BYTES // self.size
        self.type = ir.VectorType(self.real, self.lanes)

    def constant(self, x: float) -> Any:
        return ir.Constant(self.type, [x] * self.lanes)

    def splat(self, x: Any) -> Any:
        first = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), x, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None))

    def load(self, at: Any, field: int) -> Any:
        return self.builder.load(self._address(at, field), align=self.size)

    def store(self, at: Any, field: int, x: Any) -> None:
        self.builder.store(x, self._address(at, field), align=self.size)

    def _address(self, at: Any, field: int) -> Any:
        place = self.builder.gep(self.data, [self.builder.add(at, at.type(field * self.lanes))])
        return self.builder.bitcast(place, self.type.as_pointer())

    def variable(self, x: Any) -> Any:
        place = cgutils.alloca_once(self.builder, self.type)
        self.builder.store(x, place)
        return place

    def add(self, variable: Any, x: Any) -> None:
        self.builder.store(self.builder.fadd(self.builder.load(variable), x), variable)

    def at_most(self, x: Any, y: Any) -> Any:
        return self.builder.fcmp_ordered("<=", x, y)

    def one_of(self, comparison: str, x: Any, y: Any) -> Any:
        """The larger or smaller: either of two zeros, and anything for a NaN."""
        flags = ("nnan", "nsz")
        return self.builder.select(self.builder.fcmp_ordered(comparison, x, y, flags=flags), x, y, flags=flags)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        with cgutils.for_range(self.builder, count) as loop:
            yield loop.index


def _credit_in_numpy(work: Any, network: Any, players: int, ascending: int, masked: int) -> None:
    """Credits of a vector of rows, in place of the rewards."""
    fields = work.reshape(_padded(players) + 1, FIELDS, -1)
    x, s, end = fields[:players, REWARD], fields[:players, SORTED], fields[-1]
    live, nothing, zero = fields[:players, LIVE] >= (masked > 0), x.dtype.type(-0.0 if ascending else 0), x.dtype.type(0)
    shift = end[SHIFT] + (sum((np.where(live, x, zero) * zero), nothing) + end[BOTTOM] * zero)
    s[:] = np.where(live, x, -np.inf)
    for i, j in network:
        s[i], s[j] = np.maximum(s[i], s[j]), np.minimum(s[i], s[j])
    s[:] = np.where(np.arange(players)[:, None] < end[COUNT], s, end[BOTTOM])
    gaps = s - np.concatenate([s[1:], end[None, BOTTOM]])[:players]
    gain, loss = gaps * fields[:players, OF_BEST], gaps * fields[:players, OF_OTHERS]
    levels = range(players) if ascending else range(players - 1, -1, -1)
    total = sum((np.where(s[k] <= x, gain[k], loss[k]) for k in levels), nothing) + shift
    x[:] = np.where(live, total, zero)
    end[BAD] = (x * zero).sum(0)


credit = _credit_in_numpy if getattr(numba.config, "DISABLE_JIT", 0) else intrinsic(_credit)
