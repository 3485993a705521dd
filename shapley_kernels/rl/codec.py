"""Candidates and their credits, or rewards, in one number per token, for trainers that hand on nothing but those."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, Ops, boolean, broadcast, floating, like, native, ops_of

# Too small to change any sum of rewards, exact in float32, and apart from all credits: those below LEAST count as 0.
GAP, ZERO, START, CHECK, CHECKED_START, LEAST = (2.0**e for e in (-102, -101, -100, -99, -98, -90))
_BITS = 23  # of the mantissa of float32: CHECK * (1 + checksum / 2^23) is in [CHECK, 2 CHECK)

# What makes up the sum of a row of rewards says by its last bits: the rollout chose to stop; its token is one of the
# last candidate's.
STOPPED, BORROWED = 1, 2
NOTHING = np.float32(2.0**-80)
"""It, where nothing is missing."""

KEYS = {"credits": 0, "rewards": 0x2B5A17}
"""What checksums are mixed with, so that token rewards of one kind are not read as the other."""


def encode_credits(credits: Any, candidate_ids: Any, mask: Any = None, *, token_mask: Any = None) -> Any:
    """Token rewards that say which tokens each candidate has, and its credit: the credit on its last token.

    A row sums to the credits of its candidates, so for an efficient value to v(all) - v(empty): reward curves of a
    trainer stay true. The first token of a candidate is marked by 2^-100, and one token of each row, with candidates or
    without, carries a checksum, below 2^-97, by which `decode_credits` notices rewards that were scaled, shifted,
    clipped or rounded since.

    What a model writes is never refused. A live candidate without tokens of its own, such as the second of two in one
    token, adds its credit to the one before; where no candidate has tokens, the last token is theirs. Where no token is
    left for a checksum, the last two candidates become one; a row of a single token goes without.

    Args:
        credits: [N, K]; magnitudes below 2^-90 become 0.
        candidate_ids: ints [N, T], 0 = none; in each row the tokens of candidate 1, then of 2, and so on; between those
            of one, there may be some of none.
        mask: bool [N, K], True = live, as `Candidates.mask`; None: the candidates that have tokens.
        token_mask: bool [N, T], False on padding; None: there is none.

    Returns:
        float32 [N, T], in the container and on the device of the credits.

    Raises:
        TypeError, ValueError: arguments of the wrong kind or shape, ids outside 0..K, not in order or of masked
            candidates, credits that are not finite.

    Cost: O(N T), on the host.

    >>> rewards = encode_credits([[0.25, 0.75]], [[0, 1, 1, 0, 2]])
    >>> rewards.round(6).tolist(), float(rewards.sum())
    ([[0.0, 0.0, 0.25, 0.0, 0.75]], 1.0)
    """
    given = _Given.read("credits", credits, candidate_ids, mask, token_mask)
    return given.handed_back(_encoded(given, given.values, given.ids, given.live))


def decode_credits(token_rewards: Any, *, token_mask: Any = None) -> tuple[Any, Any, Any]:
    """What `encode_credits` was given: credits float32 [N, K], mask bool [N, K], candidate ids int64 [N, T], the
    candidates without tokens with those they were added to.

    Rows of zeros, such as a trainer fills a batch up with, have no candidates; a batch of nothing else was altered, for
    example by half precision, in which all marks vanish. The order of rows, and padding on either side, do not matter.

    Args:
        token_rewards: [N, T], of `encode_credits`.
        token_mask: bool [N, T], False on padding: zeros on a row that is not all padding are noticed then, and rows of
            a single token are taken as they are; None refuses these.

    Returns:
        credits, mask, candidate_ids in the container and on the device of the rewards; K = the most that a row has.

    Raises:
        TypeError, ValueError: rewards of the wrong kind or shape, or not as they were encoded.

    Cost: O(N T), on the host.

    >>> credits, mask, ids = decode_credits(encode_credits([[0.25, 0.75]], [[0, 1, 1, 0, 2]]))
    >>> credits.tolist(), mask.tolist(), ids.tolist()
    ([[0.25, 0.75]], [[True, True]], [[0, 1, 1, 0, 2]])
    """
    array, restore = native(token_rewards, "decode_credits: token_rewards")
    return _handed_back(array, restore, *_decoded("credits", array, token_mask))


def encode_rewards(
    rewards: Any, worth: Any, candidate_ids: Any, mask: Any = None, *, stopped: Any = None, token_mask: Any = None
) -> Any:
    """Token rewards that say which tokens each candidate has, and its reward: for credit that takes the whole group.

    As `encode_credits`, with rewards in place of credits. A row sums to `worth` all the same, so that reward curves of
    a trainer stay true: the last token behind the candidates, or else the last one of theirs, makes up the difference.
    A last candidate of one token at the end takes the one before it, too. Candidates without tokens of their own join
    the one before, and so do the last two where no token is left for the difference or for the checksum; the better
    reward counts. Of a rollout too short for these, `worth` is the reward.

    Args:
        rewards: [N, K], finite; magnitudes below 2^-90 become 0.
        worth: [N], v(all) - v(empty).
        candidate_ids, mask, token_mask: as in `encode_credits`.
        stopped: bool [N], as in `RewardAllocator.advantages`; None: all chose to stop.

    Returns:
        float32 [N, T], in the container and on the device of the rewards.

    Raises:
        TypeError, ValueError: as `encode_credits`; a worth that is not finite in float32.

    Cost: O(N T), on the host.

    >>> rewards = encode_rewards([[0.25, 0.75]], [0.75], [[0, 1, 1, 0, 2, 0]])
    >>> rewards.round(6).tolist(), float(rewards.sum())
    ([[0.0, 0.0, 0.25, 0.0, 0.75, -0.25]], 0.75)
    """
    given = _Given.read("rewards", rewards, candidate_ids, mask, token_mask)
    values, ids, name = given.values, given.ids, "encode_rewards: worth"
    chose = given.bools(stopped, ids.shape[:1], "stopped", "rollouts")
    worths = given.ops.to_float64(broadcast(like(worth, given.array, name), ids.shape[:1], name, "[rollouts]"))
    out, out_ids = np.zeros((len(ids), values.shape[1] + 1), np.float32), np.zeros_like(ids)
    for i, row in enumerate(ids):
        live = np.unique(row[row > 0]) if given.live is None else np.flatnonzero(given.live[i]) + 1
        out_ids[i], best = _with_difference(row, values[i], live, given.tokens[i], float(worths[i]), bool(chose[i]))
        out[i, : len(best)] = best
        if not np.isfinite(best).all():
            raise ValueError(
                f"{name} must be finite in float32, and so its difference to the sum of the rewards, got {worths[i]} "
                f"at row {i}"
            )
    return given.handed_back(_encoded(given, out, out_ids, None))


def decode_rewards(token_rewards: Any, *, token_mask: Any = None) -> tuple[Any, Any, Any, Any]:
    """What `encode_rewards` was given: rewards float32 [N, K], mask bool [N, K], candidate ids int64 [N, T], stopped
    bool [N].

    Args, raises, cost: as of `decode_credits`.

    >>> rewards, mask, ids, stopped = decode_rewards(encode_rewards([[0.25, 0.75]], [0.75], [[0, 1, 1, 0, 2, 0]]))
    >>> rewards.tolist(), mask.tolist(), ids.tolist(), stopped.tolist()
    ([[0.25, 0.75]], [[True, True]], [[0, 1, 1, 0, 2, 0]], [True])
    """
    array, restore = native(token_rewards, "decode_rewards: token_rewards")
    values, mask, ids = _decoded("rewards", array, token_mask)
    count = mask.sum(1)
    rows = np.flatnonzero(count > 1)
    bits = np.full(len(count), STOPPED)
    bits[rows] = np.ascontiguousarray(values[rows, count[rows] - 1]).view(np.uint32) & (STOPPED | BORROWED)
    kept = count - (count > 1)
    ids = np.where(ids > kept[:, None], np.where(bits & BORROWED, kept, 0)[:, None], ids)
    mask = np.arange(kept.max(initial=0)) < kept[:, None]
    rewards = np.where(mask, values[:, : mask.shape[1]], np.float32(0))
    return _handed_back(array, restore, rewards, mask, ids, bits & STOPPED > 0)


# -- in and out --------------------------------------------------------------------------------------------------------


@dataclass
class _Given:
    """What an encoder was given, checked and on the host.

    Args:
        kind: "credits" or "rewards".
        array, restore: the first argument as `native` makes it, and how results go back to its container.
        values: [N, K] float32; ids: [N, T] int64; live: bool [N, K], or None; tokens: bool [N, T].
    """

    kind: str
    ops: Ops
    array: Array
    restore: Callable[[Array], Any] | None
    values: np.ndarray
    ids: np.ndarray
    live: Any = None
    tokens: Any = None

    @classmethod
    def read(cls, kind: str, x: Any, candidate_ids: Any, mask: Any, token_mask: Any) -> "_Given":
        owner, name = f"encode_{kind}", f"encode_{kind}: candidate_ids"
        array, restore = native(x, f"{owner}: {kind}")
        ops = ops_of(array)
        values = _float32(ops.to_float64(floating(array, f"{owner}: {kind}")))
        ids = like(candidate_ids, array, name)
        if not ops.is_integer(ids):
            raise TypeError(f"{name} must be integers, got dtype {ids.dtype}")
        ids = ops.to_host(ids)
        if values.ndim != 2:
            raise ValueError(f"{owner}: {kind} must have shape [rollouts, candidates], got {values.shape}")
        if ids.ndim != 2 or len(ids) != len(values):
            raise ValueError(
                f"{name} must have shape [{len(values)}, tokens], a row for each row of {kind}, got {ids.shape}"
            )
        given = cls(kind, ops, array, restore, values, ids)
        given.live = None if mask is None else given.bools(mask, values.shape, "mask", kind)
        given.tokens = given.bools(token_mask, ids.shape, "token_mask", "candidate_ids")
        given.check()
        given.ids = ids.astype(np.int64)
        return given

    def bools(self, x: Any, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
        """An argument of bools, all True for None."""
        if x is None:
            return np.ones(shape, bool)
        name = f"encode_{self.kind}: {name}"
        return self.ops.to_host(broadcast(boolean(x, self.array, name), shape, name, f"as the {of}"))

    def check(self) -> None:
        """ValueError for ids that are not in order, or not of live candidates, and for values that are not finite."""
        values, players = self.values, self.values.shape[1]
        subject = f"encode_{self.kind}: candidate_ids {self.ids.shape}"
        if (bad := np.argwhere((self.ids < 0) | (self.ids > players))).size:
            i, t = bad[0]
            raise ValueError(f"{subject} must be in 0..{players}, got {self.ids[i, t]} at row {i}, token {t}")
        for i, row in enumerate(self.ids):
            written = row[row > 0].astype(np.int64)
            if (np.diff(written) < 0).any():
                raise ValueError(
                    f"{subject} must be in the order of candidates, got {written.tolist()} at row {i}; "
                    "number them in the order of their text"
                )
            used = np.zeros(players, bool) if self.live is None else self.live[i].copy()
            if self.live is not None and not used[written - 1].all():
                raise ValueError(
                    f"{subject} must be those of live candidates {(np.flatnonzero(used) + 1).tolist()}, "
                    f"got {written.tolist()} at row {i}"
                )
            used[written - 1] = True
            if (wrong := np.flatnonzero(used & ~np.isfinite(values[i]))).size:
                raise ValueError(
                    f"encode_{self.kind}: {self.kind} {values.shape} must be finite in float32, "
                    f"got {values[i, wrong[0]]} at row {i}, candidate {wrong[0]}"
                )

    def handed_back(self, token_rewards: np.ndarray) -> Any:
        return _handed_back(self.array, self.restore, token_rewards)[0]


def _handed_back(array: Array, restore: Callable[[Array], Any] | None, *results: np.ndarray) -> tuple[Any, ...]:
    """In the container and on the device of the argument that `native` made `array` of."""
    ops = ops_of(array)
    placed = [ops.array_like(x, array, ops.dtype(str(x.dtype))) for x in results]
    return tuple(restore(x) if restore else x for x in placed)


def _float32(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


# -- which tokens each candidate has -----------------------------------------------------------------------------------


def _with_difference(
    row: np.ndarray, values: np.ndarray, live: np.ndarray, tokens: np.ndarray, total: float, chose: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ids 1, 2, .. of the candidates of a row, the last of which makes up the sum, and the values of these."""
    written, row = np.unique(row[row > 0]), row.copy()
    if not live.size or not tokens.any():
        return np.zeros_like(row), np.zeros(0, np.float32)
    if not written.size:  # the last token is theirs, as in `encode_credits`
        written = live[:1]
        row[np.flatnonzero(tokens)[-1]] = written[0]
    best = np.full(len(written), -np.inf, np.float32)
    np.maximum.at(best, np.maximum(np.searchsorted(written, live, "right") - 1, 0), values[live - 1])
    row = np.where(row > 0, np.searchsorted(written, row) + 1, 0)
    while True:
        last = np.flatnonzero(row == len(best))
        behind = np.flatnonzero(tokens & (np.arange(len(row)) > last[-1]))
        enough = tokens.sum() - len(best) >= 2  # a token that makes up the sum, and one for the checksum
        if enough and not behind.size and len(last) == 1:
            free = np.flatnonzero(tokens[: last[0]] & (row[: last[0]] == 0))
            if free.size and not row[free[-1] : last[0]].any():  # it has the token before it, too, which led to it
                row[free[-1]] = len(best)
                last = np.append(free[-1], last)
        if enough and (behind.size or len(last) > 1):
            break
        if len(best) == 1:
            return row, _float32(np.array([total]))
        best = np.append(best[:-2], best[-2:].max())
        row = np.minimum(row, len(best))
    row[behind[-1] if behind.size else last[-1]] = len(best) + 1
    bits = (STOPPED if chose else 0) | (0 if behind.size else BORROWED)
    with np.errstate(over="ignore"):
        difference = np.float32(total - best.sum(dtype=np.float64))
    return row, np.append(best, _marked(difference, bits))


