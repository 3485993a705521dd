"""From candidates to tokens: each token of a rollout gets the advantage of the candidate it belongs to."""

from math import prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    NUMPY,
    Array,
    Ops,
    broadcast,
    describe,
    floating,
    in_numpy,
    is_integer,
    like,
    narrowed,
    native,
    one_of,
    ops_of,
    read,
)
from shapley_kernels.backends import choose, kernel

OWNER = "scatter_to_tokens"
LENGTHS = ("token", "candidate")


def scatter_to_tokens(
    advantages: Any,
    candidate_ids: Any,
    *,
    outside: Any = "zero",
    length: str = "token",
    cu_seqlens: Any = None,
) -> Any:
    """Advantages per token: A_k for the tokens of candidate k, `outside` for all others.

    Args:
        advantages: [..., K], the leading axes are rollouts: [N, K], or [K] for one.
        candidate_ids: ints [..., T], 1..K for the tokens of candidate 1..K, 0 for all others (prompt, separators,
            padding; leave out of the loss, as always, what is not trained on). With cu_seqlens: [total tokens].
        outside: what the other tokens get: "zero"; an array [...] of one number per rollout, such as the advantage of
            the whole set; or [..., K + 1], one for each decision that a token may lead to: entry k - 1 for tokens that
            candidate k follows, the last for those behind the last candidate.
        length: "token": A_k on each token, so that under a token mean a long candidate weighs more. "candidate":
            A_k * mean_j(L_j) / L_k, L the number of tokens and the mean over the candidates of that rollout that have
            any: the mean over a rollout's candidate tokens is then the plain mean over its candidates.
        cu_seqlens: [rollouts + 1] ints on any device, for a packed row: rollout i has the tokens cu_seqlens[i] ..
            cu_seqlens[i + 1] - 1. This is flash-attention's cu_seqlens, and offsets() of a jagged tensor.

    Returns:
        [..., T] (or [total tokens]) in the container, dtype and device of the advantages.

    Raises:
        TypeError, ValueError: arguments of the wrong kind or shape, ids outside 0..K, cu_seqlens that do not start at
            0, decrease, or end elsewhere than at the last token.
        OverflowError: on the CPU, numbers for tokens that the dtype of the advantages does not hold (elsewhere NaN).

    Cost: O(tokens + rollouts K), one pass over the ids, two with length="candidate"; a copy of ids that are neither
        int32 nor int64. On a GPU it waits for the check of the ids.
    Source: ShapE-GRPO, arXiv 2603.29871.

    >>> scatter_to_tokens([1.0, -1.0], [0, 1, 1, 1, 0, 2], outside=0.5).tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5, -1.0]
    >>> scatter_to_tokens([1.0, -1.0], [0, 1, 1, 1, 0, 2], length="candidate").round(2).tolist()
    [0.0, 0.67, 0.67, 0.67, 0.0, -2.0]
    """
    one_of(f"{OWNER}: length", length, LENGTHS)
    ops, array, restore = read(advantages, f"{OWNER}: advantages")
    if not array.shape:
        raise ValueError(
            f"{OWNER}: advantages must have shape [..., candidates], got the number {describe(advantages)}"
        )
    if isinstance(outside, str):
        if outside != "zero":
            raise ValueError(f"{OWNER}: outside must be 'zero' or one number per rollout or decision, got {outside!r}")
        others = None
    else:
        name = f"{OWNER}: outside"
        others = narrowed(floating(like(outside, array, name), name), array.dtype, name)
        *lead, players = array.shape
        if tuple(others.shape) != (*lead, players + 1):
            others = broadcast(others, tuple(lead), name, "[rollouts]")
    ids = read_ids(candidate_ids, array)
    if not ops.needs_grad(array, others):
        ops, restore, array, others, ids = in_numpy(ops, restore, array, others, ids)
    result = scattered(ops, array, others, ids, length, cu_seqlens)
    return restore(result) if restore else result


