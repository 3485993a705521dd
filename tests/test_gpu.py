"""What users do on a GPU, beside the kernels: needs a CUDA device (`make test-gpu`)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import library

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.games import GAMES
from shapley_kernels.testing.samples import place

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

pytestmark = pytest.mark.gpu
ROWS = 37


def data(game, players, seed=0):
    """Arguments of `game` with ROWS rows: float64 and int64 arrays, and what is no array."""
    return game.example(np.random.default_rng(seed), ROWS, players)


def on(device, arguments, dtype="float32"):
    return {name: place(x, "torch", dtype, device) for name, x in arguments.items()}


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Banzhaf(), sk.LeaveOneOut()], ids=str)
@pytest.mark.parametrize("players", [1, 5, 8, 12])
@pytest.mark.parametrize("game", GAMES, ids=lambda g: g.__name__)
def test_every_game_is_what_it_is_on_the_cpu(game, players, value):
    arguments = data(game, players)
    found = sk.semivalue(game(**on("cuda", arguments)), value)
    assert found.device.type == "cuda"
    expected = sk.semivalue(game(**on("cpu", arguments)), value)
    torch.testing.assert_close(found.cpu(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("players", [1500, 3000])
def test_rows_too_long_for_the_kernel(players):
    rewards = torch.rand(3, players, dtype=torch.float64)
    torch.testing.assert_close(sk.shapley(sk.Max(rewards.cuda())).cpu(), sk.shapley(sk.Max(rewards)))


def test_more_than_2_to_the_31_elements():
    rewards = torch.rand(2**15, 8, device="cuda").bfloat16().repeat(2**14 + 1, 1)
    assert rewards.numel() > 2**32
    found = sk.shapley(sk.Max(rewards))
    expected = sk.shapley(sk.Max(rewards[: 2**15]))
    for start in (0, 2**28 - 2**15, 2**29 - 2**15, 2**29):  # around 2^31 and 2^32 elements
        assert torch.equal(found[start : start + 2**15], expected)


def test_rows_that_are_not_finite_are_nan_and_no_others():
    rewards = torch.rand(100, 5, device="cuda")
    expected = sk.shapley(sk.Max(rewards))
    for bad in (float("nan"), float("inf"), -float("inf")):
        spoilt = rewards.clone()
        spoilt[7, 2] = bad
        found = sk.shapley(sk.Max(spoilt))
        assert found[7].isnan().all()
        assert torch.equal(found[torch.arange(100) != 7], expected[torch.arange(100) != 7])


@pytest.mark.parametrize("players", [5, 20, 100, 600])
@pytest.mark.parametrize("game", [sk.Max, sk.Range, sk.Median], ids=lambda g: g.__name__)
def test_gradients(game, players):
    torch.manual_seed(0)
    mask = torch.rand(ROWS, players, device="cuda") < 0.7
    weights = torch.randn(ROWS, players, device="cuda", dtype=torch.float64)
    rewards = torch.rand(ROWS, players, device="cuda", dtype=torch.float64, requires_grad=True)
    v_empty = torch.rand(ROWS, device="cuda", dtype=torch.float64, requires_grad=True)

    def found(backend):
        credits = sk.shapley(game(rewards, mask=mask, v_empty=v_empty), backend=backend)
        return torch.autograd.grad((credits * weights).sum(), [rewards, v_empty])

    for x, y in zip(found("triton"), found("torch"), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def test_the_operator_keeps_its_promises():
    from shapley_kernels.games.order.tables import order_tables
    from shapley_kernels.kernels.order import torch_op

    tables = order_tables(((1.0, sk.Range, ()),), sk.Shapley(), 5, (5,)).on("torch", "float64", "cuda:0")
    rewards = torch.rand(4, 5, device="cuda", dtype=torch.float64, requires_grad=True)
    v_empty = torch.rand(4, device="cuda", dtype=torch.float64, requires_grad=True)
    library.opcheck(torch_op.order, (rewards, None, v_empty, *tables, "triton", torch.float64))


@pytest.mark.filterwarnings("ignore")  # of torch itself
def test_torch_compile_makes_one_graph():
    rewards = torch.rand(32, 8, 5, device="cuda", requires_grad=True)

    def loss(x):
        return (sk.shapley(sk.Max(x)) * torch.arange(5, device=x.device)).square().sum()

    torch.compiler.reset()
    found = torch.compile(loss, fullgraph=True)(rewards)
    expected = loss(rewards)
    torch.testing.assert_close(found, expected)
    (a,), (b,) = torch.autograd.grad(found, rewards), torch.autograd.grad(expected, rewards)
    torch.testing.assert_close(a, b)


def test_a_cuda_graph():
    allocator = rl.RewardAllocator(sk.Max)
    rewards = torch.rand(32, 8, 5, device="cuda")
    allocator.advantages(rewards)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = allocator.advantages(rewards)
    others = torch.rand(32, 8, 5, device="cuda")
    rewards.copy_(others)
    graph.replay()
    assert torch.equal(captured, allocator.advantages(others))


def test_streams_and_threads():
    """Eight threads, each on a stream of its own."""
    inputs = [torch.rand(1000, players, device="cuda") for players in (3, 5, 9, 17, 33, 65, 129, 300)]
    expected = [sk.shapley(sk.Max(x)) for x in inputs]
    torch.cuda.synchronize()

    def run(x):
        with torch.cuda.stream(torch.cuda.Stream()):
            found = [sk.shapley(sk.Max(x)) for _ in range(20)]
            torch.cuda.current_stream().synchronize()
        return found

    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(run, inputs), expected, strict=True):
            assert all(torch.equal(x, right) for x in found)


@pytest.mark.parametrize("center", ["group", "loo", "slot", "none"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("shape", [(4, 8, 5), (3, 7, 12), (2, 300, 20)])
def test_advantages(shape, scale, center):
    rng = np.random.default_rng(1)
    rewards, mask = torch.tensor(rng.random(shape)), torch.tensor(rng.random(shape) < 0.7)
    allocator = rl.RewardAllocator(sk.Max, center=center, scale=scale)
    for m in (None, mask):
        found = allocator.advantages(rewards.cuda(), None if m is None else m.cuda())
        torch.testing.assert_close(found.cpu(), allocator.advantages(rewards, m), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Stratum(4), rl.WinnerTakesAll()], ids=str)
def test_rollouts_as_players(value):
    """As on the CPU; equal groups without waiting for the device once."""
    rng = np.random.default_rng(3)
    rewards, ids = torch.tensor(rng.random(48)), [*"abab"] * 8 + ["c"] * 16
    uneven = [*ids[:40], *"dddddddd"]
    for layout in ({"num_generations": 8}, {"group_ids": ids}, {"group_ids": uneven}):
        found = rl.rollout_advantages(rewards.cuda(), value=value, **layout)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), rl.rollout_advantages(rewards, value=value, **layout))
    rewards = rewards.cuda()
    try:
        torch.cuda.set_sync_debug_mode("error")
        rl.rollout_advantages(rewards, value=value, num_generations=8)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("layout", [{}, {"num_generations": 8}, {"group_ids": [i * i % 7 for i in range(32)]}], ids=str)
@pytest.mark.parametrize("game", [sk.Max, sk.Min, sk.Clusters, sk.Median, sk.NoisyOr], ids=lambda g: g.__name__)
@pytest.mark.parametrize("value", [rl.SuffixSwap(), rl.SuffixSwap(1.0), rl.CandidateSwap()], ids=repr)
def test_credit_against_the_group(value, game, layout):
    rng = np.random.default_rng(3)
    shape = (32, 5) if layout else (4, 8, 5)
    rewards, mask = torch.tensor(rng.integers(0, 5, shape) / 4), torch.tensor(rng.random(shape) < 0.7)
    data = rewards if game is not sk.Clusters else (rewards * 4).long()
    ids = torch.tensor(rng.integers(0, 6, (*shape[:-1], 20)))
    allocator = rl.RewardAllocator(game, value)
    for m in (None, mask):
        found = allocator.token_advantages(data.cuda(), ids.cuda(), None if m is None else m.cuda(), **layout)
        expected = allocator.token_advantages(data, ids, m, **layout)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    if game is sk.Max and not layout:
        rewards[1, 2, 3] = torch.nan
        found = allocator.advantages(rewards.cuda()).isnan()
        assert found[1].all()
        assert not found[[0, 2, 3]].any()


@pytest.mark.parametrize("length", ["token", "candidate"])
@pytest.mark.parametrize("outside", ["set", "zero"])
def test_tokens(outside, length):
    rng = np.random.default_rng(2)
    rewards = torch.tensor(rng.random((4, 8, 5)), dtype=torch.float32)
    ids = torch.tensor(rng.integers(0, 6, (4, 8, 50)))
    allocator = rl.RewardAllocator(sk.Max, outside=outside, length=length)
    found = allocator.token_advantages(rewards.cuda(), ids.cuda())
    torch.testing.assert_close(found.cpu(), allocator.token_advantages(rewards, ids), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"candidate_ids must be in 0\.\.5"):
        allocator.token_advantages(rewards.cuda(), ids.cuda() + 1)


@pytest.mark.parametrize("game", [sk.Max, sk.Range, sk.FacilityLocation, sk.NoisyOr], ids=lambda g: g.__name__)
def test_interactions(game):
    arguments = data(game, 6)
    found = sk.interactions(game(**on("cuda", arguments)))
    torch.testing.assert_close(found.cpu(), sk.interactions(game(**on("cpu", arguments))), rtol=2e-5, atol=2e-5)


def test_gradients_of_the_other_families():
    """They have no kernel of their own: auto takes torch, on the GPU."""
    arguments = on("cuda", data(sk.NoisyOr, 5), "float64")
    arguments["p"].requires_grad_()
    sk.shapley(sk.NoisyOr(**arguments)).square().sum().backward()
    assert arguments["p"].grad.isfinite().all()
