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


@lru_cache
def fused_network(players: int) -> np.ndarray:
    """Steps [steps, 5] that sort any row, best first, several layers of comparators at a time: (layers, a, b, apart,
    beyond), whose players are a, a + apart, ..., and as many b, b + beyond, ..., of which each is compared with its
    counterpart first. Players from `players` on do not exist, and are worse than all others.

        3 layers    of 8 players: a half cleaner, then those of each half and of each quarter
        2 layers    of 4 players
        0 layers    sorts the players a, ..., a + 7

    Bitonic merges whose first layer mirrors the second half, so that all comparators point the same way. In the order
    of a depth-first walk: what is sorted stays in the cache.

    Source: Batcher (1968), doi:10.1145/1468075.1468121.
    """
    steps: list[tuple[int, int, int, int, int]] = []

    def merge(first: int, size: int, mirrored: bool) -> None:
        layers = size.bit_length() - 1
        if not layers or first + 1 >= players:
            return
        fused = 2 if layers in (2, 4) else 3  # never one alone
        together = 2**fused
        apart, half, last = size // together, size // 2, first + size - 1
        for i in range(first, min(first + apart, players - apart)):
            b, beyond = (last - (i - first), -apart) if mirrored else (i + half, apart)
            steps.append((fused, i, b, apart, beyond))
        for part in range(first, first + size, apart):
            merge(part, apart, False)

    def sort(first: int, size: int) -> None:
        if first + 1 >= players:
            return
        if size == 8:
            steps.append((0, first, first + 4, 1, 1))
        else:
            sort(first, size // 2)
            sort(first + size // 2, size // 2)
            merge(first, size, True)

    size = 8
    while size < players:
        size *= 2
    sort(0, size)
    return np.array(steps, np.int64).reshape(-1, 5)
