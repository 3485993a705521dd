"""The kernels of all primitives on arrays that end where a page begins which may not be read: one that reads beyond
ends this process. `python -m tests.kernels.pages` prints how many calls there were."""

import ctypes
import mmap
from itertools import product

import numpy as np
import torch

from tests.kernels import rig
from tests.kernels.test_kernels import PRIMITIVES


def at_the_end(x: np.ndarray) -> np.ndarray:
    """A copy that may be read and written, but not what is behind it."""
    size = -(-max(x.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + size
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = np.frombuffer(memory, x.dtype, x.size, size - x.nbytes).reshape(x.shape)
    copy[...] = x
    return copy


def main() -> None:
    calls = 0
    for primitive, dtype, masked, rows in product(PRIMITIVES, (torch.float32, torch.float64), (False, True), (32, 33)):
        choices = [(players, {}) for players in primitive.players] + list(primitive.forced.get("numba", ()))
        for (players, forced), kind in product(choices, primitive.main):
            some = primitive.case(np.random.default_rng(players), players, dtype, masked, **primitive.kinds[kind])
            # whole vectors of rows, and one row more
            arguments, _ = primitive.some(some, np.arange(rows) % len(primitive.live(some)))
            expected, _ = primitive.results("numba", arguments, **forced)
            given = [at_the_end(x.numpy()) if isinstance(x, torch.Tensor) else x for x in arguments]
            outs = [at_the_end(np.full(x.shape, np.nan, x.numpy().dtype)) for x in expected]
            primitive.run("numba", forced)(*given, *outs)
            same = (
                torch.equal(rig.bits(x), rig.bits(torch.from_numpy(y))) for x, y in zip(expected, outs, strict=True)
            )
            assert all(same)
            calls += 1
    print(calls)


if __name__ == "__main__":
    main()
