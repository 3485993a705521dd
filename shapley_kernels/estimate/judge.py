"""The judge: called in batches, one after another or at the same time; what it gives is checked and kept."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable
from math import ceil
from typing import Any

import numpy as np

from shapley_kernels._async import gathered, is_async, wait
from shapley_kernels.arrays import read
from shapley_kernels.backends import BackendUnavailable

BATCHES = 16
"""`f` is called about this many times, on batches of equal size, but not for fewer than `SMALLEST_BATCH` coalitions."""
SMALLEST_BATCH = 64

CALLS = 32
"""Of an `async def`, at the same time."""


def evaluate(
    judges: list[Any],
    coalitions: list[np.ndarray],
    known: dict[tuple[int, bytes], float] | None,
    progress: bool,
) -> list[np.ndarray]:
    """The worths of the coalitions of each game  [m] float64, in batches of equal size."""
    worths, jobs = [np.zeros(len(rows)) for rows in coalitions], []
    for game, rows in enumerate(coalitions):
        kept = [None] * len(rows) if not known else [known.get((game, row.tobytes())) for row in rows]
        new = np.array([k for k, worth in enumerate(kept) if worth is None], int)
        worths[game][:] = [worth or 0.0 for worth in kept]
        batches = max(1, min(BATCHES, ceil(len(new) / SMALLEST_BATCH)))
        jobs += [(game, places) for places in np.array_split(new, batches) if len(places)]
    with _bar(sum(len(places) for _, places in jobs), progress) as advance:

        def keep(game: int, places: np.ndarray, answer: Any) -> None:
            rows = coalitions[game][places]
            worths[game][places] = new = _worth(rows, answer)
            if known is not None:
                known.update(zip([(game, row.tobytes()) for row in rows], new.tolist(), strict=True))
            advance(len(rows))

        async def ask(game: int, places: np.ndarray) -> None:
            with _signature(coalitions[game][places]) as rows:
                answer = judges[game](rows)
                answer = await answer if isawaitable(answer) else answer
            keep(game, places, answer)

        if any(map(is_async, judges)):
            wait(gathered([partial(ask, *job) for job in jobs], CALLS))
        else:
            for game, places in jobs:
                with _signature(coalitions[game][places]) as rows:
                    answer = judges[game](rows)
                keep(game, places, answer)
    return worths


@contextmanager
def _signature(batch: np.ndarray) -> Iterator[np.ndarray]:
    """The batch; what f raises says what it is called with."""
    try:
        yield batch
    except Exception as error:
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"estimate: f takes bool [m, players], here {batch.shape}, and returns [m] numbers")
        raise


def _worth(batch: np.ndarray, answer: Any) -> np.ndarray:
    """What f gave for a batch, checked."""
    worth = numbers(answer, "f")
    if worth.shape != (len(batch),):
        raise ValueError(
            f"f: expected one worth for each of the {len(batch)} coalitions, shape ({len(batch)},), got shape "
            f"{worth.shape}; f takes bool [m, players] and returns [m]"
        )
    bad = np.flatnonzero(~np.isfinite(worth))
    if len(bad):
        players = np.flatnonzero(batch[bad[0]]).tolist()
        raise ValueError(
            f"f: worth must be finite, got {worth[bad[0]]} for the coalition of players {players}; "
            "give every coalition a number, the empty one included"
        )
    return worth


def numbers(x: Any, name: str) -> np.ndarray:
    """What f or a surrogate returns, as float64 on the CPU."""
    ops, array, _ = read(x, name)
    return array if array.dtype == np.float64 else ops.to_float64(array)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], object]]:
    """A function that moves a progress bar on stderr."""
    if not shown:
        yield lambda amount: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        pass
    else:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("evaluations", total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    try:
        from tqdm import tqdm
    except ImportError:
        raise BackendUnavailable("progress=True needs rich or tqdm: pip install rich, or leave progress out") from None
    with tqdm(total=total, desc="evaluations", file=sys.stderr) as bar:
        yield bar.update
