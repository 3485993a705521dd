"""Vectors of numbers in compiled CPU kernels, for loops over several rows of one array: the compiler leaves these
scalar, since it cannot know that the rows do not overlap.

    x = load(array, at)     the lanes(array) numbers of a flat array from `at` on; load_bytes: of one of uint8
    store(array, at, x); fetch(array, at): soon to be loaded
    x + y, x - y, x * y, larger(x, y), smaller(x, y), where_at_most(x, y, a, b), splat(array, number)
    highest(x), lowest(x), total(x)     one number; ones(integer)
    zeros(count, like)      to work in: at an address where no vector lies in two lines of the cache
    aligned(array)          such a place, in kernels that are handed what they work in: code that allocates takes
                            longer to compile
    to_lanes(...)           a vector of rows to their lanes, by blocks as wide as a vector; from_lanes: and back
    with_changes(seen, x, y), marked(x)     bits in which vectors differ, and the lanes that have any, as an integer

Nobody checks that the places exist. Each function is written twice: in Python, which says what it does and runs under
NUMBA_DISABLE_JIT=1, where a vector is a numpy array; and, underscored, as the instructions of LLVM that are compiled.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, config
from numba.extending import intrinsic, models, overload, register_model

from shapley_kernels.kernels._compile import helper

BITS = 512
"""Of a vector: one register of AVX-512, two of AVX2, four of NEON."""

_NO_NAN = ("nnan", "nsz")
"""Comparators may return either of two zeros, and anything for a NaN."""


class Vector(numba.types.Type):
    """The numba type of a vector of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.lanes = dtype, BITS // dtype.bitwidth
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), kind.lanes))


