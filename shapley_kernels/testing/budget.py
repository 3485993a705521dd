"""Error budgets: how far credits may be from the truth, known before they are computed.

Each family has its own bound (`Term.error_bound`, docs/explanation/mathematics.md) for what happens before the result
is rounded to the dtype of the output; here they are put together for sums of games, and compared with the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.allocate import merged
from shapley_kernels.arrays import Array, describe, device, to_float64
from shapley_kernels.games import Game
from shapley_kernels.games.order.tables import coefficients
from shapley_kernels.games.order.term import OrderTerm
from shapley_kernels.values import Semivalue, Shapley

PRECISION = {
    "float64": (2.0**-52, 2.0**-1074),
    "float32": (2.0**-23, 2.0**-149),
    "float16": (2.0**-10, 2.0**-24),
    "bfloat16": (2.0**-7, 2.0**-133),
}
"""eps (twice the largest relative rounding error) and the smallest subnormal of each dtype."""


@dataclass(frozen=True, eq=False)
class Budget:
    """What the credits of `game` under `value` may deviate by; made by `error_budget`."""

    game: Game
    value: Semivalue
    computing: np.ndarray
    """[rows, players] float64: the bound before the result is rounded to the dtype of the output."""

    def at(self, exact: np.ndarray) -> np.ndarray:
        """Largest |error| where the truth is `exact` [rows, players]: rounding of the result included."""
        eps, quantum = PRECISION[dtype_name(self.game.dtype)]
        return self.computing + eps / 2 * (np.abs(exact) + self.computing) + quantum / 2


def error_budget(game: Game, value: Semivalue | None = None) -> Budget:
    """The a-priori bound for the credits of a game, combinations included.

    Args:
        game: its data (those of live players) exactly as the kernel gets them.
        value: None: Shapley.

    Returns: a `Budget`, for `assert_within_budget`. Terms that are added up pay one more rounding each.
    """
    value = value or Shapley()
    rows = prod(game.batch_shape)
    computing = np.zeros((rows, game.players))
    if not computing.size:
        return Budget(game, value, computing)
    terms = merged(game.terms(value))
    plain = len(terms) == 1 and terms[0].factor is None
    for term in terms:
        factor = np.ones(rows) if term.factor is None else np.abs(to_float64(term.factor).reshape(-1))
        roundings = 0 if plain else len(terms)  # each at most half of a term's own bound
        computing += factor[:, None] * term.error_bound() * (1 + roundings / 2)
    return Budget(game, value, computing)


def gap_form(game: Game, value: Semivalue | None = None, row: int = 0) -> list[Fraction]:
    """The credits of one row of a game of the order family, by the gap formula in rational arithmetic.

    For rows that are too long to enumerate. It takes the float64 coefficients A, B, C at their word, so it judges the
    kernel; the coefficients are judged by `exact_semivalue`.

    Args: as in `exact_semivalue`. Cost: O(n) rational operations per term.
    """
    credits = [Fraction(0)] * game.players
    for term in game.terms(value or Shapley()):
        if not isinstance(term, OrderTerm):
            raise TypeError(f"gap_form: expected a game of the order family, got {term.game!r}")
        ranked, empty_worth = term.ranked(row)
        levels = [Fraction(float(r)) for r in (*ranked, empty_worth)]
        gaps = [upper - lower for upper, lower in pairwise(levels)]
        factor = Fraction(1 if term.factor is None else float(to_float64(term.factor).reshape(-1)[row]))
        rewards = to_float64(term.game.rewards).reshape(-1, game.players)[row]
        ranking = sorted(game.live_players(row), key=lambda i, r=rewards: -r[i])  # type: ignore[misc]
        for scale, utility, params in term.scaled_recipe() if len(ranked) else ():
            A, B, C = coefficients(utility, params, term.value, len(ranked))
            amount = sum((d * Fraction(float(a)) for d, a in zip(gaps, A, strict=True)), Fraction(0))
            amount += levels[-1] * Fraction(C)
            for i, d, a, b in zip(ranking, gaps, A, B, strict=True):
                credits[i] += factor * Fraction(scale) * amount
                amount += d * (Fraction(float(b)) - Fraction(float(a)))
    return credits


def dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def errors(credits: Array, exact: Sequence[Any], budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """|credit - exact| and what is allowed, both [rows, players] float64; differences are taken between rationals."""
    game = budget.game
    got = to_float64(credits).reshape(budget.computing.shape)
    truth = [_rows_of(exact, len(game.batch_shape))[row] for row in range(len(got))]
    error = np.array(
        [
            [float(abs(Fraction(float(x)) - e)) for x, e in zip(*pair, strict=True)]
            for pair in zip(got, truth, strict=True)
        ]
    )
    size = np.array([[float(e) for e in row] for row in truth])
    return error.reshape(got.shape), budget.at(size.reshape(got.shape))


def _rows_of(nested: Sequence[Any], depth: int) -> list[Any]:
    if depth == 0:
        return [nested]
    return [row for item in nested for row in _rows_of(item, depth - 1)]


def worst(credits: Array, exact: Sequence[Any], budget: Budget) -> float:
    """The largest error in units of the bound."""
    return float(_ratio(*errors(credits, exact, budget)).max(initial=0.0))


def _ratio(error: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """error / allowed, 0 where both are 0; NaN stays."""
    with np.errstate(all="ignore"):
        return np.divide(error, allowed, out=np.where(error == 0, 0.0, np.inf), where=allowed != 0)


def assert_like_rewards(credits: Any, game: Game) -> None:
    """Container, dtype, shape and device of the credits are those of the game."""
    want, shape = game.data, (*game.batch_shape, game.players)
    assert type(credits) is type(want), f"credits are {describe(credits)}, the rewards {describe(want)}"
    assert dtype_name(credits.dtype) == dtype_name(game.dtype), f"credits are {describe(credits)}, not {game.dtype}"
    assert tuple(credits.shape) == shape, f"credits are {describe(credits)}, not of shape {shape}"
    assert device(credits) == device(want), f"credits are on {device(credits)}, the rewards on {device(want)}"


def assert_within_budget(credits: Any, exact: Sequence[Any], budget: Budget) -> None:
    """Raise an AssertionError unless the credits are what the game asks for, finite, and within the budget of the
    truth.

    Args:
        credits: [..., players], of `shapley(game)` or `semivalue(game, value)`.
        exact: Fractions, nested like the batch shape, such as `exact_semivalue(game, value)`.
        budget: `error_budget(game, value)`.
    """
    game = budget.game
    assert_like_rewards(credits, game)
    got = to_float64(credits).reshape(budget.computing.shape)
    bad = ~np.isfinite(got).all(axis=-1)
    assert not bad.any(), (
        f"not finite: row {bad.argmax()} of {game!r} got {got[bad.argmax()]}\n{_inputs(game, int(bad.argmax()))}"
    )
    error, allowed = errors(credits, exact, budget)
    near = error <= allowed  # so that a bound of NaN is a failure
    if near.all():
        return
    ratio = np.where(near, 0.0, _ratio(error, allowed))
    row = int(np.unravel_index(ratio.argmax(), ratio.shape)[0])
    truth = [float(x) for x in _rows_of(exact, len(game.batch_shape))[row]]
    raise AssertionError(
        f"{game!r} under {budget.value}: error {ratio.max():.3g} times the bound in row {row} "
        f"({(~near).any(-1).sum()} of {len(got)} rows are outside)\n{_inputs(game, row)}\n"
        f"  expected {truth}\n  got      {got[row].tolist()}\n  error    {error[row].tolist()}\n"
        f"  bound    {allowed[row].tolist()}"
    )


def _inputs(game: Game, row: int) -> str:
    """The data of one row, one line per distinct part of the game."""
    lines = []
    for weight, part in game._parts():
        factor = weight if isinstance(weight, float) else to_float64(weight).reshape(-1)[row]
        arrays = {name: getattr(part, name) for name in part.arguments}
        data = ", ".join(
            f"{name} {x if not hasattr(x, 'shape') else _row_of(x, part.batch_shape, row)}"
            for name, x in arrays.items()
        )
        lines.append(f"  {factor:g} * {type(part).__name__}: {data}, live {part.live_players(row)}")
    return "\n".join(lines)


def _row_of(x: Array, batch_shape: Sequence[int], row: int) -> list[Any]:
    return to_float64(x).reshape(prod(batch_shape), *x.shape[len(batch_shape) :])[row].tolist()
