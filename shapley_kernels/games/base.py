"""What every game has: its data, worth, and the algebra of sums and multiples.

To add a family: in a file of its own, subclass `Game` (name the arrays in `arguments`) and `Term`, and list the classes
in games/__init__.py; tests, benchmarks and the table in the docs go through that list.
"""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import inf, isfinite, prod
from numbers import Real
from operator import or_
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    NUMPY,
    Array,
    Ops,
    as_float,
    at,
    boolean,
    broadcast,
    compute_dtype,
    describe,
    floating,
    is_float,
    like,
    ops_of,
    read,
)
from shapley_kernels.games.overflow import COALITIONS, live_entries, within_range
from shapley_kernels.games.tables import live_counts
from shapley_kernels.games.term import Term
from shapley_kernels.values import Semivalue

_DOWN = 2.0**-500
_LARGEST = {size: float(np.finfo(dtype).max) for size, dtype in ((2, "float32"), (4, "float32"), (8, "float64"))}
"""What the compute dtype holds, by the bytes of a dtype."""


class Game:
    """A batch of set functions with their data: `worth(S)` for a set S of players, one game per batch entry.

    Games of equal players, batch shape, mask, container and device add, subtract and scale:
    `0.7 * TopM(r, 3) + 0.3 * Max(r)`. The operators act on worth, that of the empty set included.
    """

    __array_ufunc__ = None  # array * game asks the game, instead of multiplying element by element

    arguments: ClassVar[dict[str, Any]] = {}
    """Its arrays, attributes of the same name: the axes that run over players, counted from the end ((-1,), (-2, -1);
    () when it has none), or `COALITIONS`. All have the leading batch axes; the first decides container and dtype."""
    domain: ClassVar[dict[str, tuple[float, float]]] = {}
    """For some of them, the closed interval that live entries have to lie in."""
    remedy: ClassVar[str] = "mask players that do not take part (mask=)"
    """What to do about an entry outside the domain, for the message."""
    scales: ClassVar[tuple[str, ...]] = ()
    """Arrays whose common positive multiple multiplies the worth; () if there are none."""

    vmaps: ClassVar[bool] = False
    """Whether torch.func.vmap maps over its data."""

    ops: Ops
    """What is done with its arrays: numpy's, or torch's."""
    players: int
    batch_shape: tuple[int, ...]
    mask: Array | None
    dtype: Any
    """Of the results: that of `data`."""
    given_dtype: Any
    """That which the data came in, whatever a sum widens them to: rounding to it is what tolerances allow for."""
    restore: Callable[[Array], Any] | None
    """From a result to the container of the caller (None: numpy or torch already)."""

    @property
    def data(self) -> Array:
        """The array that decides container, device and dtype of the results."""
        return getattr(self, next(iter(self.arguments)))

    @property
    def compute_dtype(self) -> Any:
        return self.ops.compute_dtype(self.dtype)

    def is_eager(self) -> bool:
        """Whether its numbers lie on the CPU, and nothing traces what is done to them."""
        return self.ops is NUMPY or self.ops.is_eager(self.data)

    def worth(self, coalitions: Any = None) -> Any:
        """v(S) of the players that are in S and live.

        Args:
            coalitions: bool [..., players], True = in S, its leading axes broadcast with the batch shape; None: all
                live players.

        Returns:
            worth [...], the broadcast batch shape, in the container and dtype of the game.

        Raises:
            TypeError, ValueError: coalitions that are not bool, of another number of players, or of another batch.
            OverflowError: on the CPU, a worth beyond the range of the dtype.
        """
        result = self.wide_worth(coalitions)
        if result.dtype != self.dtype:
            result = self.ops.cast(result, self.dtype)
        if self.is_eager():
            result = within_range(self, "worths", result, lambda game: game.wide_worth(coalitions))
        return self.restore(result) if self.restore else result

    def wide_worth(self, coalitions: Any = None) -> Array:
        """`worth` in numpy or torch and in the compute dtype, for what goes on computing with it."""
        members = self.everybody() if coalitions is None else self._coalitions(coalitions)
        with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
            return self._worth(members if self.mask is None else members & self.mask)

    def _coalitions(self, coalitions: Any) -> Array:
        members = boolean(coalitions, self.data, "worth: coalitions")
        if not members.shape or members.shape[-1] != self.players:
            raise ValueError(
                f"worth: coalitions must have shape [..., {self.players}] (players last), got {tuple(members.shape)}"
            )
        try:
            np.broadcast_shapes(tuple(members.shape[:-1]), self.batch_shape)
        except ValueError:
            raise ValueError(
                f"worth: coalitions must have leading axes that broadcast with those of the games, "
                f"{self.batch_shape}, got shape {tuple(members.shape)}"
            ) from None
        return members

    def _worth(self, members: Array) -> Array:
        """`wide_worth` of live members [..., players] -> [...], broadcast with the batch shape."""
        raise NotImplementedError

    def terms(self, value: Semivalue) -> list[Term]:
        """What has to be computed for the credits of this game under `value`."""
        raise NotImplementedError

    def refuse_joint_data(self) -> None:
        """ValueError unless all data belong to single players, or to the whole game, so that sets of players of several
        games have a worth."""
        for name, axes in self.arguments.items():
            if len(axes) > 1 or axes == COALITIONS:
                raise ValueError(
                    f"{type(self).__name__}: {name} must belong to single candidates to be worth something in a set "
                    "with candidates of other rollouts, got data between the candidates of one rollout; use a utility "
                    "such as FacilityLocation(scores) or Clusters(labels), or a value that looks at each rollout "
                    "alone, such as Shapley() or LeaveOneOut()"
                )

    def take(self, own: Array, rows: Array, places: Array, mask: Array) -> "Game":
        """Games of sets put together from players of several games of the batch, such as the rollouts of a group, for
        games without joint data.

        Args:
            own: [sets] indices into the flattened batch: whose v_empty, topic weights and factors count.
            rows, places: [sets, players]: player i of set s is player places[s, i] of game rows[s, i].
            mask: [sets, players] bool, True = live.

        Returns:
            games of batch shape [sets], with results in numpy or torch.
        """
        taken, count = without_restore(self), prod(self.batch_shape)
        taken.players, taken.batch_shape, taken.mask = rows.shape[-1], tuple(own.shape), mask
        for name, axes in self.arguments.items():
            if hasattr(array := getattr(self, name), "shape"):
                flat = array.reshape((count, *array.shape[len(self.batch_shape) :]))
                setattr(taken, name, flat[rows, places] if axes else flat[own])
        return taken

    def joined(self, others: "Sequence[Game]") -> "Game":
        """The games of several batches [rows] as one, of as many players as the largest of them has, the others masked.

        Args:
            others: games of the same utility; all are in numpy.
        """
        games = [self, *others]
        whole = without_restore(self)
        whole.players = max(game.players for game in games)
        whole.batch_shape = (sum(game.batch_shape[0] for game in games),)
        live = [game.everybody() if game.mask is None else game.mask for game in games]
        whole.mask = np.concatenate([_padded(mask, (-1,), whole.players) for mask in live])
        for name, axes in self.arguments.items():
            if getattr(self, name) is not None:
                arrays = [_by_row(getattr(game, name), game) for game in games]
                setattr(whole, name, np.concatenate([_padded(x, axes, whole.players) for x in arrays]))
        whole.dtype = whole.data.dtype
        return whole

    def topics(self, size: int) -> int:
        """How many topics `maxima` has, at most, for groups of `size` games; 0: the game is no sum of maxima."""
        return 0

    def maxima(self, group: Callable[[], Array]) -> "Maxima":
        """The game as a sum of maxima; asked only where `topics` is not 0.

        Args:
            group: gives [rows], the group of each game of the flattened batch: topics have to mean the same within it.
        """
        raise NotImplementedError

    def pairs(self, value: Semivalue) -> Array | None:
        """Pair interactions by array code in closed form, in the library of the data and the compute dtype: the mean of
        v(S+i+j) - v(S+i) - v(S+j) + v(S), coalitions S of the n - 2 other live players drawn by the size weights of
        `value` for n - 1 players. None: there is no closed form, and `interactions` goes through all worths.

        Returns:
            [..., players, players], symmetric; what stands on the diagonal and at masked players means nothing.
        """
        return None

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        """Valid arguments but the mask, for tests, benchmarks and docs: `arguments` as float64 or int64 numpy with a
        leading [rows], ties, zeros and the ends of the domain among them; and whatever else it takes."""
        raise NotImplementedError

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        """The definition in rational arithmetic, for the oracle: a function from player indices to worth, for one
        entry of the flattened batch. Written apart from `_worth`."""
        live, worth = set(self.live_players(row)), self._exact_worth(row)
        return lambda members: worth([i for i in members if i in live])

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        """`exact_worth` of live members."""
        raise NotImplementedError

    # -- players -----------------------------------------------------------------------------------------------------

    def everybody(self) -> Array:
        """[batch..., players] bool, all True."""
        return ~self.ops.zeros(self.data, (*self.batch_shape, self.players), self.ops.dtype("bool"))

    def live_players(self, row: int) -> list[int]:
        """Indices of the live players in one entry of the flattened batch."""
        return np.flatnonzero(self.live_rows()[row]).tolist()

    def live_rows(self) -> np.ndarray:
        """[rows, players] bool, on the host."""
        shape = (prod(self.batch_shape), self.players)
        return np.ones(shape, bool) if self.mask is None else self.ops.to_host(self.mask).reshape(shape)

    def live_counts(self, value: Semivalue) -> tuple[int, ...]:
        """Numbers of live players for which coefficients are needed."""
        return live_counts(self.ops, self.mask, self.players, value)

    # -- reading and checking data -----------------------------------------------------------------------------------

    def _read(self, name: str, x: Any, axes: str, mask: Any, player_axis: int = -1, *, integers: bool = False) -> Array:
        """The argument that decides container, device and shapes; sets ops, players, batch_shape, mask and restore.

        Args:
            axes: such as "[..., players, topics]".
            player_axis: the axis of the players, from the end.
            integers: take integers only (labels), and keep them.
        """
        owner = type(self).__name__
        self.ops, array, self.restore = read(x, f"{owner}: {name}", integers=integers)
        batch = len(array.shape) - axes.count(",")
        if batch < 0:
            got = f"the number {describe(x)}" if not array.shape else describe(array)
            raise ValueError(f"{owner}: {name} must have shape {axes}, got {got}")
        self.dtype = self.given_dtype = array.dtype
        self.players = array.shape[player_axis]
        self.batch_shape = tuple(array.shape[:batch])
        self.mask = None
        if mask is not None:
            live, shape = boolean(mask, array, f"{owner}: mask"), (*self.batch_shape, self.players)
            self.mask = broadcast(live, shape, f"{owner}: mask", "[..., players]")
        if not self.vmaps:
            self._check_vmap(name, array)
            self._check_vmap("mask", self.mask)
        return array

    def _read_beside(self, name: str, x: Any, data: Array, shape: Sequence[int], axes: str) -> Array:
        """A further argument, in the library and on the device of `data`, broadcast to `shape`."""
        owner = f"{type(self).__name__}: {name}"
        array = broadcast(floating(like(x, data, owner), owner), tuple(shape), owner, axes)
        if not self.vmaps:
            self._check_vmap(name, array)
        return array

    def _check_vmap(self, name: str, array: Array | None) -> None:
        if self.ops.is_vmapped(array):
            raise TypeError(
                f"{type(self).__name__}: {name} must not be mapped over by torch.func.vmap, which works on order games "
                "and FacilityLocation only; pass the batch as leading axes"
            )

    def wide(self, x: Array) -> Array:
        """`x` in the compute dtype."""
        return self.ops.cast(x, self.compute_dtype)

    def in_rows(self, x: Array) -> np.ndarray:
        """An array with the batch axes of the game as float64 [rows, *its own axes], on the host."""
        own = x.shape[len(self.batch_shape) :]
        return self.ops.to_float64(x).reshape((prod(self.batch_shape), *own))

    def _outside(self, name: str, array: Array) -> Array:
        """Entries outside the domain; NaN are not."""
        low, high = self.domain.get(name, (-inf, inf))
        return (array < low) | (array > high)

    def _bad_entries(self, name: str, array: Array) -> Array:
        """Entries of live players that are not finite, or outside the domain."""
        return self._of_live_players(name, ~self.ops.xp.isfinite(array) | self._outside(name, array))

    def _of_live_players(self, name: str, entries: Array) -> Array:
        """bools of the shape of an argument, False where they concern a masked player."""
        live = live_entries(self.mask, self.arguments[name], entries)
        return entries if live is None else entries & live

    def _float_arrays(self) -> list[tuple[str, Array]]:
        arrays = [(name, getattr(self, name)) for name in self.arguments]
        return [(name, x) for name, x in arrays if hasattr(x, "shape") and not self.ops.is_integer(x)]

    def numbers_per_game(self) -> int:
        """Numbers in its largest array, for one game of the batch."""
        arrays = [x for name in self.arguments if hasattr(x := getattr(self, name), "shape")]
        return max(prod(x.shape[len(self.batch_shape) :]) for x in arrays)

    def bad_rows(self) -> Array:
        """[batch] bool: games with live data that are not finite, or outside the domain."""
        bad = self.ops.zeros(self.data, self.batch_shape, self.ops.dtype("bool"))
        if self._nonfinite_number():
            bad = ~bad
        for name, array in self._float_arrays():
            entries = self._bad_entries(name, array)
            bad = bad | entries.reshape((*self.batch_shape, prod(entries.shape[len(self.batch_shape) :]))).any(-1)
        return bad

    def refuse_bad_data(self) -> None:
        """Raise a ValueError that names the first live entry that is not finite, or outside the domain, if any is."""
        for name, array in self._float_arrays():
            self._refuse(name, array, self._bad_entries(name, array))
        if number := self._nonfinite_number():
            got = getattr(self, number)
            raise ValueError(f"{type(self).__name__}: {number} must be finite in float64, got {got}")

    def refuse_impossible_data(self) -> None:
        """ValueError for data that are finite and that no game has, which kernels look for on their way; called where
        one found something, and `refuse_bad_data` did not."""

    def _nonfinite_number(self) -> str | None:
        """The name of an argument that is one number for all games, and not finite."""
        given = {name: getattr(self, name) for name in self.arguments}
        return next((name for name, x in given.items() if is_number(x) and not isfinite(x)), None)

    def _check_domain(self) -> None:
        """For constructors: refuse live entries outside the domain, if they can be looked at. NaN and infinities are
        for later, since nan="propagate" allows them."""
        for name, (low, high) in self.domain.items():
            array = getattr(self, name)
            if self._can_be_looked_at(array):
                if prod(array.shape) and array.min() >= low and array.max() <= high:  # not if one is NaN
                    continue
                bad = self._outside(name, array) & self.ops.xp.isfinite(array)
                self._refuse(name, array, self._of_live_players(name, bad))

    def _can_be_looked_at(self, array: Array) -> bool:
        """For constructors: whether to check `array`, which is not waited for on a GPU."""
        return self.ops.on_cpu(array) and not self.ops.is_exporting()

    def _refuse(self, name: str, array: Array, bad: Array) -> None:
        where = self.ops.first_true(bad)
        if where is None:
            return
        owner, got = type(self).__name__, array[where].item()
        place = f"got {got}{at(where)}" + (" (player last)" if self.arguments[name] == (-1,) else "")
        if isfinite(got):
            low, high = self.domain[name]
            interval = f"in [{low:g}, {high:g}]" if isfinite(high) else f">= {low:g}"
            raise ValueError(f"{owner}: {name} must be {interval}, {place}; {self.remedy}")
        raise ValueError(
            f"{owner}: {name} must be finite, {place}; mask players that do not take part (mask=), "
            "or pass nan='propagate' to get NaN in that row alone"
        )

    # -- the same game on other arrays -------------------------------------------------------------------------------

    def with_arrays(self, change: Callable[[Array], Array]) -> "Game":
        """The same game with `change` of all its arrays, with results in numpy or torch."""
        changed = without_restore(self)
        for name, array in list(vars(changed).items()):
            if hasattr(array, "shape") and hasattr(array, "dtype"):
                setattr(changed, name, change(array))
        data = changed.data
        changed.dtype = data.dtype
        if type(data) is not type(self.data):
            changed.ops = ops_of(data)
        return changed

    def in_double(self) -> "Game":
        """The same game on data in float64 (where the device has it), with results in numpy or torch."""
        return self.with_arrays(self.ops.in_double)

    def scaled_down(self) -> "tuple[Game, float]":
        """The game in float64, and scaled down so that nothing that its credits are computed from overflows, if they
        fit; and the square root of what undoes that. By powers of two, which round nothing but numbers that are nothing
        beside those that overflow."""
        double = self.in_double()
        if compute_dtype(self.dtype) == "float32":
            return double, 1.0
        parts = []
        for weight, part in double._parts():
            small = copy(part)
            data = [name for name in part.scales if getattr(part, name) is not None]
            for name in data:
                setattr(small, name, _DOWN * getattr(part, name))
            parts.append((_DOWN * weight if data else _DOWN * _DOWN * weight, small))
        return Combination(parts), 1 / _DOWN

    # -- algebra -----------------------------------------------------------------------------------------------------

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
        product = Combination([(_product(weight, w), game) for w, game in self._parts()])
        product._refuse_large_weights()
        return product

    __rmul__ = __mul__

    def __truediv__(self, scalar: Any) -> "Game":
        if isinstance(scalar, Game):
            return NotImplemented
        number = isinstance(scalar, Real) and not isinstance(scalar, bool)
        divisor = as_float(scalar, "scale") if number else self._scalar(scalar)  # 1 over a number beyond the range is 0
        zero: Any = divisor == 0
        if zero if is_number(divisor) else self.ops.on_cpu(divisor) and bool(zero.any()):
            raise ZeroDivisionError("a game can be divided by numbers other than 0 only, got 0")
        with np.errstate(over="ignore"):
            return self * (1.0 / divisor)

    def __neg__(self) -> "Game":
        return self * -1.0

    def _parts(self) -> "list[tuple[Any, Game]]":
        return [(1.0, self)]

    def wide_parts(self) -> "list[tuple[Any, Game]]":
        """(weight, game) of each summand, those of a narrower compute dtype on data in that of the sum."""
        return [(1.0, self)]

    def _scalar(self, scalar: Any) -> Any:
        """A number, or an array of the batch shape, to multiply the worth with."""
        if type(scalar) is float and isfinite(scalar):
            return scalar
        if not isinstance(scalar, bool) and (
            isinstance(scalar, Real) or (isinstance(scalar, np.generic) and is_float(scalar.dtype))
        ):
            number = as_float(scalar, "scale")
            if not isfinite(number):
                raise ValueError(f"a game can be scaled by finite numbers only, got {number}")
            return number
        ops = self.ops
        if ops_of(scalar) is NUMPY and (not hasattr(scalar, "shape") or isinstance(scalar, np.generic)):
            raise TypeError(
                f"a game can be scaled by a number or an array of the batch shape {self.batch_shape}, "
                f"got {describe(scalar)}"
            )
        # not the dtype of the game: products of weights would be rounded to float16 or bfloat16 again and again
        array = like(scalar, self.data, "scale")
        if not ops.is_integer(array):
            array = floating(array, "scale")
        if not (is_float(array.dtype) and compute_dtype(array.dtype) == "float64"):
            array = ops.cast(array, self.compute_dtype)
        array = broadcast(array, self.batch_shape, "scale", "[batch]")
        if ops.on_cpu(array) and (bad := ops.first_true(~ops.xp.isfinite(array))) is not None:
            raise ValueError(f"a game can be scaled by finite numbers only, got {array[bad].item()}{at(bad)}")
        return array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(players={self.players}, batch_shape={self.batch_shape}, dtype={self.dtype})"


