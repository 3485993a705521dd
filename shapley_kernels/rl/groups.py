"""Which rollouts form a group: reductions over each group, and group statistics back to its rollouts."""

import pickle
from collections.abc import Hashable, Mapping, Set
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, constant, describe, device, is_integer, is_torch, listed, namespace, native
from shapley_kernels.rl.ranks import Ranks

OWNER = "grpo_advantages"


class EqualGroups:
    """Groups of one size, one after the other. Works on x [groups, size, K]; a statistic is [groups, 1, 1], or
    [groups, 1, K] with slots=True."""

    def __init__(self, groups: int, size: int, width: int) -> None:
        self.shape = (groups, size, width)

    def runs(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Rollouts in the order of their groups (None: as they are), and where each group begins in that, and ends."""
        return None, _ends(*self.shape[:2])

    def numbers(self) -> np.ndarray:
        """[rollouts] int64, the group of each rollout."""
        groups, size, _ = self.shape
        return np.repeat(np.arange(groups), size)

    def total(self, x: Array, slots: bool) -> Array:
        return x.sum(1 if slots else (1, 2), keepdims=True)

    def lowest(self, x: Array, slots: bool) -> Array:
        return namespace(x).amin(x, 1 if slots else (1, 2), keepdims=True)

    def spread(self, statistic: Array) -> Array:
        return statistic


@lru_cache(maxsize=2)  # a trainer has one shape or two, and the arrays may be long
def _ends(groups: int, size: int) -> np.ndarray:
    ends = np.arange(0, (groups + 1) * size, size)
    ends.flags.writeable = False
    return ends


class GroupsById:
    """Groups of any size in any order. Works on x [rollouts, K]; a statistic is [groups, 1], or [groups, K] with
    slots=True.

    Args:
        index: [rollouts] int64, the group of each rollout.
        groups: their number.
        width: K.
        ranks: over which the groups are spread; the reductions then run over all of them.
    """

    def __init__(self, index: Array, groups: int, width: int, ranks: Ranks | None = None) -> None:
        self.index, self.groups, self.ranks = index, groups, ranks
        self.shape = (len(index), width)
        self._known: dict[bool, Array] = {}

    def runs(self) -> tuple[np.ndarray | None, np.ndarray]:
        """As of `EqualGroups`, on the CPU and of this rank."""
        index = self.numbers()
        starts = np.zeros(self.groups + 1, np.int64)
        np.bincount(index, minlength=self.groups).cumsum(out=starts[1:])
        if (index[1:] >= index[:-1]).all():
            return None, starts
        narrow = index.astype(np.uint16) if self.groups <= 1 << 16 else index  # which numpy sorts by counting
        return narrow.argsort(kind="stable"), starts

    def numbers(self) -> np.ndarray:
        """As of `EqualGroups`."""
        return np.asarray(self.index.cpu() if is_torch(self.index) else self.index)

    def total(self, x: Array, slots: bool) -> Array:
        out = self._full(x, slots, 0.0)
        if is_torch(x):
            out.index_add_(0, self._places(slots), x.reshape(-1))
        else:
            np.add.at(out, self._places(slots), x.reshape(-1))
        if self.ranks is not None:
            self.ranks.sum(out)
        return out.reshape(self.groups, self._width(slots))

    def lowest(self, x: Array, slots: bool) -> Array:
        out = self._full(x, slots, float("inf"))
        if is_torch(x):
            out.scatter_reduce_(0, self._places(slots), x.reshape(-1), "amin")
        else:
            np.minimum.at(out, self._places(slots), x.reshape(-1))
        if self.ranks is not None:
            self.ranks.lowest(out)
        return out.reshape(self.groups, self._width(slots))

    def spread(self, statistic: Array) -> Array:
        return statistic[self.index]

    def _full(self, x: Array, slots: bool, start: float) -> Array:
        """A flat statistic, full of `start`."""
        size = (self.groups * self._width(slots),)
        return x.new_full(size, start) if is_torch(x) else np.full(size, start, x.dtype)

    def _width(self, slots: bool) -> int:
        return self.shape[1] if slots else 1

    def _places(self, slots: bool) -> Array:
        """[rollouts * K]: where in a flat statistic each entry of x belongs."""
        if slots not in self._known:
            xp, width = namespace(self.index), self.shape[1]
            index = self.index[:, None]
            if slots:
                index = index * width + constant(np.arange(width), self.index, self.index.dtype)
            self._known[slots] = xp.broadcast_to(index, self.shape).reshape(-1)
        return self._known[slots]


Groups = EqualGroups | GroupsById


def make_groups(x: Array, group_ids: Any, num_generations: Any, ranks: Ranks | None = None) -> Groups:
    """The groups that the arguments of `grpo_advantages` describe.

    Args:
        x: [B, G, K], [G, K] or [N, K].
        group_ids, num_generations: as there.
        ranks: over which the groups are spread. Call it within `with ranks:`; its exchange is the first collective.

    Raises:
        TypeError, ValueError: arguments that do not fit together; what another rank raised.
    """
    shape = tuple(x.shape)
    if ranks is not None and group_ids is None:
        raise ValueError(
            f"{OWNER}: process_group needs group_ids to know which rollouts on other ranks belong together, got None; "
            "pass ids that are equal on all ranks, such as prompt uids"
        )
    if group_ids is None and num_generations is None:
        if len(shape) not in (2, 3):
            raise ValueError(
                f"{OWNER}: credits must have shape [groups, rollouts, candidates] or [rollouts, candidates], "
                f"got {shape}; reshape them, or flatten to [N, K] and pass group_ids"
            )
        return EqualGroups(*(1, *shape)[-3:])
    refuse_both(OWNER, group_ids, num_generations)
    if len(shape) != 2:
        name = "num_generations" if group_ids is None else "group_ids"
        raise ValueError(
            f"{OWNER}: with {name}, credits must have shape [rollouts, candidates], got {shape}; "
            f"leave {name} out or flatten the leading axes with reshape(-1, {shape[-1] if shape else 1})"
        )
    if group_ids is None:
        size = group_size(OWNER, num_generations, shape[0])
        return EqualGroups(shape[0] // size, size, shape[1])
    if ranks is None:
        index, groups = group_index(OWNER, group_ids, shape[0])
    else:
        ids, distinct = _ids(OWNER, group_ids, shape[0])
        ranks.check_device(device(x))
        distinct = _of_all_ranks(distinct, ranks)
        index, groups = _places(ids, distinct), len(distinct)
    return GroupsById(constant(index, x, namespace(x).int64), groups, shape[1], ranks)


def group_index(owner: str, group_ids: Any, rollouts: int) -> tuple[np.ndarray, int]:
    """[rollouts] int64, the group of each rollout by its id, and the number of groups."""
    if is_torch(group_ids):
        group_ids, _ = native(group_ids, f"{owner}: group_ids")
    if (integers := _integers(group_ids, rollouts)) is not None:
        values, index = np.unique(integers, return_inverse=True)
        return index, len(values)
    ids, distinct = _ids(owner, group_ids, rollouts)
    return _places(ids, distinct), len(distinct)


def _places(ids: list[Hashable], distinct: dict[Hashable, None]) -> np.ndarray:
    """[rollouts] int64: where in `distinct` each id stands."""
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.fromiter(map(place.__getitem__, ids), np.int64, len(ids))


def refuse_both(owner: str, group_ids: Any, num_generations: Any) -> None:
    """ValueError if both are given."""
    if group_ids is not None and num_generations is not None:
        raise ValueError(f"{owner}: expected group_ids or num_generations, got both; leave one out")


def group_size(owner: str, num_generations: Any, rollouts: int) -> int:
    """num_generations, which has to divide the number of rollouts."""
    if not isinstance(num_generations, Integral) or isinstance(num_generations, bool):
        raise TypeError(
            f"{owner}: num_generations must be an int >= 1, got {num_generations!r}; for uneven groups use group_ids"
        )
    size = int(num_generations)
    if size < 1 or rollouts % size:
        raise ValueError(
            f"{owner}: num_generations must be >= 1 and divide the number of rollouts ({rollouts}), got {size}; "
            "use group_ids for uneven groups"
        )
    return size


def _integers(group_ids: Any, rollouts: int) -> np.ndarray | None:
    """group_ids as numpy, if they are one integer per rollout in an array, which is faster than one object each."""
    if is_torch(group_ids) and group_ids.shape == (rollouts,) and is_integer(group_ids):
        return np.asarray(group_ids.cpu().numpy())
    if isinstance(group_ids, np.ndarray) and group_ids.shape == (rollouts,) and group_ids.dtype.kind in "iu":
        return group_ids
    return None


def _ids(owner: str, group_ids: Any, rollouts: int) -> tuple[list[Hashable], dict[Hashable, None]]:
    """One hashable Python object per rollout, and the distinct ones in order of appearance."""
    ids = listed(group_ids, f"{owner}: group_ids")
    if isinstance(ids, (str, bytes, Set, Mapping)) or not hasattr(ids, "__len__") or not hasattr(ids, "__iter__"):
        raise TypeError(
            f"{owner}: group_ids must be a list or 1-D array of ids, got {describe(group_ids)}; use list(...)"
        )
    if len(ids) != rollouts or len(getattr(group_ids, "shape", (rollouts,))) != 1:
        got = tuple(group_ids.shape) if hasattr(group_ids, "shape") else len(ids)
        raise ValueError(
            f"{owner}: group_ids must have one id per rollout ({rollouts}), got {got}; "
            "repeat the id of a prompt once per rollout"
        )
    ids = list(ids)
    try:
        distinct = dict.fromkeys(ids)
    except TypeError as error:
        raise TypeError(f"{owner}: group_ids must be hashable, got an {error}; turn lists into tuples") from None
    for group in distinct:
        if is_torch(group):
            raise TypeError(
                f"{owner}: group_ids must be values, got a {type(ids).__name__} of torch tensors; "
                "pass one tensor, or .item() of each"
            )
        if group is None or _is_missing(group):
            raise ValueError(
                f"{owner}: group_ids must not be missing, got {group!r} at {[x is group for x in ids].index(True)}; "
                "drop that rollout or name its group"
            )
    return ids, distinct


def _is_missing(group: Hashable) -> bool:
    try:
        return bool(group != group)
    except TypeError:  # NA of pandas
        return True


def _of_all_ranks(own: dict[Hashable, None], ranks: Ranks) -> dict[Hashable, None]:
    """The distinct ids of all ranks, in one order everywhere."""
    found = ranks.exchange((_packed(own), all(map(_is_plain, own))))
    everywhere = dict.fromkeys(group for packed, _ in found for group in pickle.loads(packed))
    if not all(plain for _, plain in found):
        ranks.exchange()  # a class of the user's that another rank could not read
    written = {str(group): group for group in everywhere if not isinstance(group, str)}
    if twice := [group for group in everywhere if isinstance(group, str) and group in written]:
        ranks.refuse(
            ValueError(
                f"{OWNER}: group_ids must be of one type on all ranks, got {written[twice[0]]!r} and {twice[0]!r}, "
                "which are two groups; convert them with str or int"
            )
        )
    return everywhere


def _packed(ids: dict[Hashable, None]) -> bytes:
    """The ids as bytes, from which other ranks get equal ones."""
    strange = None
    try:
        packed = pickle.dumps(list(ids))
        strange = next((group for group in pickle.loads(packed) if group not in ids), None)
    except Exception as error:
        strange = error
    if strange is None:
        return packed
    raise TypeError(
        f"{OWNER}: group_ids must be values that other ranks can compare, such as str or int, got {strange!r}"
    )


def _is_plain(group: Hashable) -> bool:
    """Whether certainly every process can read it."""
    if isinstance(group, (tuple, frozenset)):
        return type(group) in (tuple, frozenset) and all(map(_is_plain, group))
    return type(group) in (str, int, float, bool, bytes)
