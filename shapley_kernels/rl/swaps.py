"""Credit by exchanging candidates with the other rollouts of the group."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from shapley_kernels.arrays import Array, Ops, compute_dtype, narrowed, number, ops_of
from shapley_kernels.backends import choose, kernel
from shapley_kernels.games import Game
from shapley_kernels.games.data import is_number
from shapley_kernels.games.mixing import take
from shapley_kernels.games.tables import Tables, kept
from shapley_kernels.kernels.swap import KINDS, others
from shapley_kernels.launch import Run, run_torch
from shapley_kernels.rl.group_value import GroupValue
from shapley_kernels.rl.groups import Groups

BLOCK = 1 << 26
"""Bytes of the sets that are put together at a time."""


class _Swap(GroupValue):
    """Credits sum_j D_j mix_jk, D_j how much the own list is worth above the lists mixed at place j, on average."""

    kind: ClassVar[str]

    def mix(self, players: int) -> Tables:
        """[players + 1, players + 1] float64, or [0, 0] for credits D."""
        return _identity()

    def share(self, game: Game, groups: Groups, count: Array) -> Array:
        order, starts = groups.runs
        mix, total = self.mix(game.players), None
        for weight, part in game.wide_parts():
            run = _by_kernel if part.topics(int(np.diff(starts).max())) else _by_worth
            credits = run(self.kind, part, count, order, starts, mix)
            if not is_number(weight):
                credits = game.ops.cast(weight, credits.dtype).reshape(-1)[:, None] * credits
            elif weight != 1.0:
                credits = weight * credits
            total = credits if total is None else total + credits
        return total


@dataclass(frozen=True)
class SuffixSwap(_Swap):
    """A_k = sum_{j >= k} lam^(j-k) (V_{j+1} - V_j): what a decision adds, the other rollouts being what could follow.

    V_k = mean over the other rollouts h of v(own o_1 .. o_{k-1} with h's candidates from place k on), places counting
    live candidates in order. The decisions of a list of n are its candidates and, last, to stop: V_{n+1} is the list
    with what others wrote behind its end, and V_{n+2} = v(own list). So A_stop = v(own) - V_{n+1}, and with lam = 1
    A_k = v(own) - V_k.

    lam = 1 is unbiased for the expected worth under every policy, candidates may depend on those before and lists end
    where they like. lam < 1 is quieter, unbiased where candidates are independent, and biased where what follows
    depends on o_k. Small lam trains better, until rewards come late: the default is between. A group of one rollout
    has nothing to compare with, and gets 0.

    A rollout that did not choose to stop, since it was cut or is malformed, ends by its last candidate: say so by
    `stopped`, and V_{n+1} = v(own). Otherwise lam < 1 charges most of that end to a stop that nothing wrote.

    Args:
        lam: number in [0, 1].

    Raises:
        TypeError, ValueError: lam of another kind or value.

    Cost: O(G topics K) per rollout for `Max`, `Min`, `FacilityLocation`, `Clusters` and `Coverage` by 0 and 1;
        (G - 1) (K + 1) times a `worth` for the others, in blocks of 64 MiB.
    Source: derived here (docs/explanation/mathematics.md); lam as in generalised advantage estimation, arXiv
        1506.02438.
    """

    lam: float = 0.5
    kind: ClassVar[str] = "suffix"
    prices_stop: ClassVar[bool] = True

    def __post_init__(self) -> None:
        expected = "a number in [0, 1], where 1 is unbiased and 0 quietest"
        object.__setattr__(self, "lam", number("SuffixSwap: lam", self.lam, expected, lambda x: 0 <= x <= 1))

    def mix(self, players: int) -> Tables:
        return _identity() if self.lam == 1 else _discounts(self.lam, players + 1)

    def charge_the_end(self, credits: Array, mask: Array | None, cut: Array) -> Array:
        """A_k with V_{n+1} = v(own), which is (1 - lam) lam^(n-k) A_stop more."""
        ops = ops_of(credits)
        live = ops.xp.ones_like(credits[..., :-1], dtype=ops.dtype("bool")) if mask is None else mask
        behind = live.sum(-1)[..., None] - live.cumsum(-1)  # n - k
        wide = ops.cast(credits, ops.compute_dtype(credits.dtype))
        more = (1 - self.lam) * self.lam ** ops.cast(behind, wide.dtype) * wide[..., -1:]
        charged = wide[..., :-1] + ops.xp.where(cut[..., None] & live, more, 0.0)
        return narrowed(ops.xp.concatenate([charged, wide[..., -1:]], -1), credits.dtype, "SuffixSwap: credits")


@dataclass(frozen=True)
class CandidateSwap(_Swap):
    """A_k = v(own) - mean over the other rollouts h of v(own with o_k exchanged for h's k-th live candidate).

    Where h has no k-th candidate, o_k is left out: h would have had nothing there. The counterfactual of COMA, with the
    group in place of a critic. Unbiased for the expected worth where candidates are independent and all lists have one
    length, centred by itself; for lists written in order it is biased, less than `LeaveOneOut`. A group of one rollout
    gets 0.

    Cost: as of `SuffixSwap`.
    Source: Foerster et al. (2018), arXiv 1705.08926, for the counterfactual; the group in it is derived here.
    """

    kind: ClassVar[str] = "candidate"


@lru_cache
def _identity() -> Tables:
    return Tables((np.zeros((0, 0)),))


def _discounts(lam: float, places: int) -> Tables:
    return kept(_discount_arrays, lam, places)


def _discount_arrays(lam: float, places: int) -> tuple[np.ndarray, ...]:
    """A_k = sum_{j >= k} lam^(j-k) (D_j - D_{j+1}), D = 0 behind the last, gathered by D_j."""
    gap = np.arange(places)[:, None] - np.arange(places)  # j - k
    later = (lam - 1.0) * np.power(lam, np.maximum(gap - 1, 0))
    return (np.where(gap == 0, 1.0, np.where(gap > 0, later, 0.0)),)


def _by_kernel(kind: str, game: Game, count: Array, order: np.ndarray | None, starts: np.ndarray, mix: Tables) -> Array:
    """The credits of a sum of maxima, of as many groups at a time as a block holds of topics that have to be made."""
    sizes, players = np.diff(starts), game.players
    topics = players * game.topics(int(sizes.max()))  # numbers per rollout
    step = len(sizes)
    if topics > game.numbers_per_game():
        step = max(1, BLOCK // (8 * topics * int(sizes.max())))
    if step >= len(sizes):
        return _of_maxima(kind, game, count, order, starts, mix)
    ops, int64 = game.ops, game.ops.dtype("int64")
    rows = np.arange(len(count)) if order is None else order
    place, blocks = _range(ops, players, count), []
    for first in range(0, len(sizes), step):
        ends = starts[first : first + step + 1]
        own = ops.array_like(rows[ends[0] : ends[-1]], count, int64)
        some, shape = count[own], (len(own), players)
        who, places = ops.xp.broadcast_to(own[:, None], shape), ops.xp.broadcast_to(place, shape)
        part = take(game, own, who, places, place < some[:, None])
        blocks.append(_of_maxima(kind, part, some, None, ends - ends[0], mix))
    back = ops.array_like(np.argsort(rows), count, int64)
    return ops.xp.concatenate(blocks)[back]


def _of_maxima(kind: str, game: Game, count: Array, order: np.ndarray | None, starts: np.ndarray, mix: Tables) -> Array:
    """`_by_kernel` of one block."""
    ops = game.ops
    maxima = game.maxima(lambda: ops.array_like(_group_of(order, starts), count, ops.dtype("int64")))
    x, compute = maxima.x, compute_dtype(maxima.x.dtype)
    rows, players, _ = x.shape
    weights = ops.xp.ones_like(x[:1, 0]) if maxima.weights is None else maxima.weights
    empty = ops.scalar_array(maxima.empty, x, compute) if is_number(maxima.empty) else maxima.empty
    backend = "torch" if ops.is_traced(x) else choose("auto", "swap", players, x, weights, empty)
    arrays, shape = (x, count, weights, empty), (rows, players + 1)
    library, where = "numpy" if backend == "numba" else "torch", ops.device(x)
    how = (order, starts, *mix.on(library, compute, where), KINDS.index(kind))
    if backend == "numba":
        out = ops.from_host(Run("swap", how, compute, shape).on(arrays)[0])
    else:
        out = run_torch(kernel("swap", backend).run, arrays, how, shape, ops.dtype(compute))
    return out if maxima.scale == 1.0 else maxima.scale * out


def _group_of(order: np.ndarray | None, starts: np.ndarray) -> np.ndarray:
    """[rollouts] int64: the group of each."""
    numbers = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return numbers if order is None else numbers[np.argsort(order)]


def _by_worth(kind: str, game: Game, count: Array, order: np.ndarray | None, starts: np.ndarray, mix: Tables) -> Array:
    """The credits of any game without joint data, by the worth of each mixed set."""
    ops, xp, own = game.ops, game.ops.xp, game.wide_worth().reshape(-1)
    places = game.players + 1
    total, among = xp.zeros_like(own)[:, None], xp.zeros_like(count)
    for other, there in zip(*others(order, starts), strict=True):
        h, there = (ops.array_like(x, count, ops.dtype(str(x.dtype))) for x in (other, there))
        gains = [own[row] - _mixed(kind, game, count, row, k, h[row]).wide_worth() for row, k in _blocks(game, count)]
        gain = xp.concatenate(gains).reshape(-1, places)
        total, among = total + xp.where(there[:, None], gain, 0.0), among + there
    above = total / ops.cast(among.clip(1), own.dtype)[:, None]
    last = count if kind == "suffix" else count - 1
    above = xp.where(_range(ops, places, count) <= last[:, None], above, 0.0)
    (table,) = mix.on(ops.name, compute_dtype(above.dtype), ops.device(above))
    return sum(above[:, j, None] * table[j] for j in range(places)) if len(table) else above


def _mixed(kind: str, game: Game, count: Array, row: Array, k: Array, h: Array) -> Game:
    """The sets of rollouts `row` with candidates of the rollouts `h` at place k (from 0), or from there on: [sets]."""
    xp, place = game.ops.xp, _range(game.ops, game.players, row)
    mine = place < k[:, None] if kind == "suffix" else place != k[:, None]
    who = xp.where(mine, row[:, None], h[:, None])
    return take(game, row, who, xp.broadcast_to(place, tuple(who.shape)), place < count[who])


def _blocks(game: Game, count: Array) -> Iterator[tuple[Array, Array]]:
    """All pairs of a rollout and a place, from 0 to the number of players, a block of sets at a time: two arrays."""
    places, sets = game.players + 1, len(count) * (game.players + 1)
    step = max(1, BLOCK // (8 * _COPIES * max(part.numbers_per_game() for _, part in game._parts())))
    for start in range(0, sets, step):
        at = start + _range(game.ops, min(step, sets - start), count)
        yield at // places, at % places


_COPIES = 6
"""Arrays of the size of the data that `worth` makes, roughly."""


def _range(ops: Ops, stop: int, reference: Array) -> Array:
    return ops.array_like(np.arange(stop), reference, ops.dtype("int64"))
