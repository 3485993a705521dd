"""Credits survive the way through token rewards, and rewards that were altered on the way are noticed."""

import numpy as np
import pytest
import torch

from shapley_kernels.rl import decode_credits, decode_rewards, encode_credits, encode_rewards


def random_rows(seed, rows=40, width=6, tokens=30):
    """Credits, mask, ids and token mask of rollouts with candidates of 1 to 4 tokens, some next to each other."""
    rng = np.random.default_rng(seed)
    credits, mask = rng.normal(size=(rows, width)).astype(np.float32), np.zeros((rows, width), bool)
    credits[rng.random(credits.shape) < 0.2] = 0.0
    ids, token_mask = np.zeros((rows, tokens), np.int64), np.zeros((rows, tokens), bool)
    for i in range(rows):
        at = 0
        for k in range(rng.integers(0, width + 1)):
            start = at + rng.integers(0, 3)
            at = start + rng.integers(1, 5)
            if at >= tokens:
                break
            ids[i, start:at], mask[i, k] = k + 1, True
        token_mask[i, : min(at + 1, tokens)] = True
    credits[~mask] = 0
    return credits, mask, ids, token_mask


def assert_equal(found, credits, mask, ids):
    width = mask.sum(1).max()
    np.testing.assert_array_equal(np.asarray(found[2]), ids)
    np.testing.assert_array_equal(np.asarray(found[1]), mask[:, :width])
    np.testing.assert_array_equal(np.asarray(found[0]), credits[:, :width])


@pytest.mark.parametrize("seed", range(10))
def test_round_trip(seed):
    credits, mask, ids, token_mask = random_rows(seed)
    rewards = encode_credits(credits, ids, mask, token_mask=token_mask)
    assert rewards.dtype == np.float32
    assert (rewards[~token_mask] == 0).all()
    assert_equal(decode_credits(rewards), credits, mask, ids)
    np.testing.assert_allclose(rewards.sum(1), credits.sum(1), rtol=0, atol=1e-6)
    order = np.random.default_rng(seed).permutation(len(ids))
    assert_equal(decode_credits(rewards[order]), credits[order], mask[order], ids[order])
    right = np.pad(rewards, ((0, 0), (5, 2)))  # as trainers that pad on the left
    assert_equal(decode_credits(right), credits, mask, np.pad(ids, ((0, 0), (5, 2))))
    tensors = encode_credits(torch.tensor(credits), torch.tensor(ids), torch.tensor(mask))
    found = decode_credits(tensors)
    assert [x.dtype for x in found] == [torch.float32, torch.bool, torch.int64]
    assert_equal(found, credits, mask, ids)


@pytest.mark.parametrize("seed", range(10))
def test_round_trip_of_rewards(seed):
    rewards, mask, ids, token_mask = random_rows(seed)
    ids[:, -2:], mask[:] = 0, np.arange(1, 7) <= ids[:, :-2].max(1)[:, None]
    rewards[~mask], token_mask[:] = 0, True
    stopped = np.random.default_rng(seed).random(len(ids)) < 0.5
    worth = np.where(mask.any(1), rewards.max(1), 0)
    for to in (np.asarray, torch.tensor):
        encoded = encode_rewards(*map(to, (rewards, worth, ids, mask)), stopped=to(stopped), token_mask=to(token_mask))
        largest = np.abs(np.asarray(encoded)).max()
        np.testing.assert_allclose(np.asarray(encoded).sum(1), worth, rtol=0, atol=16 * 2.0**-24 * largest)
        *found, chose = decode_rewards(encoded, token_mask=to(token_mask))
        assert_equal(found, rewards, mask, ids)
        np.testing.assert_array_equal(np.asarray(chose)[mask.any(1)], stopped[mask.any(1)])
        assert decode_rewards(encoded)[0].shape == found[0].shape


