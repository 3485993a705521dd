"""What laws are checked on: credits of a utility under a value, by a backend of ours or by a stranger's function."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.allocate import semivalue, shapley
from shapley_kernels.arrays import NUMPY, ops_of, to_float64
from shapley_kernels.backends import BackendUnavailable
from shapley_kernels.games import Game, Max, Median, OrderGame, TopM
from shapley_kernels.games.data import COALITIONS
from shapley_kernels.testing.budget import PRECISION, Budget, error_budget, errors
from shapley_kernels.testing.exact import placed, share, worth_table
from shapley_kernels.testing.samples import Sample, Utility, family, place, sample
from shapley_kernels.values import Banzhaf, BetaShapley, LeaveOneOut, Semivalue, Shapley, SizeWeights, Stratum

TABLE_PLAYERS = 8
"""The most players of games whose data are a worth for each coalition."""


def rising_weights(n: int) -> list[float]:
    """Size weights that grow with the size, for `SizeWeights`."""
    return [2 * (s + 1) / (n * (n + 1)) for s in range(n)]


VALUES: tuple[Semivalue, ...] = (
    Shapley(),
    Banzhaf(),
    Banzhaf(0.25),
    BetaShapley(4, 1),
    BetaShapley(0.5, 2),
    Stratum(2),
    LeaveOneOut(),
    SizeWeights(rising_weights),
)
"""At least one value of every kind."""


def difference(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.7 TopM(2) - 0.3 Median on the same data: one launch."""
    return 0.7 * TopM(rewards, 2, mask=mask, v_empty=v_empty) - 0.3 * Median(rewards, mask=mask, v_empty=v_empty)


