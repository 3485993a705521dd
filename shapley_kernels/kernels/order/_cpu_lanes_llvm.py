"""What `_cpu_lanes` does with a vector of rows, as instructions of LLVM. Its numpy says what; here is how.

Rows become vectors, and vectors rows, by blocks half as wide as a vector. The last rows, whose blocks may reach beyond
the arrays, come and go through a copy.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from shapley_kernels.kernels._simd import BITS, halves, halves_from_lanes, lanes_from_halves, shuffled
from shapley_kernels.kernels.order._sorting_networks import COMPARATORS, TOGETHER, fused_network

BYTES = BITS // 8
"""Of a vector."""

FIELDS = 5
SORTED, LIVE, LOSS, OF_BEST, OF_OTHERS = range(FIELDS)
"""Vectors of a player, one behind the other: x, then s, then credits; bits of the lanes where it is live; gap * B; and
with a mask A and B."""
COUNT, BOTTOM, OF_EMPTY = LIVE, LOSS, OF_BEST
"""Those behind the last player: how many are live, c, and with a mask C. Its SORTED, -inf, stands for players that do
not exist."""


def whole(players: int, lanes: int) -> int:
    """Players in whole blocks."""
    block = lanes // 2
    return -(-players // block) * block


@lru_cache
def room(players: int, itemsize: int) -> int:
    """Numbers that `work` takes: vectors of players; the last rows, and their mask, copied; bits of the comparators;
    and what it takes to begin where a line of the cache does."""
    lanes, comparators = BYTES // itemsize, sum(len(COMPARATORS[kind]) for kind in fused_network(players)[:, 0])
    padded, swaps = whole(players, lanes), -(-comparators * lanes // (8 * itemsize))
    return ((padded + 1) * FIELDS + 2 * padded + 1) * lanes + swaps


@intrinsic
def enter(typing, work, rewards, mask, tile):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        do = _Code(context, builder, work, arguments[0], tile, arguments[3])
        least, one, zero = do.constant(-np.inf), do.constant(1.0), do.constant(0.0)
        rows = _Rows(do, rewards, arguments[1], do.copies)
        rows.fetch()
        with builder.if_else(do.is_given(mask, arguments[2])) as (then, otherwise):
            with otherwise:
                do.columns(rows.places(), SORTED)
            with then:
                alive = _Rows(do, mask, arguments[2], do.copies_of_mask)
                alive.fetch()
                do.columns(rows.places(), SORTED, alive.places())
                count = do.variable(zero)
                with do.loop(do.players) as k:
                    is_live = builder.fcmp_unordered("!=", do.load(do.vector(k, SORTED)), least)
                    do.add(count, builder.select(is_live, one, zero))
                    do.store(do.vector(k, LIVE), is_live)
                do.store(do.vector(do.whole, COUNT), builder.load(count))
        do.store(do.vector(do.whole, SORTED), least)
        return context.get_dummy_value()

    return numba.void(work, rewards, mask, tile), generate


@intrinsic
def look_up(typing, work, A, B, C, row_of_count, players):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        do = _Code(context, builder, work, arguments[0], players, arguments[5])
        a, b, c, rows = do.data(zip((A, B, C, row_of_count), arguments[1:5], strict=True))
        count, one = do.load(do.vector(do.whole, COUNT)), do.constant(1.0)
        count = builder.select(builder.fcmp_ordered("<", count, one), one, count)
        counts = do.variable(builder.fptosi(count, do.of(ir.IntType(32))))
        counts, begins = builder.bitcast(counts, ir.IntType(32).as_pointer()), []
        for lane in map(do.word, range(do.lanes)):
            row = do.whole_number(rows, do.whole_number(counts, lane))
            builder.store(do.entry(c, row), builder.gep(do.vector(do.whole, OF_EMPTY), [lane]))
            begins.append(builder.mul(row, do.players))
        do.columns([builder.gep(a, [begin]) for begin in begins], OF_BEST, inside=False)
        with builder.if_then(do.is_given(B, arguments[2])):
            do.columns([builder.gep(b, [begin]) for begin in begins], OF_OTHERS, inside=False)
        return context.get_dummy_value()

    return numba.void(work, A, B, C, row_of_count, players), generate


@intrinsic
def credit(typing, work, steps, mask, A, B, C, row_of_count, out, tile):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        do = _Code(context, builder, work, arguments[0], tile, arguments[8])
        masked, has_b = do.is_given(mask, arguments[2]), do.is_given(B, arguments[4])
        table = context.make_array(steps)(context, builder, arguments[1])
        table, count = table.data, builder.extract_value(table.shape, 0)
        with do.loop(count) as step:
            do.exchange(table, step)

        a, b, c, rows = do.data(zip((A, B, C, row_of_count), arguments[3:7], strict=True))
        sums = do.variable(do.constant(0.0))
        with builder.if_else(masked) as (then, otherwise):
            with then:
                of_empty = do.load(do.vector(do.whole, OF_EMPTY))
                do.by_rank(lambda field, k: do.load(do.vector(k, field)), of_empty, has_b, sums, masked=True)
            with otherwise:
                row = do.whole_number(rows, do.players)
                begin, of_empty = builder.mul(row, do.players), do.splat(do.entry(c, row))
                tables = {OF_BEST: builder.gep(a, [begin]), OF_OTHERS: builder.gep(b, [begin])}
                do.by_rank(lambda field, k: do.splat(do.entry(tables[field], k)), of_empty, has_b, sums, masked=False)

        with do.loop(count, down=True) as step:
            do.exchange(table, step, undo=True)
        bad = do.spread_nan(sums)
        with builder.if_then(masked), do.loop(do.players) as k:
            at, zero = do.vector(k, SORTED), do.constant(0.0)
            do.store(at, builder.select(do.load(do.vector(k, LIVE), do.bits), do.load(at), zero))
        target = _Rows(do, out, arguments[7], do.copies)
        do.rows(target.places())
        target.put()
        return bad

    return numba.intp(work, steps, mask, A, B, C, row_of_count, out, tile), generate


class _Code:
    """What the builder is had to write: code on vectors in `work`, each of them of `lanes` rows."""

    def __init__(self, context: Any, builder: Any, kind: Any, work: Any, tile_kind: Any, tile: Any) -> None:
        """tile: as of `_cpu_lanes`, or the players alone."""
        self.context, self.builder, self.word = context, builder, ir.IntType(64)
        numbers = cgutils.unpack_tuple(builder, tile) if isinstance(tile_kind, numba.types.BaseTuple) else [tile]
        self.players, self.tile = numbers[0], numbers[1:]
        self.real, self.size = context.get_value_type(kind.dtype), kind.dtype.bitwidth // 8
        self.lanes = BYTES // self.size
        self.block = self.word(self.lanes // 2)
        self.type, self.bits = self.of(self.real), self.of(ir.IntType(1))
        blocks = builder.sdiv(builder.add(self.players, self.word(self.lanes // 2 - 1)), self.block)
        self.whole = builder.mul(blocks, self.block)
        self.work = context.make_array(kind)(context, builder, work).data
        tile = builder.mul(self.whole, self.word(self.lanes))
        self.copies = self.vector(builder.add(self.whole, self.word(1)), 0)
        self.copies_of_mask = builder.gep(self.copies, [tile])
        self.swaps = builder.gep(self.copies_of_mask, [tile])

    # -- vectors -------------------------------------------------------------------------------------------------------

    def of(self, kind: Any) -> Any:
        return ir.VectorType(kind, self.lanes)

    def constant(self, x: float) -> Any:
        return ir.Constant(self.type, [x] * self.lanes)

    def splat(self, x: Any) -> Any:
        first = self.builder.insert_element(ir.Constant(self.of(x.type), ir.Undefined), x, ir.IntType(32)(0))
        return shuffled(self.builder, first, first, [0] * self.lanes)

    def vector(self, player: Any, field: int) -> Any:
        """Where the vector of a player is."""
        at = self.builder.mul(player, self.word(FIELDS * self.lanes))
        return self.builder.gep(self.work, [self.builder.add(at, self.word(field * self.lanes))])

    def load(self, place: Any, kind: Any = None) -> Any:
        kind = kind or self.type
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=self._align(kind))

    def store(self, place: Any, vector: Any) -> None:
        place = self.builder.bitcast(place, vector.type.as_pointer())
        self.builder.store(vector, place, align=self._align(vector.type))

    def _align(self, kind: Any) -> int:
        return 1 if kind == self.bits else self.size

    def variable(self, x: Any) -> Any:
        return cgutils.alloca_once_value(self.builder, x)

    def add(self, variable: Any, x: Any) -> None:
        self.builder.store(self.builder.fadd(self.builder.load(variable), x), variable)

    @contextmanager
    def loop(self, count: Any, down: bool = False) -> Iterator[Any]:
        with cgutils.for_range(self.builder, count) as loop:
            last = self.builder.sub(count, self.word(1))
            yield self.builder.sub(last, loop.index) if down else loop.index

    # -- arrays --------------------------------------------------------------------------------------------------------

    def data(self, arrays: Iterable[tuple[Any, Any]]) -> list[Any]:
        """Where the data of arrays, (type, value), begin."""
        return [self.context.make_array(kind)(self.context, self.builder, array).data for kind, array in arrays]

    def is_given(self, kind: Any, array: Any) -> Any:
        """Whether an array has elements."""
        count = self.context.make_array(kind)(self.context, self.builder, array).nitems
        return self.builder.icmp_signed("!=", count, self.word(0))

    def entry(self, data: Any, at: Any) -> Any:
        return self.builder.load(self.builder.gep(data, [at]))

    def whole_number(self, data: Any, at: Any) -> Any:
        """An entry of int32."""
        return self.builder.sext(self.entry(data, at), self.word)

    # -- credits -------------------------------------------------------------------------------------------------------

    def exchange(self, table: Any, step: Any, undo: bool = False) -> None:
        """A step of the network, whose swaps are kept; or undo it, by those."""
        entry = self.builder.mul(step, self.word(TOGETHER + 2))
        kind, *places, before = (
            self.whole_number(table, self.builder.add(entry, self.word(i))) for i in range(TOGETHER + 2)
        )
        places = [self.builder.gep(self.work, [place]) for place in places]
        swaps = self.builder.bitcast(self.swaps, ir.IntType(self.lanes).as_pointer())
        swaps, done = self.builder.gep(swaps, [before]), self.builder.append_basic_block()
        switch = self.builder.switch(kind, done)
        for i, comparators in enumerate(COMPARATORS):
            block = self.builder.append_basic_block()
            switch.add_case(self.word(i), block)
            with self.builder.goto_block(block):
                self._exchange(places, comparators, swaps, undo)
                self.builder.branch(done)
        self.builder.position_at_end(done)

    def _exchange(self, places: list[Any], comparators: list[tuple[int, int]], swaps: Any, undo: bool) -> None:
        players = sorted({i for pair in comparators for i in pair})
        x = {i: self.load(places[i]) for i in players}
        for number, (i, j) in sorted(enumerate(comparators), reverse=undo):
            bits = self.builder.gep(swaps, [self.word(number)])
            if undo:
                swap = self.load(bits, self.bits)
            else:
                swap = self.builder.fcmp_ordered("<", x[i], x[j])
                self.store(bits, swap)
            x[i], x[j] = self.builder.select(swap, x[j], x[i]), self.builder.select(swap, x[i], x[j])
        for i in players:
            self.store(places[i], x[i])

    def by_rank(
        self, coefficient: Callable[[int, Any], Any], of_empty: Any, has_b: Any, sums: Any, masked: bool
    ) -> None:
        """From sorted rewards to credits, which are also added up.

        Args:
            coefficient: from OF_BEST or OF_OTHERS and a rank to a vector.
        """
        builder = self.builder
        bottom, least = self.load(self.vector(self.whole, BOTTOM)), self.constant(-np.inf)
        # no negative zeros: with it a credit that is 0 is +0, whatever the signs of its parts
        shift = builder.fadd(builder.fmul(bottom, of_empty), self.constant(0.0))
        lower, total = self.variable(bottom), self.variable(self.constant(-0.0))
        with self.loop(self.players, down=True) as k:
            s, below, t = self.load(self.vector(k, SORTED)), builder.load(lower), builder.load(total)
            gap = builder.fsub(s, below)
            more = builder.fadd(t, builder.fmul(gap, coefficient(OF_BEST, k)))
            if masked:
                live = builder.fcmp_unordered("!=", s, least)
                more, s = builder.select(live, more, t), builder.select(live, s, below)
                gap = builder.select(live, gap, self.constant(0.0))
            share = builder.fadd(more, shift)
            self.store(self.vector(k, SORTED), share)
            self.add(sums, share)
            with builder.if_then(has_b):
                self.store(self.vector(k, LOSS), builder.fmul(gap, coefficient(OF_OTHERS, k)))
            builder.store(more, total)
            builder.store(s, lower)
        with builder.if_then(has_b):
            builder.store(self.constant(-0.0), total)
            with self.loop(self.players) as k:
                share = builder.fadd(self.load(self.vector(k, SORTED)), builder.load(total))
                self.store(self.vector(k, SORTED), share)
                self.add(sums, share)
                self.add(total, self.load(self.vector(k, LOSS)))

    def spread_nan(self, sums: Any) -> Any:
        """NaN for all credits of a lane with one that is not finite, which is looked for where the sum is not. Returns
        the first such lane, `lanes` for none."""
        builder, integer = self.builder, ir.IntType(self.lanes)
        bad = self.variable(integer(0))
        suspect = builder.icmp_unsigned("!=", self._not_finite(sums), integer(0))
        with builder.if_then(suspect, likely=False):
            flags = self.variable(self.constant(0.0))
            with self.loop(self.players) as k:
                self.add(flags, builder.fmul(self.load(self.vector(k, SORTED)), self.constant(0.0)))
            builder.store(self._not_finite(flags), bad)
            with self.loop(self.players) as k:
                credit = builder.fadd(self.load(self.vector(k, SORTED)), builder.load(flags))
                self.store(self.vector(k, SORTED), credit)
        first = builder.cttz(builder.load(bad), ir.IntType(1)(0))
        return builder.zext(first, self.word)

    def _not_finite(self, variable: Any) -> Any:
        """A bit for each lane."""
        zeros = self.builder.fmul(self.builder.load(variable), self.constant(0.0))
        flags = self.builder.fcmp_unordered("!=", zeros, self.constant(0.0))
        return self.builder.bitcast(flags, ir.IntType(self.lanes))

    # -- rows to vectors and back --------------------------------------------------------------------------------------

    def columns(self, rows: list[Any], field: int, mask: list[Any] | None = None, inside: bool = True) -> None:
        """From the rows of the lanes to a vector of each player; -inf for masked players, NaN for others that have it.

        Args:
            rows, mask: where those of each lane begin.
            inside: whether there is memory behind short rows, up to a whole block.
        """
        with self._blocks() as (first, count):
            vectors = self._joined(rows, first, self.real, None if inside else count)
            if mask is not None:
                flags = self._joined(mask, first, ir.IntType(8))
                vectors = [self._masked(x, alive) for x, alive in zip(vectors, flags, strict=True)]
            for k, column in enumerate(lanes_from_halves(self.builder, vectors)):
                self.store(self.vector(self.builder.add(first, self.word(k)), field), column)

    def _masked(self, x: Any, mask: Any) -> Any:
        least, nan = self.constant(-np.inf), self.constant(np.nan)
        x = self.builder.select(self.builder.fcmp_ordered("==", x, least), nan, x)
        return self.builder.select(self.builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, None)), x, least)

    def rows(self, places: list[Any]) -> None:
        """From credits to the rows of the lanes; the first ones first, as short rows are written as a whole block."""
        size = self.lanes // 2
        with self._blocks() as (first, _):
            columns = [self.load(self.vector(self.builder.add(first, self.word(k)), SORTED)) for k in range(size)]
            vectors = halves_from_lanes(self.builder, columns)
            parts = {}
            for x, pair in zip(vectors, halves(self.lanes), strict=True):
                for half, lane in enumerate(pair):
                    parts[lane] = shuffled(self.builder, x, x, list(range(half * size, half * size + size)))
            for lane, place in enumerate(places):
                self.store(self.builder.gep(place, [first]), parts[lane])

    @contextmanager
    def _blocks(self) -> Iterator[tuple[Any, Any]]:
        """Of each block of players the first, and how many it has; the last one overlaps that before."""
        builder, block, zero = self.builder, self.block, self.word(0)
        short = builder.icmp_signed("<", self.players, block)
        last = builder.select(short, zero, builder.sub(self.players, block))
        with self.loop(builder.sdiv(self.whole, block)) as i:
            first = builder.mul(i, block)
            first = builder.select(builder.icmp_signed("<", last, first), last, first)
            yield first, builder.select(short, self.players, block)

    def _joined(self, rows: list[Any], first: Any, kind: Any, count: Any = None) -> list[Any]:
        """A block of each row, from its number `first` on, in the order of `halves`."""
        blocks = [self._block(self.builder.gep(row, [first]), kind, count) for row in rows]
        pairs, picks = halves(self.lanes), list(range(self.lanes))
        return [shuffled(self.builder, blocks[low], blocks[high], picks) for low, high in pairs]

    def _block(self, place: Any, kind: Any, count: Any) -> Any:
        """A block of a row; with a count, as many numbers of it, and zeros."""
        size = self.lanes // 2
        kind = ir.VectorType(kind, size)
        place = self.builder.bitcast(place, kind.as_pointer())
        if count is None:
            return self.builder.load(place, align=1 if kind.element == ir.IntType(8) else self.size)
        numbers = ir.Constant(ir.VectorType(self.word, size), list(range(size)))
        counts = self.builder.insert_element(ir.Constant(numbers.type, ir.Undefined), count, ir.IntType(32)(0))
        inside = self.builder.icmp_signed("<", numbers, shuffled(self.builder, counts, counts, [0] * size))
        arguments = [place, ir.IntType(32)(self.size), inside, ir.Constant(kind, [0.0] * size)]
        function = ir.FunctionType(kind, [x.type for x in arguments])
        name = f"llvm.masked.load.v{size}f{8 * self.size}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), arguments)


class _Rows:
    """The rows of the lanes in an array [rows, players]: there, or copied, where their last blocks may reach beyond the
    rows start .. stop, or where some lanes have none."""

    def __init__(self, do: _Code, kind: Any, array: Any, copies: Any) -> None:
        self.do, builder, word, players = do, do.builder, do.word, do.players
        first, self.count, stop = do.tile
        data = do.context.make_array(kind)(do.context, builder, array).data
        self.size = kind.dtype.bitwidth // 8
        self.begin, self.copies = builder.gep(data, [builder.mul(first, players)]), builder.bitcast(copies, data.type)
        reach = builder.select(builder.icmp_signed("<", players, do.block), do.block, players)
        last = builder.mul(builder.add(first, word(do.lanes - 1)), players)
        self.direct = builder.icmp_signed("<=", builder.add(last, reach), builder.mul(stop, players))
        self.data = builder.select(self.direct, self.begin, self.copies)

    def places(self) -> list[Any]:
        """Where the rows of the lanes begin."""
        places = [self.data]
        while len(places) < self.do.lanes:
            places.append(self.do.builder.gep(places[-1], [self.do.players]))
        return places

    def fetch(self) -> None:
        """Copy the rows; lanes without one repeat the last."""
        builder, players = self.do.builder, self.do.players
        with builder.if_then(builder.not_(self.direct)):
            cgutils.raw_memcpy(builder, self.copies, self.begin, builder.mul(self.count, players), self.size)
            with cgutils.for_range(builder, self.do.word(self.do.lanes), self.count) as lane:
                row = builder.gep(self.copies, [builder.mul(lane.index, players)])
                cgutils.raw_memcpy(builder, row, builder.gep(row, [builder.neg(players)]), players, self.size)

    def put(self) -> None:
        """Copy back what was written to copies."""
        builder = self.do.builder
        with builder.if_then(builder.not_(self.direct)):
            cgutils.raw_memcpy(builder, self.begin, self.copies, builder.mul(self.count, self.do.players), self.size)
