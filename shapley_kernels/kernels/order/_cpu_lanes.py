"""Rows of up to 32 players, a vector of rows at a time, one per lane, in code that takes half a second to compile and
serves all numbers of players, with and without a mask: what small calls take. Credits are those of other forms.

    out_i = sum_k (s_k - s_{k+1}) (A_k if s_k <= x_i else B_k) + c C,      s = x sorted, best first, s_{n+1} = c

What numba compiles takes milliseconds for each statement. So `enter` and `credit`, which are most of the work, are
written in instructions of LLVM; and once more in numpy, which says what they do and runs under NUMBA_DISABLE_JIT=1.
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
"""Vectors of a player, one behind the other: x (then its credits), 1 where it takes part, s, gap * A, gap * B, A, B."""
COUNT, BOTTOM, SHIFT = 0, SORTED, GAIN
"""Those behind the last player: live players, c (where s_{n+1} is), and c C."""


def scratch(players: int, dtype: Any) -> Any:
    """What `rows_in_lanes` works in."""
    return np.zeros((_padded(players) + 1) * FIELDS * (BYTES // dtype.itemsize), dtype)


def _padded(players: int) -> int:
    return -(-players // TOGETHER) * TOGETHER


def rows_in_lanes(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, network, ascending, work, start, stop, out
):
    """Rows start .. stop of `order`; `network` as of `_sorting_networks`, `work` as of `scratch`. Returns the first row
    with a credit that is not finite, or -1.

    ascending: in which order a player's levels are added up, 1: from the best on, else from the last.
    """
    lanes, players = BYTES // A.itemsize, rewards.shape[1]
    record, first_bad = FIELDS * lanes, -1
    end = (players + TOGETHER - 1) // TOGETHER * TOGETHER * record
    for first in range(start, stop, lanes):
        rows = min(lanes, stop - first)
        enter(work, rewards, mask, players, first, rows)
        if mask.size or v_empty.size > 1 or first == start:
            for lane in range(rows):
                live = int(work[end + lane])
                level = row_of_count[max(1, live)]
                beyond = row_of_count[players] if ascending else level
                c, at = v_empty[first + lane if v_empty.size > 1 else 0], end + lane
                work[at + BOTTOM * lanes], work[at + SHIFT * lanes] = c, c * C[level]
                at = lane + OF_BEST * lanes
                for k in range(players):
                    j = level if k < live else beyond
                    work[at] = A[j, k]
                    if B.size:
                        work[at + lanes] = B[j, k]
                    at += record
        bad = credit(work, network, out, players, ascending, first, rows)
        if bad < rows and first_bad < 0:
            first_bad = first + bad
    return first_bad


def _enter(typing: Any, work: Any, rewards: Any, mask: Any, players: Any, first: Any, rows: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, data, mask_data, players, first, rows = arguments
        do = _Vectors(context, builder, work, array)
        zero, one, word = do.constant(0.0), do.constant(1.0), players.type
        mask_array = context.make_array(mask)(context, builder, mask_data)
        masked = builder.icmp_signed("!=", mask_array.nitems, word(0))
        with do.numbers(rewards, data, first, rows, players) as (number, at):
            builder.store(builder.load(number), do.place(at, REWARD))
        with do.numbers(mask, mask_data, first, builder.select(masked, rows, word(0)), players) as (number, at):
            builder.store(builder.uitofp(builder.load(number), do.real), do.place(at, LIVE))
        count = do.variable(zero)
        with do.loop(players) as k:
            at = do.record(k)
            live = builder.select(masked, do.load(at, LIVE), one)
            do.add(count, live)
            do.store(at, LIVE, live)
        do.store(do.end(players), COUNT, builder.load(count))
        return context.get_dummy_value()

    return numba.void(work, rewards, mask, players, first, rows), generate


def _credit(typing: Any, work: Any, network: Any, out: Any, players: Any, ascending: Any, first: Any, rows: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, pairs, target, players, ascending, first, rows = arguments
        pairs, word = context.make_array(network)(context, builder, pairs), players.type
        do = _Vectors(context, builder, work, array)
        zero, one, end = do.constant(0.0), do.constant(1.0), do.end(players)
        rising = builder.icmp_signed("!=", ascending, ascending.type(0))
        nothing = builder.select(rising, do.constant(-0.0), zero)  # of a sum

        nan_flag = do.variable(nothing)  # 0, or NaN in a row with a reward that is not finite
        with do.loop(players) as k:
            at = do.record(k)
            live, x = do.at_most(one, do.load(at, LIVE)), do.load(at, REWARD)
            do.add(nan_flag, builder.fmul(builder.select(live, x, zero), zero))
            do.store(at, SORTED, builder.select(live, x, do.constant(-np.inf)))

        with do.loop(builder.extract_value(pairs.shape, 0)) as k:
            pair = builder.gep(pairs.data, [builder.mul(k, word(2))])
            i, j = (do.record(builder.sext(builder.load(builder.gep(pair, [word(i)])), word)) for i in (0, 1))
            x, y = do.load(i, SORTED), do.load(j, SORTED)
            do.store(i, SORTED, do.one_of(">", x, y))
            do.store(j, SORTED, do.one_of("<", x, y))

        count, bottom = do.load(end, COUNT), do.load(end, BOTTOM)
        nan_or_c = builder.fadd(builder.load(nan_flag), builder.fmul(bottom, zero))
        shift, lower = builder.fadd(do.load(end, SHIFT), nan_or_c), do.variable(bottom)
        with do.loop(players) as down:
            k = builder.sub(builder.sub(players, word(1)), down)
            at, rank = do.record(k), do.splat(builder.sitofp(k, do.real))
            s = builder.select(builder.fcmp_ordered("<", rank, count), do.load(at, SORTED), bottom)
            gap = builder.fsub(s, builder.load(lower))  # 0 between masked players
            do.store(at, SORTED, s)
            do.store(at, GAIN, builder.fmul(gap, do.load(at, OF_BEST)))
            do.store(at, LOSS, builder.fmul(gap, do.load(at, OF_OTHERS)))
            builder.store(s, lower)

        last = builder.sub(players, word(1))
        with do.loop(do.groups(players)) as group:
            own = [do.record(builder.add(builder.mul(group, word(TOGETHER)), word(i))) for i in range(TOGETHER)]
            xs, totals = [do.load(at, REWARD) for at in own], [do.variable(nothing) for _ in own]
            with do.loop(players) as k:
                at = do.record(builder.select(rising, k, builder.sub(last, k)))
                s, gain, loss = (do.load(at, field) for field in (SORTED, GAIN, LOSS))
                for x, total in zip(xs, totals, strict=True):
                    do.add(total, builder.select(do.at_most(s, x), gain, loss))
            for at, total in zip(own, totals, strict=True):
                y = builder.fadd(builder.load(total), shift)
                do.store(at, REWARD, builder.select(do.at_most(one, do.load(at, LIVE)), y, zero))

        builder.store(zero, nan_flag)
        with do.loop(players) as k:
            do.add(nan_flag, builder.fmul(do.load(do.record(k), REWARD), zero))
        with do.numbers(out, target, first, rows, players) as (number, at):
            builder.store(builder.load(do.place(at, REWARD)), number)
        bits = builder.bitcast(builder.fcmp_unordered("!=", builder.load(nan_flag), zero), ir.IntType(do.lanes))
        return builder.zext(builder.cttz(bits, ir.IntType(1)(0)), word)

    return numba.intp(work, network, out, players, ascending, first, rows), generate


class _Vectors:
    """What `_enter` and `_credit` have the builder do with the vectors of `work`."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.context, self.builder = context, builder
        self.data = context.make_array(kind)(context, builder, array).data
        self.real, self.size = context.get_value_type(kind.dtype), kind.dtype.bitwidth // 8
        self.lanes = BYTES // self.size
        self.type = ir.VectorType(self.real, self.lanes)

    def constant(self, x: float) -> Any:
        return ir.Constant(self.type, [x] * self.lanes)

    def splat(self, x: Any) -> Any:
        first = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), x, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None))

    def groups(self, players: Any) -> Any:
        """Of players whose sums run side by side."""
        word = players.type
        return self.builder.sdiv(self.builder.add(players, word(TOGETHER - 1)), word(TOGETHER))

    def record(self, player: Any) -> Any:
        return self.builder.mul(player, player.type(FIELDS * self.lanes))

    def end(self, players: Any) -> Any:
        return self.record(self.builder.mul(self.groups(players), players.type(TOGETHER)))

    def place(self, at: Any, field: int) -> Any:
        return self.builder.gep(self.data, [self.builder.add(at, at.type(field * self.lanes))])

    def load(self, at: Any, field: int) -> Any:
        return self.builder.load(self._vector(at, field), align=self.size)

    def store(self, at: Any, field: int, x: Any) -> None:
        self.builder.store(x, self._vector(at, field), align=self.size)

    def _vector(self, at: Any, field: int) -> Any:
        return self.builder.bitcast(self.place(at, field), self.type.as_pointer())

    @contextmanager
    def numbers(self, kind: Any, array: Any, first: Any, rows: Any, players: Any) -> Iterator[tuple[Any, Any]]:
        """For each number of the rows first .. first + rows of an array [.., players], its place there, and that of its
        lane in the record of its player."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        with self.loop(rows) as lane:
            row = self.builder.mul(self.builder.add(first, lane), players)
            with self.loop(players) as k:
                place = self.builder.gep(data, [self.builder.add(row, k)])
                yield place, self.builder.add(self.record(k), lane)

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


def _fields(work: Any, players: int) -> tuple[Any, Any]:
    """[players, FIELDS, lanes], and the vectors behind the last player."""
    fields = work.reshape(_padded(players) + 1, FIELDS, -1)
    return fields[:players], fields[-1]


def _enter_in_numpy(work: Any, rewards: Any, mask: Any, players: int, first: int, rows: int) -> None:
    """Rewards, and who is live, to vectors; how many are."""
    fields, end = _fields(work, players)
    fields[:, REWARD, :rows] = rewards[first : first + rows].T
    fields[:, LIVE, :rows] = mask[first : first + rows].T if mask.size else 1
    end[COUNT] = fields[:, LIVE].sum(0)


def _credit_in_numpy(work: Any, network: Any, out: Any, players: int, ascending: int, first: int, rows: int) -> int:
    """Credits of a vector of rows. Returns the first lane with one that is not finite, `rows` or more for none."""
    fields, end = _fields(work, players)
    x, s, live = fields[:, REWARD], fields[:, SORTED], fields[:, LIVE] > 0
    zero, nothing = x.dtype.type(0), x.dtype.type(-0.0 if ascending else 0)
    shift = end[SHIFT] + (sum(np.where(live, x, zero) * zero, nothing) + end[BOTTOM] * zero)
    s[:] = np.where(live, x, -np.inf)
    for i, j in network:
        s[i], s[j] = np.maximum(s[i], s[j]), np.minimum(s[i], s[j])
    s[:] = np.where(np.arange(players)[:, None] < end[COUNT], s, end[BOTTOM])
    gaps = s - np.concatenate([s[1:], end[None, BOTTOM]])[:players]
    gain, loss = gaps * fields[:, OF_BEST], gaps * fields[:, OF_OTHERS]
    levels = range(players) if ascending else range(players - 1, -1, -1)
    total = sum((np.where(s[k] <= x, gain[k], loss[k]) for k in levels), nothing) + shift
    x[:] = np.where(live, total, zero)
    out[first : first + rows] = x[:, :rows].T
    bad = np.flatnonzero((x * zero).sum(0) != 0)
    return int(bad[0]) if bad.size else rows


_PYTHON = bool(getattr(numba.config, "DISABLE_JIT", 0))
enter = _enter_in_numpy if _PYTHON else intrinsic(_enter)
credit = _credit_in_numpy if _PYTHON else intrinsic(_credit)
