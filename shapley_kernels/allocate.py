"""Credits of games: merges the terms of a game, runs them, adds them up."""

from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, cast, compute_dtype, is_traced, named_dtype, namespace, on_cpu, one_of, zeros
from shapley_kernels.backends import BACKENDS
from shapley_kernels.games.base import Game, Term, Weighted, within_range
from shapley_kernels.launch import Run
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
    return semivalue(game, Shapley(), backend=backend, nan=nan)


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
    one_of("nan", nan, (None, "raise", "propagate"))
    one_of("backend", backend, BACKENDS)
    eager_cpu = on_cpu(game.data) and not is_traced(game.data)
    raises = nan == "raise" or (nan is None and eager_cpu)
    credits, finite = _computed(game, value, backend, raises)
    if not finite and (raises or eager_cpu):

        def anew(small: Game) -> Array:
            return _computed(small, value, backend, False)[0]

        credits = within_range(game, "credits", credits, anew, trailing=1, propagate=not raises)
    return game.restore(credits) if game.restore else credits


def _remedy(value: Any) -> str:
    """The end of a message about a value that is no semivalue."""
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__.startswith("shapley_kernels.rl."):
        return f"; for RewardAllocator: rl.RewardAllocator(utility, rl.{kind.__name__}()).credits(rewards)"
    return brackets(value, Semivalue)


def _computed(game: Game, value: Semivalue, backend: str, raises: bool) -> tuple[Array, bool]:
    """Credits [batch..., players], with bad data refused or made NaN; and whether they are known to be finite."""
    terms, dtype = merge(game.terms(value)), game.dtype
    if 0 in (*game.batch_shape, game.players):
        return cast(zeros(game.data, (*game.batch_shape, game.players), "float32"), dtype), True
    if len(terms) == 1 and isinstance(terms[0][0], float) and terms[0][0] == 1.0:
        return _credits(terms[0][1], dtype, backend, raises)
    wide = named_dtype(game.data, compute_dtype(dtype))
    with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
        parts = [_scaled(weight, _credits(term, wide, backend, raises)[0]) for weight, term in terms]
        return cast(sum(parts[1:], parts[0]), dtype), False


def merge(terms: list[Weighted]) -> list[Weighted]:
    """The same sum with number weights inside the coefficients, and terms of one [batch] weight merged where they can
    be one run."""
    merged: list[Weighted] = []
    for weight, term in terms:
        factor = weight
        if isinstance(weight, float) and (scaled := term if weight == 1.0 else term.scaled(weight)) is not None:
            term, factor = scaled, 1.0
        for i, (other_factor, other) in enumerate(merged):
            if _equal(factor, other_factor) and (both := other.merged(term)) is not None:
                merged[i] = (factor, both)
                break
        else:
            merged.append((factor, term))
    return merged


def _equal(a: Any, b: Any) -> bool:
    """Whether two weights are the same number or the same array."""
    return a == b if isinstance(a, float) and isinstance(b, float) else a is b


def _scaled(weight: Any, credits: Array) -> Array:
    if isinstance(weight, float):
        return credits if weight == 1.0 else weight * credits
    return cast(weight, credits.dtype)[..., None] * credits


def _credits(term: Term, dtype: Any, backend: str, raises: bool) -> tuple[Array, bool]:
    """As `_computed`, of one term in `dtype`."""
    game = term.game
    run = Run(backend, dtype, is_traced(game.data))
    if raises and not term.spreads_nonfinite:
        game.refuse_bad_data()
    credits = term.credits(run)
    finite = term.spreads_nonfinite and run.clean and dtype.itemsize > 2  # a kernel looked, and nothing was narrowed
    if raises:
        if term.spreads_nonfinite and not run.clean:
            game.refuse_bad_data()
        return credits, finite
    if term.spreads_nonfinite:
        return credits, finite
    bad = game.bad_rows()[..., None]
    marked = namespace(credits).where(bad if game.mask is None else bad & game.mask, float("nan"), credits)
    return cast(marked, credits.dtype), False