def without_restore(game: Game) -> Game:
    """The same game, with results in numpy or torch."""
    native = copy(game)
    native.restore = None
    return native


def _by_row(x: Any, game: Game) -> np.ndarray:
    """A number for all games of a batch [rows] as one for each."""
    return x if hasattr(x, "shape") else np.full(game.batch_shape, x)


def _padded(x: np.ndarray, axes: tuple[int, ...], players: int) -> np.ndarray:
    """`x` with zeros for further players along the `axes` that run over them."""
    grow = [(0, players - size if i - x.ndim in axes else 0) for i, size in enumerate(x.shape)]
    return np.pad(x, grow)


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


# -- what multiplies a game: a float, or an array [batch] --------------------------------------------------------------


def is_number(x: Any) -> bool:
    """Whether a weight, or a v_empty, is one number for all games."""
    return type(x) is float


def spread(weight: Any, axes: int) -> Any:
    """A weight, to be multiplied with an array that has so many axes behind those of the batch."""
    return weight if is_number(weight) else weight.reshape((*weight.shape, *(1 for _ in range(axes))))


def _product(a: Any, b: Any) -> Any:
    """Of two weights; beyond the range it is infinite, which is looked for later."""
    if not (isinstance(a, np.ndarray) or isinstance(b, np.ndarray)):
        return a * b
    with np.errstate(over="ignore"):
        return a * b