def _compiles_to(instructions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a function that kernels call, and that is compiled to `instructions`, the body of an intrinsic."""
    return lambda function: function if getattr(config, "DISABLE_JIT", 0) else intrinsic(instructions)


def _address(context: Any, builder: Any, kind: Any, lanes: int, array: Any, at: Any) -> Any:
    """Of `lanes` numbers of an array from `at` on."""
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(context.get_value_type(kind.dtype), lanes)
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _lanes(typing: Any, array: Any) -> Any:
    count = Vector(array.dtype).lanes
    return numba.intp(array), lambda context, *_: context.get_constant(numba.intp, count)


@_compiles_to(_lanes)
def lanes(array: Any) -> int:
    """How many numbers of its dtype a vector has: a constant of the compiler."""
    return BITS // 8 // int(array.itemsize)


def _load(typing: Any, array: Any, at: Any) -> Any:
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, array, vector.lanes, *arguments)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return vector(array, at), generate


@_compiles_to(_load)
def load(array: Any, at: int) -> Any:
    return array[at : at + lanes(array)].copy()


def _fetch(typing: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, integer = context.make_array(array)(context, builder, arguments[0]).data, ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, integer, integer, integer])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [address, integer(0), integer(3), integer(1)])  # data, to be read, into all caches
        return context.get_dummy_value()

    return numba.void(array, at), generate


@_compiles_to(_fetch)
def fetch(array: Any, at: int) -> None:
    """Have a place of an array come into the cache, while something else is done; it need not exist."""


def _load_bytes(typing: Any, array: Any, at: Any, like: Any) -> Any:
    vector = Vector(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, array, vector.lanes, *arguments[:2])
        return builder.uitofp(builder.load(address, align=1), context.get_value_type(vector))

    return vector(array, at, like), generate


@_compiles_to(_load_bytes)
def load_bytes(array: Any, at: int, like: Any) -> Any:
    """From an array of uint8 as many numbers as a vector of the dtype of `like` has, in that dtype."""
    return array[at : at + lanes(like)].astype(like.dtype)


def _store(typing: Any, array: Any, at: Any, vector: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, array, vector.lanes, *arguments[:2])
        builder.store(arguments[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return numba.void(array, at, vector), generate


@_compiles_to(_store)
def store(array: Any, at: int, vector: Any) -> None:
    array[at : at + len(vector)] = vector


def _splat(typing: Any, array: Any, number: Any) -> Any:
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        index = ir.IntType(32)
        empty = ir.Constant(context.get_value_type(vector), ir.Undefined)
        first = builder.insert_element(empty, arguments[1], ir.Constant(index, 0))
        return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(index, vector.lanes), None))

    return vector(array, array.dtype), generate


@_compiles_to(_splat)
def splat(array: Any, number: float) -> Any:
    """A vector of one number, of the dtype of the array."""
    return np.full(lanes(array), number, array.dtype)


def _of_two(emit: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """The body of an intrinsic of two vectors from what `emit` has the builder do with them."""
    return lambda typing, x, y: (x(x, y), lambda context, builder, signature, arguments: emit(builder, *arguments))


def _chosen(comparison: str) -> Callable[..., Any]:
    """What has the builder take the one of two vectors that compares so."""

    def emit(builder: Any, x: Any, y: Any) -> Any:
        return builder.select(builder.fcmp_ordered(comparison, x, y, flags=_NO_NAN), x, y, flags=_NO_NAN)

    return emit


@_compiles_to(_of_two(_chosen(">")))
def larger(x: Any, y: Any) -> Any:
    return np.maximum(x, y)


@_compiles_to(_of_two(_chosen("<")))
def smaller(x: Any, y: Any) -> Any:
    return np.minimum(x, y)


def _folded(emit: Callable[..., Any]) -> Callable[..., Any]:
    """The body of an intrinsic from a vector to one number: `emit` of its halves, of the halves of that, and so on."""

    def instructions(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (folded,), index = arguments, ir.IntType(32)
            while (half := folded.type.count // 2) > 0:
                picks = [ir.Constant(ir.VectorType(index, half), list(range(at, at + half))) for at in (0, half)]
                folded = emit(builder, *(builder.shuffle_vector(folded, folded, places) for places in picks))
            return builder.extract_element(folded, index(0))

        return x.dtype(x), generate

    return instructions


@_compiles_to(_folded(_chosen(">")))
def highest(x: Any) -> Any:
    return x.max()


@_compiles_to(_folded(_chosen("<")))
def lowest(x: Any) -> Any:
    return x.min()


@_compiles_to(_folded(lambda builder, x, y: builder.fadd(x, y)))
def total(x: Any) -> Any:
    """The sum of both halves, added up in the same way."""
    while len(x) > 1:
        x = x[: len(x) // 2] + x[len(x) // 2 :]
    return x[0]


def _words(builder: Any, x: Any) -> Any:
    """The bits of a vector, as integers."""
    return builder.bitcast(x, ir.VectorType(ir.IntType(BITS // x.type.count), x.type.count))


def _with_changes(typing: Any, seen: Any, x: Any, y: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        seen, x, y = (_words(builder, vector) for vector in arguments)
        return builder.bitcast(builder.or_(seen, builder.xor(x, y)), arguments[0].type)

    return seen(seen, x, y), generate


@_compiles_to(_with_changes)
def with_changes(seen: Any, x: Any, y: Any) -> Any:
    """`seen`, and the bits in which x and y differ."""
    word = f"i{x.itemsize}"
    return (seen.view(word) | (x.view(word) ^ y.view(word))).view(x.dtype)


def _marked(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = _words(builder, *arguments)
        some = builder.icmp_unsigned("!=", words, ir.Constant(words.type, None))
        return builder.zext(builder.bitcast(some, ir.IntType(x.lanes)), ir.IntType(64))

    return numba.intp(x), generate


@_compiles_to(_marked)
def marked(x: Any) -> int:
    """An integer whose bit i is whether lane i has any bit."""
    return sum(1 << i for i, word in enumerate(x.view(f"i{x.itemsize}")) if word)


def _aligned(typing: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.ptrtoint(context.make_array(array)(context, builder, *arguments).data, ir.IntType(64))
        beyond = builder.and_(builder.neg(address), ir.IntType(64)(BITS // 8 - 1))
        return builder.udiv(beyond, ir.IntType(64)(array.dtype.bitwidth // 8))

    return numba.intp(array), generate


@_compiles_to(_aligned)
def aligned(array: Any) -> int:
    """Where the first vector of a flat array lies that lies in one line of the cache, or half of one."""
    return 0


def _ones(typing: Any, number: Any) -> Any:
    return numba.intp(numba.intp), lambda context, builder, signature, arguments: builder.ctpop(*arguments)


@_compiles_to(_ones)
def ones(number: int) -> int:
    """How many bits of an integer >= 0 are 1."""
    return int(number).bit_count()


def _where_at_most(typing: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y, a, b = arguments
        return builder.select(builder.fcmp_ordered("<=", x, y), a, b)

    return a(x, y, a, b), generate


@_compiles_to(_where_at_most)
def where_at_most(x: Any, y: Any, a: Any, b: Any) -> Any:
    """a where x <= y, else b."""
    return np.where(x <= y, a, b)


def _overload(operation: Any, emit: Callable[[Any, Any, Any], Any]) -> None:
    """Let vectors take the operator `operation`."""
    of_two = intrinsic(_of_two(emit))

    @overload(operation)
    def _operation(x, y):  # type: ignore[no-untyped-def]  # numba compares this signature with that below
        if isinstance(x, Vector) and isinstance(y, Vector):
            return lambda x, y: of_two(x, y)
        return None


_overload(operator.add, lambda builder, x, y: builder.fadd(x, y))
_overload(operator.sub, lambda builder, x, y: builder.fsub(x, y))
_overload(operator.mul, lambda builder, x, y: builder.fmul(x, y))


def _to_lanes(typing: Any, source: Any, at: Any, step: Any, target: Any, to: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, first, apart, out, place = arguments
        size = Vector(source.dtype).lanes
        rows = [builder.add(first, builder.mul(apart, apart.type(i))) for i in range(size)]
        parts = [builder.load(_address(context, builder, source, size // 2, data, x), align=1) for x in rows]
        whole = list(range(size))
        vectors = [shuffled(builder, parts[low], parts[high], whole) for low, high in halves(size)]
        for j, column in enumerate(lanes_from_halves(builder, vectors)):
            offset = builder.add(place, place.type(j * size))
            builder.store(column, _address(context, builder, target, size, out, offset), align=1)
        return context.get_dummy_value()

    return numba.void(source, at, step, target, to), generate


def _from_lanes(typing: Any, source: Any, at: Any, step: Any, target: Any, to: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, first, apart, out, place = arguments
        size = Vector(source.dtype).lanes
        places = [builder.add(first, first.type(j * size)) for j in range(size // 2)]
        columns = [builder.load(_address(context, builder, source, size, data, x), align=1) for x in places]
        vectors = halves_from_lanes(builder, columns)
        for vector, pair in zip(vectors, halves(size), strict=True):
            for half, row in enumerate(pair):
                offset = builder.add(place, builder.mul(apart, apart.type(row)))
                part = shuffled(builder, vector, vector, list(range(half * size // 2, (half + 1) * size // 2)))
                builder.store(part, _address(context, builder, target, size // 2, out, offset), align=1)
        return context.get_dummy_value()

    return numba.void(source, at, step, target, to), generate


def halves(size: int) -> list[tuple[int, int]]:
    """Which rows stand in the halves of each vector of a block, so that shuffles within quarters, and of whole ones,
    put them in order."""
    quarter = size // 4
    return [(x, x + quarter) for first in (0, size // 2) for x in range(first, first + quarter)]


def shuffled(builder: Any, x: Any, y: Any, picks: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(picks)), picks))


def lanes_from_halves(builder: Any, vectors: list[Any]) -> list[Any]:
    """Columns of a block of `size` rows and size / 2 columns, which stand in vectors as `_halves` says."""
    quarter = len(vectors) // 2
    low, high = (_quarters_turned(builder, part) for part in (vectors[:quarter], vectors[quarter:]))
    even, odd = ([quarter * k + x for k in order for x in range(quarter)] for order in ((0, 2, 4, 6), (1, 3, 5, 7)))
    pairs = list(zip(low, high, strict=True))
    return [shuffled(builder, x, y, even) for x, y in pairs] + [shuffled(builder, x, y, odd) for x, y in pairs]


def halves_from_lanes(builder: Any, columns: list[Any]) -> list[Any]:
    """The other way round."""
    quarter = len(columns) // 2
    pairs = list(zip(columns[:quarter], columns[quarter:], strict=True))
    turned = []
    for order in ((0, 4, 1, 5), (2, 6, 3, 7)):
        picks = [quarter * k + x for k in order for x in range(quarter)]
        turned += _quarters_turned(builder, [shuffled(builder, x, y, picks) for x, y in pairs])
    return turned


def _quarters_turned(builder: Any, vectors: list[Any]) -> list[Any]:
    """Each quarter of as many vectors as it has numbers is transposed."""
    quarter, size = len(vectors), 4 * len(vectors)
    apart = quarter // 2
    while apart:
        mixed: list[Any] = []
        for i in range(quarter // 2):
            x, y = vectors[i], vectors[i + quarter // 2]
            for first in (0, quarter // 2):
                picks = [
                    start + first + k + other
                    for start in range(0, size, quarter)
                    for k in range(quarter // 2)
                    for other in (0, size)
                ]
                mixed.append(shuffled(builder, x, y, picks))
        vectors, apart = mixed, apart // 2
    return vectors


@_compiles_to(_to_lanes)
def _block_to_lanes(source: Any, at: int, step: int, target: Any, to: int) -> None:
    """target[to + j * size + i] = source[at + i * step + j] for i < size, the lanes, and j < size / 2."""
    size = lanes(source)
    i, j = np.ogrid[:size, : size // 2]
    target[to + j * size + i] = source[at + i * step + j]


@_compiles_to(_from_lanes)
def _block_from_lanes(source: Any, at: int, step: int, target: Any, to: int) -> None:
    """target[to + i * step + j] = source[at + j * size + i] for the same."""
    size = lanes(source)
    i, j = np.ogrid[:size, : size // 2]
    target[to + i * step + j] = source[at + j * size + i]


@helper
def to_lanes(source, at, rows, columns, step, target, to):  # type: ignore[no-untyped-def]
    """target[to + j * lanes + i] = source[at + i * step + j] for i < rows, j < columns; the last row is in all lanes
    that are left."""
    size = lanes(source)
    if rows < size or columns < size // 2:
        for i in range(size):
            row = i if i < rows else rows - 1
            for j in range(columns):
                target[to + j * size + i] = source[at + row * step + j]
        return
    for j in range(0, columns, size // 2):
        column = min(j, columns - size // 2)  # the last block overlaps that before
        _block_to_lanes(source, at + column, step, target, to + column * size)


@helper
def from_lanes(source, at, rows, columns, target, to, step):  # type: ignore[no-untyped-def]
    """target[to + i * step + j] = source[at + j * lanes + i] for i < rows, j < columns."""
    size = lanes(source)
    if rows < size or columns < size // 2:
        for i in range(rows):
            for j in range(columns):
                target[to + i * step + j] = source[at + j * size + i]
        return
    for j in range(0, columns, size // 2):
        column = min(j, columns - size // 2)
        _block_from_lanes(source, at + column * size, step, target, to + column)


@helper
def zeros(count, like):  # type: ignore[no-untyped-def]
    """A flat array of zeros of the dtype of `like`; its vectors lie in one line of the cache each, or half of one."""
    size = lanes(like)
    array = np.zeros(count + size, like.dtype)
    first = -(array.ctypes.data // array.itemsize) % size
    return array[first : first + count]
