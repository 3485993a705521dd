"""Credits of games: merges the terms of a game, runs them, adds them up."""

import sys
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    Array,
    cast,
    compute_dtype,
    device,
    first_nonfinite,
    is_torch,
    named_dtype,
    namespace,
    rows,
)
from shapley_kernels.dispatch import choose, order
from shapley_kernels.games.base import Game
from shapley_kernels.games.order import OrderTerm
from shapley_kernels.values import Semivalue, Shapley

ALL_LIVE_COUNTS = 64
"""Up to this many players, masked games take coefficients for every live count, without looking which ones occur."""


def shapley(game: Game, *, backend: str = "auto", nan: str | None = None) -> Any:
    """Shapley value of every player: its average marginal contribution over all orders of arrival.

    Args:
        game: such as `Max(rewards)` with rewards [..., players].
        backend: "auto" (CUDA: triton, CPU: numba, torch where a gradient must flow), "numba", "triton" or "torch".
        nan: what NaN or infinity in the data of a live player does: "raise" a ValueError naming the first bad row,
            "propagate" NaN to the live players of that row and no other; None raises on the CPU and propagates on
            CUDA and under torch.compile.

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
        hint = "; write sk.Shapley() with brackets" if isinstance(value, type) else ""
        raise TypeError(f"value: expected a semivalue such as sk.Banzhaf(), got {value!r}{hint}")
    if nan not in (None, "raise", "propagate"):
        raise ValueError(f"nan: expected None, 'raise' or 'propagate', got {nan!r}")
    terms = _merge(game.terms(value))
    dtype = game.dtype
    if len(terms) == 1 and isinstance(terms[0][0], float):  # the scale is in the coefficients
        credits = _run_order(terms[0][1], dtype, backend, nan)
    else:
        wide = named_dtype(game.data, compute_dtype(dtype))
        parts = [_scaled(weight, _run_order(term, wide, backend, nan)) for weight, term in terms]
        credits = cast(sum(parts[1:], parts[0]), dtype)
    return game.restore(credits) if game.restore else credits


def _merge(terms: list[tuple[Any, OrderTerm]]) -> list[tuple[Any, OrderTerm]]:
    """One term for all that share data and [batch] weight; number weights move into the coefficients."""
    merged: list[tuple[Any, OrderTerm]] = []
    for weight, term in terms:
        if isinstance(weight, float) and weight != 1.0:
            recipe = tuple((weight * scale, utility, params) for scale, utility, params in term.recipe)
            term = OrderTerm(term.game, recipe, term.value)
        factor = 1.0 if isinstance(weight, float) else weight
        for i, (other_factor, other) in enumerate(merged):
            if other_factor is factor and other.same_data(term):
                merged[i] = (factor, OrderTerm(other.game, other.recipe + term.recipe, term.value))
                break
        else:
            merged.append((factor, term))
    return merged


def _scaled(weight: Any, credits: Array) -> Array:
    return credits if isinstance(weight, float) else cast(weight, credits.dtype)[..., None] * credits


def _run_order(term: OrderTerm, dtype: Any, backend: str, nan: str | None) -> Array:
    game = term.game
    rewards, players, shape = game.rewards, game.players, game.rewards.shape
    backend = choose(backend, rewards, game.v_empty)
    flat = rows(rewards, players)
    if flat.shape[0] == 0 or players == 0:
        return cast(namespace(rewards).zeros_like(rewards), dtype)
    mask = None if game.mask is None else rows(game.mask, players)
    tables = term.tables(_live_counts(mask, players, term.value))
    credits, bad = order(backend, flat, mask, _flat_v_empty(game), tables, dtype)
    if bad != -1 and _raises(nan, rewards):
        _refuse_nonfinite(game)
    return credits.reshape(shape)


def _live_counts(mask: Array | None, players: int, value: Semivalue) -> tuple[int, ...]:
    if mask is None:
        return (players,)
    if players <= ALL_LIVE_COUNTS and value.fixed_players is None:
        return tuple(range(players + 1))
    counts = mask.sum(-1)
    return tuple(int(n) for n in np.unique(counts.cpu().numpy() if is_torch(counts) else counts))


def _flat_v_empty(game: Any) -> Array:
    """[1] or [rows] in the compute dtype."""
    dtype = named_dtype(game.rewards, compute_dtype(game.rewards.dtype))
    if not isinstance(game.v_empty, float):
        return rows(cast(game.v_empty, dtype), None)
    if is_torch(game.rewards):
        return sys.modules["torch"].full((1,), game.v_empty, dtype=dtype, device=game.rewards.device)
    return np.full(1, game.v_empty, dtype)


def _raises(nan: str | None, rewards: Array) -> bool:
    if nan is not None:
        return nan == "raise"
    if device(rewards) != "cpu":
        return False
    return not (is_torch(rewards) and sys.modules["torch"].compiler.is_compiling())


def _refuse_nonfinite(game: Any) -> None:
    """Raise a ValueError that names the first live reward or v_empty that is not finite, if there is one."""
    hint = "mask players that do not take part (mask=), or pass nan='propagate' to get NaN in that row alone"
    where = first_nonfinite(game.rewards, game.mask)
    if where is not None:
        raise ValueError(
            f"{type(game).__name__}: rewards must be finite, got {float(game.rewards[where])} "
            f"at {list(where)} (player last); {hint}"
        )
    if isinstance(game.v_empty, float):
        if not np.isfinite(game.v_empty):
            raise ValueError(f"{type(game).__name__}: v_empty must be finite, got {game.v_empty}")
        return
    where = first_nonfinite(game.v_empty, None)
    if where is not None:
        raise ValueError(
            f"{type(game).__name__}: v_empty must be finite, got {float(game.v_empty[where])} at {list(where)}; {hint}"
        )
