"""Interactions of pairs: how much two players are worth together beyond what they are worth apart."""

from math import prod
from typing import Any

import numpy as np

from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import NUMPY, Array, one_of, to_torch
from shapley_kernels.backends import BACKENDS, BackendUnavailable
from shapley_kernels.games.base import Game, without_restore
from shapley_kernels.games.data import is_number
from shapley_kernels.games.overflow import within_range
from shapley_kernels.games.table import Table, coalitions
from shapley_kernels.values import Banzhaf, BetaShapley, Semivalue, Shapley, Stratum

INDICES: dict[str, tuple[Semivalue, Semivalue]] = {
    "SII": (Shapley(), Shapley()),
    "BII": (Banzhaf(), Banzhaf()),
    "STII": (Stratum(1), BetaShapley(2, 1)),
}
"""The value on the diagonal; and the value, of a game of one player less, that the coalitions S of the n - 2 others are
drawn by: size weights 1/(n-1), C(n-2, s) 2^(2-n), and 2 (n-1-s) / (n (n-1))."""

TABLE_PLAYERS = 16
"""Games without a closed form go through all their worths, up to this many players ..."""

TABLE_BYTES = 2**31
"""... and this many bytes of worths."""


def interactions(game: Game, index: str = "SII", *, backend: str = "auto", nan: str | None = None) -> Any:
    """Interaction of every pair: the mean of v(S+i+j) - v(S+i) - v(S+j) + v(S) over coalitions S of the others.

    Negative where i and j are substitutes (of two equal best candidates one would do), positive where they are
    complements, 0 where each adds the same with and without the other.

    Args:
        game: any; see Cost.
        index: how S is drawn, and what the diagonal is.
            "SII", Shapley interaction index: all sizes of S alike; the diagonal is the Shapley value.
            "BII", Banzhaf interaction index: all S alike; the diagonal is the Banzhaf value.
            "STII", Shapley-Taylor index of order 2: sizes s with weight 2 (n-1-s) / (n (n-1)); the diagonal is
            v({i}) - v(empty), and with the upper triangle it sums to v(all) - v(empty).
        backend: "auto", or "torch", "numba", "triton". Closed forms are array code: "auto" computes them in the library
            of the data, "torch" in torch, and the others are refused. Games without one use the kernels of `Table`, on
            any backend. The diagonal is that of `semivalue`.
        nan: as in `shapley`.

    Returns:
        [..., players, players], symmetric in every bit, in the container, dtype and device of the game; exactly 0 in
        rows and columns of masked players. Computed in promote(dtype, float32).

    Raises:
        TypeError, ValueError: arguments of the wrong kind, non-finite data, too many players.
        OverflowError: on the CPU, interactions that the dtype does not hold.
        BackendUnavailable: an explicit backend that cannot run here, or has no kernel for this game.

    Cost: per row, O(players^2) for the order games (coefficients once per number of live players: O(players^2) for
        fixed weights, else O(players^3), up to 512 players) and `Pairwise`, times the topics for `FacilityLocation`;
        O(players^3) for `NoisyOr`, times the topics for `Coverage`. All others have no closed form here and go through
        all their worths, as `Table` does: O(players^2 2^players), up to 16 players (`Table` 20) and 2 GiB of worths.
    Error: order games (2 n + 4) eps/2 sum_k |D_k| (|P_k| + |Q_k| + |R_k|) + |c E| eps, with coefficients good to
        n eps max_s |W(s, .)| where they come from O(n^3) sums; `Pairwise` 3 eps/2 |w_ij|; `NoisyOr` relative,
        (4 n + nodes + 8) eps/2; tables as in `kernels/table`, with differences of differences.
        docs/explanation/mathematics.md.
    Source: Grabisch and Roubens (1999), doi:10.1007/s001820050125; Sundararajan, Dhamdhere and Agarwal, arXiv
        1902.05622 (Shapley-Taylor).

    >>> import shapley_kernels as sk
    >>> sk.interactions(sk.Max([0.9, 0.5, 0.1])).round(4).tolist()
    [[0.6333, -0.45, -0.05], [-0.45, 0.2333, -0.05], [-0.05, -0.05, 0.0333]]
    """
    one_of("index", index, list(INDICES))
    one_of("backend", backend, BACKENDS)
    own, pair = INDICES[index]
    if not isinstance(game, Game):
        return semivalue(game, own)  # which says what is wrong
    if backend == "torch" and game.ops is NUMPY:
        result = interactions(game.with_arrays(to_torch), index, backend=backend, nan=nan).numpy()
        result = NUMPY.cast(result, game.dtype)
    else:
        diagonal = semivalue(without_restore(game), own, backend=backend, nan=nan)
        result = _matrix(game, diagonal, pair, backend, propagate=nan == "propagate")
    return game.restore(result) if game.restore else result


