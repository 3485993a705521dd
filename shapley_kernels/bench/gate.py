"""Nothing is timed before it is right, on the very inputs of the timing."""

from typing import Any

import numpy as np

from shapley_kernels.bench.cases import Inputs, Method
from shapley_kernels.testing.budget import PRECISION, assert_within_budget, error_budget, gap_form
from shapley_kernels.testing.exact import exact_semivalue
from shapley_kernels.testing.examples import numbers

ENUMERATED = 8
"""Players up to which rows are compared with the 2^n enumeration; longer ones with the gap formula."""

ROWS = 4
"""Rows that are compared with rational arithmetic."""


class GateFailed(Exception):
    """A method gave wrong credits, so its time means nothing."""


def check(method: Method, inputs: Inputs, credits: Any) -> float:
    """The largest error, in units of the largest reward or credit of its row.

    Ours are held, on some rows, to the a-priori bound against rational arithmetic; all methods, on every row, to the
    bound of a sum of n + 2 rounded terms (peers: 2^n) none of which exceeds that unit, against our credits in float64.

    Raises:
        GateFailed: they are outside, not finite, or of another shape.
    """
    found = numbers(credits)
    if found.shape != inputs.point.shape:
        raise GateFailed(f"{method.name}: credits of shape {found.shape} for {inputs.point}")
    if not np.isfinite(found).all():
        raise GateFailed(f"{method.name}: credits of {inputs.point} are not finite")
    unit = np.maximum(np.abs(inputs.reference), np.abs(inputs.data)).max(-1, keepdims=True)
    error = float((np.abs(found - inputs.reference) / unit).max(initial=0.0))
    eps = PRECISION[method.precision or inputs.point.dtype][0]
    terms = 2**inputs.players if method.kind == "peer" else inputs.players + 2
    allowed = terms * eps
    if error > allowed:
        raise GateFailed(f"{method.name}: error {error:.2g} of {inputs.point}, allowed {allowed:.2g}")
    if method.kind == "ours":
        _check_rows(method, inputs, credits)
    return error


def _check_rows(method: Method, inputs: Inputs, credits: Any) -> None:
    """First, last and some rows in between, against the truth."""
    n = inputs.players
    flat = credits.reshape(-1, n)
    chosen = np.unique(np.linspace(0, len(flat) - 1, ROWS).astype(int))
    container = "numpy" if isinstance(credits, np.ndarray) else "torch"
    game = inputs.game(inputs.rewards(container).reshape(-1, n)[chosen])
    truth = exact_semivalue(game) if n <= ENUMERATED else [gap_form(game, row=row) for row in range(len(chosen))]
    try:
        assert_within_budget(flat[chosen], truth, error_budget(game))
    except AssertionError as failure:
        raise GateFailed(f"{method.name}: {inputs.point}: {failure}") from None
