"""From the arrays of a call to a compiled kernel on threads: what the CPU kernels of all primitives have in common."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled
from shapley_kernels.kernels._threads import over_rows

THREADED = 1 << 18
"""Steps that are worth a thread: 0.2 ms or more, several times what it takes to wake one."""


def in_one_part(rows: int, steps: int) -> bool:
    """Whether so many rows, of so many steps each, are certainly not worth a second thread."""
    return rows * steps <= THREADED


def first_not_finite(out: Any) -> int:
    """The first row of [rows, players] with a number that is not finite, -1 for none."""
    finite = np.isfinite(out)
    return -1 if finite.all() else int(finite.all(1).argmin())


_ELEMENTS = {"b": numba.uint8, "i": numba.int32, "l": numba.int64, "f": numba.float32, "e": numba.float64}


_Scratch = Callable[[int, int], tuple[Any, ...]]


class Kernel:
    """A function over rows, compiled once for each compute dtype.

    One machine code serves arrays that are there and arrays that are not: these come as arrays without elements. So it
    is only the first call of a dtype that has to wait, whatever is masked or left out.

    Args:
        function: function(*arguments, start, stop, *results) in plain Python, as `compiled` takes it: computes the rows
            start .. stop, and returns the first that is not finite, or -1.
        arguments: a word for each. Of arrays the dtype and the number of axes, "r2" for [rows, players] in the compute
            dtype, "n2" for the same bits as integers, "b2" for bool, seen as bytes, "i1" for int32, "l1" for int64; "l"
            and "e" are an integer and a float64 number, "f1" float32. A capital letter, last: what each part of the
            rows brings along, such as `scratch`, room to work in; it may be written.
        results: the same, of arrays that are written.
        grain: parts begin at multiples of so many rows.
    """

    def __init__(self, function: Callable[..., Any], arguments: str, results: str = "r2", grain: int = 1) -> None:
        self.function, self.arguments, self.results, self.grain = function, arguments.split(), results.split(), grain
        words = [word for word in self.arguments if word.islower()] + self.results
        self._given = len(words) - len(self.results)
        """Arguments of a call, before those that come last."""
        self._arrays = [(i, word[0] == "b") for i, word in enumerate(words) if word[1:]]
        self._ready: dict[str, tuple[Any, list[Any]]] = {}

    def __call__(self, rows: int, steps: int, dtype: Any, *arrays: Any, scratch: _Scratch | None = None) -> int:
        """Compute so many rows, on several threads where they are worth it.

        Args:
            steps: that a row takes, roughly; 0 where all rows are one part.
            dtype, arrays: as of `bound`.
            scratch: (start, stop) -> the arrays that these rows are worked out in, which come last. Code that allocates
                takes longer to compile.

        Returns:
            The first row that is not finite, or -1.
        """
        kernel, inputs, results = self._filled(dtype, arrays)
        smallest = THREADED // steps + 1 if steps else rows + 1
        if rows < 2 * smallest:
            room = () if scratch is None else scratch(0, rows)
            return kernel(*inputs, *room, 0, rows, *results)

        def work(start: int, stop: int) -> int:
            room = () if scratch is None else scratch(start, stop)
            return kernel(*inputs, *room, start, stop, *results)

        return over_rows(work, rows, self.grain, smallest)

    def bound(self, dtype: Any, *arrays: Any) -> Callable[..., int]:
        """work(*last arguments, start, stop) on these arrays.

        Args:
            dtype: the compute dtype of numpy.
            arrays: arguments but for the last ones, and results; C contiguous, those left out as None.
        """
        kernel, inputs, results = self._filled(dtype, arrays)
        return lambda *last: kernel(*inputs, *last, *results)

    def _filled(self, dtype: Any, arrays: tuple[Any, ...]) -> tuple[Any, list[Any], list[Any]]:
        """The kernel for this dtype, and arguments and results as it takes them."""
        kernel, nothing = self._ready.get(dtype.char) or self.ready(dtype.char)  # type: ignore[misc]
        arguments = list(arrays)
        for i, is_mask in self._arrays:
            if arguments[i] is None:
                arguments[i] = nothing[i]
            elif is_mask:
                arguments[i] = arguments[i].view(np.uint8)
        return kernel, arguments[: self._given], arguments[self._given :]

    def ready(self, dtype: str, make: bool = True) -> tuple[Any, list[Any]] | None:
        """The kernel for the compute dtype of this character, compiled or loaded, and what stands for each None; None
        where it would have to be compiled and is not to be made."""
        if dtype not in self._ready:
            real = numba.from_dtype(np.dtype(dtype))
            kinds = {**_ELEMENTS, "r": real, "n": numba.int32 if real.bitwidth == 32 else numba.int64}
            read = [_type(kinds, word.lower(), readonly=word.islower()) for word in self.arguments]
            written = [_type(kinds, word, readonly=False) for word in self.results]
            kernel = compiled(self.function, numba.int64(*read, numba.int64, numba.int64, *written), make)
            if kernel is None:
                return None
            self._ready[dtype] = kernel, [_nothing(x) for x in (*read[: self._given], *written)]
        return self._ready[dtype]


def _nothing(kind: Any) -> Any:
    return np.empty((0,) * kind.ndim, str(kind.dtype)) if isinstance(kind, numba.types.Array) else 0


def _type(kinds: dict[str, Any], word: str, readonly: bool) -> Any:
    """That of numba; one of an array that is only read serves writable ones, too."""
    return numba.types.Array(kinds[word[0]], int(word[1:]), "C", readonly=readonly) if word[1:] else kinds[word[0]]
