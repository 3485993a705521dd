"""From the arrays of a call to a compiled kernel on threads: what the CPU kernels of all primitives have in common."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled
from shapley_kernels.kernels._threads import over_rows

THREADED = 1 << 18
"""Steps that are worth a thread: 0.2 ms or more, several times what it takes to wake one."""

_ELEMENTS = {"b": numba.uint8, "i": numba.int32, "l": numba.int64, "e": numba.float64}


class Kernel:
    """A function over rows, compiled for a compute dtype when that is first used.

    One machine code serves arrays that are there and arrays that are not: these come as arrays without elements. So
    there is one kernel per dtype, whatever is masked or left out, and it is the first call that has to wait.

    Args:
        function: function(*arguments, start, stop, *results) in plain Python, as `compiled` takes it: computes the rows
            start .. stop, and returns the first that is not finite, or -1.
        arguments: a word for each. Of arrays the dtype and the number of axes, "r2" for [rows, players] in the compute
            dtype, "b2" for bool, seen as bytes, "i1" for int32, "l1" for int64; "l" and "e" are an integer and a
            float64 number.
        results: the same, of arrays that are written.
        grain: parts begin at multiples of so many rows.
    """

    def __init__(self, function: Callable[..., Any], arguments: str, results: str = "r2", grain: int = 1) -> None:
        self.function, self.arguments, self.results, self.grain = function, arguments.split(), results.split(), grain
        self._compiled: dict[str, tuple[Any, list[Any]]] = {}

    def __call__(self, rows: int, steps: int, dtype: Any, *arrays: Any) -> int:
        """Compute so many rows, on several threads where they are worth it.

        Args:
            steps: that a row takes, roughly; 0 where all rows are one part.
            dtype: the compute dtype of numpy.
            arrays: arguments, then results; C contiguous, arguments that are left out as None.

        Returns:
            The first row that is not finite, or -1.
        """
        kernel, nothing = self._compiled.get(dtype.char) or self.ready(dtype.char)
        given = [nothing[i] if x is None else x for i, x in enumerate(arrays)]
        for i in self._masks:
            given[i] = given[i].view(np.uint8)
        arguments, results = given[: len(self.arguments)], given[len(self.arguments) :]

        def work(start: int, stop: int) -> int:
            return kernel(*arguments, start, stop, *results)

        return over_rows(work, rows, self.grain, THREADED // steps + 1 if steps else rows + 1)

    @cached_property
    def _masks(self) -> list[int]:
        return [i for i, word in enumerate(self.arguments) if word[0] == "b"]

    def ready(self, dtype: str) -> tuple[Any, list[Any]]:
        """Compile it for the compute dtype of this character, or load it -> the kernel, and what stands for None."""
        if dtype not in self._compiled:
            kinds = {**_ELEMENTS, "r": numba.float32 if dtype == "f" else numba.float64}
            read = [_type(kinds, word, readonly=True) for word in self.arguments]
            written = [_type(kinds, word, readonly=False) for word in self.results]
            kernel = compiled(self.function, numba.int64(*read, numba.int64, numba.int64, *written))
            nothing = [np.empty((0,) * int(w[1:]), _numpy(kinds[w[0]])) if w[1:] else None for w in self.arguments]
            self._compiled[dtype] = kernel, nothing
        return self._compiled[dtype]


def _type(kinds: dict[str, Any], word: str, readonly: bool) -> Any:
    """That of numba; one of an array that is only read serves writable ones, too."""
    return numba.types.Array(kinds[word[0]], int(word[1:]), "C", readonly=readonly) if word[1:] else kinds[word[0]]


def _numpy(kind: Any) -> str:
    return str(kind)
