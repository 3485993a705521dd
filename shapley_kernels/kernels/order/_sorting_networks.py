"""Sorting networks: which pairs to compare, whatever the numbers are."""

from functools import lru_cache

import numpy as np

PAIR = -1
"""Second and fourth entry of a step of `fused_network` that is one comparator."""


@lru_cache
def network(players: int) -> np.ndarray:
    """Comparators [steps, 2], (i, j) with i < j, that sort any row: Batcher's odd-even merge sort, for any length.

    Source: Batcher (1968), doi:10.1145/1468075.1468121.
    """
    steps: list[tuple[int, int]] = []
    width = 1  # of the runs that are sorted already
    while width < players:
        apart = width
        while apart:
            for first in range(apart % width, players - apart, 2 * apart):
                last = min(first + apart, players - apart)
                pairs = ((i, i + apart) for i in range(first, last))
                steps.extend(pair for pair in pairs if pair[0] // (2 * width) == pair[1] // (2 * width))
            apart //= 2
        width *= 2
    return np.array(steps, np.int32).reshape(-1, 2)


@lru_cache
def fused_network(players: int) -> np.ndarray:
    """Steps [steps, 4] that sort any row, best first, two layers of comparators at a time: (a, b, c, d) stands for the
    comparators (a, c) and (b, d), and after them (a, b) and c with d; (a, PAIR, c, PAIR) for (a, c) alone.

    Bitonic merges whose first layer mirrors the second half, so that all comparators point the same way, and those with
    players that do not exist can be left out. In the order of a depth-first walk: what is sorted stays in the cache.

    Source: Batcher (1968), doi:10.1145/1468075.1468121.
    """
    steps: list[tuple[int, int, int, int]] = []

    def compare(a: int, b: int, c: int, d: int) -> None:
        if max(a, b, c, d) < players:
            steps.append((a, b, c, d))
        else:
            for low, high in ((a, c), (b, d), (a, b), (min(c, d), max(c, d))):
                compare_two(low, high)

    def compare_two(low: int, high: int) -> None:
        if high < players:
            steps.append((low, PAIR, high, PAIR))

    def merge(first: int, size: int) -> None:
        """The bitonic run first .. first + size."""
        if size == 2:
            compare_two(first, first + 1)
        elif size > 2 and first < players:
            apart = size // 4
            for i in range(first, first + apart):
                compare(i, i + apart, i + 2 * apart, i + 3 * apart)
            for quarter in range(first, first + size, apart):
                merge(quarter, apart)

    def sort(first: int, size: int) -> None:
        if size == 2:
            compare_two(first, first + 1)
        elif size > 2 and first < players:
            half, apart, last = size // 2, size // 4, first + size - 1
            sort(first, half)
            sort(first + half, half)
            for i in range(apart):
                compare(first + i, first + i + apart, last - i, last - i - apart)
            for quarter in range(first, first + size, apart):
                merge(quarter, apart)

    size = 1
    while size < players:
        size *= 2
    sort(0, size)
    return np.array(steps, np.int64).reshape(-1, 4)
