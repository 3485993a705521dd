"""The oracle table: how close every game under every value comes to its error bound, by backend.

python -m shapley_kernels.testing                       # worst error, in units of the a-priori bound
python -m shapley_kernels.testing --rows 1000 --by-value
"""

import argparse
from collections.abc import Sequence
from itertools import product

import numpy as np

from shapley_kernels.allocate import semivalue
from shapley_kernels.games import GAMES
from shapley_kernels.testing.budget import error_budget, worst
from shapley_kernels.testing.samples import ROW_KINDS, Utility, sample, utility_name
from shapley_kernels.testing.subjects import COMBINATIONS, DTYPES, HOME, VALUES, truth_of, why_not

PLAYERS = (1, 2, 3, 4, 5, 6, 8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, a line as soon as it is known; the exit status is 1 if an error is outside its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m shapley_kernels.testing", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200, help="rows per game, value and column (200)")
    parser.add_argument("--by-value", action="store_true", help="a line per value instead of the worst one")
    options = parser.parse_args(arguments)
    places = [(backend, dtype) for backend, home in HOME.items() if why_not(backend) is None for dtype in DTYPES[home]]
    head = ["game", *(["value"] if options.by_value else []), *(f"{backend} {dtype}" for backend, dtype in places)]
    print("Worst error in units of the a-priori bound:\n")
    print("|", " | ".join(head), "|")
    print("|" + "---|" * len(head))
    outside = False
    for utility in (*GAMES, *COMBINATIONS):
        worsts = worst_errors(utility, places, options.rows)
        outside |= bool((worsts > 1).any())
        named = zip(([repr(value)] for value in VALUES), worsts, strict=True)
        for names, cells in named if options.by_value else [([], worsts.max(axis=0))]:
            print("|", " | ".join([utility_name(utility), *names, *(f"{cell:.2f}" for cell in cells)]), "|", flush=True)
    return int(outside)


def worst_errors(utility: Utility, places: Sequence[tuple[str, str]], rows: int) -> np.ndarray:
    """[values, places]: worst error / bound over at least `rows` random rows of 1 to 8 players with ties, zeros,
    offsets, masks and v_empty, against 2^n enumeration in rational arithmetic."""
    draws = range(max(1, rows // (len(PLAYERS) * len(ROW_KINDS))))
    worsts = np.zeros((len(VALUES), len(places)))
    for column, (backend, dtype) in enumerate(places):
        for players, draw in product(PLAYERS, draws):
            data = sample(utility, dtype, players, draw)
            game = data.placed(HOME[backend], dtype).game()
            for v, value in enumerate(VALUES):
                credits = semivalue(game, value, backend=backend)
                error = worst(credits, truth_of(data, value), error_budget(game, value))
                worsts[v, column] = max(worsts[v, column], error)
    return worsts