@pytest.mark.parametrize(
    ("ids", "rewards", "found", "owners", "stopped"),
    [
        ([0, 1, 1, 2, 2], [0.5, 1.0], [0.5, 1.0], [0, 1, 1, 2, 2], False),  # nothing behind the last one
        ([1, 2, 0, 0], [0.5, 1.0], [0.5, 1.0], [1, 2, 0, 0], False),
        ([1, 2, 0], [0.5, 1.0], [1.0], [1, 1, 0], False),  # no token for a checksum
        ([1, 2, 3], [1.0, 0.25, 0.5], [1.0], [1, 1, 1], False),
        ([0, 1, 0, 2], [0.5, 1.0], [0.5, 1.0], [0, 1, 2, 2], False),  # one token, at the end: the one before it, too
        ([0, 0, 0, 1], [0.5], [0.5], [0, 0, 1, 1], False),
        ([1, 1, 0, 2, 2, 0, 3], [1.0, 0.0, 0.5], [1.0, 0.0, 0.5], [1, 1, 0, 2, 2, 3, 3], False),
        ([0, 1], [0.5], [1.0], [0, 1], True),  # too short: the worth, and that it was cut is lost
        ([1, 0], [0.5], [1.0], [1, 0], True),
        ([1], [0.5], [1.0], [1], True),
        ([0, 0], [0.5], [1.0], [0, 1], True),
        ([0, 0, 0, 0], [0.5, 1.0], [1.0], [0, 0, 1, 1], False),  # no tokens of their own
        ([1, 1, 0, 0], [0.5, 0.75], [0.75], [1, 1, 0, 0], False),
        ([0, 2, 2, 0], [0.5, 0.75], [0.75], [0, 1, 1, 0], False),
    ],
)
def test_rewards_that_share_tokens(ids, rewards, found, owners, stopped):
    mask = [[True] * len(rewards)]
    encoded = encode_rewards([rewards], [1.0], [ids], mask, stopped=[False])
    np.testing.assert_allclose(encoded.sum(), 1.0, rtol=0, atol=1e-6)
    got = decode_rewards(encoded, token_mask=[[True] * len(ids)])
    assert got[0].tolist() == [found]
    assert got[2].tolist() == [owners]
    assert got[3].tolist() == [stopped]


@pytest.mark.parametrize("change", [lambda x: x * 2, lambda x: x.astype(np.float16), lambda x: x + 1e-3])
def test_altered_rewards_of_a_group_are_noticed(change):
    encoded = encode_rewards([[0.5, 1.0]], [1.0], [[0, 1, 1, 0, 2, 2, 0]])
    with pytest.raises(ValueError, match=r"decode_rewards: .* must be as encode_rewards gave them"):
        decode_rewards(change(encoded))


def test_nothing_that_makes_up_the_sum_still_says_who_stopped():
    encoded = encode_rewards([[1.0, 0.0]] * 2, [1.0] * 2, [[0, 1, 1, 2, 2, 0]] * 2, stopped=[True, False])
    assert encoded.sum(1).tolist() == [1.0, 1.0]
    assert decode_rewards(encoded)[3].tolist() == [True, False]


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError, {"worth": [1.0, 2.0]}, r"encode_rewards: worth: expected shape \(1,\) \[rollouts\]"),
        (TypeError, {"stopped": [1]}, "encode_rewards: stopped: expected dtype bool"),
        (ValueError, {"worth": [np.nan]}, "encode_rewards: worth must be finite in float32, .* got nan at row 0"),
        (ValueError, {"worth": [1e39]}, "encode_rewards: worth must be finite in float32"),
        (ValueError, {"rewards": [[-3e38, -3e38]], "worth": [3e38]}, "and so its difference to the sum of the rewards"),
        (ValueError, {"rewards": [[np.nan, 1.0]]}, r"rewards \(1, 2\) must be finite in float32, got nan at row 0"),
    ],
)
def test_rewards_are_checked(error, arguments, message):
    good = {"rewards": [[0.5, 1.0]], "worth": [1.0], "candidate_ids": [[1, 1, 2, 0]]}
    with pytest.raises(error, match=message):
        encode_rewards(**good | arguments)


def test_sums_are_those_of_the_credits():
    """To the last bit: the marks vanish in any sum."""
    credits = [[1.5, 1.0, 2.5], [3.0, 2.0, 0.0]]
    ids = [[0, 1, 1, 2, 0, 3, 3], [1, 1, 0, 2, 2, 2, 0]]
    rewards = encode_credits(credits, ids)
    assert rewards.sum(1).tolist() == [5.0, 5.0]
    assert rewards.cumsum(1)[:, -1].tolist() == [5.0, 5.0]


CHANGES = {
    "KL": lambda x, rng: x - 0.01 * rng.random(x.shape),
    "scaled": lambda x, rng: x * 0.5,
    "negated": lambda x, rng: -x,
    "whitened": lambda x, rng: (x - x.mean()) / x.std(),
    "clipped": lambda x, rng: x.clip(0, None),
    "one credit": lambda x, rng: np.where(x == x.max(), x * np.float32(1 + 2**-23), x),
    "half precision": lambda x, rng: torch.tensor(x).bfloat16().float().numpy(),
    "float16": lambda x, rng: x.astype(np.float16).astype(np.float32),
    "set reward on the last token": lambda x, rng: x + 5.0 * (np.arange(x.shape[1]) == x.shape[1] - 1),
    "shifted within": lambda x, rng: np.concatenate([x[:, :4], x[:, 5:], x[:, 4:5]], 1),
    "cut": lambda x, rng: np.where(np.arange(x.shape[1]) < 6, x, 0),
    "not finite": lambda x, rng: np.where(x == x.max(), np.inf, x),
    "plain rewards": lambda x, rng: 1.0 * (np.arange(x.shape[1]) == x.shape[1] - 1) + 0 * x,
}


