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

from shapley_kernels.games import GAMES, Game, OrderGame
from shapley_kernels.testing._deps import need
from shapley_kernels.testing.samples import (
    OFFSET,
    SCALES,
    Example,
    Sample,
    Utility,
    family,
    place,
    rounded,
    sample,
)
from shapley_kernels.values import Banzhaf, BetaShapley, LeaveOneOut, Semivalue, Shapley, SizeWeights, Stratum

try:
    from hypothesis import strategies as st
except ModuleNotFoundError:
    raise need("hypothesis") from None

TEXTURES = ("integers", "eighths", "binary", "constant", "offset", "irregular", "small", "large")
"""What small integers are turned into; one texture per example."""


def _textured(x: np.ndarray, texture: str, dtype: str, seed: int) -> np.ndarray:
    low, high = SCALES[dtype]
    turned = {
        "integers": lambda: x,
        "eighths": lambda: x / 8,
        "binary": lambda: (x > 0) * 1.0,
        "constant": lambda: np.broadcast_to(x[:, :1], x.shape),
        "offset": lambda: OFFSET[dtype] + x / 8,
        "irregular": lambda: x + np.random.default_rng(seed).random(x.shape),
        "small": lambda: x * low,
        "large": lambda: x * high,
    }[texture]()
    return rounded(np.array(turned, dtype=np.float64), dtype)


@st.composite
def examples(
    draw: st.DrawFn,
    dtype: str = "float64",
    max_rows: int = 3,
    max_players: int = 6,
    mask: bool = True,
    v_empty: bool | str = True,
) -> Example:
    """Data of one game: rewards [rows, players], mask or None, v_empty.

    The rewards have ties, zeros, negatives, 0/1, constant rows, a large common offset, irregular numbers, small and
    large
    units; players are all live, some or all dead; v_empty is 0, one of the row's rewards, or a little less than one.

    Args:
        mask: False: always None.
        v_empty: False: always 0; True: [rows] or a number; "batch": [rows]; "scalar": a number.
    """
    players = draw(st.integers(1, max_players))
    row = st.tuples(
        st.lists(st.integers(-3, 3), min_size=players, max_size=players),
        st.lists(st.booleans(), min_size=players, max_size=players),  # dead
        st.tuples(st.integers(0, 2), st.integers(0, players - 1)),
    )
    rows = draw(st.lists(row, min_size=1, max_size=max_rows))  # whole rows, which can be dropped when shrinking
    texture = draw(st.sampled_from(TEXTURES))
    seed = draw(st.integers(0, 2**16)) if texture == "irregular" else 0
    rewards = _textured(np.array([small for small, _, _ in rows], dtype=np.float64), texture, dtype, seed)
    dead = np.array([flags for _, flags, _ in rows]) if mask and draw(st.booleans()) else None
    scalar = draw(st.booleans()) if v_empty is True else v_empty == "scalar"
    return Example(
        rewards, None if dead is None else ~dead, _v_empty(rewards, [c for _, _, c in rows], dtype, v_empty, scalar)
    )


def _v_empty(
    rewards: np.ndarray, choices: Sequence[tuple[int, int]], dtype: str, asked: bool | str, scalar: bool
) -> Any:
    if not asked:
        return 0.0
    chosen = np.array([rewards[row, player] for row, (_, player) in enumerate(choices)])
    kinds = np.array([kind for kind, _ in choices])
    worths = rounded(np.choose(kinds, [np.zeros(len(kinds)), chosen, chosen - np.abs(chosen) / 4]), dtype)
    return float(worths[0]) if scalar else worths


def rewards(dtype: str = "float64", max_rows: int = 3, max_players: int = 6) -> st.SearchStrategy[np.ndarray]:
    """The rewards of `examples` alone, float64 numbers of `dtype`."""
    return examples(dtype, max_rows, max_players, mask=False, v_empty=False).map(lambda data: data.rewards)


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
    data = draw(examples(dtype, max_rows, max_players))

    def one() -> Game:
        utility = draw(st.sampled_from(utilities))
        return _arguments(utility, data, dtype, draw(st.integers(0, 99))).placed(container, dtype).game()

    game = one()
    if combinations and draw(st.booleans()):
        weights = _weights(len(data.rewards), lambda x: place(x, container, dtype))
        game = draw(weights) * game + draw(weights) * one()
    return game


def _arguments(utility: Utility, data: Example, dtype: str, seed: int) -> Sample:
    """Arguments of a utility on the shape and mask of an example of the order family, and on its data where it is of
    that family."""
    rows, players = data.rewards.shape
    found = sample(utility, dtype, players, 2 * seed, rows)
    found = replace(found, mask=data.mask).at_masked(np.nan)
    if issubclass(family(utility), OrderGame):
        return found.with_arrays(rewards=data.rewards, v_empty=data.v_empty)
    return found


def _weights(rows: int, convert: Callable[[np.ndarray], Any]) -> st.SearchStrategy[Any]:
    """0.7, -0.3, or eighths [rows]."""
    eighths = st.lists(st.integers(-8, 8), min_size=rows, max_size=rows)
    return st.one_of(st.sampled_from([1.0, 0.7, -0.3]), eighths.map(lambda w: convert(np.array(w) / 8)))


__all__ = ["RandomWeights", "examples", "games", "rewards", "values"]
