"""`group_norm` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from math import inf, isfinite, nan, sqrt
from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel, in_one_part
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.kernels.group_norm._cpu_loops import pack, sums, write

LOO, NONE = CENTERS.index("loo"), CENTERS.index("none")
BY_GROUP, UNSCALED = SCALES.index("group"), SCALES.index("none")

DOUBLE, _NO_MOMENTS = np.dtype(np.float64), np.empty((4, 0))


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

    Cost: three passes over a group, which stays in the cache; two passes more with scale "batch"; and copies of what is
        not in the order of its groups.
    """
    if center == scale == "none":
        return _as_they_are(x, mask, others, out)
    result, groups, (_, width) = out, len(starts) - 1, x.shape
    if order is not None:
        x, mask, others = (None if array is None else array[order] for array in (x, mask, others))
        result = np.empty_like(out)
    live = None if mask is None else mask.reshape(-1)
    numbers, shown, step = (x, live, None) if others is None else (others, None, others.shape[1])
    arrays, how = (x.itemsize // 8, _single(x), live, _single(numbers), shown), (ddof, min_std, eps, rounding)
    constants, steps = _constants(starts, width, step, center, scale, *how), 2 * x.size // max(1, groups)
    span, moments, divisor = 1 if center == "slot" else width, _NO_MOMENTS, 1.0

    def scratch(first: int, last: int) -> tuple[Any, Any]:
        return np.empty(x.size if last - first == groups else (starts[last] - starts[first]) * span), moments

    if scale == "batch":
        moments = np.zeros((4, groups * width // span))
        bad = _KERNEL(groups, steps, DOUBLE, *arrays, *constants, divisor, _single(result), scratch=scratch)
        if bad >= 0:
            return bad
        with np.errstate(over="ignore", invalid="ignore"):
            divisor = _divisor_of_all(moments, *how)
        if divisor != divisor:
            return 0
    bad = _KERNEL(groups, steps, DOUBLE, *arrays, *constants, divisor, _single(result), scratch=scratch)
    if result is not out:
        out[order] = result
    return bad


def bound(shape: tuple[int, int], order: Any, starts: Any, others: Any, center: str, scale: str, *how: Any) -> Any:
    """`run` of small calls with these options, as work(x, mask, out) that has nothing left to choose; None where there
    is more to it than one pass over groups in their order. Rollouts may have several axes."""
    size, groups = shape[0] * shape[1], len(starts) - 1
    if order is not None or others is not None or scale == "batch" or center == scale == "none":
        return None
    if not size or not in_one_part(size, 16):  # more have many `starts`, which stay
        return None
    kernel, (_, _, nobody, *_) = _KERNEL.ready("d")  # type: ignore[misc]
    constants = _constants(starts, shape[1], None, center, scale, *how[:-1])

    def work(x: Any, mask: Any, out: Any) -> int:
        numbers, live = _single(x), nobody if mask is None else mask.view(np.uint8).reshape(-1)
        arrays = x.itemsize // 8, numbers, live, numbers, live
        return kernel(*arrays, *constants, 1.0, np.empty(size), _NO_MOMENTS, 0, groups, _single(out))

    return work


def _constants(starts: Any, width: int, step: int | None, center: str, scale: str, *how: float) -> tuple[Any, ...]:
    """Arguments of `_group_norm` from `starts` on, but for the divisor.

    Args:
        step: numbers of a rollout that are normalised in place of its `width` credits; None: there are none.
        how: ddof, min_std, eps, rounding.
    """
    span = 1 if center == "slot" else width  # columns of a part that has statistics of its own
    parts = (width, span) if step is None else (step, step)
    return starts, width, span, *parts, CENTERS.index(center), SCALES.index(scale), *how


def _single(x: Any) -> Any:
    """Flat, as numbers of float32, or twice as many for float64."""
    return x.reshape(-1) if x.itemsize == 4 else x.reshape(-1).view(np.float32)


def warm_up() -> None:
    """Have the kernel ready."""
    _KERNEL.ready("d")


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
    double,
    x,
    mask,
    numbers,
    shown,
    starts,
    width,
    span,
    step,
    written,
    center,
    scale,
    ddof,
    min_std,
    eps,
    rounding,
    divisor,
    credits,
    moments,
    first,
    last,
    out,
):
    """The groups first .. last, in parts of `span` columns that have statistics of their own. Returns a group that is
    not finite, or -1.

    Args:
        double: whether x [rollouts * width], `numbers` and `out` are float64, seen as float32.
        mask: [rollouts * width], or empty.
        numbers, shown: [rollouts * step], what is normalised, `written` of them for a rollout and part, and where.
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
        adjacent = (stop - start) * width if span == width else span
        for at in range(start * width + left, stop * width, max(adjacent, width)):
            count = pack(credits, count, double, x, mask, at, adjacent)
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
                own = pack(credits, 0, double, x, mask, row * width, width)
                over = inf
                if own < count:
                    middle = (total - sums(credits, own, origin, 0.0)[0]) / (count - own)
                    over = divisor
            at, many = row * step + left, rows * written
            write(double, out, numbers, shown, at, many, origin, middle, over)
    return -1


_KERNEL = Kernel(_group_norm, "l f1 b1 f1 b1 l1 l l l l l l l e e e e E1 E2", "f1")
