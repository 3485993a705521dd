"""Credits of games: merges the terms of a game, runs them, adds them up."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from shapley_kernels.arrays import NUMPY, Array, one_of
from shapley_kernels.backends import AUTO, BACKENDS
from shapley_kernels.games.base import Game
from shapley_kernels.games.overflow import within_range
from shapley_kernels.games.term import Term
from shapley_kernels.launch import RUNS, Launcher, keep
from shapley_kernels.values import Semivalue, Shapley, brackets


def shapley(game: Game, *, backend: str = "auto", nan: str | None = None) -> Any:
    """Shapley value of every player: its average marginal contribution over all orders of arrival.

    Args:
        game: such as `Max(rewards)` with rewards [..., players].
        backend: "auto" (CUDA: triton, CPU: numba; torch where a gradient must flow, but for games of sorted rewards,
            whose kernels have one), "numba", "triton" or "torch".
        nan: what NaN or infinity in the data of a live player does: "raise" a ValueError naming the first bad row,
            "propagate" NaN to the live players of that row and no other; None raises on the CPU and propagates on
            CUDA, under torch.compile and in torch.func.

    Returns:
        credits [..., players] in the container, dtype and device of the game; they sum to v(all) - v(empty). Masked
        players get exactly 0. Computed in promote(dtype, float32).

    Raises:
        TypeError, ValueError: arguments of the wrong kind, non-finite data.
        OverflowError: credits that the dtype does not hold, where bad data raise; such a row becomes NaN where they
            propagate.
        BackendUnavailable: an explicit backend that cannot run here; there is no fallback.

    Cost: of the family; the order games take O(players log players) per row.
    Source: Shapley (1953); for candidate sets in RL, ShapE-GRPO, arXiv 2603.29871.

    >>> import shapley_kernels as sk
    >>> sk.shapley(sk.Max([0.9, 0.5, 0.1])).round(4).tolist()
    [0.6333, 0.2333, 0.0333]
    """
    return semivalue(game, _SHAPLEY, backend=backend, nan=nan)


_SHAPLEY = Shapley()
"""One for all calls, which is compared with itself in less time than with another."""


def semivalue(game: Game, value: Semivalue, *, backend: str = "auto", nan: str | None = None) -> Any:
    """Credit of every player under any semivalue: the mean of v(S + i) - v(S), S drawn by its size (see `values`).

    Args:
        game, backend, nan: as in `shapley`.
        value: `Shapley()`, `Banzhaf(p)`, `BetaShapley(alpha, beta)`, `Stratum(size)`, `LeaveOneOut()`,
        `SizeWeights(w)`.

    Returns, Raises, Cost: as in `shapley`; only Shapley credits sum to v(all) - v(empty).
    Source: Dubey, Neyman and Weber (1981), doi:10.1287/moor.6.1.122.
    """
    if not isinstance(game, Game):
        raise TypeError(
            f"game: expected a game such as sk.Max(rewards), got {type(game).__name__}; "
            "wrap the rewards in the utility they earn"
        )
    if not isinstance(value, Semivalue):
        raise TypeError(f"value: expected a semivalue such as sk.Shapley(), got {value!r}{_remedy(value)}")
    if nan is not None:
        one_of("nan", nan, (None, "raise", "propagate"))
    if backend is not AUTO:
        one_of("backend", backend, BACKENDS)
    eager = game.ops is NUMPY or game.ops.is_eager(game.data)
    known = game.one_run(value) if eager and nan is None and backend in (AUTO, "numba") else None
    if known is not None and (credits := _as_before(game, *known)) is not None:
        return credits
    if game.ops is not NUMPY and backend in (AUTO, "numba"):
        game = game.in_numpy(keep_gradient=True) or game
    terms = game.terms(value)
    raises = nan == "raise" or (nan is None and eager)
    traced = not eager and game.ops.is_traced(game.data)
    launch = Launcher(game.ops, backend, game.dtype, traced)
    credits, finite = _computed(game, terms, launch, raises)
    if known is not None and finite and launch.run is not None:
        launch.run.bind()
        keep(known[0], launch.run)
    if not finite and (raises or eager):

        def anew(small: Game) -> Array:
            launch = Launcher(small.ops, backend, small.dtype, traced)
            return _computed(small, small.terms(value), launch, raises=False)[0]

        credits = within_range(game, "credits", credits, anew, trailing=1, propagate=not raises)
    return game.restore(credits) if game.restore else credits


def _as_before(game: Game, kind: Hashable, arrays: Sequence[Any]) -> Any | None:
    """Credits by the run of a call like this before; None where there was none, or something needs a closer look."""
    run, numpy = RUNS.get(kind), game.ops is NUMPY
    if run is None or (lent := arrays if numpy else game.ops.lent(arrays)) is None:
        return None
    credits, bad = run.on(lent)
    if bad != -1:
        return None
    credits = credits if numpy else game.ops.from_host(credits)
    return game.restore(credits) if game.restore else credits


def _remedy(value: Any) -> str:
    """The end of a message about a value that is no semivalue."""
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__.startswith("shapley_kernels.rl."):
        return f"; for RewardAllocator: rl.RewardAllocator(utility, rl.{kind.__name__}()).credits(rewards)"
    return brackets(value, Semivalue)


def _computed(game: Game, terms: list[Term], launch: Launcher, raises: bool) -> tuple[Array, bool]:
    """The sum of the terms of a game, [batch..., players], with bad data refused or made NaN; and whether all of it is
    known to be finite."""
    dtype, ops = launch.dtype, game.ops
    if 0 in game.batch_shape or game.players == 0:
        return ops.zeros(game.data, (*game.batch_shape, game.players), dtype), True
    if len(terms) > 1:
        terms = merged(terms)
    if len(terms) == 1 and terms[0].factor is None:
        return _credits(terms[0], launch, raises)
    launch.dtype = wide = ops.compute_dtype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
        parts = []
        for term in terms:
            credits, _ = _credits(term, launch, raises)
            parts.append(credits if term.factor is None else ops.cast(term.factor, wide)[..., None] * credits)
        return ops.cast(sum(parts[1:], parts[0]), dtype), False


def merged(terms: list[Term]) -> list[Term]:
    """The same sum, in as few runs of primitives as may be."""
    result: list[Term] = []
    for term in terms:
        for i, other in enumerate(result):
            if term.factor is None and other.factor is None and (both := other.merged(term)) is not None:
                result[i] = both
                break
        else:
            result.append(term)
    return result


def _credits(term: Term, launch: Launcher, raises: bool) -> tuple[Array, bool]:
    """As `_computed`, of one term without its factor, in the dtype of the launcher."""
    game = term.game
    if raises and not term.propagates_nan:
        game.refuse_bad_data()
    launch.inputs_finite = True
    credits = term.credits(launch)
    if term.propagates_nan:
        if not launch.inputs_finite:
            if raises:
                game.refuse_bad_data()
            game.refuse_impossible_data()
        # a kernel looked, and nothing was narrowed
        return credits, launch.inputs_finite and launch.dtype.itemsize > 2
    if raises:
        return credits, False
    bad = game.bad_rows()[..., None]
    marked = game.ops.xp.where(bad if game.mask is None else bad & game.mask, float("nan"), credits)
    return game.ops.cast(marked, credits.dtype), False
