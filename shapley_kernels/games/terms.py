"""What has to be computed for a game under a value: which primitive, on which arrays, with which coefficients.

A term knows no backend: `credits` is given something to run primitives with (`dispatch.Run`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from shapley_kernels.arrays import Array, is_torch, is_traced, may_keep
from shapley_kernels.values import Semivalue

if TYPE_CHECKING:
    from shapley_kernels.games.base import Game

ALL_LIVE_COUNTS = 64
"""Up to this many players, masked games take coefficients for every live count, without looking which ones occur."""


class Run(Protocol):
    """Runs a primitive of `kernels/` on the backend of the call."""

    dtype: Any
    """That of the credits."""
    traced: bool
    """Whether torch traces the call: data are no numbers yet, and what the call does becomes a graph."""

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | None],
        tables: "Tables",
        shape: tuple[int, ...],
        dtype: Any = None,
    ) -> Array:
        """`arrays` and `tables` in the order of the contract of the primitive, whose rows may have several axes ->
        [*rows, players] of that shape, in `dtype`, or that of the credits."""


class Term:
    """One summand of the credits of a game; a dataclass in each family."""

    game: "Game"
    value: Semivalue
    spreads_nonfinite: ClassVar[bool] = False
    """Whether non-finite data of a live player make its whole row NaN by themselves, and no other row."""

    def credits(self, run: Run) -> Array:
        """Credits [batch..., players], in the dtype of the run; exactly 0 for masked players."""
        raise NotImplementedError

    def scaled(self, factor: float) -> "Term | None":
        """The term of `factor` times the game, None if the coefficients cannot take it in."""
        return None

    def merged(self, other: "Term") -> "Term | None":
        """The term of the sum of both games, None if that is more than one run of a primitive."""
        return None

    def error_bound(self) -> np.ndarray:
        """[rows, players] or [rows, 1] float64: the a-priori bound of |credit - exact| before the result is rounded to
        the dtype of the output; data are what the kernel gets. At least eps |credit|, eps that of the compute dtype."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Tables:
    """Coefficients of a primitive, float64 (or integers, or None where the contract allows it), kept in every dtype and
    place that they were asked for."""

    arrays: tuple[np.ndarray | None, ...]
    _placed: dict[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)

    def on(self, library: str, dtype: str, device: str) -> tuple[Any, ...]:
        """The arrays in "numpy" or "torch", floats in the compute dtype, on a device."""
        key = (library, dtype, device)
        if (found := self._placed.get(key)) is not None:
            return found
        placed: tuple[Any, ...] = tuple(x if x is None or x.dtype.kind == "i" else x.astype(dtype) for x in self.arrays)
        if library == "torch":
            import torch

            with torch.inference_mode(False):  # what inference mode makes is of no use to a later backward
                placed = tuple(None if x is None else torch.from_numpy(x).to(device) for x in placed)
            if not all(x is None or may_keep(x) for x in placed):
                return placed
        self._placed[key] = placed
        return placed


def live_counts(game: "Game", value: Semivalue) -> tuple[int, ...]:
    """Numbers of live players for which coefficients are needed."""
    mask, players = game.mask, game.players
    if mask is None:
        return (players,)
    if (players <= ALL_LIVE_COUNTS and value.fixed_players is None) or is_traced(mask):
        return tuple(range(players + 1))
    counts = mask.sum(-1)
    return tuple(int(n) for n in np.unique(counts.cpu().numpy() if is_torch(counts) else counts))


def levels(players: int, lives: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    """The live counts above 0, one level of the tables each, and level_of [players + 1] int32 from a live count to its
    level. Tables have at least one level, of zeros where nobody is live."""
    counts = tuple(n for n in lives if n)
    level_of = np.zeros(players + 1, np.int32)
    for level, n in enumerate(counts):
        if n <= players:
            level_of[n] = level
    return counts, level_of


@lru_cache(maxsize=256)
def size_weights(value: Semivalue, players: int, lives: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """sizes [levels, players], entry s the size weight of coalitions of s, by live count; and level_of."""
    counts, level_of = levels(players, lives)
    sizes = np.zeros((max(len(counts), 1), max(players, 1)))
    for level, n in enumerate(counts):
        sizes[level, :n] = value.size_weights(n)
    return sizes, level_of
