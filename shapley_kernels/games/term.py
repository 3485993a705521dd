"""What credits are made of: terms, and the runs of primitives that they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from shapley_kernels.arrays import Array
from shapley_kernels.games.tables import Tables
from shapley_kernels.values import Semivalue


class AnyLauncher(Protocol):
    """Runs a primitive of `kernels/` on the backend of the call: a `launch.Launcher`."""

    dtype: Any
    """That of the credits."""
    traced: bool
    """Whether torch traces the call: data are no numbers yet, and what the call does becomes a graph."""

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | float | None],
        tables: Tables,
        shape: tuple[int, ...],
        dtype: Any = None,
        form: str | None = None,
    ) -> Array:
        """`arrays` and `tables` in the order of the contract of the primitive, whose rows may have several axes (a
        number stands for an array [1]) -> [*rows, players] of that shape, in `dtype`, or that of the credits. `form`:
        one of the CPU kernel's, where the game knows more than the tables say."""


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of the credits of a game: factor * scale times what `credits` says of scale 1.

    A term knows no backend. Most are one run of a primitive, and say which, on which arrays, with which coefficients;
    the others define `credits` themselves.
    """

    game: Any  # the `Game` whose data, mask and shapes are used
    value: Semivalue
    scale: float = field(default=1.0, kw_only=True)
    """A number that the coefficients take in."""
    factor: Array | None = field(default=None, kw_only=True)
    """[batch], what the credits are multiplied by afterwards."""

    primitive: ClassVar[str]
    propagates_nan: ClassVar[bool] = False
    """Whether non-finite data of a live player make its whole row NaN by themselves, and no other row. Credits are then
    what a kernel wrote, with nothing added up afterwards."""

    def arrays(self) -> tuple[Array | float | None, ...]:
        """Those of the primitive."""
        raise NotImplementedError

    def tables(self) -> Tables:
        """Those of the primitive, for the live counts of the game, times `scale`; cached."""
        raise NotImplementedError

    def credits(self, launch: AnyLauncher) -> Array:
        """Credits [batch..., players] without the factor, in the dtype of the launcher; exactly 0 for masked
        players."""
        game = self.game
        return launch(self.primitive, self.arrays(), self.tables(), (*game.batch_shape, game.players))

    def times(self, weight: Any) -> "Term":
        """The term of a number, or an array [batch], times the game."""
        if type(weight) is float:
            return self if weight == 1.0 else replace(self, scale=weight * self.scale)
        return replace(self, factor=weight)

    def merged(self, other: "Term") -> "Term | None":
        """The term of the sum of both games, None if that is more than one run of a primitive; without factors."""
        return None

    def error_bound(self) -> np.ndarray:
        """[rows, players] or [rows, 1] float64: the a-priori bound of |credit - exact| before the result is rounded to
        the dtype of the output; data are what the kernel gets. At least eps |credit|, eps that of the compute dtype."""
        raise NotImplementedError


@dataclass(frozen=True)
class Maxima:
    """v(S) = scale sum_t w_t m_t, m_t = max_{i in S} x_it, or `empty` where nobody of S is on topic t (x_it = -inf)."""

    x: Array
    """[rows, players, topics]"""
    weights: Array | None = None
    """[rows, topics]; None: 1 each."""
    empty: Array | float = 0.0
    """[rows], or one for all."""
    scale: float = 1.0
