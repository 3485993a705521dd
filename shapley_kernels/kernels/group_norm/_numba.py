"""`group_norm` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from functools import lru_cache
from itertools import product
from math import inf, isfinite, sqrt
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, compiled, helper, inlined, read, written
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.group_norm import CENTERS, SCALES

GROUP, LOO, SLOT, NONE = range(len(CENTERS))
BY_GROUP, BY_BATCH, UNSCALED = range(len(SCALES))

THREADED = 1 << 17
"""Credits that are worth a thread: 0.2 ms or more."""


def run(
    x: Any,
    mask: Any,
    order: Any,
    starts: Any,
    center: int,
    scale: int,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    out: Any,
) -> int:
    """See the package docstring; numpy arrays.

    Cost: three passes over a group, which stays in the cache; two passes more with scale "batch",
        on one thread.
    """
    kernel = _kernel(x.dtype.char, mask is not None, order is not None)
    if x.size < 2 * THREADED or scale == BY_BATCH:
        return kernel(x, mask, order, starts, center, scale, ddof, min_std, eps, rounding, out)
    groups = len(starts) - 1

    def work(first: int, last: int) -> int:
        return kernel(x, mask, order, starts[first : last + 1], center, scale, ddof, min_std, eps, rounding, out)

    return over_rows(work, groups, 1, -(-groups * THREADED // x.size))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these dtypes."""
    for dtype, masked, ordered in product(dtypes, (False, True), (False, True)):
        _kernel(np.dtype(dtype).char, masked, ordered)


@lru_cache
def _kernel(dtype: str, masked: bool, ordered: bool) -> Any:
    real = REAL[dtype]
    signature = numba.int64(
        read(real, 2),
        read(numba.boolean, 2) if masked else numba.types.none,
        read(numba.int64, 1) if ordered else numba.types.none,
        read(numba.int64, 1),
        *[numba.int64] * 3,
        *[numba.float64] * 3,
        written(real, 2),
    )
    return compiled(_group_norm, signature)


@helper
def _part(x, live, width, order, starts, span, i, room):  # type: ignore[no-untyped-def]
    """Where the live credits of part i of the groups, `span` columns of one, stand in x; or, copied, in `room`."""
    g, left = i // (width // span), i % (width // span)
    if room.size == 0:
        return starts[g] * width, starts[g + 1] * width
    n = 0
    for j in range(starts[g], starts[g + 1]):
        row = j if order is None else order[j]
        for k in range(row * width + left, row * width + left + span):
            room[np.uintp(n)] = x[np.uintp(k)]
            n += 1 if live is None else live[np.uintp(k)]
    return 0, n


@helper
def _moments(x, start, stop):  # type: ignore[no-untyped-def]
    """Of x[start:stop]: one of them as origin, sum above that, sum of squared deviations. Four sums each, which need
    not wait for another."""
    if start == stop:
        return 0.0, 0.0, 0.0
    origin, even = np.float64(x[start]), start + (stop - start) // 4 * 4
    a = b = c = d = 0.0
    for i in range(start, even, 4):
        a += _above(x, i, origin, 0.0)
        b += _above(x, i + 1, origin, 0.0)
        c += _above(x, i + 2, origin, 0.0)
        d += _above(x, i + 3, origin, 0.0)
    for i in range(even, stop):
        a += _above(x, i, origin, 0.0)
    total = (a + b) + (c + d)
    mean = total / (stop - start)
    a = b = c = d = 0.0
    for i in range(start, even, 4):
        a += _above(x, i, origin, mean) ** 2
        b += _above(x, i + 1, origin, mean) ** 2
        c += _above(x, i + 2, origin, mean) ** 2
        d += _above(x, i + 3, origin, mean) ** 2
    for i in range(even, stop):
        a += _above(x, i, origin, mean) ** 2
    return origin, total, (a + b) + (c + d)


@inlined
def _above(x, i, origin, mean):  # type: ignore[no-untyped-def]
    """A credit above the mean, both measured from the origin. Unsigned, an index need not be looked at: it does not
    count from the end."""
    return np.float64(x[np.uintp(i)]) - origin - mean


@helper
def _divisor(count, squares, mean, ddof, min_std, eps, rounding):  # type: ignore[no-untyped-def]
    """std + eps; inf where advantages vanish."""
    if count <= ddof:
        return inf
    std = sqrt(squares / (count - ddof))
    return inf if std < min_std or std <= rounding * abs(mean) else std + eps