@pytest.mark.parametrize("change", CHANGES)
def test_altered_rewards_are_noticed(change):
    ids = np.array([[0, 1, 1, 0, 2, 2, 0, 3, 0, 0]])
    credits = [[-0.3, 1.7, 0.4]]
    rewards = encode_credits(credits, ids)
    decode_credits(rewards)
    altered = CHANGES[change](rewards, np.random.default_rng(0)).astype(np.float32)
    with pytest.raises(ValueError, match=r"token_rewards \(1, 10\) must be as encode_credits gave them.* at row 0; "):
        decode_credits(altered)


@pytest.mark.parametrize("credits", [[0.0, 0.0], [1e-8, -1e-9]])
def test_rows_that_vanish_in_half_precision_are_noticed(credits):
    """Nothing is left in float16 of credits of 0, not even the marks."""
    rewards = encode_credits([credits] * 2, [[1, 1, 0, 2], [1, 2, 2, 0]])
    with pytest.raises(
        ValueError, match=r"token_rewards \(2, 4\) must be as encode_credits gave them, got nothing but z"
    ):
        decode_credits(rewards.astype(np.float16).astype(np.float32))
    without = encode_credits([[0.0]], [[0, 0, 0]])  # told from what vanished
    assert [x.tolist() for x in decode_credits(without)] == [[[]], [[]], [[0, 0, 0]]]


def test_every_single_token_counts():
    credits, mask, ids, token_mask = random_rows(3, rows=4)
    rewards = encode_credits(credits, ids, mask, token_mask=token_mask)
    for i, t in np.argwhere(token_mask & mask.any(1, keepdims=True)):
        for value in (0.125, -1.0, 2.0**-100, 2.0**-101, 0.0):
            altered = rewards.copy()
            altered[i, t] = value
            if altered[i, t] != rewards[i, t]:
                with pytest.raises(ValueError, match=f"at row {i};"):
                    decode_credits(altered)


def test_candidates_of_one_token():
    """The checksum then needs a token outside; padding is none."""
    rewards = encode_credits(
        [[0.5], [0.25]], [[1, 0, 0], [0, 1, 0]], token_mask=[[True, True, False], [True, True, False]]
    )
    assert (rewards[:, 2] == 0).all()
    assert decode_credits(rewards)[0].tolist() == [[0.5], [0.25]]
    one = np.array([[True, False]])  # where there is none, the row goes without
    alone = encode_credits([[0.5]], [[1, 0]], token_mask=one)
    assert alone.tolist() == [[0.5, 0.0]]
    assert [x.tolist() for x in decode_credits(alone, token_mask=one)] == [[[0.5]], [[True]], [[1, 0]]]
    with pytest.raises(ValueError, match="got a wrong checksum at row 0"):
        decode_credits(alone)
    with pytest.raises(ValueError, match="got a wrong checksum at row 0"):  # what is left of a row of two tokens
        decode_credits(alone, token_mask=[[True, True]])
    # one outside, so that nothing is merged; and candidates that fill the row
    free = encode_credits([[0.5, 0.25]], [[1, 2, 0]])
    assert decode_credits(free)[0].tolist() == [[0.5, 0.25]]
    full = encode_credits([[0.5, 0.25, 1.0]], [[1, 2, 3]])
    assert [x.tolist() for x in decode_credits(full)] == [[[0.5, 1.25]], [[True, True]], [[1, 2, 2]]]


