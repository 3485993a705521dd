"""What a call on a GPU does beside the launch of its kernel: no operation of torch that launches another. On tensors
that only say they are on a GPU, with kernels that only count, so that it needs none."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import shapley_kernels as sk
from shapley_kernels.arrays import ops
from shapley_kernels.backends import kernel
from shapley_kernels.games import tables
from shapley_kernels.rl import RewardAllocator, grpo_advantages
from tests.kernels.conftest import need

need("triton", "shapley_kernels.kernels.order._triton")

ON_THE_HOST = {
    "prim.device.default",
    "aten.view.default",
    "aten.select.int",
    "aten.detach.default",
    "aten.alias.default",
}
ALLOCATIONS = {"aten.empty.memory_format", "aten.empty_like.default", "aten.new_empty.default"}


class Operations(TorchDispatchMode):
    """The operations of torch that are not done on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(operation) not in ON_THE_HOST:
            self.found.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def launches(monkeypatch):
    """The kernels that would have been launched. Fake tensors are kept as real ones would be, until the test ends."""
    found: list[str] = []
    for name, module in {
        "order": kernel("order", "triton"),
        "order and group_norm": kernel("order", "gpu_fused_norm"),
        "group_norm": kernel("group_norm", "triton"),
    }.items():
        monkeypatch.setattr(module, "run", lambda *_, name=name: found.append(name))
    for module in (ops, tables):
        monkeypatch.setattr(module, "may_keep", lambda _: True)
    monkeypatch.setattr(ops.torch_ops(), "zero_arrays", {})
    tables.KEPT.clear()
    yield found
    tables.KEPT.clear()


CALLS = {
    "credits": (lambda x, mask: sk.shapley(sk.Max(x, mask=mask)), ["order"]),
    "another value": (lambda x, mask: sk.semivalue(sk.Range(x, mask=mask), sk.Banzhaf()), ["order"]),
    "sum": (lambda x, mask: sk.shapley(0.7 * sk.TopM(x, 3, mask=mask) + 0.3 * sk.Max(x, mask=mask)), ["order"]),
    "one set": (lambda x, mask: sk.shapley(sk.Max(x.reshape(-1))), ["order"]),
    "normalised": (grpo_advantages, ["group_norm"]),
    "advantages": (lambda x, mask: RewardAllocator(sk.Max).advantages(x, mask), ["order and group_norm"]),
    "advantages of long rows": (
        lambda x, mask: RewardAllocator(sk.Max).advantages(x.reshape(4, 2, 80)),
        ["order", "group_norm"],
    ),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_launches_its_kernel_and_nothing_else(name, masked, launches):
    call, expected = CALLS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        rewards = torch.empty(16, 8, 5, device="cuda")
        mask = torch.empty(16, 8, 5, device="cuda", dtype=torch.bool) if masked else None
        call(rewards, mask)  # sends the coefficients to the device
        launches.clear()
        with Operations() as operations:
            call(rewards, mask)
    assert launches == expected
    assert set(operations.found) <= ALLOCATIONS, operations.found
    assert len(operations.found) == len(expected)  # a result each
