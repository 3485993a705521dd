"""What every game has: its data, worth, and the algebra of sums and multiples.

To add a family: in a file of its own, subclass `Game` (name the arrays in `arguments`) and `Term`, and list the classes
in games/__init__.py; tests, benchmarks and the table in the docs go through that list.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from copy import copy
from fractions import Fraction
from functools import reduce
from math import isfinite
from numbers import Real
from operator import attrgetter, or_
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    NUMPY,
    Array,
    as_float,
    at,
    boolean,
    broadcast,
    compute_dtype,
    describe,
    floating,
    from_numpy,
    is_float,
    like,
    ops_of,
)
from shapley_kernels.games.data import Data, is_number, same_data
from shapley_kernels.games.overflow import within_range
from shapley_kernels.games.tables import ALL_LIVE_COUNTS
from shapley_kernels.games.term import Maxima, Term
from shapley_kernels.values import Semivalue

_DOWN = 2.0**-500
_LARGEST = {size: float(np.finfo(dtype).max) for size, dtype in ((2, "float32"), (4, "float32"), (8, "float64"))}
"""What the compute dtype holds, by the bytes of a dtype."""


class _StaysInTorch(Exception):
    """An array that `Game.in_numpy` cannot take along."""


class Game(Data):
    """A batch of set functions with their data: `worth(S)` for a set S of players, one game per batch entry.

    Games of equal players, batch shape, mask, container and device add, subtract and scale:
    `0.7 * TopM(r, 3) + 0.3 * Max(r)`. The operators act on worth, that of the empty set included.
    """

    __array_ufunc__ = None  # array * game asks the game, instead of multiplying element by element

    params: tuple[Any, ...] = ()
    """What the utility takes beside the data, hashable: the key of its coefficients."""
    scales: ClassVar[tuple[str, ...]] = ()
    """Arrays whose common positive multiple multiplies the worth; () if there are none."""
    runs_on: ClassVar["attrgetter[tuple[Any, ...]] | None"] = None
    """What gives the arrays, in order, of the one run of a primitive that `terms` come to, whatever the data; None
    where they have to be asked each time."""

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

    def one_run(self, value: Semivalue) -> tuple[Hashable, tuple[Any, ...]] | None:
        """What decides the run of `runs_on` but for the data, and these; None where it depends on more than what the
        class and `params` say, the value, and the shape: on numbers of live players that have to be counted."""
        arrays = type(self).runs_on
        if arrays is None or self.players > ALL_LIVE_COUNTS:
            return None
        if self.mask is not None and value.fixed_players is not None:
            return None
        shape, bytes_of = (self.batch_shape, self.players), self.dtype.itemsize  # float16 and bfloat16 are not kept
        return (type(self), self.params, value, shape, bytes_of, self.mask is None), arrays(self)

    def topics(self, size: int) -> int:
        """How many topics `maxima` has, at most, for groups of `size` games; 0: the game is no sum of maxima."""
        return 0

    def maxima(self, group: Callable[[], Array]) -> Maxima:
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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        terms, runs_on = (
            next(place for place, base in enumerate(cls.__mro__) if name in vars(base)) for name in ("terms", "runs_on")
        )
        if terms < runs_on:  # made by a class that comes before, a mixin for instance
            cls.runs_on = None

    # -- the same game on other arrays -------------------------------------------------------------------------------

    def with_arrays(self, change: Callable[[Array], Array]) -> "Game":
        """The same game with `change` of all its arrays, with results in numpy or torch."""
        changed, kind = without_restore(self), self.ops.array_type
        attributes = vars(changed)
        for name, array in vars(self).items():
            if isinstance(array, kind):
                attributes[name] = change(array)
        data = changed.data
        changed.dtype, changed.ops = data.dtype, ops_of(data)
        return changed

    def in_numpy(self, keep_gradient: bool) -> "Game | None":
        """The same game on numpy arrays, in the memory of its tensors, with results as before; None where numpy cannot
        read these (`Ops.is_numpy_too`), or where a gradient has to flow and is to be kept."""
        ops = self.ops
        if not ops.is_numpy_too(self.data) or ops.is_traced(self.data):
            return None
        known: dict[int, Array] = {}  # what shares data goes on doing so

        def read(x: Array) -> Array:
            if not ops.is_numpy_too(x) or (keep_gradient and ops.needs_grad(x)):
                raise _StaysInTorch
            if id(x) not in known:
                known[id(x)] = ops.to_host(x)
            return known[id(x)]

        try:
            game = self.with_arrays(read)
        except _StaysInTorch:
            return None
        game.restore = from_numpy(ops, self.restore)
        return game

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
    native = object.__new__(type(game))
    native.__dict__.update(game.__dict__, restore=None)  # in a tenth of the time of copy.copy
    return native


# -- what multiplies a game: a float, or an array [batch] --------------------------------------------------------------


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

    def one_run(self, value: Semivalue) -> tuple[Hashable, tuple[Any, ...]] | None:
        """Of parts on the same data, whether or not their terms merge into one run: of others none is known."""
        kinds, arrays = [], None
        for weight, part in self.parts:
            known = part.one_run(value) if type(weight) is float else None
            if known is None or not (arrays is None or all(map(same_data, arrays, known[1]))):
                return None
            kinds.append((weight, known[0]))
            arrays = arrays or known[1]
        return None if arrays is None else (tuple(kinds), arrays)

    def terms(self, value: Semivalue) -> list[Term]:
        return [term.times(weight) for weight, game in self.wide_parts() for term in game.terms(value)]

    def bad_rows(self) -> Array:
        return reduce(or_, (game.bad_rows() for _, game in self.parts))

    def refuse_joint_data(self) -> None:
        for _, game in self.parts:
            game.refuse_joint_data()

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
