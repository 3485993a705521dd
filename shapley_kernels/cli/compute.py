"""The computation on more rows than fit in memory: rewards in, credits and advantages out, by way of temporary files.

Advantages compare the rollouts of one prompt, and those may stand anywhere in the input. So the first pass spools all
rewards; then batches of whole groups go through the library; and the second pass picks up each row's results. About 50
bytes a row, and each prompt id once, stay in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from shapley_kernels import rl
from shapley_kernels._files import open_scratch
from shapley_kernels.cli.reading import BATCH_ROWS, Numbers
from shapley_kernels.cli.rows import InputError
from shapley_kernels.rl.sizes import multiplies, times_live

CELLS = 1 << 18
"""Padded candidates of one batch; larger only where a single group is."""

LONGEST_PROMPT_ID = 64


class Spool:
    """Float64 numbers in a file: appended in any order, read back at any positions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_scratch(path, "w")
        self.size = 0

    def append(self, numbers: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(numbers, np.float64).data)
        self.size += len(numbers)

    def gather(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The runs [start, start + length), one after the other."""
        total = int(lengths.sum())
        if total == 0:
            return np.empty(0)
        self._file.flush()
        mapped = np.memmap(self._path, np.float64, "r", shape=(self.size,))  # for this call only: pages count as memory
        before = np.cumsum(lengths) - lengths
        return np.array(mapped[np.repeat(starts - before, lengths) + np.arange(total)])

    def close(self) -> None:
        self._file.close()


@dataclass
class Moments:
    """Mean and sum of squared deviations of numbers that come in parts."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, x: np.ndarray) -> None:
        if not x.size:
            return
        n, mean = self.n + x.size, float(x.mean())
        shift = mean - self.mean
        self.squares += float(((x - mean) ** 2).sum()) + shift * shift * self.n * x.size / n
        self.mean += shift * x.size / n
        self.n = n

    def std(self, ddof: int) -> float:
        return (self.squares / (self.n - ddof)) ** 0.5 if self.n > ddof else 0.0


TOO_LARGE = "some rewards are too large: what follows from them overflows a float64; divide all by a constant"


@dataclass(frozen=True)
class Shared:
    """What `Table.take` is given of some rows, in any order."""

    rows: np.ndarray  # [rows] int64, their places in the input
    lengths: np.ndarray  # [rows] int64
    rewards: np.ndarray  # [candidates of all rows] float64, as the others
    credits: np.ndarray
    advantages: np.ndarray


@dataclass
class Sample:
    """A few thousand rollouts for the plot; every list holds arrays [candidates]."""

    rank: list[np.ndarray] = field(default_factory=list)  # 1 = best of its rollout
    credit: list[np.ndarray] = field(default_factory=list)
    broadcast: list[np.ndarray] = field(default_factory=list)  # the worth of the rollout
    advantage: list[np.ndarray] = field(default_factory=list)
    grpo: list[np.ndarray] = field(default_factory=list)  # advantage of the rollout

    def joined(self, name: str) -> np.ndarray:
        """All arrays of one list."""
        parts = getattr(self, name)
        return np.concatenate(parts) if parts else np.empty(0)


class Table:
    """All rows' numbers: `add` in the first pass, `share` once, `results` in the second pass."""

    def __init__(self, scratch: Path) -> None:
        self._rewards = Spool(scratch / "rewards")
        self._credits = Spool(scratch / "credits")
        self._advantages = Spool(scratch / "advantages")
        self._group_numbers: dict[str | int | bytes, int] = {}
        self._groups: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._divisor = 1.0
        self.first_prompts: list[str | int] = []
        self.diagnostics = rl.merge_diagnostics([])
        self.sample = Sample()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        for spool in (self._rewards, self._credits, self._advantages):
            with suppress(OSError):  # what was needed of it was flushed to be read
                spool.close()

    def add(self, numbers: Numbers, keep_prompts: int = 0) -> None:
        """More rows; the prompt ids of the first `keep_prompts` rows are kept for display."""
        known = self._group_numbers
        ids = map(key, numbers.prompts)
        self._groups.append(
            np.fromiter((known.setdefault(id_, len(known)) for id_ in ids), np.int64, len(numbers.prompts))
        )
        self._lengths.append(numbers.lengths)
        self._rewards.append(numbers.rewards)
        self.first_prompts += numbers.prompts[: max(0, keep_prompts - len(self.first_prompts))]

    def share(
        self, allocator: rl.RewardAllocator, start: Callable[[int], Callable[[int], None]], sample_rows: int = 0
    ) -> None:
        """Credits and advantages of all rows.

        Args:
            start: told the number of rows, gives the function that is told of those done.
            sample_rows: rollouts to keep for the plot.
        """
        self._group_numbers.clear()
        groups = np.concatenate([*self._groups, np.empty(0, np.int64)])
        self.lengths = np.concatenate([*self._lengths, np.empty(0, np.int64)])
        self._groups, self._lengths = [], []
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._positions = np.zeros(len(groups), np.int64)  # of a row's results in the files
        sampled, advance = _some(len(groups), sample_rows), start(len(groups))
        for rows in whole_groups(groups, self.lengths):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    self._share_batch(allocator, rows, groups[rows], sampled[rows])
            except (ValueError, OverflowError):  # the first pass let only finite rewards through
                raise InputError(TOO_LARGE) from None
            advance(len(rows))
        self._set_divisor(allocator)

    def take(self, rows: int, shared: Iterable[Shared], allocator: rl.RewardAllocator) -> None:
        """All rows, of whole groups that were shared elsewhere, instead of `add` and `share`; only what needs all
        groups is left, the division by the standard deviation of the batch."""
        self.lengths, self._positions = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self._starts = self._positions
        for part in shared:
            self.lengths[part.rows] = part.lengths
            self._positions[part.rows] = self._credits.size + np.cumsum(part.lengths) - part.lengths
            self._rewards.append(part.rewards)
            self._credits.append(part.credits)
            self._advantages.append(part.advantages)
        self._set_divisor(allocator)

    def _set_divisor(self, allocator: rl.RewardAllocator) -> None:
        """The one statistic of all groups, over rows in their order, whatever the batches were."""
        if allocator.scale != "batch":
            return
        moments, by_length = Moments(), multiplies(allocator.value, allocator.sizes)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(self.lengths), BATCH_ROWS):
                credits, _, lengths = self.results(start, start + BATCH_ROWS)
                moments.add(credits * np.repeat(lengths, lengths) if by_length else credits)
        std = moments.std(allocator.ddof)
        if not np.isfinite(std):
            raise InputError(TOO_LARGE)
        self._divisor = std + allocator.eps if std >= allocator.min_std and std > 0 else np.inf
        self.sample.advantage = [x / self._divisor for x in self.sample.advantage]

    def _share_batch(
        self, allocator: rl.RewardAllocator, rows: np.ndarray, groups: np.ndarray, sampled: np.ndarray
    ) -> None:
        lengths = self.lengths[rows]
        width = 1 << int(np.ceil(np.log2(lengths.max())))  # so that the last bits do not depend on the batch
        mask = np.arange(width) < lengths[:, None]  # [rows, players]
        rewards = np.zeros(mask.shape)
        rewards[mask] = self._rewards.gather(self._starts[rows], lengths)
        credits = _credits(allocator, rewards, mask)
        scale = "none" if allocator.scale == "batch" else allocator.scale
        compared = times_live(credits, mask) if multiplies(allocator.value, allocator.sizes) else credits
        advantages = rl.grpo_advantages(compared, mask, group_ids=groups, center=allocator.center, scale=scale)
        if not np.isfinite(advantages).all():
            raise ValueError("advantages overflow")
        utility = allocator.utility
        found = rl.diagnostics(rewards, mask, advantages=advantages, group_ids=groups, utility=utility)
        self.diagnostics = rl.merge_diagnostics([self.diagnostics, found])
        self._positions[rows] = self._credits.size + np.cumsum(lengths) - lengths
        self._credits.append(credits[mask])
        self._advantages.append(advantages[mask])
        if sampled.any():
            broadcast = rl.RewardAllocator(utility, rl.Broadcast()).credits(rewards, mask)
            grpo = rl.grpo_advantages(broadcast, mask, group_ids=groups)
            self._keep_sample(mask & sampled[:, None], mask, rewards, credits, broadcast, advantages, grpo)

    def _keep_sample(self, keep: np.ndarray, mask: np.ndarray, rewards: np.ndarray, *results: np.ndarray) -> None:
        order = np.argsort(np.where(mask, -rewards, np.inf), axis=1, kind="stable")
        rank = np.argsort(order, axis=1) + 1
        kept = self.sample
        parts = (kept.rank, kept.credit, kept.broadcast, kept.advantage, kept.grpo)
        for part, x in zip(parts, (rank, *results), strict=True):
            part.append(x[keep])

    def results(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Credits and advantages [candidates] and lengths [rows] of the rows start .. stop - 1 of the input."""
        lengths, where = self.lengths[start:stop], self._positions[start:stop]
        advantages = self._advantages.gather(where, lengths)
        return self._credits.gather(where, lengths), advantages / self._divisor, lengths

    def rewards(self, start: int, stop: int) -> np.ndarray:
        """Rewards [candidates] of the rows start .. stop - 1 of the input."""
        return self._rewards.gather(self._starts[start:stop], self.lengths[start:stop])


def _credits(allocator: rl.RewardAllocator, rewards: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Credits [rows, players], in steps where memory grows with the square of the players."""
    rows, players = rewards.shape
    square = isinstance(allocator.value, rl.Baseline) and not isinstance(allocator.value, rl.Broadcast)
    step = max(1, 4 * CELLS // players**2) if square else rows
    parts = [allocator.credits(rewards[i : i + step], mask[i : i + step]) for i in range(0, rows, step)]
    return np.concatenate(parts)


def key(prompt: str | int) -> str | int | bytes:
    """What stands for a prompt id in memory; whole prompts are hashed."""
    if type(prompt) is int or len(prompt) <= LONGEST_PROMPT_ID:  # type: ignore[arg-type]
        return prompt
    return blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16).digest()  # type: ignore[union-attr]


def _some(total: int, wanted: int) -> np.ndarray:
    """[total] bool, `wanted` of them or fewer True; the same ones in every run."""
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(0).permutation(total)[:wanted] if wanted else []] = True
    return chosen


def whole_groups(groups: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of row numbers: whole groups of similar widths, as many as make about `CELLS` padded candidates."""
    if not len(groups):
        return
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))  # of each group, in `order`
    sizes = np.diff(first, append=len(order))
    widths = np.maximum.reduceat(lengths[order], first)
    buckets = np.ceil(np.log2(widths)).astype(np.int64)
    for bucket in np.unique(buckets):
        members = np.flatnonzero(buckets == bucket)
        batch_of = np.cumsum(sizes[members] << bucket) // CELLS
        for batch in np.split(members, np.flatnonzero(np.diff(batch_of)) + 1):
            starts, counts = first[batch], sizes[batch]
            before = np.cumsum(counts) - counts
            yield order[np.repeat(starts - before, counts) + np.arange(counts.sum())]
