"""Credits of games: merges the terms of a game, runs them, adds them up."""

from typing import Any

from shapley_kernels.arrays import Array, cast, compute_dtype, is_traced, named_dtype, namespace, on_cpu, one_of, zeros
from shapley_kernels.dispatch import BACKENDS, Run
from shapley_kernels.games.base import Game, Weighted
from shapley_kernels.games.terms import Term
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
            f"expected a game such as sk.Max(rewards), got {type(game).__name__}; "
            "wrap the rewards in the utility they earn"
        )
    if not isinstance(value, Semivalue):
        raise TypeError(f"value: expected a semivalue such as sk.Shapley(), got {value!r}{brackets(value, Semivalue)}")
    one_of("nan", nan, (None, "raise", "propagate"))
    one_of("backend", backend, BACKENDS)
    terms, dtype = merge(game.terms(value)), game.dtype
    if 0 in (*game.batch_shape, game.players):
        credits = cast(zeros(game.data, (*game.batch_shape, game.players), "float32"), dtype)
    elif len(terms) == 1 and isinstance(terms[0][0], float) and terms[0][0] == 1.0:
        credits = _credits(terms[0][1], dtype, backend, nan)
    else:
        wide = named_dtype(game.data, compute_dtype(dtype))
        parts = [_scaled(weight, _credits(term, wide, backend, nan)) for weight, term in terms]
        credits = cast(sum(parts[1:], parts[0]), dtype)
    return game.restore(credits) if game.restore else credits


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


def _credits(term: Term, dtype: Any, backend: str, nan: str | None) -> Array:
    """Credits of one term in `dtype`, with bad data refused or made NaN."""
    game = term.game
    run = Run(backend, dtype, is_traced(game.data))
    if nan == "raise" or (nan is None and on_cpu(game.data) and not run.traced):
        if not term.spreads_nonfinite:
            game.refuse_bad_data()
        credits = term.credits(run)
        if not run.clean and term.spreads_nonfinite:
            game.refuse_bad_data()
        return credits
    credits = term.credits(run)
    if term.spreads_nonfinite:
        return credits
    bad = game.bad_rows()[..., None]
    marked = namespace(credits).where(bad if game.mask is None else bad & game.mask, float("nan"), credits)
    return cast(marked, credits.dtype)
