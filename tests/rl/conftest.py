"""What tests of advantages share."""

import pytest
import torch

from shapley_kernels.kernels.group_norm import _torch as group_norm
from shapley_kernels.rl import advantages


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Torch tensors stay torch tensors and non-finite ones pass, as on a GPU without triton."""
    for module in (advantages, group_norm):
        monkeypatch.setattr(module, "on_cpu", lambda x: not isinstance(x, torch.Tensor))
    monkeypatch.setattr(advantages, "_by_triton", lambda *_: None)