def read_ids(candidate_ids: Any, reference: Array) -> Array:
    """The ids of a user as integers of 32 or 64 bits, in the container of the reference."""
    ids, ops = like(candidate_ids, reference, f"{OWNER}: candidate_ids"), ops_of(reference)
    return ids if ids.dtype in ops.index_dtypes else ops.cast(_integers(ids, "candidate_ids"), ops.index_dtypes[0])


def scattered(ops: Ops, array: Array, outside: Array | None, ids: Array, length: str, cu_seqlens: Any) -> Array:
    """`scatter_to_tokens` of advantages [..., K] and ids in numpy or torch; outside: [...], [..., K + 1], or None for
    0."""
    (*lead, players) = array.shape
    starts = _starts(ids, tuple(lead), cu_seqlens)
    if outside is None:
        columns = [ops.zeros(array, (*lead, 1), array.dtype), array]
    elif len(outside.shape) == len(lead):
        columns = [outside[..., None], array]
    else:
        columns = [outside[..., :1], array, outside]
    table = ops.xp.concatenate(columns, -1)
    table = table.reshape(prod(lead), table.shape[-1])
    return _scatter(ops, table, players, ids, starts, length == "candidate")


def _integers(x: Array, name: str) -> Array:
    if is_integer(x):
        return x
    if 0 in x.shape:  # an empty list has no dtype of its own
        return ops_of(x).zeros(x, tuple(x.shape), ops_of(x).dtype("int64"))
    kind = str(x.dtype).removeprefix("torch.")
    raise TypeError(f"{OWNER}: {name} must be integers, got dtype {kind}; convert them, for example to int64")


def _starts(ids: Array, lead: tuple[int, ...], cu_seqlens: Any) -> np.ndarray | None:
    """Where each rollout of a packed row begins, and the last ends; None for padded rows."""
    shape = tuple(ids.shape)
    if cu_seqlens is None:
        if not shape or shape[:-1] != lead:
            raise ValueError(
                f"{OWNER}: candidate_ids must have shape [..., tokens] with the leading axes {lead} of the advantages, "
                f"got {shape}; pass one row of ids per rollout, or a packed row with cu_seqlens"
            )
        return None
    if len(shape) != 1:
        raise ValueError(
            f"{OWNER}: with cu_seqlens, candidate_ids must have shape [total tokens], got {shape}; "
            "leave cu_seqlens out for padded rows"
        )
    return _offsets(cu_seqlens, prod(lead), shape[0])


def _offsets(cu_seqlens: Any, rollouts: int, tokens: int) -> np.ndarray:
    """cu_seqlens on the host, checked."""
    array = _integers(native(cu_seqlens, f"{OWNER}: cu_seqlens")[0], "cu_seqlens")
    offsets = np.ascontiguousarray(ops_of(array).to_host(array), np.int64)
    subject = f"{OWNER}: cu_seqlens must"
    if offsets.shape != (rollouts + 1,):
        raise ValueError(
            f"{subject} have shape ({rollouts + 1},), one more than the {rollouts} rollouts of the advantages, "
            f"got {offsets.shape}; it is [0, L_0, L_0 + L_1, ...]"
        )
    if offsets[0] != 0:
        raise ValueError(f"{subject} start at 0, got {offsets[0]}; subtract it, and pass the ids of these tokens only")
    if (falls := np.flatnonzero(offsets[1:] < offsets[:-1])).size:  # their differences may wrap around
        i = int(falls[0])
        raise ValueError(
            f"{subject} not decrease, got {offsets[i]} then {offsets[i + 1]} at rollout {i}; "
            "pass running sums of lengths, not the lengths"
        )
    if offsets[-1] != tokens:
        raise ValueError(
            f"{subject} end at the number of ids ({tokens}), got {offsets[-1]}; "
            "cut padding off the packed row, or add a rollout for it"
        )
    return offsets


