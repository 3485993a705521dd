"""What tests of advantages share."""

import pytest

from shapley_kernels.arrays import torch_ops


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Torch tensors stay torch tensors and non-finite ones pass, as on a GPU without triton."""
    monkeypatch.setattr(type(torch_ops()), "on_cpu", lambda self, x: False)
