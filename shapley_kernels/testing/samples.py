"""Data for checks: rows that make allocations fail, exactly representable in a dtype, in any container.

The declared domain, within which the error budget must hold:

    float64, float32, float16, bfloat16 rewards: ties, zeros, negatives, 0/1, constant rows, all 0, a common offset (of
    rewards and v_empty: `OFFSET`) far larger than the differences, and magnitudes within `SCALES`, small enough that no
    credit overflows and large enough that no product that counts underflows (float16 and bfloat16 are computed in
    float32, so there credits may round to subnormals, not products). v_empty is 0, one of the row's rewards, or a
    little below one: with a common offset only the last two show cancellation.

The other families say in `Game.example` which data they are checked on. Everything is float64 here (integers are int64)
and a number of the dtype, so the truth is computed from what the kernel really gets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from shapley_kernels.games import Game, OrderGame
from shapley_kernels.games.data import COALITIONS, live_entries

OFFSET = {"float64": 1e6, "float32": 1e6, "float16": 512.0, "bfloat16": 64.0}
"""A common offset: eighths on top of it are still exact in float64 and float32, and coarse in the half dtypes."""

SCALES = {
    "float64": (2.0**-100, 2.0**100),
    "float32": (2.0**-60, 2.0**60),
    "float16": (2.0**-14, 2.0**8),
    "bfloat16": (2.0**-60, 2.0**60),
}
"""The smallest and largest unit that rows of small numbers are multiplied with."""

ROW_KINDS = ("integers", "irregular", "binary", "constant", "offset", "scaled", "zero", "negative")


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """float64 numbers rounded to those of `dtype`, still float64."""
    if dtype != "bfloat16":
        return x.astype(dtype).astype(np.float64)
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + (bits >> 16 & 1)  # to nearest, ties to even
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def place(x: Any, container: str, dtype: str, device: str = "cpu") -> Any:
    """A copy of a float64 array as "numpy" or "torch" array of `dtype`; bools and integers stay what they are, and what
    is no array stays."""
    if not isinstance(x, np.ndarray):
        return x
    if container == "numpy":
        return x.astype(dtype) if x.dtype.kind == "f" else x.copy()
    import torch

    placed = torch.tensor(x.copy(), device=device)
    return placed.to(getattr(torch, dtype)) if placed.is_floating_point() else placed


Utility: TypeAlias = Any
"""A class of `GAMES`, or a function (rewards, mask, v_empty) -> game."""


def utility_name(utility: Utility) -> str:
    return getattr(utility, "__name__", repr(utility))


def family(utility: Utility) -> type[Game]:
    """The class that says what arguments a utility takes: functions take those of the order family."""
    return utility if isinstance(utility, type) else OrderGame


@dataclass(frozen=True, eq=False)
class Sample:
    """The arguments of a batch of games of one utility, which laws take apart and put together again.

    Made as float64 and int64 numpy, NaN at masked players; `placed` turns it into what a user would pass.
    """

    utility: Utility
    arrays: dict[str, Any]
    """The `Game.arguments`, each with a leading [rows], or a number."""
    mask: Any
    """[rows, players] bool or None."""
    others: dict[str, Any]
    """What else the utility takes, not of the batch."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, players)."""
        name, axes = next(iter(family(self.utility).arguments.items()))
        array = self.arrays[name]
        players = array.shape[-1].bit_length() - 1 if axes == COALITIONS else array.shape[axes[0]]
        return array.shape[0], players

    def game(self) -> Game:
        if isinstance(self.utility, type):
            return self.utility(**self.arrays, mask=self.mask, **self.others)
        return self.utility(self.arrays["rewards"], self.mask, self.arrays["v_empty"])

    def map(self, change: Callable[[Any], Any]) -> "Sample":
        """`change` of every array and of the mask."""
        arrays = {name: change(x) if hasattr(x, "shape") else x for name, x in self.arrays.items()}
        return replace(self, arrays=arrays, mask=None if self.mask is None else change(self.mask))

    def with_arrays(self, **arrays: Any) -> "Sample":
        return replace(self, arrays={**self.arrays, **arrays})

    def with_entry(self, name: str, where: tuple[int, ...], x: float) -> "Sample":
        array = self.arrays[name].copy()
        array[where] = x
        return self.with_arrays(**{name: array})

    @property
    def live(self) -> np.ndarray:
        """[rows, players] bool."""
        return np.ones(self.shape, bool) if self.mask is None else self.mask

    def placed(self, container: str, dtype: str, device: str = "cpu") -> "Sample":
        return self.map(lambda x: place(x, container, dtype, device))

    def rows(self, part: Any) -> "Sample":
        """Some rows, by a slice or by indices."""
        return self.map(lambda x: x[part])

    def players(self, index: Any) -> "Sample":
        """Player t of the result is player index[t]: a relabelling, or twins where an index occurs again."""
        index = np.asarray(index, dtype=int)
        arrays = {name: self._players_of(name, x, index) for name, x in self.arrays.items()}
        return replace(self, arrays=arrays, mask=None if self.mask is None else self.mask[:, index])

    def _players_of(self, name: str, x: Any, index: np.ndarray) -> Any:
        axes = family(self.utility).arguments[name]
        if axes == COALITIONS:
            inside = np.arange(2 ** len(index))[:, None] >> np.arange(len(index)) & 1 == 1  # [coalitions, players]
            return x[..., np.bitwise_or.reduce(np.where(inside, 1 << index, 0), axis=-1, initial=0)]
        for axis in axes if hasattr(x, "shape") else ():
            x = np.take(x, index, axis)
        return x

    def at_masked(self, filler: float) -> "Sample":
        """With another number at masked players; integers become 7 there."""
        if self.mask is None:
            return self
        arrays = dict(self.arrays)
        for name, x in self.arrays.items():
            live = self._live(name)
            if live is not None:
                arrays[name] = np.where(live, x, filler if x.dtype.kind == "f" else 7)
        return replace(self, arrays=arrays)

    def _live(self, name: str) -> np.ndarray | None:
        x = self.arrays[name]
        return live_entries(self.mask, family(self.utility).arguments[name], x) if hasattr(x, "shape") else None

    def live_entry(self, name: str, row: int) -> tuple[int, ...]:
        """Index of the last entry of an array that concerns live players of a row alone."""
        x, live = self.arrays[name], self._live(name)
        entries = np.ones(x.shape, bool) if live is None else np.broadcast_to(live, x.shape)
        if family(self.utility).arguments[name] == (-2, -1):  # pairs, of different players
            entries = entries & ~np.eye(x.shape[-1], dtype=bool)
        return tuple(int(i) for i in (row, *np.argwhere(entries[row])[-1]))

    def float_arrays(self) -> list[str]:
        return [name for name, x in self.arrays.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is random about a sample, drawn by numpy (`sample`) or by hypothesis (`strategies`)."""

    small: np.ndarray
    """[rows, players] float64: integers in -3..3, which rewards are made of."""
    kinds: Sequence[str]
    """[rows] of `ROW_KINDS`."""
    dead: np.ndarray | None
    """[rows, players] bool, None: no mask."""
    empty: Sequence[tuple[int, int]]
    """[rows]: v_empty is 0 (0), the reward of a player (1), or a little below it (2); and which player."""
    scalar: bool
    """One v_empty for all rows."""
    seed: Any
    """Of irregular numbers, and of all data of families other than the order family."""
    params: int = 0
    """Which parameters beside the data, for a number of players."""


def planned(utility: Utility, dtype: str, plan: Plan) -> "Sample":
    """The sample of a plan, its numbers at masked players too."""
    kind, rng = family(utility), np.random.default_rng(plan.seed)
    rows, players = plan.small.shape
    mask = None if plan.dead is None else ~plan.dead
    if not issubclass(kind, OrderGame):
        given = kind.example(rng, rows, players)
        data = Sample(utility, {name: given.pop(name) for name in kind.arguments if name in given}, mask, given)
        return data.map(lambda x: rounded(x, dtype) if x.dtype.kind == "f" else x)
    drawn = [_row(rng, kind, row, dtype) for kind, row in zip(plan.kinds, plan.small, strict=True)]
    rewards = rounded(np.array(drawn).reshape(rows, players), dtype)
    chosen = [row[player] if len(row) else 0.0 for row, (_, player) in zip(rewards, plan.empty, strict=True)]
    below = [(0.0, c, c - abs(c) / 4)[how] for c, (how, _) in zip(chosen, plan.empty, strict=True)]
    v_empty = rounded(np.array(below, np.float64), dtype)
    arrays = {"rewards": rewards, "v_empty": float(v_empty[0]) if plan.scalar and rows else v_empty}
    params = kind.example_params(np.random.default_rng([players, plan.params]), players)
    return Sample(utility, arrays, mask, params)


def _row(rng: np.random.Generator, kind: str, small: np.ndarray, dtype: str) -> np.ndarray:
    return {
        "integers": lambda: small,
        "irregular": lambda: small + rng.random(small.shape),
        "binary": lambda: (small > 0) * 1.0,
        "constant": lambda: np.broadcast_to(small[:1] + rng.random(), small.shape),
        "offset": lambda: OFFSET[dtype] + small / 8,
        "scaled": lambda: (small + rng.random(small.shape)) * rng.choice(SCALES[dtype]),
        "zero": lambda: 0 * small,
        "negative": lambda: -rng.random(small.shape) - 0.25,
    }[kind]()


@lru_cache(maxsize=4096)
def sample(utility: Utility, dtype: str, players: int, draw: int, rows: int = len(ROW_KINDS)) -> "Sample":
    """Arguments of a utility, rows of every kind, read-only, with NaN at masked players, which nobody may read.

    `draw` = 0, 1, 2, 3, ...: without and with mask, with v_empty per row and as one number; from then on again, with
    other numbers.
    """
    rng = np.random.default_rng([players, draw])
    dead = rng.random((rows, players)) < 0.3
    dead[draw % max(rows, 1) :][:1] = True  # a row without live players
    how, who = rng.integers(0, 3, rows).tolist(), rng.integers(0, max(players, 1), rows).tolist()
    plan = Plan(
        small=rng.integers(-3, 4, (rows, players)).astype(float),
        kinds=[ROW_KINDS[(i + draw // 4) % len(ROW_KINDS)] for i in range(rows)],
        dead=dead if draw % 2 else None,
        empty=list(zip(how, who, strict=True)),
        scalar=draw // 2 % 2 == 1,
        seed=[players, draw, 1],
        params=draw,
    )
    return planned(utility, dtype, plan).at_masked(np.nan).map(_read_only)


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.view()
    x.flags.writeable = False
    return x
