"""scatter_to_tokens beside its definition, which tests/fuzz/test_tokens.py has."""

import numpy as np
import pytest
import torch

from shapley_kernels.rl import scatter_to_tokens


def example(seed, rollouts=5, tokens=23, players=4):
    rng = np.random.default_rng(seed)
    advantages = rng.normal(size=(rollouts, players))
    ids = rng.integers(0, players + 1, (rollouts, tokens))
    ids[0] = 0
    ids[1][ids[1] == 2] = 0  # a candidate without tokens
    return advantages, ids, rng.normal(size=rollouts)


def test_golden_values():
    ids = [[0, 1, 1, 1, 0, 2], [2, 2, 0, 0, 0, 0]]
    found = scatter_to_tokens([[1.0, -1.0], [0.25, 0.5]], ids, outside=[0.125, -0.125])
    assert found.tolist() == [[0.125, 1, 1, 1, 0.125, -1], [0.5, 0.5, -0.125, -0.125, -0.125, -0.125]]
    found = scatter_to_tokens(np.array([[3.0, -1.0], [0.25, 0.5]]), ids, length="candidate")
    assert found.tolist() == [[0, 2, 2, 2, 0, -2], [0.5, 0.5, 0, 0, 0, 0]]


def test_candidates_weigh_the_same_under_a_token_mean():
    """The mean over a rollout's candidate tokens is the plain mean over its candidates that have tokens."""
    advantages, ids, _ = example(1, rollouts=40)
    for given in (advantages, torch.tensor(advantages)):
        found, by_token = (
            np.asarray(scatter_to_tokens(given, ids.tolist(), length=length)) for length in ("candidate", "token")
        )
        for row, plain, values, tokens in zip(found, by_token, advantages, ids, strict=True):
            present = sorted(set(tokens.tolist()) - {0})
            if present:
                np.testing.assert_allclose(
                    row[tokens > 0].mean(), values[np.array(present) - 1].mean(), rtol=1e-12, atol=1e-15
                )
                np.testing.assert_allclose(plain[tokens > 0].sum(), sum(values[k - 1] for k in tokens if k), rtol=1e-12)
            assert (row[tokens == 0] == 0).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", ">i8", ">u2"])
def test_ids_and_offsets_of_any_integer_kind(dtype):
    advantages, ids, _ = example(2)
    expected = scatter_to_tokens(advantages, ids)
    np.testing.assert_array_equal(scatter_to_tokens(advantages, ids.astype(dtype)), expected)
    if ">" not in dtype:
        found = scatter_to_tokens(torch.tensor(advantages), torch.tensor(ids.astype(dtype)))
        np.testing.assert_array_equal(found.numpy(), expected)
    offsets = np.arange(6) * 23
    kinds = [
        offsets.tolist(),
        offsets.astype(np.int32),
        offsets.astype(">i2"),
        np.repeat(offsets, 2)[::2],
        torch.tensor(offsets),
        torch.tensor(offsets, dtype=torch.int32),
    ]
    for cu_seqlens in kinds:
        found = scatter_to_tokens(advantages, ids.reshape(-1).astype(dtype), cu_seqlens=cu_seqlens)
        np.testing.assert_array_equal(found, expected.reshape(-1))
        found = scatter_to_tokens(torch.tensor(advantages), ids.reshape(-1).tolist(), cu_seqlens=cu_seqlens)
        np.testing.assert_array_equal(found.numpy(), expected.reshape(-1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_offsets_of_a_jagged_tensor():
    ids = torch.nested.nested_tensor([torch.tensor([0, 1]), torch.tensor([2, 2, 1])], layout=torch.jagged)
    found = scatter_to_tokens(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), ids.values(), cu_seqlens=ids.offsets())
    assert found.tolist() == [0, 1, 4, 4, 3]


def test_any_number_of_leading_axes():
    advantages, ids, outside = example(3, rollouts=12)
    expected = scatter_to_tokens(advantages, ids, outside=outside, length="candidate")
    lead = (2, 3, 2)
    found = scatter_to_tokens(
        advantages.reshape(*lead, -1), ids.reshape(*lead, -1), outside=outside.reshape(lead), length="candidate"
    )
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    np.testing.assert_array_equal(
        scatter_to_tokens(advantages[4], ids[4], outside=outside[4], length="candidate"), expected[4]
    )
    packed = scatter_to_tokens(
        advantages.reshape(*lead, -1),
        ids.reshape(-1),
        outside=outside.reshape(lead),
        length="candidate",
        cu_seqlens=np.arange(13) * 23,
    )
    np.testing.assert_array_equal(packed.reshape(expected.shape), expected)


@pytest.mark.parametrize("length", ["token", "candidate"])
@pytest.mark.parametrize(("rollouts", "tokens", "players"), [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0)])
def test_nothing_to_do(rollouts, tokens, players, length):
    for make in (np.zeros, torch.zeros):
        found = scatter_to_tokens(make((rollouts, players)), make((rollouts, tokens), dtype=int), length=length)
        assert tuple(found.shape) == (rollouts, tokens)
        found = scatter_to_tokens(
            make((rollouts, players)),
            make(rollouts * tokens, dtype=int),
            length=length,
            cu_seqlens=[i * tokens for i in range(rollouts + 1)],
        )
        assert tuple(found.shape) == (rollouts * tokens,)


