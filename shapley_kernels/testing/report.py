"""The oracle table: how close every game under every value comes to its error bound, by backend.

python -m shapley_kernels.testing                       # worst error, in units of the a-priori bound
python -m shapley_kernels.testing --rows 1000 --by-value
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from shapley_kernels.allocate import semivalue
from shapley_kernels.games import GAMES
from shapley_kernels.testing.budget import error_budget, worst
from shapley_kernels.testing.samples import ROW_KINDS, Utility, sample, utility_name
from shapley_kernels.testing.subjects import COMBINATIONS, VALUES, truth_of, why_not
from shapley_kernels.values import Semivalue

PLAYERS = (1, 2, 3, 4, 5, 6, 8)

PLACES = (
    ("numba", "numpy", "float64"),
    ("numba", "numpy", "float32"),
    ("numba", "numpy", "float16"),
    ("torch", "torch", "float64"),
    ("torch", "torch", "float32"),
    ("torch", "torch", "float16"),
    ("torch", "torch", "bfloat16"),
    ("triton", "torch", "float64"),
    ("triton", "torch", "float32"),
    ("triton", "torch", "float16"),
)
"""Backend, container and dtype of the columns."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if an error is outside its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m shapley_kernels.testing", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=200, help="rows per game, value and column, 1 to 8 players each (200)"
    )
    parser.add_argument("--by-value", action="store_true", help="a line per value instead of the worst one")
    options = parser.parse_args(arguments)
    places = [place for place in PLACES if why_not(place[0]) is None]
    lines = list(oracle_table((*GAMES, *COMBINATIONS), VALUES, places, options.rows))
    if not options.by_value:
        names = dict.fromkeys(name for name, _, _ in lines)
        lines = [(name, "", _worst([cells for other, _, cells in lines if other == name])) for name in names]
    _print(places, lines)
    return int(any(cell > 1 for _, _, cells in lines for cell in cells))


def _worst(table: list[list[float]]) -> list[float]:
    return [max(column) for column in zip(*table, strict=True)]


def oracle_table(
    utilities: Sequence[Utility], values: Sequence[Semivalue], places: Sequence[tuple[str, str, str]], rows: int
) -> Iterator[tuple[str, str, list[float]]]:
    """(game, value, worst error / bound for each of the `places`), over at least `rows` random rows of 1 to 8 players
    with ties, zeros, offsets, masks and v_empty, against 2^n enumeration in rational arithmetic."""
    draws = max(1, rows // (len(PLAYERS) * len(ROW_KINDS)))
    for utility in _progress(utilities):
        worsts = np.zeros((len(values), len(places)))
        for dtype in dict.fromkeys(its_dtype for _, _, its_dtype in places):
            for players in PLAYERS:
                for draw in range(draws):
                    _add(worsts, utility, values, places, dtype, players, draw)
        for value, cells in zip(values, worsts.tolist(), strict=True):
            yield utility_name(utility), repr(value), cells


def _add(
    worsts: np.ndarray,
    utility: Utility,
    values: Sequence[Semivalue],
    places: Sequence[tuple[str, str, str]],
    dtype: str,
    players: int,
    draw: int,
) -> None:
    """Raise the worst errors [values, places] by those on one sample."""
    data = sample(utility, dtype, players, draw)
    for v, value in enumerate(values):
        truth = truth_of(data, value)
        for column, (backend, container, its_dtype) in enumerate(places):
            if its_dtype == dtype:
                game = data.placed(container, dtype).game()
                found = worst(semivalue(game, value, backend=backend), truth, error_budget(game, value))
                worsts[v, column] = max(worsts[v, column], found)


def _progress(items: Sequence[Any]) -> Iterable[Any]:
    """With a progress bar on stderr, if rich or tqdm is installed and somebody is watching."""
    if not sys.stderr.isatty():
        return items
    try:
        from rich.console import Console
        from rich.progress import track

        return track(items, description="games", console=Console(stderr=True))
    except ModuleNotFoundError:
        pass
    try:
        from tqdm import tqdm

        return tqdm(items, desc="games")
    except ModuleNotFoundError:
        return items


def _print(places: Sequence[tuple[str, str, str]], lines: list[tuple[str, str, list[float]]]) -> None:
    """A Markdown table."""
    head = [
        "game",
        *(["value"] if lines and lines[0][1] else []),
        *(f"{backend} {dtype}" for backend, _, dtype in places),
    ]
    print("Worst error in units of the a-priori bound:\n")
    print("|", " | ".join(head), "|")
    print("|" + "---|" * len(head))
    for name, value, cells in lines:
        print("|", " | ".join([name, *([value] if value else []), *(f"{cell:.2f}" for cell in cells)]), "|")
