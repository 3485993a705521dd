"""Nothing is timed before it is right, on the very inputs of the timing."""

from importlib.util import find_spec
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels._command import CommandError
from shapley_kernels.arrays import to_float64
from shapley_kernels.bench.cases import Inputs
from shapley_kernels.bench.methods import Method
from shapley_kernels.bench.training import PIECES
from shapley_kernels.games import OrderGame
from shapley_kernels.testing.budget import PRECISION, Budget, assert_within_budget, error_budget, gap_form
from shapley_kernels.testing.exact import exact_semivalue
from shapley_kernels.testing.samples import Sample

ENUMERATED = 8
"""Players up to which rows are compared with the 2^n enumeration; longer ones with the gap formula."""

ROWS = 4
"""Rows that are compared with rational arithmetic."""


class GateFailed(CommandError):
    """A method gave wrong credits, so its time means nothing."""

    status = 1


def check(method: Method, inputs: Inputs, credits: Any) -> float:
    """The largest error, in units of the largest credit or number of its game.

    Ours are held, on some rows, to the a-priori bound against rational arithmetic; all methods, on every row, to the
    bound of a sum of as many rounded terms as a game has numbers and players (peers: 2^n), none of which exceeds that
    unit, against our credits in float64.

    Raises:
        GateFailed: they are outside, not finite, or of another shape.
    """
    given = to_float64(credits)
    if given.shape != inputs.reference.shape:
        raise GateFailed(f"{method.name}: credits of shape {given.shape} for {inputs.point}")
    if not np.isfinite(given).all():
        raise GateFailed(f"{method.name}: credits of {inputs.point} are not finite")
    reference, unit = inputs.reference.reshape(-1, inputs.reference.shape[-1]), inputs.unit
    difference = np.abs(given.reshape(reference.shape) - reference)
    error = float(np.divide(difference, unit, out=difference, where=unit > 0).max(initial=0.0))
    terms = 2**inputs.players if method.kind == "peer" else inputs.terms
    computed = method.precision or inputs.point.dtype
    if method.kind == "ours" and inputs.point.game not in PIECES and not inputs.has_floats:
        # of whole numbers each library makes floats of its own
        computed = str(credits.dtype).removeprefix("torch.")
    allowed = terms * PRECISION[computed][0]
    if error > allowed:
        raise GateFailed(f"{method.name}: error {error:.2g} of {inputs.point}, allowed {allowed:.2g}")
    if method.kind == "ours" and inputs.point.game not in PIECES:
        _check_rows(method, inputs, credits)
    return error


def _check_rows(method: Method, inputs: Inputs, credits: Any) -> None:
    """First, last and some rows in between, against the truth."""
    n = inputs.players
    flat = credits.reshape(-1, n)
    chosen = np.unique(np.linspace(0, len(flat) - 1, ROWS).astype(int))
    container = "numpy" if isinstance(credits, np.ndarray) else "torch"
    rows = inputs.sample.map(lambda x: x[chosen])
    game = rows.placed(container, inputs.point.dtype, inputs.point.device).game()
    if n <= ENUMERATED:
        truth: Any = exact_semivalue(game)
    elif issubclass(inputs.utility, OrderGame):
        truth = [gap_form(game, row=row) for row in range(len(chosen))]
    else:
        _check_by_reference(method, inputs, rows, to_float64(flat[chosen]), error_budget(game))
        return
    try:
        assert_within_budget(flat[chosen], truth, error_budget(game))
    except AssertionError as failure:
        raise GateFailed(f"{method.name}: {inputs.point}: {failure}") from None


def _check_by_reference(method: Method, inputs: Inputs, rows: Sample, given: np.ndarray, budget: Budget) -> None:
    """Too long to enumerate: within both bounds of the torch backend in float64, where torch is installed."""
    if find_spec("torch") is None:
        return
    game = rows.placed("torch", "float64").game()
    truth = to_float64(sk.shapley(game, backend="torch"))
    allowed = budget.at(truth) + error_budget(game).at(truth)
    if not (np.abs(given - truth) <= allowed).all():
        worst = float((np.abs(given - truth) / allowed).max())
        raise GateFailed(f"{method.name}: {inputs.point}: error {worst:.3g} times the bound")