def _marked(difference: np.float32, bits: int) -> np.float32:
    """The difference with its last bits replaced; never 0, which has none."""
    if abs(difference) < NOTHING:
        difference = NOTHING
    return ((difference.view(np.uint32) & ~np.uint32(STOPPED | BORROWED)) | np.uint32(bits)).view(np.float32)


def _settled(
    values: np.ndarray, ids: np.ndarray, live: np.ndarray | None, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Credits and ids such that each row can be written: candidates with tokens only, 1, 2, .., tokens of none between
    those of candidate k as -k, and a token for the checksum, if there are two."""
    out, out_ids = np.zeros(values.shape, np.float32), np.zeros(ids.shape, np.int64)
    for i, row in enumerate(ids.copy()):
        written = np.unique(row[row > 0])
        paid = written if live is None else np.flatnonzero(live[i]) + 1
        if not written.size and paid.size and tokens[i].any():
            written = paid[:1]
            row[np.flatnonzero(tokens[i])[-1]] = written[0]
        if not written.size:
            continue
        owner = np.maximum(np.searchsorted(written, paid, "right") - 1, 0)  # of the credit of each live candidate
        total = np.bincount(owner, values[i, paid - 1].astype(np.float64), len(written))
        own = np.where(row > 0, np.searchsorted(written, row), -1)  # of each token, from 0
        if len(written) > 1 and not _leaves_a_token(own, tokens[i]):
            total = np.append(total[:-2], total[-2:].sum())
            own = np.minimum(own, len(total) - 1)
        out[i, : len(total)] = total
        before = np.maximum.accumulate(own)
        behind = np.flip(np.minimum.accumulate(np.flip(np.where(own < 0, len(total), own))))
        out_ids[i] = np.where(own >= 0, own + 1, np.where(before == behind, -(before + 1), 0))
    return out, out_ids


def _leaves_a_token(own: np.ndarray, tokens: np.ndarray) -> bool:
    """For a checksum: one outside, or the first of a candidate of several."""
    return bool((np.bincount(own[own >= 0]) > 1).any() or (tokens & (own < 0)).any())


# -- marks and checksums -----------------------------------------------------------------------------------------------


def _encoded(given: _Given, values: np.ndarray, ids: np.ndarray, live: np.ndarray | None) -> np.ndarray:
    with np.errstate(over="ignore"):
        values, ids = _settled(values, ids, live, given.tokens)
    if (bad := np.argwhere(~np.isfinite(values))).size:
        raise OverflowError(
            f"encode_{given.kind}: credits of candidates that share a token must add up to a number in the range of "
            f"float32, got {values[tuple(bad[0])]} at row {bad[0][0]}"
        )
    own, gap = ids > 0, ids < 0
    first = own & (ids != _shifted(abs(ids), 1))
    last = own & (ids != _shifted(abs(ids), -1))
    table = np.concatenate([np.zeros((len(values), 1), np.float32), values], 1)
    credit = np.take_along_axis(table, np.where(gap, 0, ids), 1)
    credit = np.where(np.abs(credit) < LEAST, np.float32(ZERO), credit)
    out = np.where(last, credit, np.where(first, START, np.where(gap, GAP, 0.0)).astype(np.float32))
    _sign(out, first & ~last, given.tokens & ~own & ~gap, KEYS[given.kind])
    return out


def _decoded(kind: str, array: Array, token_mask: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    owner, ops = f"decode_{kind}", ops_of(array)
    x = _float32(ops.to_float64(floating(array, f"{owner}: token_rewards")))
    if x.ndim != 2:
        raise ValueError(f"{owner}: token_rewards must have shape [rollouts, tokens], got {x.shape}")
    tokens, name = None, f"{owner}: token_mask"
    if token_mask is not None:
        tokens = ops.to_host(broadcast(boolean(token_mask, array, name), array.shape, name, "as the token_rewards"))
    plain = _verified(kind, x, tokens)
    ends = (plain != 0) & (plain != START) & (plain != GAP)
    before = np.cumsum(ends, 1) - ends  # candidates that ended before this token
    place = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    opened = np.maximum.accumulate(np.where(plain == START, place, -1), 1) if x.size else place
    closed = np.maximum.accumulate(np.where(ends, place, -1), 1) if x.size else place
    own = ends | (opened > closed)
    ids = np.where(own & (plain != GAP), before + 1, 0).astype(np.int64)
    count = ends.sum(1)
    mask = np.arange(count.max(initial=0)) < count[:, None]
    credits = np.zeros(mask.shape, np.float32)
    credits[mask] = np.where(plain == ZERO, np.float32(0), plain)[ends]  # both in the order of rows, then candidates
    return credits, mask, ids


def _shifted(ids: np.ndarray, by: int) -> np.ndarray:
    """The ids of the neighbours, 0 beyond the ends."""
    out = np.zeros_like(ids)
    if by > 0:
        out[:, by:] = ids[:, :-by]
    else:
        out[:, :by] = ids[:, -by:]
    return out


def _checksum(x: np.ndarray) -> np.ndarray:
    """[N]: 23 bits of what the rows hold, and where, counted from the first nonzero."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    place = np.arange(x.shape[1]) - np.argmax(x != 0, 1)[:, None]
    weight = (place.astype(np.uint64) * np.uint64(2) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    total = (bits * (weight ^ (weight >> np.uint64(29)))).sum(1, dtype=np.uint64)  # modulo 2^64
    total = (total ^ (total >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return (total >> np.uint64(64 - _BITS)).astype(np.int64)


def _sign(x: np.ndarray, starts: np.ndarray, others: np.ndarray, key: int) -> None:
    """Puts a checksum into each row that has a token: on a first one of a candidate, else on one outside."""
    if not x.size:
        return
    rows = np.flatnonzero(starts.any(1) | others.any(1))
    with_start = starts[rows].any(1)
    at = np.where(with_start, np.argmax(starts, 1)[rows], np.argmax(others, 1)[rows])
    base = np.where(with_start, CHECKED_START, CHECK)
    x[rows, at] = base * (1 + (_checksum(x)[rows] ^ key) / 2.0**_BITS)


def _verified(kind: str, x: np.ndarray, tokens: np.ndarray | None) -> np.ndarray:
    """The rewards without checksums; ValueError unless each row with anything in it (or with tokens) has one, and a
    right one, or is a single token, and some row has."""
    (other,) = KEYS.keys() - {kind}
    subject = f"decode_{kind}: token_rewards {x.shape} must be as encode_{kind} gave them"
    size = np.abs(x)
    signs = (x >= CHECK) & (x < 2 * CHECKED_START)
    plain = np.where(signs, np.where(x >= CHECKED_START, np.float32(START), np.float32(0)), x)
    known = ((plain == 0) | (plain == START) | (plain == ZERO) | (plain == GAP) | (size >= LEAST)) & np.isfinite(x)
    right = (signs.sum(1) == 1) & known.all(1)
    if x.size:
        sign = np.where(signs, x, 0).max(1).astype(np.float64)
        sign /= np.where(sign >= CHECKED_START, CHECKED_START, CHECK)
        told = np.where(right, (sign - 1) * 2.0**_BITS, -1).astype(np.int64)
        checksum = _checksum(plain)
        if (right & (told == checksum ^ KEYS[other])).any():
            raise ValueError(
                f"decode_{kind}: token_rewards must hold {kind} of encode_{kind}, got {other} of encode_{other}; give "
                "who encodes and who decodes one allocator: a value that sees the group takes rewards, others credits"
            )
        right &= told == checksum ^ KEYS[kind]
    used = np.any(x != 0, 1)
    if tokens is not None:
        alone = (tokens.sum(1) == 1) & ((x != 0) & tokens).any(1) & ((x != 0).sum(1) == 1) & ~signs.any(1)
        right |= alone & known.all(1) & (plain != START).all(1) & (plain != GAP).all(1)
    if x.size and not used.any():
        raise ValueError(
            f"{subject}, got nothing but zeros; switch off what changes rewards in between, half precision first, in "
            "which small ones vanish"
        )
    wrong = np.flatnonzero(~right & (used if tokens is None else used | tokens.any(1)))
    if wrong.size:
        raise ValueError(
            f"{subject}, got a wrong checksum at row {wrong[0]}; switch off what changes rewards in between: KL in the "
            "reward, clipping, scaling, whitening, half precision"
        )
    return plain
