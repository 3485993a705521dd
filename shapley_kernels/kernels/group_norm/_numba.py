"""`group_norm` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from math import inf, isfinite, nan, sqrt
from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels.group_norm import CENTERS, SCALES

LOO, NONE = CENTERS.index("loo"), CENTERS.index("none")
BY_GROUP, UNSCALED = SCALES.index("group"), SCALES.index("none")

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

    Cost: three passes over a group, which stays in the cache; two passes more with scale "batch"; and float64 copies of
    what is float32, or not in the order of its groups.
    """
    if center == scale == "none":
        return _as_they_are(x, mask, others, out)
    narrow, groups, width = out.itemsize < 8, len(starts) - 1, x.shape[1]
    result = np.empty(out.shape) if narrow or order is not None else out
    x, live = _in_order(x, order, np.float64), _in_order(mask, order, bool)
    numbers, shown = (x, live) if others is None else (_in_order(others, order, np.float64), None)
    span = 1 if center == "slot" else width  # columns of a part that has statistics of its own
    columns = (width, span, result.shape[1], span if others is None else others.shape[1])
    how = (CENTERS.index(center), SCALES.index(scale), ddof, min_std, eps, rounding)
    steps, flat = 2 * x.size // max(1, groups), result.reshape(-1)

    def scratch(first: int, last: int) -> Any:
        return np.empty(x.size if last - first == groups else (starts[last] - starts[first]) * span)

    def normalise(divisor: float, moments: Any) -> int:
        arrays = (x, live, starts, numbers, shown, *columns, *how, divisor, moments, flat)
        return _KERNEL(groups, steps, x.dtype, *arrays, scratch=scratch)

    divisor = 1.0
    if scale == "batch":
        moments = np.zeros((4, groups * width // span))
        if (bad := normalise(divisor, moments)) >= 0:
            return bad
        with np.errstate(over="ignore", invalid="ignore"):
            divisor = _divisor_of_all(moments, ddof, min_std, eps, rounding)
        if divisor != divisor:
            return 0
    bad = normalise(divisor, _NONE)
    if result is not out:
        with np.errstate(over="ignore", invalid="ignore"):
            out[slice(None) if order is None else order] = result
    return bad


def warm_up() -> None:
    """Have the kernel ready."""
    _KERNEL.ready("d")


def _in_order(x: Any, order: Any, dtype: Any) -> Any:
    """The rollouts in the order of their groups, on one axis, in that dtype."""
    if x is None:
        return None
    return (x if order is None else x[order]).reshape(-1).astype(dtype, copy=False)


def _as_they_are(x: Any, mask: Any, others: Any, out: Any) -> int:
    """`run` for what is neither centred nor scaled."""
    finite = np.isfinite(x)
    if not (finite if mask is None else finite | ~mask).all():
        return 0
    numbers = others if others is not None else x if mask is None else np.where(mask, x, 0)
    np.add(numbers, 0, out=out)  # no negative zeros
    return -1


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


def _divisor(
    count: float, squares: float, mean: float, ddof: int, min_std: float, eps: float, rounding: float
) -> float:
    """std + eps; inf where advantages vanish."""
    if count <= ddof:
        return inf
    std = sqrt(squares / (count - ddof))
    return inf if std < min_std or std <= rounding * abs(mean) else std + eps


# One code for all options, of few statements: each takes milliseconds to compile.


def _group_norm(  # type: ignore[no-untyped-def]
    x,
    mask,
    starts,
    numbers,
    shown,
    width,
    span,
    wide,
    written,
    center,
    scale,
    ddof,
    min_std,
    eps,
    rounding,
    divisor,
    credits,
    first,
    last,
    moments,
    out,
):
    """The groups first .. last, in parts of `span` columns that have statistics of their own. Returns a group that is
    not finite, or -1.

    Args:
        x, mask: [rollouts * width].
        numbers, shown: [rollouts * wide], what is normalised, `written` of them for a rollout and part, and where.
        divisor: unless parts have their own.
        credits: room for the live ones of a part.
        moments: [4, parts]: count, origin, mean above that, sum of squared deviations; or empty.
    """
    columns = width // span
    for part in range(first * columns, last * columns):
        g, left = part // columns, part % columns
        start, stop, count = starts[g], starts[g + 1], 0
        if start == stop:
            continue
        for at in range(start * width + left, stop * width, width):
            for k in range(at, at + span):
                credits[count] = x[k]
                count += mask[k] if mask.size else 1
        origin = credits[0] if count else 0.0
        total, squares = sums(credits, count, origin, 0.0)
        mean = total / count if count else 0.0
        if scale != UNSCALED:
            squares = sums(credits, count, origin, mean)[1]
        if not isfinite(total if scale == UNSCALED else squares):
            return g
        if moments.size:
            moments[0, part], moments[1, part], moments[2, part], moments[3, part] = count, origin, mean, squares
        if scale == BY_GROUP:
            divisor = inf
            if count > ddof:
                std = sqrt(squares / (count - ddof))
                if std >= min_std and std > rounding * abs(origin + mean):
                    divisor = std + eps
        if center == NONE:
            origin, mean = 0.0, 0.0
        rows = stop - start if span == width and center != LOO else 1  # rollouts that are written at once
        for row in range(start, stop, rows):
            middle, over = mean, divisor
            if center == LOO:  # the mean over the other rollouts of the group
                own_count, own_sum = 0, 0.0
                for k in range(row * width, row * width + width):
                    if mask.size == 0 or mask[k]:
                        own_sum += x[k] - origin
                        own_count += 1
                over = inf
                if own_count < count:
                    middle, over = (total - own_sum) / (count - own_count), divisor
            for k in range(row * wide + left, row * wide + left + rows * written):
                i = np.uintp(k)  # unsigned, an index need not be looked at: it does not count from the end
                advantage = (numbers[i] - origin - middle) / over + 0.0  # no negative zeros
                out[i] = advantage if shown.size == 0 or shown[i] else 0.0
    return -1


@helper
def sums(x, count, origin, mean):  # type: ignore[no-untyped-def]
    """Of the first `count` numbers: the sum of what they are above origin and mean, and of its squares. Four sums each,
    which need not wait for another."""
    a = b = c = d = p = q = r = s = 0.0
    even = count // 4 * 4
    for i in range(0, even, 4):
        at = np.uintp(i)
        w, y = x[at] - origin - mean, x[at + np.uintp(1)] - origin - mean
        a += w
        b += y
        p += w * w
        q += y * y
        w, y = x[at + np.uintp(2)] - origin - mean, x[at + np.uintp(3)] - origin - mean
        c += w
        d += y
        r += w * w
        s += y * y
    for i in range(even, count):
        w = x[i] - origin - mean
        a += w
        p += w * w
    return (a + b) + (c + d), (p + q) + (r + s)


_KERNEL = Kernel(_group_norm, "r1 b1 l1 r1 b1 l l l l l l l e e e e R1", "e2 r1")
