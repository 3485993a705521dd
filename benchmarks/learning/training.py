"""What simulated policies and those of films share: the optimiser, how rates are tuned, and the record of a cell."""

from collections.abc import Callable, Iterable
from typing import Any

from shapley_kernels.bench.machine import commit

Trained = dict[str, Any]
"""Name -> [rates, instances], or [rates, instances, points] for a curve."""


class Adam:
    """Ascent of arrays of numpy or torch, in place; rate broadcasts to each of them."""

    def __init__(self, arrays: list[Any], rate: Any) -> None:
        self.arrays, self.rate, self.step = arrays, rate, 0
        self.moments = [(0 * x, 0 * x) for x in arrays]

    def ascend(self, gradients: Iterable[Any]) -> None:
        self.step += 1
        a, b = 1 / (1 - 0.9**self.step), 1 / (1 - 0.99**self.step)
        for x, g, (mean, square) in zip(self.arrays, gradients, self.moments, strict=True):
            mean += 0.1 * (g - mean)
            square += 0.01 * (g * g - square)
            rate = self.rate.reshape(-1, *(1,) * (x.ndim - 1))
            x += rate * a * mean / ((b * square) ** 0.5 + 1e-8)


def tune(worth: Callable[[list[float]], list[float]], rates: Iterable[float]) -> dict[float, float]:
    """Rate -> its worth. Where the best rate is at an edge, the next one, a factor of two away, is tried too."""
    found: dict[float, float] = {}
    rates = list(rates)
    while rates:
        found |= dict(zip(rates, worth(rates), strict=True))
        best = max(found, key=lambda rate: found[rate])
        rates = [best / 2] if best == min(found) else [best * 2] if best == max(found) else []
    return dict(sorted(found.items()))


def measure(
    cell: Any, train: Callable[..., Trained], rates: Iterable[float], tuning: Iterable[int], reported: Iterable[int]
) -> dict[str, Any]:
    """A cell's record: train(cell, rates, instances, salt) at the rate that is best on the instances for tuning."""
    tuned = tune(lambda some: train(cell, some, tuning, 0)["mean"].mean(1).tolist(), rates)
    rate = max(tuned, key=lambda rate: tuned[rate])
    return record(cell, train, rate, reported, {f"{r:g}": round(x, 4) for r, x in tuned.items()})


def record(
    cell: Any,
    train: Callable[..., Trained],
    rate: float,
    reported: Iterable[int],
    tuning: dict[str, float] | None = None,
) -> dict[str, Any]:
    """That at a rate."""
    found = train(cell, [rate], reported, 1)
    columns: dict[str, Any] = {name: round(float(x.mean()), 3) for name, x in found.items()}
    columns |= {name: found[name][0].astype(float).round(4).tolist() for name in ("mean", "final")}
    if "curve" in found:
        columns["curve"] = found["curve"][0].mean(0).astype(float).round(4).tolist()
    return {**cell._asdict(), "commit": commit(), "tuning": tuning or {}, "rate": rate, **columns}
