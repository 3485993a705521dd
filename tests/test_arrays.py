"""Containers, dtypes and shapes in and out."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk

R = np.array([[0.5, 1.0, 0.25], [0.0, -1.0, 2.0]])
T = torch.from_numpy(R)


def nested(layout):
    return torch.nested.nested_tensor([T[0], T[1, :2]], layout=layout)


def test_dlpack_arrays_come_back_in_their_own_container():
    xp = pytest.importorskip("array_api_strict")
    rewards, mask = xp.asarray(R), xp.asarray(np.array([[True, True, False], [True, True, True]]))
    found = sk.shapley(sk.Max(rewards, mask=mask))
    assert type(found) is type(rewards)
    assert found.dtype == rewards.dtype
    np.testing.assert_array_equal(np.from_dlpack(found), sk.shapley(sk.Max(R, mask=np.from_dlpack(mask))))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.bool_])
def test_integers_become_float64_in_numpy(dtype):
    found = sk.shapley(sk.Max(np.array([1, 0, 1], dtype)))
    assert found.dtype == np.float64
    assert found.tolist() == [0.5, 0, 0.5]


def test_integers_become_the_default_dtype_in_torch():
    assert sk.shapley(sk.Max(torch.tensor([1, 0, 1]))).dtype == torch.get_default_dtype()


def test_big_endian_and_lists():
    np.testing.assert_array_equal(sk.shapley(sk.Max(R.astype(">f8"))), sk.shapley(sk.Max(R)))
    np.testing.assert_array_equal(sk.shapley(sk.Max(R.tolist())), sk.shapley(sk.Max(R)))


def test_bfloat16_in_numpy():
    dtypes = pytest.importorskip("ml_dtypes")
    found = sk.shapley(sk.Max(R.astype(dtypes.bfloat16)))
    assert found.dtype == dtypes.bfloat16
    np.testing.assert_array_equal(found, sk.shapley(sk.Max(R)).astype(dtypes.bfloat16))


@pytest.mark.parametrize("shape", [(0, 3), (0,), (2, 0), (2, 0, 3)])
def test_empty_shapes(shape):
    for rewards in (np.empty(shape), torch.empty(shape)):
        assert tuple(sk.shapley(sk.Max(rewards)).shape) == shape


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sk.Max(3.0), ValueError, "rewards must have shape"),
        (lambda: sk.Max([[1.0], [1.0, 2.0]]), ValueError, "sk.pad"),
        (lambda: sk.Max(np.array(["a"])), TypeError, "expected real numbers"),
        (lambda: sk.Max(np.array([1j])), TypeError, "complex128"),
        (lambda: sk.Max({"a": 1}), TypeError, "expected a numpy array"),
        (lambda: sk.Max(np.ma.masked_invalid(R)), TypeError, r"mask=~x\.mask"),
        (lambda: sk.Max(T.to_sparse()), TypeError, r"rewards: expected a dense .*sparse_coo; use x.to_dense\(\)"),
        (lambda: sk.Max(T.to_sparse_csr()), TypeError, r"sparse_csr; use x.to_dense\(\)"),
        (lambda: sk.Max(T.to("meta")), TypeError, "numbers, got one on the device meta, which has none"),
        (lambda: sk.Max(nested(torch.jagged)), TypeError, r"got a nested one; use `rewards, mask = sk.pad\(x\)`"),
        (lambda: sk.Max(nested(torch.strided)), TypeError, "got a nested one"),
        (lambda: sk.Max(T, mask=T.to("meta") > 0), TypeError, "mask: .* on the device meta"),
        (lambda: sk.grpo_advantages(T.to_sparse()), TypeError, r"credits: .* use x.to_dense\(\)"),
        (lambda: sk.pad(T.to_sparse()), TypeError, r"pad: .* use x.to_dense\(\)"),
        (lambda: sk.Max(R, mask=np.ones(3)), TypeError, "expected dtype bool"),
        (lambda: sk.Max(R, mask=np.ones((3, 3), bool)), ValueError, r"expected shape \(2, 3\)"),
        (lambda: sk.Max(torch.from_numpy(R), mask=np.ones((2, 3), bool)), TypeError, "got a numpy array"),
        (lambda: sk.Max(R, v_empty=np.zeros(3)), ValueError, r"v_empty: expected shape \(2,\)"),
        (lambda: sk.TopM(R, 0), ValueError, "m must be an integer >= 1, got 0"),
        (lambda: sk.OWA(R, np.ones((2, 2))), ValueError, r"\[n, n\] with n >= 3"),
        (lambda: sk.OWA(R, np.ones((4, 3))), ValueError, r"\[n, n\] with n >= 3"),
        (lambda: sk.OWA(R, [1.0, 0.0, 0.0, np.nan]), ValueError, "weights must be finite"),
        (lambda: sk.Max(R) + sk.Max(R[:1]), ValueError, "equal batch shape"),
        (lambda: sk.Max(R) * np.ones(3), ValueError, "scale"),
        (lambda: sk.Max(R) * float("nan"), ValueError, "finite"),
        (lambda: sk.shapley(R), TypeError, r"sk\.Max\(rewards\)"),
        (lambda: sk.semivalue(sk.Max(R), sk.Banzhaf), TypeError, r"with brackets, as Banzhaf\(\.\.\.\)"),
        (lambda: sk.semivalue(sk.Max(R), float), TypeError, r"got <class 'float'>$"),
        (lambda: sk.semivalue(sk.Max(R), sk.SizeWeights([0.5, 0.5])), ValueError, "expected 3 weights"),
        (lambda: sk.shapley(sk.Max(R), nan="ignore"), ValueError, "'propagate'"),
        (lambda: sk.Max(R).worth(np.ones((2, 4), bool)), ValueError, "players last"),
        (lambda: sk.Max(R).worth(np.ones((5, 3), bool)), ValueError, r"broadcast with those of the games, \(2,\), got"),
        (lambda: sk.Max(T).worth(torch.ones(5, 3) > 0), ValueError, r"broadcast with those of the games, \(2,\), got"),
        (lambda: sk.pad([[1.0], "ab"]), TypeError, "pad"),
        (lambda: sk.pad([[1.0, None]]), TypeError, r"got None at \[0, 1\]"),
        (lambda: sk.pad([[1.0], [[1.0]]]), ValueError, "same depth"),
    ],
)
def test_wrong_input_says_what_was_expected(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_pad_nests_and_keeps_gradients():
    rewards, mask = sk.pad([[[1, 2], [3]], [[4, 5, 6]]])
    assert rewards.tolist() == [[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [0, 0, 0]]]
    assert mask.sum(-1).tolist() == [[2, 1], [3, 0]]
    row = torch.tensor([1.0, 2.0], requires_grad=True)
    rewards, mask = sk.pad([row, torch.tensor([3.0])])
    assert mask.tolist() == [[True, True], [True, False]]
    rewards.sum().backward()
    assert row.grad.tolist() == [1, 1]
    assert [x.shape for x in sk.pad([])] == [(0, 0), (0, 0)]


def test_worth_broadcasts_coalitions_against_the_batch():
    coalitions = np.array([[True, False, True], [False, False, False]])
    assert sk.Max(R, v_empty=-5).worth(coalitions[:, None]).tolist() == [[0.5, 2.0], [-5, -5]]
    assert (2 * sk.Max(R, v_empty=-5)).worth(coalitions[1]).tolist() == [-10, -10]
