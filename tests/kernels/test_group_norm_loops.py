"""The loops of `group_norm` on the CPU are what their twins in numpy say, bit for bit."""

import numba
import numpy as np
import pytest

from shapley_kernels.kernels.group_norm import _cpu_loops as loops


@numba.njit(error_model="numpy")
def _packed(credits, double, x, mask, first, numbers):
    return loops.pack(credits, 1, double, x, mask, first, numbers)


@numba.njit(error_model="numpy")
def _summed(credits, count, origin, mean):
    return loops.sums(credits, count, origin, mean)


@numba.njit(error_model="numpy")
def _written(double, out, x, mask, first, numbers, origin, middle, over):
    return loops.write(double, out, x, mask, first, numbers, origin, middle, over)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("numbers", [0, 1, 3, 4, 9, 30])
def test_loops_do_what_numpy_says(dtype, masked, numbers):
    rng, double = np.random.default_rng(numbers), int(dtype == "float64")
    x, first = rng.normal(size=40).astype(dtype), 7
    mask = (rng.random(40) < 0.6).astype(np.uint8) if masked else np.empty(0, np.uint8)
    if masked:
        x[mask == 0] = np.nan
    packed = []
    for pack in (_packed, lambda c, *rest: loops._pack_in_numpy(c, 1, *rest)):
        credits = np.zeros(40)
        packed.append((pack(credits, double, x.view(np.float32), mask, first, numbers), credits))
    (count, credits), (expected, same) = packed
    assert count == expected
    assert credits[:count].tolist() == same[:count].tolist()
    for mean in (0.0, 0.3):
        assert _summed(credits, count, 0.1, mean) == loops._sums_in_numpy(credits, count, 0.1, mean)
    written = []
    for write in (_written, loops._write_in_numpy):
        out = np.full(40, 7, dtype)
        write(double, out.view(np.float32), x.view(np.float32), mask, first, numbers, 0.1, 0.2, 0.7)
        written.append(out)
    assert written[0].tobytes() == written[1].tobytes()
    assert (written[0][first + numbers :] == 7).all()
