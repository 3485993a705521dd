"""Which rollouts form a group: what users say of it, read once in a call."""

import pickle
import warnings
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from numbers import Integral
from typing import Any

import numpy as np

from shapley_kernels.arrays import describe, is_integer, is_torch, listed, native
from shapley_kernels.rl.ranks import Ranks

LARGEST_GROUP, FEW_ROLLOUTS = 64, 8
"""Beyond the first, rows that nothing is said of are hardly rollouts of one prompt; beyond the second, ids that all
differ are hardly those of prompts."""


@dataclass
class Groups:
    """Which of the rollouts of one call form a group.

    Args:
        owner: what the user called, for messages.
        count: how many groups there are.
        size: rollouts of each, one group after the other; None: of any size, in any order, as `index` says.
        index: [rollouts] int64, the group of each.
        ranks: over which groups are spread; until `agreed`, count and index are those of this rank alone.
        names: [count], the ids of the groups, where there are ranks.
    """

    owner: str
    count: int
    size: int | None = None
    index: Any = None
    ranks: Ranks | None = None
    names: Sequence[Hashable] = ()

    def group_of(self) -> np.ndarray:
        """[rollouts] int64, the group of each."""
        return self.index if self.size is None else np.repeat(np.arange(self.count), self.size)

    @property
    def runs(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Rollouts in the order of their groups (None: as they are), and [count + 1] where each group begins in that,
        and ends."""
        return self._sorted if self.size is None else (None, _ends(self.count, self.size))

    @cached_property
    def _sorted(self) -> tuple[np.ndarray | None, np.ndarray]:
        return _sorted(self.index, self.count)

    def agreed(self, where: str) -> "Groups":
        """The same among all ranks, for data on the device `where`. Call it within `with ranks:`; its exchange is the
        first collective.

        Raises:
            TypeError, ValueError: what any rank raised until now.
        """
        if self.ranks is None:
            return self
        self.ranks.check_device(where)
        everywhere = _of_all_ranks(self.owner, self.names, self.ranks)
        index = _places(self.names, everywhere)[self.group_of()]
        return replace(self, count=len(everywhere), index=index, names=everywhere)


@lru_cache(maxsize=2)  # a trainer has one shape or two, and the arrays may be long
def _ends(groups: int, size: int) -> np.ndarray:
    return np.arange(groups + 1) * size


def _sorted(index: np.ndarray, groups: int) -> tuple[np.ndarray | None, np.ndarray]:
    starts = np.zeros(groups + 1, np.int64)
    np.bincount(index, minlength=groups).cumsum(out=starts[1:])
    if (index[1:] >= index[:-1]).all():
        return None, starts
    narrow = index.astype(np.uint16) if groups <= 1 << 16 else index  # which numpy sorts by counting
    return narrow.argsort(kind="stable"), starts


def read_groups(
    owner: str, what: str, shape: tuple[int, ...], group_ids: Any, num_generations: Any, ranks: Ranks | None = None
) -> Groups:
    """The groups that the arguments of `grpo_advantages` describe.

    Args:
        owner: what the user called; what: its array of this shape, [B, G, K], [G, K] or [N, K].
        group_ids, num_generations: as there.
        ranks: over which the groups are spread.

    Raises:
        TypeError, ValueError: arguments that do not fit together.
    """
    refuse_ranks_without_ids(owner, group_ids, ranks)
    if group_ids is None and num_generations is None:
        if len(shape) not in (2, 3):
            raise ValueError(
                f"{owner}: {what} must have shape [groups, rollouts, candidates] or [rollouts, candidates], "
                f"got {shape}; reshape them, or flatten to [N, K] and pass group_ids"
            )
        if len(shape) == 2 and shape[0] > LARGEST_GROUP:
            _warn(
                f"{owner}: {what} {shape} without group_ids or num_generations are one group of {shape[0]} rollouts, "
                "as of one prompt; say which belong together, or pass [1, rollouts, candidates]"
            )
        groups, size, _ = (1, *shape)[-3:]
        return Groups(owner, groups, size)
    if len(shape) != 2 and (group_ids is None or num_generations is None):
        name = "num_generations" if group_ids is None else "group_ids"
        raise ValueError(
            f"{owner}: with {name}, {what} must have shape [rollouts, candidates], got {shape}; "
            f"leave {name} out or flatten the leading axes with reshape(-1, {shape[-1] if shape else 1})"
        )
    return read_flat(owner, shape[0], group_ids, num_generations, ranks)


def refuse_ranks_without_ids(owner: str, group_ids: Any, ranks: Ranks | None) -> None:
    if ranks is not None and group_ids is None:
        raise ValueError(
            f"{owner}: process_group needs group_ids to know which rollouts on other ranks belong together, got None; "
            "pass ids that are equal on all ranks, such as prompt uids"
        )


def read_flat(owner: str, rollouts: int, group_ids: Any, num_generations: Any, ranks: Ranks | None = None) -> Groups:
    """`read_groups` for so many rollouts on one axis, by ids or a number."""
    if group_ids is not None and num_generations is not None:
        raise ValueError(f"{owner}: expected group_ids or num_generations, got both; leave one out")
    if group_ids is None:
        size = _group_size(owner, num_generations, rollouts)
        return Groups(owner, rollouts // size, size)
    if is_torch(group_ids):
        group_ids, _ = native(group_ids, f"{owner}: group_ids")
    if ranks is None and (integers := _integers(group_ids, rollouts)) is not None:
        values, index = np.unique(integers, return_inverse=True)
        groups = Groups(owner, len(values), index=index)
    else:
        ids = _ids(owner, group_ids, rollouts)
        names = _distinct(owner, ids)
        groups = Groups(owner, len(names), index=_places(ids, names), ranks=ranks, names=names if ranks else ())
    if ranks is None and groups.count == rollouts > FEW_ROLLOUTS:
        _warn(
            f"{owner}: group_ids are {rollouts} different ids of {rollouts} rollouts, so each is compared with itself "
            "alone; pass the id of the prompt, not that of the rollout"
        )
    return groups


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)


def _group_size(owner: str, num_generations: Any, rollouts: int) -> int:
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
    if getattr(group_ids, "shape", None) != (rollouts,):
        return None
    if is_torch(group_ids):
        return np.asarray(group_ids.cpu().numpy()) if is_integer(group_ids) else None
    return group_ids if isinstance(group_ids, np.ndarray) and is_integer(group_ids) else None


def _ids(owner: str, group_ids: Any, rollouts: int) -> list[Hashable]:
    """One Python object per rollout."""
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
    return list(ids)


def _distinct(owner: str, ids: list[Hashable]) -> list[Hashable]:
    """The distinct ids in order of appearance."""
    try:
        distinct = list(dict.fromkeys(ids))
    except TypeError as error:
        raise TypeError(f"{owner}: group_ids must be hashable, got an {error}; turn lists into tuples") from None
    for name in distinct:
        if is_torch(name):
            raise TypeError(
                f"{owner}: group_ids must be values, got a list of torch tensors; pass one tensor, or .item() of each"
            )
        if name is None or _is_missing(name):
            raise ValueError(
                f"{owner}: group_ids must not be missing, got {name!r} at {[x is name for x in ids].index(True)}; "
                "drop that rollout or name its group"
            )
    return distinct


def _is_missing(name: Hashable) -> bool:
    try:
        return bool(name != name)
    except TypeError:  # NA of pandas
        return True


def _places(ids: Sequence[Hashable], names: Sequence[Hashable]) -> np.ndarray:
    """[ids] int64: where in `names` each stands."""
    place = dict(zip(names, range(len(names)), strict=True))
    return np.fromiter(map(place.__getitem__, ids), np.int64, len(ids))


def _of_all_ranks(owner: str, own: Sequence[Hashable], ranks: Ranks) -> list[Hashable]:
    """The distinct ids of all ranks, in one order everywhere."""
    parts = ranks.exchange((_packed(owner, own), all(map(_is_plain, own))))
    everywhere = dict.fromkeys(name for packed, _ in parts for name in pickle.loads(packed))
    if not all(plain for _, plain in parts):
        ranks.exchange()  # a class of the user's that another rank could not read
    written = {str(name): name for name in everywhere if not isinstance(name, str)}
    if twice := [name for name in everywhere if isinstance(name, str) and name in written]:
        ranks.refuse(
            ValueError(
                f"{owner}: group_ids must be of one type on all ranks, got {written[twice[0]]!r} and {twice[0]!r}, "
                "which are two groups; convert them with str or int"
            )
        )
    return list(everywhere)


def _packed(owner: str, names: Sequence[Hashable]) -> bytes:
    """The ids as bytes, from which other ranks get equal ones."""
    unequal = None
    try:
        packed = pickle.dumps(list(names))
        known = set(names)
        unequal = next((name for name in pickle.loads(packed) if name not in known), None)
    except Exception as error:
        unequal = error
    if unequal is None:
        return packed
    raise TypeError(
        f"{owner}: group_ids must be values that other ranks can compare, such as str or int, got {unequal!r}"
    )


def _is_plain(name: Hashable) -> bool:
    """Whether certainly every process can read it."""
    if isinstance(name, (tuple, frozenset)):
        return type(name) in (tuple, frozenset) and all(map(_is_plain, name))
    return type(name) in (str, int, float, bool, bytes)