@helper
def _divisor_of_all(  # type: ignore[no-untyped-def]
    x, live, width, order, starts, span, credits, room, ddof, min_std, eps, rounding
):
    """`_divisor` of all live credits around their mean, and where the first group begins that is bad, or -1."""
    parts = (len(starts) - 1) * (width // span)
    counts, means = np.empty(parts, np.float64), np.empty(parts, np.float64)
    inside, found, lowest, base = 0.0, 0.0, inf, inf  # means are measured from `base`, the first origin
    for i in range(parts):
        start, stop = _part(x, live, width, order, starts, span, i, room)
        origin, total, squares = _moments(credits, start, stop)
        if not isfinite(squares):
            return inf, starts[i // (width // span)]
        if stop > start and base == inf:
            base = origin
        counts[i], means[i] = stop - start, origin - base + total / max(stop - start, 1)
        if stop > start:
            lowest = min(lowest, means[i])
        found += counts[i]
        inside += squares
    above = 0.0
    for i in range(parts):
        if counts[i]:
            above += counts[i] * (means[i] - lowest)
    overall = above / max(found, 1.0)
    for i in range(parts):
        if counts[i]:
            inside += counts[i] * (means[i] - lowest - overall) ** 2
    mean = base + lowest + overall if found else 0.0
    return _divisor(found, inside, mean, ddof, min_std, eps, rounding), -1 if isfinite(inside) else 0


@helper
def _is_bad(x, start, stop, center, scale, total, squares):  # type: ignore[no-untyped-def]
    """Whether one of x[start:stop] is not finite, or what their advantages are computed from."""
    if center != NONE or scale != UNSCALED:
        return not isfinite(total if scale == UNSCALED else squares)
    if not isfinite(total):
        for i in range(start, stop):
            if not isfinite(x[i]):
                return True
    return False


@helper
def _write(x, live, start, stop, origin, mean, divisor, out):  # type: ignore[no-untyped-def]
    """The credits x[start:stop] above the mean over the divisor, to the same places of out."""
    for i in range(start, stop):
        at = np.uintp(i)
        advantage = _above(x, i, origin, mean) / divisor + 0.0  # no negative zeros
        if live is None:
            out[at] = advantage
        else:
            out[at] = advantage if live[at] else 0.0


@helper
def _write_above_others(x, live, start, stop, count, origin, total, divisor, out):  # type: ignore[no-untyped-def]
    """The credits x[start:stop] of a rollout above the mean over the others of its group, over the divisor."""
    here, own = 0, 0.0
    for i in range(start, stop):
        if live is None or live[i]:
            own += np.float64(x[i]) - origin
            here += 1
    mean = (total - own) / max(count - here, 1)
    _write(x, live, start, stop, origin, mean, inf if here == count else divisor, out)


def _group_norm(x, mask, order, starts, center, scale, ddof, min_std, eps, rounding, out):  # type: ignore[no-untyped-def]
    groups, width = len(starts) - 1, x.shape[1]
    span = 1 if center == SLOT else width
    columns = width // span
    longest = 0
    if mask is not None or order is not None or columns > 1:  # live credits that do not stand together
        for g in range(groups):
            longest = max(longest, (starts[g + 1] - starts[g]) * span)
    flat, result, room = x.reshape(x.size), out.reshape(x.size), np.empty(longest, x.dtype)
    live = None if mask is None else mask.reshape(x.size)
    credits = room if longest else flat
    divisor = 1.0
    if scale == BY_BATCH:
        divisor, bad = _divisor_of_all(
            flat, live, width, order, starts, span, credits, room, ddof, min_std, eps, rounding
        )
        if bad >= 0:
            return bad
    for i in range(groups * columns):
        g, left = i // columns, i % columns
        start, stop = _part(flat, live, width, order, starts, span, i, room)
        origin, total, squares = _moments(credits, start, stop)
        if _is_bad(credits, start, stop, center, scale, total, squares):
            return starts[g]
        count = stop - start
        mean = total / max(count, 1)
        if scale == BY_GROUP:
            divisor = _divisor(count, squares, origin + mean, ddof, min_std, eps, rounding)
        if center == NONE:
            origin, mean = 0.0, 0.0
        if order is None and span == width and center != LOO:
            _write(flat, live, starts[g] * width, starts[g + 1] * width, origin, mean, divisor, result)
            continue
        for j in range(starts[g], starts[g + 1]):
            at = (j if order is None else order[j]) * width + left
            if center == LOO:
                _write_above_others(flat, live, at, at + width, count, origin, total, divisor, result)
            else:
                _write(flat, live, at, at + span, origin, mean, divisor, result)
    return -1
