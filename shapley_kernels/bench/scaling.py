"""Exponents: how the time grows with players, rows and threads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress, t

from shapley_kernels.bench.records import Record, pooled

FEWEST = 4
"""Points of a fit, where there are as many."""


@dataclass(frozen=True)
class Fit:
    """time ~ x^exponent, by least squares on logarithms."""

    exponent: float
    error: float
    """Half the width of its 95 % confidence interval; infinite with two points."""
    points: int
    first: float
    last: float
    """The range of x that was fitted."""


def fit(x: Sequence[float], seconds: Sequence[float]) -> Fit | None:
    """The exponent over the upper half of x, but at least `FEWEST` points: small inputs show the cost of a call.

    Args:
        x: > 0; seconds: > 0, as many.

    Returns:
        None with less than two different x.
    """
    order = np.argsort(x)[-max(FEWEST, (len(x) + 1) // 2) :]
    positions, times = np.asarray(x, float)[order], np.asarray(seconds, float)[order]
    if len(np.unique(positions)) < 2:
        return None
    line = linregress(np.log(positions), np.log(times))
    freedom = len(order) - 2
    error = float(line.stderr * t.ppf(0.975, freedom)) if freedom else float("inf")
    return Fit(float(line.slope), error, len(order), float(positions[0]), float(positions[-1]))


AXES = ("players", "rows", "threads")


def series(records: Iterable[Record], axis: str) -> dict[tuple[str, str], list[Record]]:
    """(game, method) -> records that differ in `axis` alone, of the longest such series."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in pooled(records):
        others = (getattr(record, other) for other in AXES if other != axis)
        kind = (record.game, record.method, record.dtype, record.device, record.masked, record.clock)
        groups.setdefault((*kind, len(record.shape), *others), []).append(record)
    longest: dict[tuple[str, str], list[Record]] = {}
    for alike in groups.values():
        name = (alike[0].game, alike[0].method)
        alike = sorted(alike, key=lambda record: getattr(record, axis))
        if len({getattr(r, axis) for r in alike}) > len({getattr(r, axis) for r in longest.get(name, [])}):
            longest[name] = alike
    return longest


def fits(records: Sequence[Record], axis: str) -> list[tuple[tuple[str, str], Fit]]:
    """(game, method) and its fit, where there are enough points."""
    all_fits = (
        (name, fit([getattr(r, axis) for r in s], [r.median_s for r in s])) for name, s in series(records, axis).items()
    )
    return [(name, it) for name, it in all_fits if it is not None]
