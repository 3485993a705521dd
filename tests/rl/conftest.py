"""What tests of advantages share."""

import pytest
import torch

from shapley_kernels.rl import advantages


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Torch tensors stay torch tensors and non-finite ones pass, as on a GPU without triton."""
    monkeypatch.setattr(advantages, "on_cpu", lambda x: not isinstance(x, torch.Tensor))
    monkeypatch.setattr(advantages, "_by_triton", lambda *_: None)
