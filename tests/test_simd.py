"""The vectors of the CPU kernels, as compiled, against what their Python says."""

import numba
import numpy as np
import pytest

from shapley_kernels.kernels import _simd
from shapley_kernels.kernels._simd import (
    aligned,
    highest,
    lanes,
    larger,
    load,
    load_bytes,
    lowest,
    marked,
    ones,
    smaller,
    splat,
    store,
    total,
    where_at_most,
    with_changes,
)

DTYPES = [np.float32, np.float64]

# helpers have no entrance from Python
zeros, to_lanes, from_lanes = (
    numba.njit(getattr(helper, "py_func", helper)) for helper in (_simd.zeros, _simd.to_lanes, _simd.from_lanes)
)


@numba.njit
def arithmetic(x, y, bytes_, out, at):
    n = lanes(x)
    a, b = load(x, at), load(y, at)
    found = (
        a + b,
        a - b,
        a * b,
        larger(a, b),
        smaller(a, b),
        where_at_most(a, b, splat(x, x.dtype.type(2)), b),
        load_bytes(bytes_, at, x),
    )
    for i, vector in enumerate(found):
        store(out, i * n, vector)
    return n


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (2, 40)).astype(dtype)
    many = rng.integers(0, 256, 40).astype(np.uint8)
    for at in (0, 1, 7):
        out = np.zeros(200, dtype)
        n = arithmetic(x, y, many, out, at)
        assert n * x.itemsize * 8 == _simd.BITS
        a, b = x[at : at + n], y[at : at + n]
        expected = [a + b, a - b, a * b, np.maximum(a, b), np.minimum(a, b), np.where(a <= b, 2, b), many[at : at + n]]
        np.testing.assert_array_equal(out[: 7 * n].reshape(7, n), np.array(expected, dtype))
        assert (out[7 * n :] == 0).all()


@numba.njit
def folded(x):
    return highest(load(x, 1)), lowest(load(x, 1)), total(load(x, 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_all_lanes(dtype):
    x = np.random.default_rng(0).standard_normal(40).astype(dtype)
    of_lanes = x[1 : 1 + _simd.BITS // 8 // x.itemsize]
    sums = of_lanes
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    assert folded(x) == (of_lanes.max(), of_lanes.min(), sums[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_begin_where_a_line_of_the_cache_does(dtype):
    for count in (1, 33):
        found = zeros(count, np.empty(0, dtype))
        assert found.shape == (count,)
        assert found.dtype == dtype
        assert found.ctypes.data % (_simd.BITS // 8) == 0


@numba.njit
def first_line(x):
    return aligned(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_aligned_is_where_the_first_line_of_the_cache_begins(dtype):
    x = np.zeros(64, dtype)
    for begin in range(17):
        first = first_line(x[begin:])
        assert 0 <= first < _simd.BITS // 8 // x.itemsize
        assert x[begin + first :].ctypes.data % (_simd.BITS // 8) == 0


@numba.njit
def bits(numbers):
    return [ones(number) for number in numbers]


def test_ones():
    numbers = np.array([0, 1, 6, 255, 2**40 + 2**20, 2**62])
    assert bits(numbers) == [int(number).bit_count() for number in numbers]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_to_lanes_and_back(dtype):
    """A whole vector of rows and fewer, of more and fewer columns than a block; what is not meant stays."""
    rng, size = np.random.default_rng(0), _simd.BITS // 8 // np.dtype(dtype).itemsize
    for rows in (1, size // 2, size - 1, size):
        for columns in (1, 3, size // 2, size // 2 + 1, 2 * size):
            source = rng.integers(0, 250, (rows + 2, columns + 3)).astype(dtype)
            target = np.full((columns + 2, size), 251).astype(dtype)
            expected = target.copy()
            lanes_of = np.minimum(np.arange(size), rows - 1)
            expected[1:-1] = source[1 + lanes_of, 1 : columns + 1].T
            step = source.shape[1]
            to_lanes(source.reshape(-1), step + 1, rows, columns, step, target.reshape(-1), size)
            np.testing.assert_array_equal(target, expected)
            back = np.full_like(source, 252)
            expected = back.copy()
            expected[1 : rows + 1, 1 : columns + 1] = source[1 : rows + 1, 1 : columns + 1]
            from_lanes(target.reshape(-1), size, rows, columns, back.reshape(-1), step + 1, step)
            np.testing.assert_array_equal(back, expected)


@numba.njit
def changes(seen, x, y, out):
    store(out, 0, with_changes(load(seen, 0), load(x, 0), load(y, 0)))
    return marked(load(out, 0))


@pytest.mark.parametrize(("dtype", "word"), [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_bits_that_differ(dtype, word):
    rng, size = np.random.default_rng(0), _simd.BITS // 8 // np.dtype(dtype).itemsize
    seen, x, y = rng.integers(0, 2, (3, size)).astype(word)
    y[0], out = x[0] ^ word(1), np.zeros(size, dtype)  # a subnormal number
    found = changes(seen.view(dtype), x.view(dtype), y.view(dtype), out)
    expected = seen | (x ^ y)
    np.testing.assert_array_equal(out.view(word), expected)
    assert found == sum(1 << i for i in range(size) if expected[i])
