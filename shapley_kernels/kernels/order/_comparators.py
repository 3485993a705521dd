"""Sorting networks: which pairs to compare, whatever the numbers are."""

from functools import lru_cache

import numpy as np


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