def weighted(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.5 TopM(2) + w Max with w by batch entry where v_empty is: two launches then."""
    if isinstance(v_empty, float):
        factor: Any = 0.5 if v_empty > 0 else -1.25
    else:
        factor = np.where(to_float64(v_empty) > 0, 0.5, -1.25)
        factor = factor if (ops := ops_of(rewards)) is NUMPY else ops.array_like(factor, rewards, rewards.dtype)
    return 0.5 * TopM(rewards, 2, mask=mask, v_empty=v_empty) + factor * Max(rewards, mask=mask, v_empty=v_empty)


COMBINATIONS: tuple[Callable[..., Game], ...] = (difference, weighted)
"""Sums of games, to be checked as if they were one more utility."""


class Broken(AssertionError):
    """What a law raises: what happened, on which data, and what came out; and in which row, where that says it all."""

    def __init__(self, what: str, data: Sample, got: Any, row: int | None = None) -> None:
        super().__init__(what)
        self.what, self.data, self.got, self.row = what, data, got, row


class Raised(Broken):
    """An allocation raised the cause on data that it should take."""


HOME = {"numba": "numpy", "torch": "torch", "triton": "torch"}
"""The container each backend works on; the other one is converted, which the laws about arrays check."""


DTYPES = {"numpy": ("float64", "float32", "float16"), "torch": ("float64", "float32", "float16", "bfloat16")}


@lru_cache
def why_not(backend: str) -> str | None:
    """Why a backend cannot be checked here, None if it can."""
    if HOME[backend] == "torch" and find_spec("torch") is None:
        return f"backend={backend!r} needs torch, which is not installed: pip install 'shapley_kernels[torch]'"
    try:
        shapley(Max(place(np.zeros((1, 1)), HOME[backend], "float32", devices(backend)[0])), backend=backend)
    except BackendUnavailable as error:
        return str(error)
    return None


def devices(backend: str) -> list[str]:
    if backend == "numba" or find_spec("torch") is None:
        return ["cpu"]
    import torch

    cuda = ["cuda"] if torch.cuda.is_available() else []
    return cuda or ["cpu"] if backend == "triton" else ["cpu", *cuda]


@dataclass(frozen=True)
class Subject(ABC):
    """An allocation, and what it claims to be."""

    utility: Utility
    value: Semivalue
    dtype: str

    poisons: ClassVar[tuple[float, ...]] = (np.nan,)
    """What a row may be spoilt with."""

    @abstractmethod
    def placed(self, data: Sample) -> Sample:
        """The arguments as a user would pass them."""

    @abstractmethod
    def run(self, placed: Sample, nan: str | None = None) -> Any:
        """What the allocation returns for `placed` arguments."""

    @abstractmethod
    def allowed(self, data: Sample, credits: np.ndarray | float = 0.0) -> np.ndarray:
        """How far credits [rows, players] may be from numbers of that size, where it is not accuracy that is judged."""

    def slack(self, data: Sample, credits: np.ndarray) -> Any:
        """How far credits may differ that are equal in exact arithmetic."""
        return self.allowed(data, credits)

    def drift(self, data: Sample) -> Any:
        """How far credits may move where nothing of their row has changed."""
        return self.allowed(data)

    def errors(
        self, data: Sample, credits: np.ndarray, truth: list[list[Fraction]]
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """|credit - truth|, what is allowed, [rows, players] both, and what that is called."""
        return *errors(credits, truth, self.budget(data)), "the a-priori bound"

    def layouts(self) -> dict[str, Callable[[Any], Any]]:
        """Ways to lay out the same numbers, of two axes or more; each makes a copy with another layout."""
        # torch reads no negative strides, so a stranger's function around it need not
        return {
            "transposed arrays": lambda x: x.T.copy().T,
            "every other element of arrays": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
        }

    def credits(self, data: Sample, nan: str | None = None) -> np.ndarray:
        """The credits as float64 numpy, a copy."""
        return np.array(to_float64(self.run(self.placed(data), nan)))

    def budget(self, data: Sample) -> Budget:
        return error_budget(self.placed(data).game(), self.value)

    def truth(self, data: Sample) -> list[list[Fraction]]:
        return truth_of(data, self.value)

    @property
    def is_order(self) -> bool:
        return issubclass(family(self.utility), OrderGame)


@dataclass(frozen=True)
class Ours(Subject):
    """A backend of ours."""

    backend: str
    container: str = "numpy"
    device: str = "cpu"
    poisons: ClassVar[tuple[float, ...]] = (np.nan, np.inf, -np.inf)

    def sample(self, players: int, draw: int, rows: int = 8) -> Sample:
        """Arguments as numpy, of that many players, or fewer where the data grow with 2^players."""
        grows = COALITIONS in family(self.utility).arguments.values()
        return sample(self.utility, self.dtype, min(players, TABLE_PLAYERS) if grows else players, draw, rows)

    def placed(self, data: Sample) -> Sample:
        return data.placed(self.container, self.dtype, self.device)

    def run(self, placed: Sample, nan: str | None = None) -> Any:
        return semivalue(placed.game(), self.value, backend=self.backend, nan=nan)

    def allowed(self, data: Sample, credits: np.ndarray | float = 0.0) -> np.ndarray:
        return self.budget(data).at(np.broadcast_to(credits, data.shape))

    def slack(self, data: Sample, credits: np.ndarray) -> Any:
        """Nothing where rewards are sorted, whatever the order of equal ones."""
        return 0.0 if self.is_order else 2 * self.allowed(data, credits)

    def drift(self, data: Sample) -> Any:
        return 0.0

    def layouts(self) -> dict[str, Callable[[Any], Any]]:
        return views(self.container)


@dataclass(frozen=True)
class Theirs(Subject):
    """A function of rewards [rows, players], as `check_axioms` describes it."""

    function: Callable[..., Any]
    mask: bool
    v_empty: bool | str
    tolerance: float | None

    def placed(self, data: Sample) -> Sample:
        placed = data.placed("numpy", self.dtype)
        return replace(placed, mask=np.ones(data.shape, bool) if self.mask and data.mask is None else placed.mask)

    def run(self, placed: Sample, nan: str | None = None) -> Any:
        given = {"mask": placed.mask, "v_empty": placed.arrays["v_empty"]}
        options = {name: x for name, x in given.items() if getattr(self, name)}
        rewards = placed.arrays["rewards"]
        _soil_memory(rewards.shape, self.dtype)
        try:
            return self.function(rewards, **options)
        except Exception as error:
            raise Raised(f"it raised {error!r}", placed, None) from error

    def allowed(self, data: Sample, credits: np.ndarray | float = 0.0) -> np.ndarray:
        """What is small beside the row: laws are about what is wrong in kind; accuracy is judged last."""
        size = np.maximum(np.abs(_live_rewards(data)).max(axis=-1), np.abs(data.arrays["v_empty"])) * data.shape[1]
        eps, quantum = PRECISION[self.dtype]
        coarse = (max(2.0**-10, 4 * eps) * size + quantum) * max(1.0, self.tolerance or 0.0)
        return np.broadcast_to(coarse[:, None], data.shape)

    def errors(
        self, data: Sample, credits: np.ndarray, truth: list[list[Fraction]]
    ) -> tuple[np.ndarray, np.ndarray, str]:
        error, allowed, unit = super().errors(data, credits, truth)
        if self.tolerance is None:
            return error, allowed, unit
        size = np.maximum(np.abs(_live_rewards(data)).max(axis=-1), np.abs(data.arrays["v_empty"]))
        return error, np.broadcast_to((self.tolerance * size)[:, None], error.shape), "the tolerance"


def _live_rewards(data: Sample) -> np.ndarray:
    return np.where(data.live, data.arrays["rewards"], 0.0)


def _soil_memory(shape: tuple[int, ...], dtype: str) -> None:
    """Leave NaN in the blocks that numpy hands out next for arrays of this size, so that an element that nobody writes
    shows every time, not now and then. (Replacing numpy.empty would break functions that numba compiles.)"""
    blocks = [np.full(shape, np.nan, dtype) for _ in range(16)]
    del blocks


def views(container: str) -> dict[str, Callable[[Any], Any]]:
    """Ways to lay out the same numbers in our containers, of two axes or more; each makes a copy."""
    if container == "torch":
        import torch

        return {
            "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
            "strided": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
            "offset": lambda x: torch.cat([x[:1], x])[1:],
        }
    return {
        "Fortran-ordered": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, -1)[::2, ..., ::3],
        "reversed": lambda x: np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1],
        "read-only": _read_only,
        "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
    }


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


# kept: the truth of a sample is the same for all backends and containers


@lru_cache(maxsize=4096)
def worths_of(data: Sample) -> list[tuple[list[int], list[Fraction]]]:
    """Live players and worth table of each row."""
    game = data.game()
    rows = [game.live_players(row) for row in range(data.shape[0])]
    return [(live, worth_table(game.exact_worth(row), live)) for row, live in enumerate(rows)]


@lru_cache(maxsize=16384)
def truth_of(data: Sample, value: Semivalue) -> list[list[Fraction]]:
    """Credits of each row, 0 for masked players."""
    return [placed(share(table, value), live, data.shape[1]) for live, table in worths_of(data)]
