"""What is timed: every game on inputs of many shapes, by each backend and by the few lines a user would write instead.

A *point* is a game on inputs of one shape; all *methods* of a point get the same numbers.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels.arrays import numbers
from shapley_kernels.games import GAMES, OWA, Clusters, FacilityLocation, Game, Mean, Min, OrderGame, Range
from shapley_kernels.games.base import COALITIONS
from shapley_kernels.games.order_base import FixedWeights
from shapley_kernels.testing.examples import Sample, place, rounded

LATENCY = (32, 8, 5)
"""A call of one GRPO step: 32 prompts, 8 rollouts, 5 candidates."""

PLAYERS, ELEMENTS = (8, 64, 1024), {"cpu": 2**21, "cuda": 2**24}
"""Of the large inputs of the order family: so many players, so many numbers in all, 8 MiB of float32 on the CPU."""

OTHER_PLAYERS, OTHER_ELEMENTS = (8, 64), {"cpu": 2**18, "cuda": 2**21}
"""Of the other families, some of which do more work per number."""

QUICK_PLAYERS, QUICK_ELEMENTS = (64,), 2**14

TABLE_PLAYERS = 16
"""The most players of games whose data are a worth for each coalition."""


@dataclass(frozen=True)
class Point:
    """A game on inputs of one shape [..., players]."""

    game: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    clock: str = "wall"
    """"wall", or "cpu" for one thread on the CPU: see `measure.CLOCKS`."""

    def __str__(self) -> str:
        return f"{self.game} {'x'.join(map(str, self.shape))} {self.dtype}"


class Inputs:
    """The numbers of a point: made once, handed to every method.

    Args:
        seed: others give the same games in another order, for buffers that are rotated.

    Raises:
        Unsuited: the game does not take so many players.
    """

    def __init__(self, point: Point, seed: int = 0) -> None:
        self.point, self.seed = point, seed
        self.utility = named(point.game)
        sample = _sample(self.utility, prod(point.shape[:-1]), self.players)
        sample = sample.map(lambda x: np.roll(rounded(x, point.dtype) if x.dtype.kind == "f" else x, seed, axis=0))
        self.sample = sample
        """float64 and int64, [rows, ...]: numbers of the dtype of the point."""
        self.others = sample.others

    @property
    def players(self) -> int:
        return self.point.shape[-1]

    def arrays(self, container: str, dtype: str | None = None) -> dict[str, Any]:
        """The data in "numpy" or "torch" with the batch axes of the point, in its dtype unless another is given."""
        dtype = dtype or self.point.dtype
        if container == "numpy" and dtype == "bfloat16":
            raise Unsuited("numpy has no bfloat16")
        batch = self.point.shape[:-1]
        placed = self.sample.placed(container, dtype, self.point.device).arrays
        return {name: x.reshape((*batch, *x.shape[1:])) for name, x in placed.items()}

    def rewards(self, container: str, dtype: str | None = None) -> Any:
        """`arrays` of a game that has one."""
        (rewards,) = self.arrays(container, dtype).values()
        return rewards

    def game(self, arrays: dict[str, Any]) -> Game:
        """The game of the point on (some rows of) the data."""
        return self.utility(**arrays, **self.others)

    @cached_property
    def reference(self) -> np.ndarray:
        """Credits [..., players] in float64 throughout; the gate holds it, too, against rational numbers."""
        return numbers(sk.shapley(self.game(self.arrays("numpy", "float64"))))

    @property
    def elements(self) -> int:
        """Numbers that describe a game."""
        return sum(prod(x.shape[1:]) for x in self.sample.arrays.values())

    @property
    def bytes(self) -> int:
        """Traffic that no method can avoid: data in, credits out."""
        size = 2 if "16" in self.point.dtype else int(self.point.dtype[-2:]) // 8
        arrays = self.sample.arrays.values()
        return prod(self.point.shape) * size + sum(x.size * (size if x.dtype.kind == "f" else 8) for x in arrays)


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
    found = []
    for n in players:
        with suppress(Unsuited):
            found.append((2 ** max(0, int(elements / Inputs(Point(game, (1, n))).elements).bit_length() - 1), n))
    return found


def standard_shapes(game: str, device: str, quick: bool = False) -> list[tuple[int, ...]]:
    """One GRPO step, and whole data sets."""
    if quick:
        return [LATENCY, *shapes(game, QUICK_PLAYERS, QUICK_ELEMENTS)]
    if issubclass(named(game), OrderGame):
        return [LATENCY, *shapes(game, PLAYERS, ELEMENTS[device])]
    return [LATENCY, *shapes(game, OTHER_PLAYERS, OTHER_ELEMENTS[device])]


class Unsuited(Exception):
    """Why a method does not take part at a point; the message is shown."""


@dataclass(frozen=True)
class Method:
    """A way to compute credits.

    `prepare(inputs)` gives the call that is timed: without arguments, all the work from rewards to credits in it. It
    raises `Unsuited` where the method has nothing to offer.
    """

    name: str
    kind: str
    """"ours", "five-liner", "peer", or "roof" for the copy."""
    prepare: Callable[[Inputs], Callable[[], Any]]
    packages: tuple[str, ...] = ()
    precision: str | None = None
    """What it computes in, where that is less than the dtype of the point."""

    def call(self, inputs: Inputs) -> Callable[[], Any]:
        """`prepare`, `Unsuited` when a package is missing."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                name = INSTALL.get(package, package)
                raise Unsuited(f"{package} is not installed: pip install {name}")
        return self.prepare(inputs)


