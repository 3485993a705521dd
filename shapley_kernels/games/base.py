"""What every game has: worth, shape, mask, and the algebra of sums and multiples."""

from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    Array,
    boolean,
    broadcast,
    cast,
    compute_dtype,
    describe,
    device,
    first_nonfinite,
    is_torch,
    like,
    named_dtype,
    namespace,
    promoted,
)
from shapley_kernels.values import Semivalue


class Game:
    """A batch of set functions with their data: `worth(S)` for a set S of players, one game per batch entry.

    Games of equal players, batch shape, mask, container and device add, subtract and scale:
    `0.7 * TopM(r, 3) + 0.3 * Max(r)`. The operators act on worth, that of the empty set included.
    """

    __array_ufunc__ = None  # array * game asks the game, instead of multiplying element by element

    players: int
    batch_shape: tuple[int, ...]
    mask: Array | None
    restore: Callable[[Array], Any] | None
    """From a result to the container of the caller (None: numpy or torch already)."""

    @property
    def data(self) -> Array:
        """The array that decides container, device and dtype of the results."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def worth(self, coalitions: Any = None) -> Any:
        """v(S) of the players that are in S and live.

        Args:
            coalitions: bool [..., players], True = in S, its leading axes broadcast with the batch shape; None: all
                live players.

        Returns:
            worth [...], the broadcast batch shape, in the container and dtype of the game.

        Raises:
            TypeError, ValueError: coalitions that are not bool, or of another number of players.
        """
        members = None
        if coalitions is not None:
            members = boolean(coalitions, self.data, "worth: coalitions")
            if not members.shape or members.shape[-1] != self.players:
                raise ValueError(
                    f"worth: coalitions must have shape [..., {self.players}] (players last), "
                    f"got {tuple(members.shape)}"
                )
        result = self._worth(members)
        return self.restore(result) if self.restore else result

    def _worth(self, members: Array | None) -> Array:
        """`worth` on native arrays."""
        raise NotImplementedError

    def terms(self, value: Semivalue) -> "list[Weighted]":
        """What has to be computed for the credits of this game under `value`."""
        raise NotImplementedError

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        """The definition in rational arithmetic, for the oracle: a function from player indices to worth, for one
        entry of the flattened batch. Written apart from `_worth`."""
        raise NotImplementedError

    def live_players(self, row: int) -> list[int]:
        """Indices of the live players in one entry of the flattened batch."""
        if self.mask is None:
            return list(range(self.players))
        return [i for i, live in enumerate(self.mask.reshape(-1, self.players)[row].tolist()) if live]

    def __add__(self, other: "Game") -> "Game":
        if not isinstance(other, Game):
            return NotImplemented
        return Combination([*self._parts(), *other._parts()])

    def __radd__(self, other: Any) -> "Game":
        return self if isinstance(other, int) and other == 0 else NotImplemented  # the start of sum([a, b, c])

    def __sub__(self, other: "Game") -> "Game":
        if not isinstance(other, Game):
            return NotImplemented
        return self + (-other)

    def __mul__(self, scalar: Any) -> "Game":
        if isinstance(scalar, Game):
            return NotImplemented
        weight = self._scalar(scalar)
        return Combination([(weight * w, game) for w, game in self._parts()])

    __rmul__ = __mul__

    def __truediv__(self, scalar: Any) -> "Game":
        if isinstance(scalar, Real):
            if scalar == 0:
                raise ZeroDivisionError("cannot divide a game by 0")
            return self * (1.0 / scalar)
        return NotImplemented

    def __neg__(self) -> "Game":
        return self * -1.0

    def _parts(self) -> "list[tuple[Any, Game]]":
        return [(1.0, self)]

    def _scalar(self, scalar: Any) -> Any:
        """A number, or an array of the batch shape, to multiply the worth with."""
        if isinstance(scalar, (Real, np.generic)) and not isinstance(scalar, (bool, np.bool_)):
            if not isfinite(scalar):
                raise ValueError(f"a game can be scaled by finite numbers only, got {scalar}")
            return float(scalar)
        if not hasattr(scalar, "shape"):
            raise TypeError(
                f"a game can be scaled by a number or an array of the batch shape {self.batch_shape}, "
                f"got {describe(scalar)}"
            )
        # not the dtype of the game: products of weights would be rounded to float16 or bfloat16 again and again
        array = cast(like(scalar, self.data, "scale"), named_dtype(self.data, compute_dtype(self.dtype)))
        array = broadcast(array, self.batch_shape, "scale", "[batch]")
        if device(array) == "cpu" and (bad := first_nonfinite(array, None)) is not None:
            raise ValueError(f"a game can be scaled by finite numbers only, got {float(array[bad])} at {list(bad)}")
        return array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(players={self.players}, batch_shape={self.batch_shape}, dtype={self.dtype})"


Weighted = tuple[Any, Any]
"""(weight, term): a number or [batch] array, and a term of one of the primitives (`OrderTerm`)."""


class Combination(Game):
    """A weighted sum of games on the same players; made by the operators."""

    def __init__(self, parts: Sequence[tuple[Any, Game]]) -> None:
        self.parts = list(parts)
        first = self.parts[0][1]
        for _, game in self.parts[1:]:
            _check_compatible(first, game)
        self.players, self.batch_shape, self.restore = first.players, first.batch_shape, first.restore
        self.mask = next((game.mask for _, game in self.parts if game.mask is not None), None)

    @property
    def data(self) -> Array:
        return self.parts[0][1].data

    @property
    def dtype(self) -> Any:
        arrays = [game.data for _, game in self.parts]
        widest = arrays[0]
        for array in arrays[1:]:
            widest = (
                widest if promoted(widest, array) == widest.dtype else cast(array[..., :0], promoted(widest, array))
            )
        return widest.dtype

    def _worth(self, members: Array | None) -> Array:
        wide = named_dtype(self.data, compute_dtype(self.dtype))
        return cast(sum(weight * cast(game._worth(members), wide) for weight, game in self.parts), self.dtype)

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(weight * w, term) for weight, game in self.parts for w, term in game.terms(value)]

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        parts = [(_row_weight(weight, row), game.exact_worth(row)) for weight, game in self.parts]
        return lambda members: sum((w * v(members) for w, v in parts), Fraction(0))

    def _parts(self) -> list[tuple[Any, Game]]:
        return self.parts


def _row_weight(weight: Any, row: int) -> Fraction:
    return Fraction(weight if isinstance(weight, float) else float(weight.reshape(-1)[row]))


def _check_compatible(a: Game, b: Game) -> None:
    def refuse(what: str, x: Any, y: Any) -> None:
        raise ValueError(f"games can be combined only on equal {what}, got {x} and {y}")

    if a.players != b.players:
        refuse("players", a.players, b.players)
    if a.batch_shape != b.batch_shape:
        refuse("batch shape", a.batch_shape, b.batch_shape)
    if is_torch(a.data) != is_torch(b.data):
        raise TypeError(f"games can be combined only in one container, got {describe(a.data)} and {describe(b.data)}")
    if device(a.data) != device(b.data):
        refuse("device", device(a.data), device(b.data))
    if a.mask is b.mask:
        return
    xp = namespace(a.data)
    ones = xp.ones_like(a.mask if a.mask is not None else b.mask)
    left, right = (ones if game.mask is None else game.mask for game in (a, b))
    if not bool((left == right).all()):
        raise ValueError("games can be combined only on equal masks (None: all players live), got two that differ")
