"""What is timed: every game on inputs of many shapes. A *point* is a game on inputs of one shape."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels.arrays import to_float64
from shapley_kernels.bench.lines import Unsuited, five_liner, numpy_rows, torch_rows
from shapley_kernels.games import GAMES, Game, OrderGame
from shapley_kernels.games.data import COALITIONS
from shapley_kernels.testing.samples import Sample, place, rounded

LATENCY = (32, 8, 5)
"""A call of one GRPO step: 32 prompts, 8 rollouts, 5 candidates."""

PLAYERS, ELEMENTS = (8, 64, 1024), {"cpu": 2**21, "cuda": 2**24}
"""Of the large inputs of the order family: so many players, so many numbers in all, 8 MiB of float32 on the CPU."""

OTHER_PLAYERS, OTHER_ELEMENTS = (8, 64), {"cpu": 2**18, "cuda": 2**21}
"""Of the other families, some of which do more work per number."""

HEAVY, HEAVY_ELEMENTS = ("WeightedVoting", "DoubleMajority", "BudgetCap", "LogSum"), {"cpu": 2**13, "cuda": 2**16}
"""Of games that take thousands of steps for a number."""

TRAINING: dict[str, tuple[tuple[int, ...], ...]] = {
    **dict.fromkeys(("advantages", "advantages-by-id", "advantages-by-swap"), (LATENCY, (2**14, 8, 8))),
    "token-advantages": (LATENCY,),
    "gradient": (LATENCY, (2**15, 64)),
    "tokens": ((32, 256), (256, 2048), (1024, 8192)),
}
"""Pieces of training (`bench.training`) and their shapes."""

PRIMITIVES: dict[str, tuple[tuple[int, int], ...]] = {
    "NoisyOr": ((2**15, 8), (2**12, 64)),
    "WeightedVoting": ((2**12, 8), (64, 64)),
    "Pairwise": ((2**11, 8), (2**8, 64)),
    "Table": ((2**10, 8), (2**6, 12)),
}
"""A game for each primitive that sorts nothing, of few players and of many: multilinear, knapsack, pairwise, table."""

QUICK_PLAYERS, QUICK_ELEMENTS, OTHER_QUICK_ELEMENTS = (64,), 2**14, 2**12

TABLE_PLAYERS = 16
"""The most players of games whose data are a worth for each coalition."""


@dataclass(frozen=True)
class Point:
    """A game, or a piece of training, on inputs of one shape [..., players]."""

    game: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    clock: str = "wall"
    """"wall", or "cpu" for one thread on the CPU: see `measure.CLOCKS`."""
    masked: bool = False
    """Whether a fifth of the players is masked."""

    def __str__(self) -> str:
        return f"{self.game} {'x'.join(map(str, self.shape))} {self.dtype}{' masked' * self.masked}"


Call = Callable[[], Any]


class Inputs:
    """The numbers of a point, made once and handed to every method, and what each of them does with them.

    Args:
        seed: others give the same games in another order, for buffers that are rotated.

    Raises:
        Unsuited: the game does not take so many players.
    """

    def __init__(self, point: Point, seed: int = 0) -> None:
        self.point, self.seed = point, seed
        self.utility = named(point.game)
        sample = _sample(self.utility, prod(point.shape[:-1]), self.players)
        if point.masked:
            sample = replace(sample, mask=np.random.default_rng(0).random(sample.shape) < 0.8)
        sample = sample.map(lambda x: np.roll(rounded(x, point.dtype) if x.dtype.kind == "f" else x, seed, axis=0))
        self.sample = sample
        """float64 and int64, [rows, ...]: numbers of the dtype of the point."""
        self.others = sample.others

    @property
    def players(self) -> int:
        return self.point.shape[-1]

    @property
    def has_floats(self) -> bool:
        """Whether any data of the game are no whole numbers."""
        return any(x.dtype.kind == "f" for x in self.sample.arrays.values())

    def arrays(self, container: str, dtype: str | None = None) -> dict[str, Any]:
        """The data in "numpy" or "torch" with the batch axes of the point, in its dtype unless another is given."""
        dtype = dtype or self.point.dtype
        if container == "numpy" and dtype == "bfloat16":
            raise Unsuited("numpy has no bfloat16")
        batch = self.point.shape[:-1]
        placed = self.sample.placed(container, dtype, self.point.device)
        arrays = placed.arrays if placed.mask is None else {**placed.arrays, "mask": placed.mask}
        return {name: x.reshape((*batch, *x.shape[1:])) for name, x in arrays.items()}

    def rewards(self, container: str, dtype: str | None = None) -> Any:
        """`arrays` of a game that has one."""
        (rewards,) = self.arrays(container, dtype).values()
        return rewards

    def game(self, arrays: dict[str, Any]) -> Game:
        """The game of the point on (some rows of) the data."""
        return self.utility(**arrays, **self.others)

    def ours(self, container: str, backend: str) -> Call:
        """What this package does."""
        arrays, build = self.arrays(container), self.game
        return lambda: sk.shapley(build(arrays), backend=backend)

    def lines(self, container: str) -> Call:
        """What a user would write in "numpy", "torch", or torch that is "compiled"."""
        if self.point.masked:
            raise Unsuited("no five-liner knows masks")
        lines, inside = five_liner(self)
        if container == "numpy":
            arrays, weights = self.arrays("numpy"), inside.astype(self.point.dtype)
            return lambda: lines(numpy_rows, arrays, weights)
        arrays, weights = self.arrays("torch"), place(inside, "torch", self.point.dtype, self.point.device)
        if container == "torch":
            return lambda: lines(torch_rows, arrays, weights)
        import torch

        if self.seed == 0:
            torch.compiler.reset()  # after some shapes it would give up compiling, and say so only in a log
        compiled = torch.compile(lambda x, a: lines(torch_rows, x, a), dynamic=False)
        return lambda: compiled(arrays, weights)

    def sorting(self) -> Call:
        """A bare sort of the same rows."""
        if not issubclass(self.utility, OrderGame) or self.point.device != "cpu":
            raise Unsuited("no rows to sort")
        rewards = self.arrays("numpy")["rewards"]
        return lambda: np.sort(rewards)

    @cached_property
    def reference(self) -> np.ndarray:
        """The result in float64 throughout; the gate holds credits, too, against rational numbers."""
        return to_float64(sk.shapley(self.game(self.arrays("numpy", "float64"))))

    @property
    def unit(self) -> np.ndarray:
        """[rows, 1]: the largest credit or number of each game, which no rounded term exceeds."""
        largest = [np.abs(x).reshape(len(x), -1).max(1) for x in self.sample.arrays.values() if x.dtype.kind == "f"]
        credits = self.reference.reshape(-1, self.reference.shape[-1])
        return np.maximum.reduce([np.abs(credits).max(1), *largest])[:, None]

    @property
    def terms(self) -> int:
        """Rounded numbers that a result sums up, at most."""
        return self.elements + self.players + 2

    @property
    def elements(self) -> int:
        """Numbers that describe a game."""
        return sum(prod(x.shape[1:]) for x in self.sample.arrays.values())

    @property
    def bytes(self) -> int:
        """Traffic that no method can avoid: data in, credits out."""
        size, sample = size_of(self.point.dtype), self.sample
        mask = 0 if sample.mask is None else sample.mask.size
        data = sum(x.size * (size if x.dtype.kind == "f" else 8) for x in sample.arrays.values())
        return prod(self.point.shape) * size + data + mask


def size_of(dtype: str) -> int:
    """Bytes of a number."""
    return 2 if "16" in dtype else int(dtype[-2:]) // 8


DRAWS = 8
"""Draws of `Game.example`, of which the one with most numbers is taken."""


def _sample(utility: type[Game], rows: int, players: int) -> Sample:
    """Data of that many games: uniform rewards for the order family, what `Game.example` draws for the others."""
    if COALITIONS in utility.arguments.values() and players > TABLE_PLAYERS:
        raise Unsuited(f"{utility.__name__} of {players} players: 2^{players} worths")
    if issubclass(utility, OrderGame):
        rewards = np.random.default_rng([rows, players]).random((rows, players))
        return Sample(utility, {"rewards": rewards}, None, _params(utility, players))
    draws = [utility.example(np.random.default_rng(seed), 1, players) for seed in range(DRAWS)]
    sizes = [sum(x.size for name, x in draw.items() if name in utility.arguments and x is not None) for draw in draws]
    seed = int(np.argmax(sizes))  # such as the one with most topics
    drawn = utility.example(np.random.default_rng(seed), rows, players)
    arrays = {name: x for name, x in drawn.items() if name in utility.arguments and x is not None}
    return Sample(utility, arrays, None, {name: x for name, x in drawn.items() if name not in arrays})


def _params(utility: type[OrderGame], players: int) -> dict[str, Any]:
    """Arguments beside the rewards: the first draw that serves this many players (`OWA[n, n]` stops at 512)."""
    for draw in range(100):
        params = utility.example_params(np.random.default_rng([players, draw]), players)
        try:
            sk.shapley(utility(np.zeros(players), **params))
        except ValueError:
            continue
        return params
    raise AssertionError(f"{utility.__name__}: no example for {players} players")


@cache
def named(game: str) -> type[Game]:
    """The class of `GAMES` with this name."""
    return next(utility for utility in GAMES if utility.__name__ == game)


def shapes(game: str, players: Iterable[int], elements: int) -> list[tuple[int, int]]:
    """[rows, players] so that the data of all rows are about `elements` numbers, rows a power of two; without numbers
    of players that the game does not take."""
    chosen = []
    for n in players:
        with suppress(Unsuited):
            chosen.append((2 ** max(0, int(elements / Inputs(Point(game, (1, n))).elements).bit_length() - 1), n))
    return chosen


def standard_shapes(game: str, device: str, quick: bool = False) -> list[tuple[int, ...]]:
    """One GRPO step, and whole data sets."""
    if game in TRAINING:
        return list(TRAINING[game][: 1 if quick else None])
    order = issubclass(named(game), OrderGame)
    if quick:
        return [LATENCY, *shapes(game, QUICK_PLAYERS, QUICK_ELEMENTS if order else OTHER_QUICK_ELEMENTS)]
    players, elements = (PLAYERS, ELEMENTS) if order else (OTHER_PLAYERS, OTHER_ELEMENTS)
    elements = HEAVY_ELEMENTS if game in HEAVY else elements
    return [LATENCY, *shapes(game, players, elements[device])]
