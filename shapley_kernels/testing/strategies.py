"""Hypothesis strategies for games and values, with a declared domain that shrinks to small integers.

Domain of the data: `shapley_kernels.testing.samples` says which rows; at most 6 players and 3 rows unless asked
otherwise, so that 2^n enumeration stays cheap. Everything drawn is exactly representable in the dtype asked for.
Domain of the values: Banzhaf with p in eighths, BetaShapley with parameters in halves from 1/2 to 4, SizeWeights >= 0.
More extreme values are legal, but their coefficients are only good to n 2.2e-16 of the largest one, not each to its
own size.

    @given(strategies.games(dtype="float32"), strategies.values())
    def test_mine(game, value): ...
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from shapley_kernels.games import GAMES, Game, Max, OrderGame
from shapley_kernels.testing.samples import ROW_KINDS, Plan, Sample, Utility, family, place, planned
from shapley_kernels.values import Banzhaf, BetaShapley, LeaveOneOut, Semivalue, Shapley, SizeWeights, Stratum


@st.composite
def plans(
    draw: st.DrawFn, max_rows: int = 3, max_players: int = 6, mask: bool = True, v_empty: bool | str = True
) -> Plan:
    """What `samples` draws, of whole rows, which can be dropped when shrinking; arguments as there."""
    players = draw(st.integers(1, max_players))
    row = st.tuples(
        st.lists(st.integers(-3, 3), min_size=players, max_size=players),
        st.lists(st.booleans(), min_size=players, max_size=players),  # dead
        st.tuples(st.integers(0, 2 if v_empty else 0), st.integers(0, players - 1)),
    )
    rows = draw(st.lists(row, min_size=1, max_size=max_rows))
    kind = draw(st.sampled_from(ROW_KINDS))
    return Plan(
        small=np.array([small for small, _, _ in rows], dtype=np.float64),
        kinds=[kind] * len(rows),
        dead=np.array([dead for _, dead, _ in rows]) if mask and draw(st.booleans()) else None,
        empty=[empty for _, _, empty in rows],
        scalar=draw(st.booleans()) if v_empty is True else v_empty != "batch",
        seed=0 if kind in ("integers", "binary", "offset", "zero") else draw(st.integers(0, 2**16)),
    )


def samples(
    utility: Utility = Max,
    dtype: str = "float64",
    max_rows: int = 3,
    max_players: int = 6,
    mask: bool = True,
    v_empty: bool | str = True,
) -> st.SearchStrategy[Sample]:
    """Arguments of a utility of the order family: rewards and v_empty as float64 numbers of the dtype, and a mask.

    The rewards have ties, zeros, negatives, 0/1, constant rows, a large common offset, irregular numbers, small and
    large units; players are all live, some or all dead; v_empty is 0, one of the row's rewards, or a little less.

    Args:
        mask: False: always None.
        v_empty: False: always 0; True: [rows] or a number; "batch": [rows]; "scalar": a number.
    """
    return plans(max_rows, max_players, mask, v_empty).map(lambda plan: planned(utility, dtype, plan))


def rewards(dtype: str = "float64", max_rows: int = 3, max_players: int = 6) -> st.SearchStrategy[np.ndarray]:
    """The rewards of `samples` alone."""
    of_max = samples(Max, dtype, max_rows, max_players, mask=False, v_empty=False)
    return of_max.map(lambda data: data.arrays["rewards"])


@dataclass(frozen=True)
class RandomWeights:
    """Size weights >= 0 for any number of players, in eighths, the same for the same seed."""

    seed: int

    def __call__(self, n: int) -> list[float]:
        return [float(w) / 8 for w in np.random.default_rng([self.seed, n]).integers(0, 9, n)]


def values() -> st.SearchStrategy[Semivalue]:
    """Every kind of semivalue; shrinks to Shapley."""
    halves = st.integers(1, 8).map(lambda x: x / 2)
    return st.one_of(
        st.just(Shapley()),
        st.builds(Banzhaf, st.integers(0, 8).map(lambda p: p / 8)),
        st.builds(BetaShapley, halves, halves),
        st.builds(Stratum, st.integers(1, 7)),
        st.just(LeaveOneOut()),
        st.builds(lambda seed: SizeWeights(RandomWeights(seed)), st.integers(0, 2**16)),
    )


@st.composite
def games(
    draw: st.DrawFn,
    utilities: Sequence[Utility] = GAMES,
    dtype: str = "float64",
    container: str = "numpy",
    combinations: bool = True,
    max_rows: int = 3,
    max_players: int = 6,
) -> Game:
    """Games of every class in `GAMES`, and sums a * A + b * B of two of them, with numbers or [batch] arrays as
    weights.

    Args:
        utilities: classes of games, or functions (rewards, mask, v_empty) -> game.
        container: "numpy" or "torch".
    """
    plan = draw(plans(max_rows, max_players))

    def one() -> Game:
        of_it = replace(plan, params=draw(st.integers(0, 99)))
        if not issubclass(family(utility := draw(st.sampled_from(utilities))), OrderGame):
            of_it = replace(of_it, seed=of_it.params)
        return planned(utility, dtype, of_it).at_masked(np.nan).placed(container, dtype).game()

    game = one()
    if combinations and draw(st.booleans()):
        weights = _weights(len(plan.small), lambda x: place(x, container, dtype))
        game = draw(weights) * game + draw(weights) * one()
    return game


def _weights(rows: int, convert: Callable[[np.ndarray], Any]) -> st.SearchStrategy[Any]:
    """0.7, -0.3, or eighths [rows]."""
    eighths = st.lists(st.integers(-8, 8), min_size=rows, max_size=rows)
    return st.one_of(st.sampled_from([1.0, 0.7, -0.3]), eighths.map(lambda w: convert(np.array(w) / 8)))


__all__ = ["RandomWeights", "games", "rewards", "samples", "values"]