class Combination(Game):
    """A weighted sum of games on the same players; made by the operators."""

    def __init__(self, parts: Sequence[tuple[Any, Game]]) -> None:
        self.parts = list(parts)
        first = self.parts[0][1]
        self.ops, self.players, self.batch_shape = first.ops, first.players, first.batch_shape
        self.restore, self.mask, self.dtype = first.restore, first.mask, first.dtype
        for _, game in self.parts[1:]:
            _check_compatible(first, game)
            self.mask = game.mask if self.mask is None else self.mask
            if game.dtype != self.dtype:
                self.dtype = self.ops.promoted(self.dtype, game.dtype)

    @property
    def data(self) -> Array:
        return self.parts[0][1].data

    def _worth(self, members: Array) -> Array:
        return sum(self.wide(weight * game._worth(members)) for weight, game in self.wide_parts())

    def terms(self, value: Semivalue) -> list[Term]:
        return [term.times(weight) for weight, game in self.wide_parts() for term in game.terms(value)]

    def bad_rows(self) -> Array:
        return reduce(or_, (game.bad_rows() for _, game in self.parts))

    def joined(self, others: Sequence[Game]) -> Game:
        parts = []
        for i, (_, game) in enumerate(self.parts):
            weights = [_by_row(g._parts()[i][0], g) for g in (self, *others)]
            parts.append((np.concatenate(weights), game.joined([g._parts()[i][1] for g in others])))
        return Combination(parts)

    def refuse_joint_data(self) -> None:
        for _, game in self.parts:
            game.refuse_joint_data()

    def take(self, own: Array, rows: Array, places: Array, mask: Array) -> Game:
        weights = [w if is_number(w) else w.reshape(-1)[own] for w, _ in self.parts]
        return Combination(
            [(w, g.take(own, rows, places, mask)) for w, (_, g) in zip(weights, self.parts, strict=True)]
        )

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        parts = [(_row_weight(weight, row), game.exact_worth(row)) for weight, game in self.parts]
        return lambda members: sum((w * v(members) for w, v in parts), Fraction(0))

    def with_arrays(self, change: Callable[[Array], Array]) -> Game:
        return Combination([(w if is_number(w) else change(w), part.with_arrays(change)) for w, part in self.parts])

    def _parts(self) -> list[tuple[Any, Game]]:
        return self.parts

    def wide_parts(self) -> list[tuple[Any, Game]]:
        if all(game.dtype == self.dtype for _, game in self.parts):
            return self.parts
        compute = compute_dtype(self.dtype)
        wide: dict[int, Array] = {}  # what shares data goes on doing so

        def widen(x: Array) -> Array:
            if id(x) not in wide:
                wide[id(x)] = self.wide(x) if is_float(x.dtype) else x
            return wide[id(x)]

        return [(w, g if compute_dtype(g.dtype) == compute else g.with_arrays(widen)) for w, g in self.parts]

    def _refuse_large_weights(self) -> None:
        """ValueError for a weight, such as a product of weights, beyond the range that credits are computed in."""
        largest = _LARGEST[self.dtype.itemsize]
        for weight, game in self.parts:
            got = None
            if type(weight) is float:
                got = weight if abs(weight) > largest else None
            elif self.ops.on_cpu(weight):
                where = NUMPY.first_true(abs(self.ops.to_float64(weight)) > largest)
                got = None if where is None else weight[where].item()
            if got is not None:
                raise ValueError(
                    f"a game of dtype {self.dtype} can be scaled by numbers in the range of "
                    f"{compute_dtype(self.dtype)} only, got {got:g} times {type(game).__name__}, products of several "
                    "weights multiplied out; scale by less"
                )


def _row_weight(weight: Any, row: int) -> Fraction:
    return Fraction(weight if is_number(weight) else float(weight.reshape(-1)[row]))


def _check_compatible(a: Game, b: Game) -> None:
    def refuse(what: str, x: Any, y: Any) -> None:
        raise ValueError(f"games can be combined only on equal {what}, got {x} and {y}")

    if a.players != b.players:
        refuse("players", a.players, b.players)
    if a.batch_shape != b.batch_shape:
        refuse("batch shape", a.batch_shape, b.batch_shape)
    if a.ops is not b.ops:
        raise TypeError(f"games can be combined only in one container, got {describe(a.data)} and {describe(b.data)}")
    if a.ops is not NUMPY and a.data.device != b.data.device:
        refuse("device", a.ops.device(a.data), b.ops.device(b.data))
    if a.mask is b.mask:
        return
    if a.ops.is_exporting():
        raise TypeError(
            "games can be combined under torch.export only on one mask, since the numbers of two cannot be compared; "
            "pass the same tensor to both"
        )
    ones = a.everybody()
    left, right = (ones if game.mask is None else game.mask for game in (a, b))
    if not bool((left == right).all()):
        raise ValueError("games can be combined only on equal masks (None: all players live), got two that differ")
