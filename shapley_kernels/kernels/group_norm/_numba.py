"""`group_norm` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from functools import lru_cache
from math import inf, isfinite, sqrt
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled, helper
from shapley_kernels.kernels.group_norm import CENTERS, SCALES

GROUP, LOO, SLOT, NONE = range(len(CENTERS))
BY_GROUP, BY_BATCH, UNSCALED = range(len(SCALES))
TOO_LARGE = -2


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
    out: Any,
) -> int:
    """See the package docstring; numpy arrays.

    Cost: three passes over a group, which stays in the cache; one pass more over x with scale "batch".
    """
    kernel = _kernel(x.dtype.char, mask is not None, order is not None)
    return kernel(x, mask, order, starts, center, scale, ddof, min_std, eps, out)


@lru_cache
def _kernel(dtype: str, masked: bool, ordered: bool) -> Any:
    real = numba.float32 if dtype == "f" else numba.float64

    def read(kind: Any, dims: int) -> Any:
        return numba.types.Array(kind, dims, "C", readonly=True)

    signature = numba.int64(
        read(real, 2),
        read(numba.boolean, 2) if masked else numba.types.none,
        read(numba.int64, 1) if ordered else numba.types.none,
        read(numba.int64, 1),
        *[numba.int64] * 3,
        *[numba.float64] * 2,
        numba.types.Array(real, 2, "C"),
    )
    return compiled(_group_norm, signature)


@helper
def _moments(x, mask, order, first, last, left, right):  # type: ignore[no-untyped-def]
    """Of the live credits in columns left .. right - 1 of rollouts order[first .. last - 1]: count, one of them as
    origin, sum above that, sum of squared deviations; and the place of one that is not finite, or -1."""
    count, origin, total, squares = (last - first) * (right - left), 0.0, 0.0, 0.0
    if mask is not None:
        count = 0
        for j in range(first, last):
            row = j if order is None else order[j]
            for k in range(left, right):
                if mask[row, k]:
                    origin = np.float64(x[row, k])
                    count += 1
    elif count > 0:
        origin = np.float64(x[first if order is None else order[first], left])
    if count == 0:
        return 0, 0.0, 0.0, 0.0, -1
    for j in range(first, last):
        row = j if order is None else order[j]
        for k in range(left, right):
            if mask is None or mask[row, k]:
                total += np.float64(x[row, k]) - origin
    if not isfinite(total):
        for j in range(first, last):
            row = j if order is None else order[j]
            for k in range(left, right):
                if (mask is None or mask[row, k]) and not isfinite(x[row, k]):
                    return count, origin, total, squares, row * x.shape[1] + k
    mean = total / count
    for j in range(first, last):
        row = j if order is None else order[j]
        for k in range(left, right):
            if mask is None or mask[row, k]:
                deviation = np.float64(x[row, k]) - origin - mean
                squares += deviation * deviation
    return count, origin, total, squares, -1


@helper
def _divisor(count, squares, ddof, min_std, eps):  # type: ignore[no-untyped-def]
    """std + eps; inf where advantages vanish."""
    if count <= ddof:
        return inf
    std = sqrt(squares / (count - ddof))
    return inf if std < min_std or std == 0.0 else std + eps


@helper
def _write(x, mask, order, first, last, left, right, center, count, origin, total, divisor, out):  # type: ignore[no-untyped-def]
    """Centred credits over the divisor, to the same places of out."""
    mean = total / max(count, 1)
    if center == NONE:
        origin, mean = 0.0, 0.0
    for j in range(first, last):
        row = j if order is None else order[j]
        scale = divisor
        if center == LOO:
            here, own = 0, 0.0
            for k in range(left, right):
                if mask is None or mask[row, k]:
                    own += np.float64(x[row, k]) - origin
                    here += 1
            mean = (total - own) / max(count - here, 1)
            if here == count:  # there is no other rollout
                scale = inf
        for k in range(left, right):
            credit = (np.float64(x[row, k]) - origin - mean) / scale + 0.0  # no negative zeros
            out[row, k] = credit if mask is None or mask[row, k] else 0.0


def _group_norm(x, mask, order, starts, center, scale, ddof, min_std, eps, out):  # type: ignore[no-untyped-def]
    groups, width = len(starts) - 1, x.shape[1]
    columns = width if center == SLOT else 1
    divisor = 1.0
    if scale == BY_BATCH:
        counts = np.empty(groups * columns, np.float64)
        means = np.empty(groups * columns, np.float64)
        inside, found, lowest = 0.0, 0.0, inf
        for i in range(groups * columns):
            g, c = i // columns, i % columns
            left, right = (c, c + 1) if center == SLOT else (0, width)
            count, origin, total, squares, bad = _moments(x, mask, order, starts[g], starts[g + 1], left, right)
            if bad >= 0:
                return bad
            if not isfinite(squares):
                return TOO_LARGE
            counts[i], means[i] = count, origin + total / max(count, 1)
            if count:
                lowest = min(lowest, means[i])
            found += count
            inside += squares
        above = 0.0
        for i in range(groups * columns):
            if counts[i]:
                above += counts[i] * (means[i] - lowest)
        overall = above / max(found, 1.0)
        for i in range(groups * columns):
            if counts[i]:
                inside += counts[i] * (means[i] - lowest - overall) ** 2
        if not isfinite(inside):
            return TOO_LARGE
        divisor = _divisor(found, inside, ddof, min_std, eps)
    for i in range(groups * columns):
        g, c = i // columns, i % columns
        left, right = (c, c + 1) if center == SLOT else (0, width)
        count, origin, total, squares, bad = _moments(x, mask, order, starts[g], starts[g + 1], left, right)
        if bad >= 0:
            return bad
        if not isfinite(total if scale == UNSCALED else squares) and not (center == NONE and scale == UNSCALED):
            return TOO_LARGE
        if scale == BY_GROUP:
            divisor = _divisor(count, squares, ddof, min_std, eps)
        _write(x, mask, order, starts[g], starts[g + 1], left, right, center, count, origin, total, divisor, out)
    return -1
