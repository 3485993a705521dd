"""What the tests of primitives share: what a primitive promises (`Primitive`), where its backends run, guard bands and
bits."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from tests.kernels.conftest import INTERPRETED
from tests.needs import has_cuda

GUARD = 64  # elements on either side of a result that no kernel may touch
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
NON_FINITE = (float("nan"), float("inf"), float("-inf"))
DEVICE = {"numba": "cpu", "torch": "cpu", "triton": "cpu" if INTERPRETED else "cuda"}
BACKENDS = ("triton",) if INTERPRETED else ("numba", "torch", *(["triton"] if has_cuda() else []))
"""Those that are tested in this process: triton has one of its own where it is interpreted."""

Arguments = tuple[Any, ...]
"""What `run` gets before its results: tensors on the CPU, numpy arrays, numbers and None."""


class Primitive(ABC):
    """A primitive as its contract has it, with arguments that show whether a backend keeps it."""

    package: ClassVar[str]
    suffix: ClassVar[str] = ""
    """Of the names of the modules."""
    by_row: ClassVar[int]
    """So many arguments have a row for each row, or one for all of them; others serve all rows."""
    counts: ClassVar[int | None] = None
    """Place of row_of_count, whose entry of no live player is not used."""
    players: ClassVar[tuple[int, ...]]
    """Row lengths on either side of every choice."""
    every_dtype: ClassVar[tuple[int, ...]] = (3,)
    """Row lengths that are tried in every dtype."""
    kinds: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Ways to make a case."""
    main: ClassVar[tuple[str, ...]]
    """Those that differ most, which are enough for what is no matter of accuracy."""
    lengths: ClassVar[tuple[int, ...]] = (4,)
    """Row lengths that differ most, which are enough for the same."""
    batches: ClassVar[Mapping[int, tuple[int, ...]]] = {3: (9,)}
    """By row lengths, numbers of rows on either side of what fills a program."""
    forced: ClassVar[Mapping[str, tuple[tuple[int, Mapping[str, Any]], ...]]] = {}
    """By backend, row lengths and choices to be forced there."""
    backends: ClassVar[tuple[str, ...]] = ("numba", "torch", "triton")
    without_players: ClassVar[tuple[str, ...]] = ("numba", "torch", "triton")
    """Backends that may be given rows without players; the callers of others answer for them."""
    limits: ClassVar[tuple[tuple[str, str, int, int], ...]] = ()
    """Backends, names and values of limits of their modules that small arguments do not reach, and row lengths."""
    rounds: ClassVar[bool] = True
    """Whether the bound leaves out one rounding of the results to the compute dtype."""
    spoilt: ClassVar[float] = float("nan")
    """What the live players of a row get in which a number is not finite."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Arguments, Any]] = {}

    @abstractmethod
    def case(self, rng: np.random.Generator, players: int, dtype: torch.dtype, masked: bool, **how: Any) -> Arguments:
        """Arguments; what stands at masked players must not matter."""

    @abstractmethod
    def exact(self, arguments: Arguments) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each result what it is in exact arithmetic, in long double, and how far it may be off before it is rounded
        to its dtype. Where that is 0, nothing may be off."""

    @abstractmethod
    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        """The arguments with one live number of a row replaced, one array after the other."""

    def shapes(self, arguments: Arguments) -> list[tuple[int, ...]]:
        """Of the results; all but the first are of the compute dtype."""
        return [tuple(arguments[0].shape[:2])]

    def live(self, arguments: Arguments) -> Any:
        """[rows, players] bool."""
        mask = next((x for x in arguments if isinstance(x, torch.Tensor) and x.dtype == torch.bool), None)
        return torch.ones(self.shapes(arguments)[0], dtype=torch.bool) if mask is None else mask

    def some(self, arguments: Arguments, index: Any) -> tuple[Arguments, Any]:
        """The arguments of some rows, and the rows of the results that these are."""
        rows = self.shapes(arguments)[0][0]
        first = [x if x is None or len(x) != rows else x[index].contiguous() for x in arguments[: self.by_row]]
        return (*first, *arguments[self.by_row :]), index

    def also(self, arguments: Arguments, results: list[Any]) -> None:  # noqa: B027
        """What results must be beside near."""

    def module(self, backend: str) -> Any:
        return importlib.import_module(f"shapley_kernels.kernels.{self.package}._{backend}{self.suffix}")

    def run(self, backend: str, forced: Mapping[str, Any]) -> Callable[..., Any]:
        module = self.module(backend)
        if backend != "triton" or not forced:
            return partial(module.run, **forced)

        def run(*arguments: Any) -> None:
            calls = module.calls if hasattr(module, "calls") else lambda *a, **how: [module.call(*a, **how)]
            for call in calls(*arguments, **forced):
                call.on(arguments[0])

        return run

    def results(self, backend: str, arguments: Arguments, dtype: Any = None, **forced: Any) -> tuple[list[Any], Any]:
        """Results in `dtype` (None: that of the data), and what `run` returned."""
        data = next(x.dtype for x in arguments if isinstance(x, torch.Tensor) and x.is_floating_point())
        if backend == "numba":  # gets everything in the compute dtype
            arguments = tuple(x.to(real(x.dtype)) if is_float(x) else x for x in arguments)
            dtype = real(data)
        if backend == "triton" and self.counts is not None and arguments[self.counts] is not None:
            counts = arguments[self.counts].clone()
            counts[0] = 10**8
            arguments = (*arguments[: self.counts], counts, *arguments[self.counts + 1 :])
        first, *others = self.shapes(arguments)
        outs = [(first, dtype or data), *((shape, real(data)) for shape in others)]
        return launch(self.run(backend, forced), arguments, outs, backend)

    def _kept_exact(self, arguments: Arguments) -> Any:
        """`exact`, once for all backends."""
        if id(arguments) not in self._kept:
            self._kept[id(arguments)] = (arguments, self.exact(arguments))
        return self._kept[id(arguments)][1]

    def check(self, backend: str, arguments: Arguments, dtype: Any = None, **forced: Any) -> list[Any]:
        """The results, which are near, and exact where nothing may be off."""
        results, bad = self.results(backend, arguments, dtype, **forced)
        assert bad in (None, -1)
        for out, (exact, bound) in zip(results, self._kept_exact(arguments), strict=True):
            info = torch.finfo(out.dtype)
            compute = real(next(x.dtype for x in arguments if is_float(x)))
            # bfloat16 stores truncate in the interpreter, on a device they round to nearest
            truncates = INTERPRETED and out.dtype == torch.bfloat16
            rounding = (info.eps if truncates else info.eps / 2) if self.rounds or out.dtype != compute else 0.0
            got = out.double().numpy()
            allowed = bound + rounding * (np.abs(exact) + bound) + np.where(bound > 0, info.tiny * info.eps, 0.0)
            assert np.isfinite(got).all()
            error = np.abs(got - exact)
            assert (error <= allowed).all(), f"{np.argwhere(error > allowed)[0]}: {(error / allowed).max()} of it"
        self.also(arguments, results)
        return results


