"""The computation: the rewards of all rows in, credits and advantages out, in batches of whole groups.

Advantages compare the rollouts of one prompt, and those may stand anywhere in the input, so the numbers of all rows are
in memory: about 50 bytes a row, 24 a candidate, each prompt id once, and what the utility reads beside the rewards.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from shapley_kernels import rl
from shapley_kernels._command import CommandError
from shapley_kernels.cli.reading import RewardBatch
from shapley_kernels.cli.rows import Columns, key
from shapley_kernels.rl.sizes import multiplies, times_live

CELLS = 1 << 18
"""Padded numbers of one batch; more only where a single group has more."""

TOO_LARGE = "some rewards are too large: what follows from them overflows a float64; divide all by a constant"


class Results:
    """All rows' numbers: `add` in the first pass, `compute` once, `of` in the second pass.

    Args:
        columns: those that were read.
        keep_prompts: the prompts of so many rows are kept for display.
    """

    def __init__(self, columns: Columns, keep_prompts: int = 0) -> None:
        self.columns = columns
        self.keep_prompts = keep_prompts
        self.first_prompts: list[object] = []
        self.diagnostics = rl.merge_diagnostics([])
        self._batches: list[RewardBatch] = []
        self._groups: list[np.ndarray] = []
        self._known: dict[str | int | bytes, int] = {}
        self.set_lengths(np.empty(0, np.int64))

    def add(self, batch: RewardBatch) -> None:
        """More rows."""
        if not batch.prompts:
            return
        known, keys = self._known, map(key, batch.prompts)
        groups = (known.setdefault(key_, len(known)) for key_ in keys)
        self._groups.append(np.fromiter(groups, np.int64, len(batch.prompts)))
        self.first_prompts += batch.prompts[: max(0, self.keep_prompts - len(self.first_prompts))]
        self._batches.append(replace(batch, prompts=[]))

    def set_lengths(self, lengths: np.ndarray) -> None:
        """Room for rows of that many candidates each."""
        self.lengths, self._starts = lengths, np.cumsum(lengths) - lengths
        self.rewards, self.credits, self.advantages = (np.zeros(lengths.sum()) for _ in range(3))

    def compute(
        self,
        allocator: rl.RewardAllocator,
        start: Callable[[int], Callable[[int], None]],
        against_grpo: bool = False,
    ) -> None:
        """Credits and advantages of all rows.

        Args:
            start: told the number of rows, gives the function that is told of those done.
            against_grpo: keep `worth` and `grpo` [rows], worth and plain GRPO's advantage of each set.
        """
        groups = self._joined()
        self.worth, self.grpo = (np.zeros(len(groups) if against_grpo else 0) for _ in range(2))
        advance = start(len(groups))
        depths = np.maximum.reduce([np.ones_like(groups), *(column.widths for column in self._data)])
        for rows in whole_groups(groups, self.lengths, depths):
            try:
                with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
                    # a batch may happen to hold prompts of one rollout; the report says it where all have one
                    warnings.filterwarnings("ignore", ".*group_ids are", UserWarning)
                    self._compute_batch(allocator, rows, groups[rows])
            except (ValueError, OverflowError):  # the first pass let only finite rewards through
                raise CommandError(TOO_LARGE) from None
            advance(len(rows))
        self.divide_by_std(allocator)

    def _joined(self) -> np.ndarray:
        """Join what was added; the group of each row."""
        self._known.clear()
        groups = np.concatenate([np.empty(0, np.int64), *self._groups])
        batches, self._batches, self._groups = self._batches, [], []
        self.set_lengths(np.concatenate([self.lengths, *(batch.lengths for batch in batches)]))
        self.rewards = np.concatenate([self.rewards[:0], *(batch.rewards for batch in batches)])
        columns = zip(*(batch.data for batch in batches), strict=True)
        joined = ([np.concatenate(x) for x in zip(*parts, strict=True)] for parts in columns)
        self._data = [Column(numbers, widths, self.lengths) for numbers, widths in joined]
        return groups

    def _compute_batch(self, allocator: rl.RewardAllocator, rows: np.ndarray, groups: np.ndarray) -> None:
        lengths = self.lengths[rows]
        width = _power_of_two(lengths.max())  # so that the last bits do not depend on the batch
        mask = np.arange(width) < lengths[:, None]  # [rows, players]
        places = _ranges(self._starts[rows], lengths)
        rewards = np.zeros(mask.shape)
        rewards[mask] = self.rewards[places]
        data = {f"data{i}": column.padded(rows, mask) for i, column in enumerate(self._data)}
        utility = partial(allocator.utility, **data)
        if self.columns.rewards is None:  # what each candidate is worth alone
            game, player = utility(rewards, mask=mask), np.arange(width)
            rewards = np.stack([game.worth(mask & (player == i)) for i in player], 1)
            self.rewards[places] = rewards[mask]
        credits = _credits(allocator, rewards, mask, groups, data)
        scale = "none" if allocator.scale == "batch" else allocator.scale
        compared = times_live(credits, mask) if multiplies(allocator.value, allocator.sizes) else credits
        advantages = rl.grpo_advantages(compared, mask, group_ids=groups, center=allocator.center, scale=scale)
        if not np.isfinite(advantages).all():
            raise ValueError("advantages overflow")
        diagnostics = rl.diagnostics(rewards, mask, advantages=advantages, group_ids=groups, utility=utility)
        self.diagnostics = rl.merge_diagnostics([self.diagnostics, diagnostics])
        self.credits[places], self.advantages[places] = credits[mask], advantages[mask]
        if len(self.worth):
            plain = rl.RewardAllocator(utility, rl.Broadcast()).credits(rewards, mask)
            first = mask.argmax(1)[:, None]
            for kept, x in ((self.worth, plain), (self.grpo, rl.grpo_advantages(plain, mask, group_ids=groups))):
                kept[rows] = np.take_along_axis(x, first, 1)[:, 0]

    def put(self, rows: np.ndarray, lengths: np.ndarray, *results: np.ndarray) -> None:
        """Rewards, credits and advantages [candidates] of some rows, of whole groups, that were computed elsewhere."""
        places = _ranges(self._starts[rows], lengths)
        for kept, x in zip((self.rewards, self.credits, self.advantages), results, strict=True):
            kept[places] = x

    def divide_by_std(self, allocator: rl.RewardAllocator) -> None:
        """The one statistic of all groups, over rows in their order, whatever the batches were."""
        if allocator.scale != "batch":
            return
        by_length = multiplies(allocator.value, allocator.sizes)
        compared = self.credits * np.repeat(self.lengths, self.lengths) if by_length else self.credits
        with np.errstate(over="ignore", invalid="ignore"):
            std = compared.std(ddof=allocator.ddof) if len(compared) > allocator.ddof else 0.0
        if not np.isfinite(std):
            raise CommandError(TOO_LARGE)
        self.advantages /= std + allocator.eps if std >= allocator.min_std and std > 0 else np.inf

    def of(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Credits and advantages [candidates] and lengths [rows] of the rows start .. stop - 1 of the input."""
        lengths = self.lengths[start:stop]
        first = int(self._starts[start]) if len(lengths) else 0
        places = slice(first, first + int(lengths.sum()))
        return self.credits[places], self.advantages[places], lengths