INSTALL = {
    "torch": "'shapley_kernels[torch]'",
    "triton": "'shapley_kernels[triton]'",
    **dict.fromkeys(("coopgame", "shap", "shapiq", "shapley_numba"), "'shapley_kernels[peers]'"),
}


# -- shapley_kernels -------------------------------------------------------------------------------------------------


def _ours(backend: str) -> Method:
    container = "numpy" if backend == "numba" else "torch"

    def prepare(inputs: Inputs) -> Callable[[], Any]:
        device = inputs.point.device
        if (backend == "numba") != (device == "cpu") and backend != "torch":
            raise Unsuited(f"backend {backend!r} does not run on {device}")
        arrays, build, threads = inputs.arrays(container), inputs.game, inputs.point.threads
        if backend != "numba" or threads == 1:
            return lambda: sk.shapley(build(arrays), backend=backend)
        return _divided(lambda part: sk.shapley(build(part), backend=backend), arrays, threads)

    return Method(backend, "ours", prepare, () if backend == "numba" else (backend,))


def _divided(credits: Callable[[Any], Any], arrays: dict[str, np.ndarray], threads: int) -> Callable[[], Any]:
    """The rows dealt out to Python threads: the kernel holds no lock, and starts no threads of its own."""
    pieces = {name: np.array_split(x, threads) for name, x in arrays.items()}
    parts = [{name: piece[i] for name, piece in pieces.items()} for i in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return lambda: np.concatenate(list(pool.map(credits, parts)))


OURS = tuple(_ours(backend) for backend in ("numba", "torch", "triton"))


# -- five lines of numpy or torch ------------------------------------------------------------------------------------


def numpy_rows(r: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """phi_[j] = sum_{k >= j} (r_[k] - r_[k+1]) inside_k, the rows sorted ascending; `inside` from the worst up."""
    order = np.argsort(r, -1)
    gaps = np.diff(np.take_along_axis(r, order, -1), axis=-1, prepend=r.dtype.type(0)) * inside
    out = np.empty_like(r)
    np.put_along_axis(out, order, np.cumsum(gaps, -1), -1)
    return out


def torch_rows(r: Any, inside: Any) -> Any:
    """`numpy_rows` in torch."""
    import torch

    s, order = torch.sort(r, dim=-1)
    gaps = torch.diff(s, dim=-1, prepend=torch.zeros_like(s[..., :1])) * inside
    return torch.empty_like(r).scatter_(-1, order, gaps.cumsum(-1))


def five_liner(inputs: Inputs) -> tuple[Callable[[Any, dict[str, Any], Any], Any], np.ndarray]:
    """What a user would write for the game of `inputs`: lines(rows, arrays, inside), `rows` one of `numpy_rows` and
    `torch_rows`, `arrays` in the same library; and `inside`.

    Raises:
        Unsuited: nothing as short is known.
    """
    utility, n = inputs.utility, inputs.players
    at_least = np.arange(n, 0, -1)  # players who are as good, in a row sorted ascending
    if issubclass(utility, FixedWeights) or (utility is OWA and inputs.others["weights"].ndim == 1):
        weights = utility.weights(n, *utility(np.zeros(n), **inputs.others).params)
        return lambda rows, x, inside: rows(x["rewards"], inside), (weights.cumsum() / at_least[::-1])[::-1].copy()
    if utility is Min:
        return lambda rows, x, inside: -rows(-x["rewards"], inside), 1 / at_least
    if utility is Range:
        return lambda rows, x, inside: rows(x["rewards"], inside) + rows(-x["rewards"], inside), 1 / at_least
    if utility is Mean:
        own = (1 / at_least).sum() / n
        rest = (own - 1 / n) / max(n - 1, 1)
        return _mean_lines, np.array([own + rest, rest])
    if utility is FacilityLocation:
        return _facility_lines, 1 / at_least
    if utility is Clusters and "rewards" not in inputs.sample.arrays:
        return lambda rows, x, _: 1 / (x["labels"][..., None] == x["labels"][..., None, :]).sum(-1), np.ones(1)
    raise Unsuited(f"no five-liner for {utility.__name__}")


def _mean_lines(rows: Any, x: dict[str, Any], shares: Any) -> Any:
    return x["rewards"] * shares[0] - x["rewards"].sum(-1)[..., None] * shares[1]


def _facility_lines(rows: Any, x: dict[str, Any], inside: Any) -> Any:
    credits = rows(x["scores"].swapaxes(-1, -2), inside)  # [..., topics, players]
    return (credits * x["weights"][..., None] if "weights" in x else credits).sum(-2)


def _numpy_lines(inputs: Inputs) -> Callable[[], Any]:
    if inputs.point.device != "cpu":
        raise Unsuited(f"numpy does not run on {inputs.point.device}")
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("numpy")
    inside = inside.astype(inputs.point.dtype)
    return lambda: lines(numpy_rows, arrays, inside)


def _torch_lines(inputs: Inputs) -> Callable[[], Any]:
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("torch")
    on_device = place(inside, "torch", inputs.point.dtype, inputs.point.device)
    return lambda: lines(torch_rows, arrays, on_device)


def _compiled_lines(inputs: Inputs) -> Callable[[], Any]:
    import torch

    if inputs.point.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise Unsuited("torch.compile needs a C++ compiler")
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("torch")
    on_device = place(inside, "torch", inputs.point.dtype, inputs.point.device)
    if inputs.seed == 0:
        torch.compiler.reset()  # after some shapes it would give up compiling, and say so only in a log
    compiled = torch.compile(lambda x, a: lines(torch_rows, x, a), dynamic=False)
    return lambda: compiled(arrays, on_device)


FIVE_LINERS = (
    Method("numpy-five-liner", "five-liner", _numpy_lines),
    Method("torch-five-liner", "five-liner", _torch_lines, ("torch",)),
)

COMPILED = Method("compiled-five-liner", "five-liner", _compiled_lines, ("torch",))
"""The torch five-liner under torch.compile: seconds of compilation per shape, so only where asked for."""


# -- the roof --------------------------------------------------------------------------------------------------------


def _copy(inputs: Inputs) -> Callable[[], Any]:
    """A copy that moves the same bytes: half of them read, half written."""
    half = inputs.bytes // 2
    if inputs.point.device == "cpu":
        source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
        return lambda: np.copyto(target, source)
    import torch

    tensors = [torch.full((half,), n, dtype=torch.uint8, device=inputs.point.device) for n in (1, 0)]
    return lambda: tensors[1].copy_(tensors[0])


ROOF = Method("copy", "roof", _copy)