def is_float(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def real(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1).contiguous().view(torch.uint8) if x.numel() else torch.empty(0, dtype=torch.uint8)


def random_mask(rng: np.random.Generator, rows: int, players: int) -> np.ndarray:
    """Sparse and dense rows; the second has no live player, the third and the last have no other."""
    mask = rng.random((rows, players)) < rng.choice([0.3, 0.8, 1.0], (rows, 1))
    mask[:1] = np.arange(players) % 3 != 1
    mask[1:2], mask[2:3], mask[-1:] = False, True, True
    return mask


def wide(x: Fraction) -> np.longdouble:
    near = float(x)
    return np.longdouble(near) + np.longdouble(float(x - Fraction(near)))


def fractions(x: Any) -> list[Fraction]:
    return [Fraction(v) for v in x.tolist()]


def arrays(arguments: Arguments) -> list[Any]:
    """As numpy, floats as float64."""
    return [(x.double() if is_float(x) else x).numpy() if isinstance(x, torch.Tensor) else x for x in arguments]


def launch(run: Any, arguments: Arguments, outs: Any, name: str) -> tuple[list[Any], Any]:
    """`run(*arguments, *results)` on poisoned results, of `outs` shapes and dtypes, between guard bands: every element
    is written, nothing beside them, and no input changes. Returns the results, and what `run` returned."""
    place = DEVICE[name]
    moved = [x.to(place) if isinstance(x, torch.Tensor) else x for x in arguments]
    before = [x.clone() if isinstance(x, torch.Tensor) else x for x in moved]
    buffers, results = [], []
    for shape, dtype in outs:
        size = int(np.prod(shape))
        nothing = float("nan") if dtype.is_floating_point else -3
        buffers.append(torch.full((size + 2 * GUARD,), nothing, dtype=dtype, device=place))
        results.append(buffers[-1][GUARD : GUARD + size].view(shape))
    poison = [bits(x[:1]).clone() for x in buffers]
    if name == "numba":
        given = [x.numpy() if isinstance(x, torch.Tensor) else x for x in moved]
        for x in given:
            if isinstance(x, np.ndarray):
                x.setflags(write=False)
        returned = run(*given, *(x.numpy() for x in results))
    else:
        returned = run(*moved, *results)
    for buffer, kept in zip(buffers, poison, strict=True):
        raw = bits(buffer).reshape(len(buffer), -1)
        assert (raw[:GUARD] == kept).all()
        assert (raw[-GUARD:] == kept).all()
    for x, y in zip(moved, before, strict=True):
        assert not isinstance(x, torch.Tensor) or torch.equal(bits(x), bits(y))
    return [x.cpu() for x in results], returned