def test_inputs_stay_as_they_are_and_may_be_read_only_or_strided():
    advantages, ids, outside = example(4)
    expected = scatter_to_tokens(advantages, ids, outside=outside, length="candidate")
    copies = [x.copy() for x in (advantages, ids, outside)]
    for x in (advantages, ids, outside):
        x.flags.writeable = False
    np.testing.assert_array_equal(scatter_to_tokens(advantages, ids, outside=outside, length="candidate"), expected)
    for x, copy in zip((advantages, ids, outside), copies, strict=True):
        np.testing.assert_array_equal(x, copy)
    strided = np.repeat(ids, 2, 1)[:, ::2]
    np.testing.assert_array_equal(
        scatter_to_tokens(np.asfortranarray(advantages), strided, outside=outside, length="candidate"), expected
    )


@pytest.mark.parametrize("length", ["token", "candidate"])
def test_gradients_flow(length):
    advantages, ids, outside = (torch.tensor(x) for x in example(5))
    weights = torch.rand(ids.shape, dtype=torch.float64)

    def loss(a, b):
        return (scatter_to_tokens(a, ids, outside=b, length=length) * weights).sum()

    assert torch.autograd.gradcheck(loss, (advantages.requires_grad_(), outside.requires_grad_()))


ADVANTAGES, IDS = np.zeros((2, 3)), np.array([[0, 1, 2, 3, 0], [1, 1, 2, 2, 0]])
ERRORS = [
    (ValueError, {"ids": np.where(IDS == 3, 4, IDS)}, r"candidate_ids.*in 0..3 .* got 4 at \[0, 3\] .* pad the adv"),
    (ValueError, {"ids": IDS - 1}, r"got -1 at \[0, 0\] \(token last\); if -1 means no candidate, add 1"),
    (TypeError, {"ids": IDS * 1.0}, "candidate_ids must be integers, got dtype float64"),
    (TypeError, {"ids": IDS > 0}, "candidate_ids must be integers, got dtype bool"),
    (TypeError, {"ids": torch.tensor(IDS)}, "candidate_ids: expected a numpy array"),
    (ValueError, {"ids": IDS[:1]}, r"shape \[..., tokens\] with the leading axes \(2,\) .* got \(1, 5\)"),
    (ValueError, {"ids": IDS[0]}, r"got \(5,\)"),
    (ValueError, {"ids": 1}, r"got \(\)"),
    (ValueError, {"ids": IDS, "cu_seqlens": [0, 5, 10]}, r"must have shape \[total tokens\], got \(2, 5\)"),
    (ValueError, {"ids": IDS[0], "cu_seqlens": [0, 5]}, r"cu_seqlens.*shape \(3,\), .* got \(2,\); it is \[0, L_0"),
    (ValueError, {"ids": IDS[0], "cu_seqlens": [1, 2, 5]}, "cu_seqlens must start at 0, got 1; subtract"),
    (
        ValueError,
        {"ids": IDS[0], "cu_seqlens": [0, 6, 5]},
        "must not decrease, got 6 then 5 at rollout 1; pass running sums",
    ),
    (
        ValueError,
        {"ids": IDS[0], "advantages": np.zeros((3, 3)), "cu_seqlens": [0, 2**63 - 1, -2, 5]},
        "must not decrease, got 9223372036854775807 then -2 at rollout 1",
    ),
    (ValueError, {"ids": IDS[0], "cu_seqlens": [0, 2, 4]}, r"must end at the number of ids \(5\), got 4"),
    (ValueError, {"ids": IDS[0], "cu_seqlens": [0, 2, 7]}, r"must end at the number of ids \(5\), got 7"),
    (TypeError, {"ids": IDS[0], "cu_seqlens": [0.0, 2.0, 5.0]}, "cu_seqlens must be integers, got dtype float64"),
    (ValueError, {"ids": IDS, "outside": "set"}, "outside.*'zero' or one number per rollout or dec.*, got 'set'"),
    (ValueError, {"ids": IDS, "outside": np.zeros(3)}, r"outside: expected shape \(2,\) \[rollouts\]"),
    (TypeError, {"ids": IDS, "outside": torch.zeros(2)}, "outside: expected a numpy array"),
    (ValueError, {"ids": IDS, "length": "mean"}, "length must be one of 'token', 'candidate', got 'mean'"),
    (ValueError, {"ids": IDS, "advantages": 1.0}, r"advantages must have shape \[..., candidates\]"),
    (TypeError, {"ids": IDS, "advantages": np.zeros((2, 3), complex)}, "advantages: expected real numbers"),
]