@pytest.mark.parametrize(
    ("ids", "live", "expected_ids", "expected"),
    [
        ([1, 0, 1, 0], 1, [1, 0, 1, 0], [1.0]),  # a special token within a candidate
        ([0, 1, 1, 0, 0, 1, 2], 2, [0, 1, 1, 0, 0, 1, 2], [1.0, 2.0]),
        ([1, 0, 0, 0], 3, [1, 0, 0, 0], [7.0]),  # three in one token
        ([0, 1, 3, 3], 4, [0, 1, 2, 2], [3.0, 12.0]),
        ([0, 2, 2, 0], 2, [0, 1, 1, 0], [3.0]),
        ([0, 0, 0], 2, [0, 0, 1], [3.0]),  # an end token alone
        ([0], 1, [1], [1.0]),
        ([1, 2], 2, [1, 1], [3.0]),
        ([1, 2, 2], 2, [1, 2, 2], [1.0, 2.0]),
    ],
    ids=str,
)
def test_whatever_a_model_writes(ids, live, expected_ids, expected):
    credits = 2.0 ** np.arange(4)[None]
    mask = np.arange(4)[None] < live
    rewards = encode_credits(credits, [ids], mask)
    credit, there, found = decode_credits(rewards, token_mask=np.ones((1, len(ids)), bool))
    assert found.tolist() == [expected_ids]
    assert credit[there].tolist() == expected
    assert float(rewards.sum()) == credits[mask].sum()


def test_rows_that_were_zeroed_are_noticed():
    credits, mask, ids, token_mask = random_rows(5)
    rewards = encode_credits(credits, ids, mask, token_mask=token_mask)
    decode_credits(rewards, token_mask=token_mask)
    for row in (0, 7, int(np.argmin(mask.sum(1)))):
        altered = rewards.copy()
        altered[row] = 0
        with pytest.raises(ValueError, match=f"checksum at row {row};"):
            decode_credits(altered, token_mask=token_mask)
    padded = np.concatenate([rewards, np.zeros_like(rewards[:1])])
    decode_credits(padded, token_mask=np.concatenate([token_mask, np.zeros_like(token_mask[:1])]))


def test_nothing():
    marked = encode_credits(np.zeros((2, 3)), np.zeros((2, 4), int))
    assert 0 < marked.sum() < 2.0**-97
    filled = np.concatenate([marked, np.zeros((1, 4), np.float32)])  # as trainers fill a batch up
    for rewards in (marked, filled, np.zeros((0, 4)), np.zeros((2, 0))):
        credits, mask, ids = decode_credits(rewards)
        assert credits.shape == mask.shape == (len(rewards), 0)
        assert ids.shape == rewards.shape


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError, ([1.0], [[1]]), r"credits must have shape \[rollouts, candidates\], got \(1,\)"),
        (ValueError, ([[1.0]], [1]), r"candidate_ids must have shape \[1, tokens\].* got \(1,\)"),
        (TypeError, ([[1.0]], [[1.0]]), "candidate_ids must be integers, got dtype float64"),
        (ValueError, ([[1.0]] * 2, [[0, 1], [2, 1]]), r"candidate_ids \(2, 2\).*in 0..1, got 2 at row 1, token 0"),
        (ValueError, ([[1.0]], [[0, -1]]), r"must be in 0..1, got -1 at row 0, token 1"),
        (ValueError, ([[1.0, 2.0]], [[2, 1]]), r"in the order of candidates, got \[2, 1\] at row 0; number them"),
        (ValueError, ([[1.0, 2.0]], [[1, 2, 1]]), r"got \[1, 2, 1\] at row 0"),
        (ValueError, ([[float("nan"), 2.0]], [[0, 2]], [[True, True]]), r"finite .* got nan at row 0, candidate 0"),
        (ValueError, ([[1.0, 2.0]], [[1, 2]], [[True, False]]), r"live candidates \[1\], got \[1, 2\] at row 0"),
        (ValueError, ([[1.0, float("nan")]], [[1, 2]]), r"credits \(1, 2\).*finite in float32, got nan at row 0, can"),
        (ValueError, ([[1e39, 1.0]], [[1, 2]]), r"credits \(1, 2\).*finite in float32, got inf at row 0, candidate 0"),
    ],
)
def test_errors(error, arguments, message):
    with pytest.raises(error, match=f"encode_credits: .*{message}"):
        encode_credits(*arguments)


def test_errors_of_decoding():
    with pytest.raises(
        ValueError, match=r"decode_credits: token_rewards must have shape \[rollouts, tokens\], got \(2,\)"
    ):
        decode_credits([0.0, 1.0])
    with pytest.raises(ValueError, match=r"token_mask: expected shape \(1, 2\) as the candidate_ids, .* got \(1, 3\)"):
        encode_credits([[1.0]], [[1, 1]], token_mask=[[True] * 3])


def test_no_tokens():
    assert encode_credits(np.zeros((2, 2)), np.zeros((2, 0), int)).shape == (2, 0)


def test_credits_that_add_up_to_too_much():
    with pytest.raises(OverflowError, match="credits of candidates that share a token must add up to a number"):
        encode_credits([[3e38, 3e38]], [[1, 1, 0]], [[True, True]])
