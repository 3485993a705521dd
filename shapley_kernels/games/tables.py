"""Coefficients of primitives, for the numbers of live players that occur, kept for later calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, Ops, may_keep
from shapley_kernels.values import Semivalue

ALL_LIVE_COUNTS = 64
"""Up to this many players, masked games take coefficients for every live count, without looking which ones occur."""

KEPT_BYTES = 1 << 26
"""Coefficients that are kept for later calls; beyond it those that were not used for longest are forgotten."""

KEPT_SHARE = 4
"""Tables above this share of `KEPT_BYTES`, a quarter, are not kept; when as much has come, what is too much goes."""


@dataclass(eq=False)
class Tables:
    """Coefficients of a primitive, float64 (or integers, or None where the contract allows it), kept in every dtype and
    place that they were asked for."""

    arrays: tuple[np.ndarray | None, ...]
    counts: frozenset[int] = frozenset()
    """Live counts that they serve, if they have a row for each."""
    used: int = 0
    """The latest use, as the number of tables that had come before it."""
    _placed: dict[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)

    def on(self, library: str, dtype: str, device: str) -> tuple[Any, ...]:
        """The arrays in "numpy" or "torch", floats in the compute dtype, on a device."""
        key = (library, dtype, device)
        if (placed := self._placed.get(key)) is not None:
            return placed
        # weights beyond a narrow dtype make credits that are not finite, which are computed anew in float64
        with np.errstate(over="ignore"):
            placed = tuple(x if x is None or x.dtype.kind == "i" else x.astype(dtype) for x in self.arrays)
        if library == "torch":
            import torch

            with torch.inference_mode(False):  # what inference mode makes is of no use to a later backward
                placed = tuple(None if x is None else torch.from_numpy(x).to(device) for x in placed)
            if not all(x is None or may_keep(x) for x in placed):
                return placed
        self._placed[key] = placed
        return placed

    @property
    def nbytes(self) -> int:
        """In all places, and some for the objects themselves."""
        parts = (self.arrays, *self._placed.copy().values())
        return 1024 + sum(x.nbytes for part in parts for x in part if x is not None)


class Kept:
    """Tables by what they depend on, which is never a batch. Without a lock, which a fork could find held: what two
    threads do at once is done twice."""

    def __init__(self) -> None:
        self.tables: dict[Any, Tables] = {}
        self.clear()

    def clear(self) -> None:
        self.tables.clear()
        self.count = self.recent = 0
        """Tables that came so far, and the bytes of those that came since it was looked what is too much."""

    def get(self, key: Any) -> Tables | None:
        if (tables := self.tables.get(key)) is not None:
            tables.used = self.count
        return tables

    def keep(self, key: Any, tables: Tables) -> Tables:
        size = tables.nbytes
        if size > KEPT_BYTES // KEPT_SHARE:
            return tables
        self.count += 1
        self.recent += size
        tables.used = self.count
        self.tables[key] = tables
        if self.recent > KEPT_BYTES // KEPT_SHARE:
            self._forget()
        return tables

    def _forget(self) -> None:
        self.recent = 0
        tables = sorted(self.tables.copy().items(), key=lambda item: item[1].used)
        total = sum(x.nbytes for _, x in tables)
        for key, oldest in tables:
            if total <= KEPT_BYTES:
                break
            self.tables.pop(key, None)
            total -= oldest.nbytes


KEPT = Kept()


def kept(make: Callable[..., tuple[np.ndarray | None, ...]], *key: Any) -> Tables:
    """Tables of the arrays `make(*key)`, kept; the key is hashable."""
    place = (make, key)
    return KEPT.get(place) or KEPT.keep(place, Tables(make(*key)))


Entries = tuple[np.ndarray | float, ...]
"""The coefficients of one number of live players n: [n], or one number, each."""


def live_counts(ops: Ops, mask: Array | None, players: int, value: Semivalue) -> tuple[int, ...]:
    """Numbers of live players for which coefficients are needed."""
    if mask is None:
        return (players,)
    if (players <= ALL_LIVE_COUNTS and value.fixed_players is None) or ops.is_traced(mask):
        return tuple(range(players + 1))
    return tuple(int(n) for n in np.unique(ops.to_host(mask.sum(-1))))


def by_live_count(
    entries: Callable[..., Entries],
    key: tuple[Any, ...],
    players: int,
    counts: tuple[int, ...],
    vectors: int = 1,
    scalars: int = 0,
    first: Callable[..., tuple[np.ndarray | None, ...]] = lambda *_: (),
) -> Tables:
    """Tables with a row for each live count above 0 (one of zeros where nobody is live), and row_of_count
    [players + 1] int32, from a live count to its row. Kept by number of players: what other batches needed is there
    already.

    Args:
        entries: (*key, n) -> those of n live players: first `vectors` of [n], which become arrays [rows, players], the
            second and later of them None where they are 0 throughout; then `scalars`, which become [rows].
        key: hashable.
        counts: live counts that occur.
        first: (*key) -> arrays before these.
    """
    alone = counts[0] if len(counts) == 1 else 0  # it has tables of its own: one row need not be looked up
    place = (entries, key, players, alone)
    old = KEPT.tables.get(place)
    if old is not None and (len(old.counts) > players or old.counts.issuperset(counts)):
        old.used = KEPT.count
        return old
    wanted, known = frozenset(n for n in counts if n), frozenset[int]()
    fits = True
    if old is not None:
        known = old.counts
        fits = len(wanted | known) * old.nbytes <= len(known) * KEPT_BYTES // KEPT_SHARE
        wanted = wanted | known - {0} if fits else wanted
    copied, added, before = sorted(wanted & known), sorted(wanted - known), first(*key)
    rows, width = max(1, len(wanted)), max(players, 1)
    arrays = [np.zeros((rows, width)) for _ in range(vectors)] + [np.zeros(rows) for _ in range(scalars)]
    for i, array in enumerate(arrays):
        if old is not None and (filled := old.arrays[len(before) + i]) is not None:
            array[: len(copied)] = filled[old.arrays[-1][copied]]  # type: ignore[index]
    for row, n in enumerate(added, len(copied)):
        for array, entry in zip(arrays, entries(*key, n), strict=True):
            array[(row, slice(n)) if array.ndim == 2 else row] = entry
    row_of_count = np.zeros(players + 1, np.int32)
    row_of_count[[*copied, *added]] = np.arange(len(wanted))
    some = [x if i == 0 or x.ndim == 1 or x.any() else None for i, x in enumerate(arrays)]
    made = Tables((*before, *some, row_of_count), wanted | {0})
    return KEPT.keep(place, made) if fits else made