def _scatter(ops: Ops, table: Array, players: int, ids: Array, starts: np.ndarray | None, weigh: bool) -> Array:
    """The numbers of `table` [rollouts, 1 + K] for the tokens, in the shape of `ids`; those of the K candidates first
    times mean_j(L_j) / L_k if `weigh`. With [rollouts, 1 + K + K + 1], tokens outside get those behind K."""
    if ops is NUMPY:
        backend = "numba"
    else:
        backend = "torch" if ops.is_traced(table) else choose("auto", "scatter", table.shape[1] - 1, table)
    primitive, flat = kernel("scatter", backend), ids.reshape(-1)
    if table.shape[1] > 1 + players:
        flat = _with_decisions(
            ops, flat, players, np.arange(len(table) + 1) * ids.shape[-1] if starts is None else starts
        )
    if backend != "numba" and starts is not None:
        starts = ops.array_like(starts, ids, ops.dtype("int64"))
    if weigh:
        counts = ops.zeros(table, tuple(table.shape), ops.dtype("int64"))
        bad = primitive.count(*_placed(ops, backend, flat), starts, *_placed(ops, backend, counts))
        if bad >= 0:
            _refuse_id(bad, ids, players)
        with np.errstate(over="ignore"):  # `narrowed` looks
            weighted = ops.cast(table, ops.compute_dtype(table.dtype)) * _length_weights(ops, counts, players, table)
        table = narrowed(weighted, table.dtype, f"{OWNER}: advantages by token", of=table)
    out = ops.xp.empty_like(flat, dtype=table.dtype)
    table, flat, target = _placed(ops, backend, table, flat, out)
    if (bad := primitive.run(table, flat, starts, target)) >= 0:
        _refuse_id(bad, ids, players)
    return out.reshape(ids.shape)


def _placed(ops: Ops, backend: str, *arrays: Array) -> list[Any]:
    """Contiguous, where the backend reads them. For numba floats of torch go by their bits: numpy has no bfloat16."""
    if ops is NUMPY:
        return [np.ascontiguousarray(x) for x in arrays]
    if backend != "numba":
        return [x.contiguous() for x in arrays]
    bits = [x.detach().view(ops.dtype(f"int{8 * x.itemsize}")) if x.is_floating_point() else x for x in arrays]
    return [np.ascontiguousarray(x.numpy()) for x in bits]


def _with_decisions(ops: Ops, ids: Array, players: int, starts: np.ndarray) -> Array:
    """The ids [tokens], with K + k for tokens outside that candidate k follows, 2 K + 1 for those behind the last one,
    and -1 for ids outside 0..K."""
    xp, tokens = ops.xp, len(ids)
    if not tokens:
        return ids
    at = ops.array_like(np.arange(tokens), ids, ops.dtype("int64"))
    follows = ops.next_lowest(xp.where(ids != 0, at, tokens))  # the first token from here on that is of a candidate
    ends = ops.array_like(np.repeat(starts[1:], np.diff(starts)), ids, at.dtype)
    led = xp.where(follows < ends, players + ids[follows.clip(0, tokens - 1)], 2 * players + 1)
    return ops.cast(xp.where(ids == 0, led, xp.where((ids < 0) | (ids > players), -1, ids)), ids.dtype)


def _refuse_id(bad: int, ids: Array, players: int) -> None:
    """ValueError for the id at a place in the flat ids."""
    where = tuple(int(i) for i in np.unravel_index(bad, tuple(ids.shape)))
    raise ValueError(
        f"{OWNER}: candidate_ids must be in 0..{players} (0 = no candidate, k = candidate k of {players}), "
        f"got {int(ids[where])} at {list(where)} (token last); "
        "if -1 means no candidate, add 1 to all; if there are more candidates, pad the advantages"
    )


def _length_weights(ops: Ops, counts: Array, players: int, table: Array) -> Array:
    """Of the shape of `table`: mean_j(L_j) / L_k for the tokens of candidate k, 1 for those outside, and for candidates
    that have none, whose numbers must not overflow."""
    tokens = ops.cast(counts, ops.compute_dtype(table.dtype))
    own = tokens[:, 1 : 1 + players]
    mean = own.sum(1) / (own > 0).sum(1).clip(1)
    weights = ops.xp.where(tokens > 0, mean[:, None] / tokens.clip(1), 1.0)
    weights[:, 0] = 1.0
    weights[:, 1 + players :] = 1.0
    return ops.cast(weights, tokens.dtype)
