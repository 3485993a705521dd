"""Sorting networks: which pairs to compare, whatever the numbers are.

Source: Batcher (1968), doi:10.1145/1468075.1468121.
"""

from functools import lru_cache

import numpy as np


@lru_cache
def network(players: int) -> np.ndarray:
    """Comparators [steps, 2], (i, j) with i < j, that sort any row: Batcher's odd-even merge sort, for any length."""
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


TOGETHER = 8
"""Players that a step of `fused_network` takes."""

_APART_4 = [(0, 4), (1, 5), (2, 6), (3, 7)]
_APART_2 = [(0, 2), (1, 3), (4, 6), (5, 7)]
_APART_1 = [(0, 1), (2, 3), (4, 5), (6, 7)]
_MIRRORED_8 = [(0, 7), (1, 6), (2, 5), (3, 4)]
_MIRRORED_4 = [(0, 3), (1, 2), (4, 7), (5, 6)]

SORT_4, SORT_8, MERGE_8, MERGE_8_MIRRORED, MERGE_4, MERGE_4_MIRRORED = range(6)
COMPARATORS: tuple[list[tuple[int, int]], ...] = (
    [(0, 2), (1, 3), (0, 1), (2, 3), (1, 2)],
    [*_APART_2, *_APART_4, *_APART_1, (2, 4), (3, 5), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6)],
    [*_APART_4, *_APART_2, *_APART_1],
    [*_MIRRORED_8, *_APART_2, *_APART_1],
    [*_APART_2, *_APART_1],
    [*_MIRRORED_4, *_APART_1],
)
"""Of each kind of step, between its players: those that sort the first four, or all eight; the next three layers of a
bitonic merge; the next two, of two merges. Mirrored: the first layer of a merge, whose second half counts from its end,
so that all comparators point the same way."""


@lru_cache
def fused_network(players: int) -> np.ndarray:
    """Steps [steps, 1 + TOGETHER] that sort any row, best first, several layers of comparators at a time: the kind, of
    `COMPARATORS`, and its players, of which each comparator puts the better one first. A player that does not exist is
    `players`: it is worse than all others, and stays where it is.

    Bitonic merges of eights, in the order of a depth-first walk: what is sorted stays in the cache.
    """
    steps: list[list[int]] = []

    def add(kind: int, group: list[int]) -> None:
        last = steps[-1] if steps else [kind, *group]
        if last[0] == kind and len(last) + len(group) == 1 + TOGETHER and not {*last[1:]} & {*group}:
            last += group  # two merges of four at once
        else:
            steps.append([kind, *group])

    def merge(first: int, size: int, mirrored: bool) -> None:
        layers = size.bit_length() - 1
        if not layers or first + 1 >= players:
            return
        fused = 2 if layers in (2, 4) else 3  # never one alone
        apart, half, last = size >> fused, size // 2, first + size - 1
        kinds = (MERGE_4, MERGE_4_MIRRORED) if fused == 2 else (MERGE_8, MERGE_8_MIRRORED)
        for i in range(first, min(first + apart, players - apart)):
            upper = list(range(i, i + half, apart))
            lower = [last - (k - first) for k in reversed(upper)] if mirrored else [k + half for k in upper]
            add(kinds[mirrored], upper + lower)
        for part in range(first, first + size, apart):
            merge(part, apart, False)

    def sort(first: int, size: int) -> None:
        if first + 1 >= players:
            return
        if size <= TOGETHER:
            add(SORT_4 if size < TOGETHER else SORT_8, list(range(first, first + size)))
        else:
            sort(first, size // 2)
            sort(first + size // 2, size // 2)
            merge(first, size, True)

    size = TOGETHER // 2
    while size < players:
        size *= 2
    sort(0, size)
    table = np.full((len(steps), 1 + TOGETHER), players, np.int32)
    for row, step in zip(table, steps, strict=True):
        row[: len(step)] = step
    table[:, 1:] = np.minimum(table[:, 1:], players)
    return table
