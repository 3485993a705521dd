"""Two sets of records: what became faster or slower, as far as the samples can tell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import bootstrap

from shapley_kernels._command import CommandError
from shapley_kernels.bench.records import Record, pooled

CONFIDENCE = 0.95
MARGIN = 0.05
"""Ratios nearer to 1 than this are called the same."""

FEWEST = 5
"""Blocks on each side below which there is no interval."""


Verdict = Literal["SLOWER", "FASTER", "UNDECIDED", "SAME"]
"""How b stands to a."""


@dataclass(frozen=True)
class Comparison:
    """One point of both sides. `ratio` is median(b) / median(a), over that of the control if there is one; `low`
    and `high` are its bootstrap interval."""

    key: tuple[Any, ...]
    a: float
    b: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


def compare(
    a: Sequence[Record], b: Sequence[Record], margin: float = MARGIN, control: str | None = None
) -> list[Comparison]:
    """Every key that both sides have; several records of one key are pooled. SLOWER ones come first.

    The interval is the percentile bootstrap of the ratio of medians, resampling blocks of consecutive samples. It
    knows the noise within runs; only pooled runs tell it about the noise between them.

    Args:
        margin: FASTER if the whole interval is below 1 - margin, SLOWER if above 1 + margin, SAME if between, else
            UNDECIDED; so too with less than `FEWEST` blocks.
        control: a method whose code did not change. Each time is divided by that of the control in the same rounds, so
            that a machine that is slower as a whole during b does not make everything SLOWER.
    """
    left, right = _blocks(a), _blocks(b)
    comparisons = []
    for key in left:
        keys = [key] if control is None else [key, (control, *key[1:])]
        if all(k in side for k in keys for side in (left, right)) and key[0] != control:
            comparisons.append(_compared(key, [side[k] for k in keys for side in (right, left)], margin))
    return sorted(comparisons, key=lambda c: get_args(Verdict).index(c.verdict))


def missing(
    sides: Mapping[str, Sequence[Record]], comparisons: Sequence[Comparison], control: str | None = None
) -> list[str]:
    """What to say of points that were not compared, by the names of the files: those of the control are its own."""
    keys = {name: {record.key for record in records if record.method != control} for name, records in sides.items()}
    (a, of_a), (b, of_b) = keys.items()
    said = [(len(of_a - of_b), f"of {a} are not in {b}"), (len(of_b - of_a), f"of {b} are not in {a}")]
    said += [(len(of_a & of_b) - len(comparisons), f"of both have no {control} beside them")]
    return [f"{points} points {what}" for points, what in said if points]


def _blocks(records: Iterable[Record]) -> dict[tuple[Any, ...], np.ndarray]:
    return {record.key: np.array(record.blocks_s) for record in pooled(records)}


def _compared(key: tuple[Any, ...], blocks: Sequence[np.ndarray], margin: float) -> Comparison:
    b, a = (float(np.median(x)) for x in blocks[:2])
    low, high = _interval(blocks)
    return Comparison(key, a, b, float(_ratio(*blocks, axis=0)), low, high, verdict(low, high, margin))


def _ratio(*blocks: np.ndarray, axis: int) -> Any:
    """median(b) / median(a), divided by the same of the control if there is one."""
    b, a, *control = (np.median(x, axis) for x in blocks)
    return b / a / (control[0] / control[1]) if control else b / a


def verdict(low: float, high: float, margin: float) -> Verdict:
    """See `compare`."""
    if high < 1 - margin:
        return "FASTER"
    if low > 1 + margin:
        return "SLOWER"
    if low >= 1 - margin and high <= 1 + margin:
        return "SAME"
    return "UNDECIDED"


def _interval(blocks: Sequence[np.ndarray]) -> tuple[float, float]:
    if min(map(len, blocks)) < FEWEST:
        return 0.0, float("inf")
    interval = bootstrap(
        blocks,
        _ratio,
        n_resamples=4999,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def refuse_other_machines(a: Sequence[Record], b: Sequence[Record]) -> None:
    """Times of different machines say nothing about the code.

    Raises:
        CommandError: the records are not all of one machine; the message names what differs.
    """
    first = a[0].of.machine
    for record in (*a, *b):
        other = record.of.machine
        if different := [name for name in sorted({*first, *other}) if first.get(name) != other.get(name)]:
            what = "; ".join(f"{name} {first.get(name)!r} and {other.get(name)!r}" for name in different)
            raise CommandError(f"the records are of different machines: {what}; --force compares them all the same")
