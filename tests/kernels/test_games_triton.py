"""Games of the order family on the Triton kernels, interpreted or on a GPU."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.games import GAMES, OrderGame
from shapley_kernels.testing.laws import accuracy
from shapley_kernels.testing.subjects import VALUES, Ours
from tests.kernels import rig

if "triton" not in rig.BACKENDS:
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

DEVICE = rig.DEVICE["triton"]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("game", [game for game in GAMES if issubclass(game, OrderGame)], ids=lambda g: g.__name__)
def test_equals_rational_enumeration(game, dtype):
    for value in VALUES:
        subject = Ours(game, value, dtype, "triton", "torch", DEVICE)
        accuracy(subject, subject.sample(4 if dtype == "float64" else 2, 1, 3))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients(masked):
    rng = np.random.default_rng(2)
    r, c, w = (torch.tensor(rng.standard_normal(s), device=DEVICE) for s in ((6, 5), (6,), (6, 5)))
    mask = torch.tensor(rng.random((6, 5)) < 0.6, device=DEVICE) if masked else None

    def gradient(backend):
        inputs = r.clone().requires_grad_(), c.clone().requires_grad_()
        credits = sk.shapley(sk.Median(inputs[0], mask=mask, v_empty=inputs[1]), backend=backend)
        return torch.autograd.grad((credits * w).sum(), inputs)

    for got, want in zip(gradient("triton"), gradient("torch"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)