class Column:
    """Numbers beside the rewards, `widths` [rows] of them for each candidate of a row."""

    def __init__(self, numbers: np.ndarray, widths: np.ndarray, lengths: np.ndarray) -> None:
        self.numbers, self.widths = numbers, widths
        self._sizes = lengths * widths
        self._starts = np.cumsum(self._sizes) - self._sizes

    def padded(self, rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[rows, players, width], zeros where there is nothing."""
        widths = self.widths[rows]
        inside = mask[..., None] & (np.arange(_power_of_two(widths.max())) < widths[:, None, None])
        out = np.zeros(inside.shape)
        out[inside] = self.numbers[_ranges(self._starts[rows], self._sizes[rows])]
        return out


def _power_of_two(n: int) -> int:
    """The next one that is not smaller."""
    return 1 << int(n - 1).bit_length() if n > 1 else 1


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start .. start + length - 1 for each of them, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _credits(
    allocator: rl.RewardAllocator, rewards: np.ndarray, mask: np.ndarray, groups: np.ndarray, data: dict[str, Any]
) -> np.ndarray:
    """Credits [rows, players], in steps where memory grows with the square of the players."""
    rows, players = rewards.shape
    if isinstance(allocator.value, rl.GroupValue):
        return allocator.credits(rewards, mask, group_ids=groups, **data)
    square = isinstance(allocator.value, rl.Baseline) and not isinstance(allocator.value, rl.Broadcast)
    step = max(1, 4 * CELLS // players**2) if square else rows
    steps = [slice(i, i + step) for i in range(0, rows, step)]
    some = [{name: x[these] for name, x in data.items()} for these in steps]
    return np.concatenate(
        [allocator.credits(rewards[these], mask[these], **x) for these, x in zip(steps, some, strict=True)]
    )


def whole_groups(groups: np.ndarray, lengths: np.ndarray, depths: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of row numbers: whole groups that are padded to one shape, `CELLS` numbers in all or so.

    Args:
        groups, lengths, depths: [rows] int64; depths are numbers per candidate.
    """
    if not len(groups):
        return
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))  # of each group, in `order`
    sizes = np.diff(first, append=len(order))
    largest = (np.maximum.reduceat(x[order], first) for x in (lengths, depths))
    wide, deep = (np.ceil(np.log2(np.maximum(x, 1))).astype(np.int64) for x in largest)
    for shape in np.unique(64 * deep + wide):
        members = np.flatnonzero(64 * deep + wide == shape)
        batch_of = np.cumsum(sizes[members] << (wide + deep)[members]) // CELLS
        for batch in np.split(members, np.flatnonzero(np.diff(batch_of)) + 1):
            yield order[_ranges(first[batch], sizes[batch])]