@pytest.mark.parametrize(("error", "arguments", "message"), ERRORS)
def test_errors_name_the_argument_and_the_remedy(error, arguments, message):
    arguments = dict(arguments)
    with pytest.raises(error, match=message) as caught:
        scatter_to_tokens(arguments.pop("advantages", ADVANTAGES), arguments.pop("ids"), **arguments)
    assert str(caught.value).startswith("scatter_to_tokens: ")


def test_bad_ids_of_torch_are_named_too():
    with pytest.raises(ValueError, match=r"got 5 at \[1, 2\]"):
        scatter_to_tokens(torch.zeros(2, 3), torch.tensor([[0, 1, 2], [0, 3, 5]]))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_ids_too_narrow_for_the_number_of_candidates(dtype):
    found = scatter_to_tokens(torch.arange(300.0)[None], torch.tensor([[0, 1, 127]]).to(dtype))
    assert found.tolist() == [[0.0, 0.0, 126.0]]


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_numbers_for_tokens_beyond_the_dtype(library):
    ids = library(np.array([[1, 1, 1, 2], [1, 2, 2, 2]]))
    advantages = library(np.array([[1.0, -1.0], [-40000.0, 1.0]], np.float16))
    with pytest.raises(OverflowError, match=r"by token must be in the range of .*float16, got -80000.* at \[1, 1\]"):
        scatter_to_tokens(advantages, ids, length="candidate")
    with pytest.raises(OverflowError, match=r"outside must be in the range of .*float16, got 100000.* at \[1\]"):
        scatter_to_tokens(advantages, ids, outside=library(np.array([0.0, 1e5])))
    large = library(np.array([[1.0, -1.0], [-3e38, 1.0]], np.float32))
    with pytest.raises(OverflowError, match=r"by token must be in the range of .*float32, got -inf at \[1, 1\]"):
        scatter_to_tokens(large, ids, length="candidate")
    without_tokens = scatter_to_tokens(large[1:], ids[1:] * 0 + 2, length="candidate")
    np.testing.assert_array_equal(np.asarray(without_tokens), [[1.0] * 4])
    infinite = scatter_to_tokens(library(np.array([[np.inf, 1.0]])), ids[:1] * 0, length="candidate")
    np.testing.assert_array_equal(np.asarray(infinite), [[0.0] * 4])
    found = scatter_to_tokens(library(np.array([[30000.0], [1.0]], np.float16)), ids * 0 + 1, length="candidate")
    np.testing.assert_array_equal(np.asarray(found), [[30000.0] * 4, [1.0] * 4])


@pytest.mark.parametrize("dtype", [complex, float, bool, "U1"])
def test_no_tokens_have_no_dtype(dtype):
    none = np.zeros((2, 0), dtype)
    assert scatter_to_tokens(np.ones((2, 3)), none).shape == (2, 0)
    assert scatter_to_tokens(np.ones((2, 3)), none[0], cu_seqlens=[0, 0, 0], length="candidate").shape == (0,)