def _matrix(game: Game, diagonal: Array, value: Semivalue, backend: str, propagate: bool) -> Array:
    """Pairs under `value`, around the diagonal; 0 where masked, NaN in rows with bad data."""
    ops, players = game.ops, game.players
    if 0 in (*game.batch_shape, players):
        return ops.zeros(game.data, (*game.batch_shape, players, players), game.dtype)

    def compute(some: Game) -> Array:
        return ops.cast(_off_diagonal(some, value, backend), some.dtype)

    result = compute(game)
    if ops.on_cpu(result):
        result = within_range(game, "interactions", result, compute, trailing=2, propagate=propagate)
    same = ops.array_like(np.eye(players, dtype=bool), game.data, ops.dtype("bool"))
    result = ops.xp.where(same, diagonal[..., None, :], result)
    if game.mask is not None:
        result = ops.xp.where(_live_pairs(game.mask), result, 0.0)
    return ops.cast(result, game.dtype)


def _live_pairs(mask: Array) -> Array:
    return mask[..., :, None] & mask[..., None, :]


def _off_diagonal(game: Game, value: Semivalue, backend: str) -> Array:
    """Pairs of players, in the compute dtype; NaN in rows with bad data, 0 on the diagonal and where masked."""
    ops, data, players = game.ops, game.data, game.players
    total = ops.zeros(data, (*game.batch_shape, players, players), game.compute_dtype)
    bad = ops.zeros(data, game.batch_shape, ops.dtype("bool"))
    with np.errstate(invalid="ignore", over="ignore"):  # of rows that become NaN, or are looked at again
        for weight, part in game.wide_parts():
            factor = weight if is_number(weight) else game.wide(weight)[..., None, None]
            total = total + factor * game.wide(_pairs(without_restore(part), value, backend))
            bad = bad | part.bad_rows()
    counts = ops.array_like(~np.eye(players, dtype=bool), data, ops.dtype("bool"))
    if game.mask is not None:
        counts = counts & _live_pairs(game.mask)
    return ops.xp.where(counts, ops.xp.where(bad[..., None, None], float("nan"), total), 0.0)


def _pairs(game: Game, value: Semivalue, backend: str) -> Array:
    """[..., players, players], symmetric; what stands on the diagonal and at masked players means nothing."""
    if type(game).pairs is Game.pairs:
        return _pairs_of_table(_table(game), value, backend)
    if backend in ("numba", "triton"):
        raise BackendUnavailable(
            f"backend={backend!r} has no kernel for the interactions of {type(game).__name__}: use backend='auto' "
            "(in numpy or torch, whichever the data are in) or 'torch'"
        )
    return game.pairs(value)


def _table(game: Game) -> Table:
    """The game by all its worths, in the compute dtype."""
    if isinstance(game, Table):
        return game
    rows, players, name = prod(game.batch_shape), game.players, type(game).__name__
    size = 8 * rows << players
    if players > TABLE_PLAYERS or size > TABLE_BYTES:
        raise ValueError(
            f"interactions: {name} has no closed form, and {rows} games of {players} players have {size:,} bytes of "
            f"worths, more than {TABLE_BYTES:,} or {TABLE_PLAYERS} players; take fewer players, or rows at a time"
        )
    members = coalitions(players).reshape(-1, *(1 for _ in game.batch_shape), players)
    step = max(1, 2**22 // (rows * players**2))
    parts = (members[start : start + step] for start in range(0, len(members), step))
    ops = game.ops
    worths = [game.wide_worth(ops.array_like(part, game.data, ops.dtype("bool"))) for part in parts]
    return Table(ops.xp.moveaxis(ops.xp.concatenate(worths), 0, -1), mask=game.mask)


def _pairs_of_table(game: Table, value: Semivalue, backend: str) -> Array:
    """The interaction of j with i is the credit of i in the game v(S + j) - v(S) of the others."""
    players, batch, ops = game.players, game.batch_shape, game.ops
    values = game.wide(game.values)
    if players == 1:
        return values[..., :1, None]
    credits = []
    for j in range(players - 1):
        halves = values.reshape((*batch, 1 << (players - 1 - j), 2, 1 << j))
        gains = (halves[..., 1, :] - halves[..., 0, :]).reshape((*batch, 1 << (players - 1)))
        others = [i for i in range(players) if i != j]
        live = None if game.mask is None else game.mask[..., others]
        credits.append(semivalue(Table(gains, mask=live), value, backend=backend, nan="propagate"))
    one, other = np.indices((players, players))
    place = np.minimum(one, other) * (players - 1) + np.maximum(one, other) - 1  # in the rows of the smaller of the two
    flat = ops.xp.stack(credits, -2).reshape((*batch, (players - 1) ** 2))
    place[players - 1, players - 1] = 0
    return flat[..., ops.array_like(place, game.values, ops.dtype("int64"))]
