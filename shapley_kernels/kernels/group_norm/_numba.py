"""`group_norm` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from math import inf, isfinite, nan, sqrt
from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels.group_norm import CENTERS, SCALES

LOO, SLOT, NONE = (CENTERS.index(center) for center in ("loo", "slot", "none"))
BY_GROUP, UNSCALED = (SCALES.index(scale) for scale in ("group", "none"))

SMALL = 1 << 14
"""Credits of float32 that are rather copied to float64, whose kernel is needed in any case, than wait for their own."""

_NONE = np.empty((4, 0))


def run(
    x: Any,
    mask: Any,
    order: Any,
    starts: Any,
    others: Any,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    ranks: None,
    out: Any,
) -> int:
    """See the package docstring; numpy arrays of float32 or float64.

    Cost: three passes over a group, which stays in the cache; two passes more with scale "batch".
    """
    narrow, wide = x.itemsize == 4 and x.size < SMALL, out
    if narrow:
        x, wide = x.astype(np.float64), np.empty(out.shape)
        others = None if others is None else others.astype(np.float64)
    groups, columns = len(starts) - 1, x.shape[1] if center == "slot" else 1
    arrays = [None if array is None else array.reshape(-1) for array in (x, mask, order, starts, others)]
    options = (x.shape[1], out.shape[1], CENTERS.index(center), SCALES.index(scale), ddof, min_std, eps, rounding)
    steps, divisor, flat = 2 * x.size // max(1, groups), 1.0, wide.reshape(-1)
    if scale == "batch":
        moments = np.empty((4, groups * columns))
        if (bad := _KERNEL(groups, steps, x.dtype, *arrays, *options, divisor, moments, flat)) >= 0:
            return bad
        with np.errstate(over="ignore", invalid="ignore"):
            divisor = _divisor_of_all(moments, ddof, min_std, eps, rounding)
        if divisor != divisor:
            return 0
    bad = _KERNEL(groups, steps, x.dtype, *arrays, *options, divisor, _NONE, flat)
    if narrow:
        with np.errstate(over="ignore", invalid="ignore"):
            out[...] = wide
    return bad


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


def _divisor_of_all(moments: Any, ddof: int, min_std: float, eps: float, rounding: float) -> float:
    """`_divisor` of all live credits around their mean, from the `moments` of all parts; NaN where their sum of
    squares is not finite."""
    count, origin, mean, squares = moments[:, moments[0] > 0]
    if not count.size:
        return inf
    everybody, mean = count.sum(), origin - origin[0] + mean  # measured from the first origin
    lowest = mean.min()
    overall = np.cumsum(count * (mean - lowest))[-1] / everybody  # in order: `sum` would depend on their number
    squares = np.concatenate([squares, count * (mean - lowest - overall) ** 2]).cumsum()[-1]
    if not isfinite(squares):
        return nan
    return _divisor(everybody, squares, origin[0] + lowest + overall, ddof, min_std, eps, rounding)


def _group_norm(  # type: ignore[no-untyped-def]
    x,
    mask,
    order,
    starts,
    others,
    width,
    wide,
    center,
    scale,
    ddof,
    min_std,
    eps,
    rounding,
    divisor,
    first,
    last,
    moments,
    out,
):
    """The groups first .. last; x, mask [rollouts * width], others, out [rollouts * wide]. Where there is room for
    moments [4, parts], only these: count, origin, mean above
    that, and sum of squared deviations."""
    span = 1 if center == SLOT else width  # columns of a part of a group that has statistics of its own
    columns = width // max(span, 1)
    largest = 0
    for g in range(first, last):
        largest = max(largest, starts[g + 1] - starts[g])
    credits = np.empty(largest * span, np.float64)  # the live ones of a part
    for part in range(first * columns, last * columns):
        g, left = part // columns, part % columns
        count = _gather(x, mask, order, starts[g], starts[g + 1], width, left, span, credits)
        origin, total, squares = _moments(credits, count)
        if center != NONE or scale != UNSCALED:
            if not isfinite(total if scale == UNSCALED else squares):
                return g
        elif not isfinite(total):
            for i in range(count):
                if not isfinite(credits[i]):
                    return g
        mean = total / max(count, 1)
        if moments.size:
            moments[0, part], moments[1, part], moments[2, part], moments[3, part] = count, origin, mean, squares
            continue
        if scale == BY_GROUP:
            divisor = _divisor(count, squares, origin + mean, ddof, min_std, eps, rounding)
        if center == NONE:
            origin, mean = 0.0, 0.0
        # rollouts that stand together are written at once
        rows = starts[g + 1] - starts[g] if order.size == 0 and span == width and center != LOO else 1
        for j in range(starts[g], starts[g + 1], max(rows, 1)):
            row = order[j] if order.size else j
            at, to = row * width + left, row * wide
            _write(x, mask, others, at, rows * span, to, rows * wide, center, count, origin, mean, total, divisor, out)
    return -1


@helper
def _gather(x, mask, order, start, stop, width, left, span, credits):  # type: ignore[no-untyped-def]
    """To `credits` the live ones of the rollouts start .. stop, columns left .. left + span -> their number."""
    n = 0
    for j in range(start, stop):
        row = order[j] if order.size else j
        for k in range(row * width + left, row * width + left + span):
            at = np.uintp(k)  # unsigned, an index need not be looked at: it does not count from the end
            credits[np.uintp(n)] = x[at]
            n += mask[at] if mask.size else 1
    return n


@helper
def _moments(credits, count):  # type: ignore[no-untyped-def]
    """Of the first `count`: one of them as origin, sum above that, sum of squared deviations. Four sums each, which
    need not wait for another."""
    if count == 0:
        return 0.0, 0.0, 0.0
    origin, even, mean, total = credits[0], count // 4 * 4, 0.0, 0.0
    for power in (1, 2):
        a = b = c = d = 0.0
        for i in range(0, even, 4):
            at = np.uintp(i)
            w, x = credits[at] - origin - mean, credits[at + np.uintp(1)] - origin - mean
            y, z = credits[at + np.uintp(2)] - origin - mean, credits[at + np.uintp(3)] - origin - mean
            a += w if power == 1 else w * w
            b += x if power == 1 else x * x
            c += y if power == 1 else y * y
            d += z if power == 1 else z * z
        for i in range(even, count):
            w = credits[np.uintp(i)] - origin - mean
            a += w if power == 1 else w * w
        if power == 2:
            break
        total = (a + b) + (c + d)
        mean = total / count
    return origin, total, (a + b) + (c + d)


@helper
def _divisor(count, squares, mean, ddof, min_std, eps, rounding):  # type: ignore[no-untyped-def]
    """std + eps; inf where advantages vanish."""
    if count <= ddof:
        return inf
    std = sqrt(squares / (count - ddof))
    return inf if std < min_std or std <= rounding * abs(mean) else std + eps


@helper
def _write(  # type: ignore[no-untyped-def]
    x, mask, others, at, span, to, wide, center, count, origin, mean, total, divisor, out
):
    """Of one rollout: its credits x[at : at + span], or its others, above the mean over the divisor."""
    if center == LOO:  # the mean over the other rollouts of its group
        here, own = 0, 0.0
        for k in range(at, at + span):
            if mask.size == 0 or mask[k]:
                own += x[k] - origin
                here += 1
        mean = (total - own) / max(count - here, 1)
        divisor = inf if here == count else divisor
    if others.size:
        for k in range(to, to + wide):
            out[k] = (others[k] - origin - mean) / divisor + 0.0  # no negative zeros
        return
    for k in range(at, at + span):
        i = np.uintp(k)
        advantage = (x[i] - origin - mean) / divisor + 0.0
        out[i] = advantage if mask.size == 0 or mask[i] else 0.0


_KERNEL = Kernel(_group_norm, "r1 b1 l1 l1 r1 l l l l l e e e e", "e2 r1")
