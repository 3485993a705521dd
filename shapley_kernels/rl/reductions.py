"""Sums and minima over groups of rollouts, and back to the rollouts, in operations of numpy or torch."""

import numpy as np

from shapley_kernels.arrays import Array, constant, is_torch, namespace
from shapley_kernels.rl.groups import Groups


class OfEqualGroups:
    """For groups of one size, one after the other. Works on x [groups, size, K]; a statistic is [groups, 1, 1], or
    [groups, 1, K] with slots=True."""

    def __init__(self, groups: int, size: int, width: int) -> None:
        self.shape = (groups, size, width)

    def total(self, x: Array, slots: bool) -> Array:
        return x.sum(1 if slots else (1, 2), keepdims=True)

    def lowest(self, x: Array, slots: bool) -> Array:
        return namespace(x).amin(x, 1 if slots else (1, 2), keepdims=True)

    def spread(self, statistic: Array) -> Array:
        return statistic


class OfGroupsById:
    """For groups of any size in any order, and over ranks. Works on x [rollouts, K]; a statistic is [groups, 1], or
    [groups, K] with slots=True."""

    def __init__(self, groups: Groups, x: Array) -> None:
        self.index = constant(groups.group_of(), x, namespace(x).int64)
        self.groups, self.ranks, self.shape = groups.count, groups.ranks, tuple(x.shape)
        self._known: dict[bool, Array] = {}

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


Reductions = OfEqualGroups | OfGroupsById


def reductions(groups: Groups, x: Array) -> Reductions:
    """Those over the groups of x [..., K], which takes their `shape`."""
    if groups.size is None:
        return OfGroupsById(groups, x)
    return OfEqualGroups(groups.count, groups.size, x.shape[-1])
