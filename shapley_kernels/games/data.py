"""The data of a batch of games: read from what users pass, and refused where no game has such."""

from collections.abc import Callable, Sequence
from math import inf, isfinite, prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import NUMPY, Array, Ops, at, boolean, broadcast, describe, floating, like, ops_of, read
from shapley_kernels.games.tables import live_counts
from shapley_kernels.values import Semivalue

COALITIONS = "coalitions"
"""In `Game.arguments`: the last axis runs over all 2^players coalitions, index sum_{i in S} 2^i."""


class Data:
    """Arrays of one container and device, and who is live."""

    arguments: ClassVar[dict[str, Any]] = {}
    """Its arrays, attributes of the same name: the axes that run over players, counted from the end ((-1,), (-2, -1);
    () when it has none), or `COALITIONS`. All have the leading batch axes; the first decides container and dtype."""
    domain: ClassVar[dict[str, tuple[float, float]]] = {}
    """For some of them, the closed interval that live entries have to lie in."""
    remedy: ClassVar[str] = "mask players that do not take part (mask=)"
    """What to do about an entry outside the domain, for the message."""
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
                if prod(array.shape) and _all_within(self.ops, array, low, high):
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


def _all_within(ops: Ops, array: Array, low: float, high: float) -> bool:
    """Whether all entries are certain to lie in [low, high]; not if one is NaN, or -0 at the lower end."""
    if ops is NUMPY and low == 0 and array.dtype.kind in "fi":
        # in one pass: the bits of those that are not negative, as integers, are in the order of the numbers
        bits = array.view(f"u{array.itemsize}")
        top = high if array.dtype.kind == "f" else min(high, np.iinfo(array.dtype).max)
        return bool(bits.max() <= np.array(top, array.dtype).view(bits.dtype))
    return bool(array.min() >= low and array.max() <= high)


def is_number(x: Any) -> bool:
    """Whether a weight, or a v_empty, is one number for all games."""
    return type(x) is float


def same_data(a: Any, b: Any) -> bool:
    """Whether two arguments are one array, or equal numbers."""
    return a is b or (type(a) is type(b) is float and a == b)


def live_entries(mask: Array | None, axes: Any, array: Array) -> Array | None:
    """Where an entry of `array` concerns live players alone: bool, broadcasts to it; None: everywhere.

    Args:
        mask: [batch..., players]; axes: as in `Game.arguments`.
    """
    if mask is None or axes == ():
        return None
    *batch, players = mask.shape
    if axes == COALITIONS:
        ops = ops_of(mask)
        integers = ops.dtype("int64")
        bits, every = (ops.array_like(x, mask, integers) for x in (1 << np.arange(players), np.arange(1 << players)))
        masked = (ops.cast(~mask, integers) * bits).sum(-1)  # as an index
        return every & masked[..., None] == 0
    live, own = None, len(array.shape) - len(batch)
    for axis in axes:
        part = mask.reshape((*batch, *(players if a == axis else 1 for a in range(-own, 0))))
        live = part if live is None else live & part
    return live
