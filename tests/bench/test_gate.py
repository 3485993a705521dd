"""The gate lets right credits pass, and no others."""

import numpy as np
import pytest

from shapley_kernels.bench.cases import TABLE_PLAYERS, Inputs, Point, Unsuited
from shapley_kernels.bench.gate import GateFailed, check
from shapley_kernels.bench.methods import FIVE_LINERS, OURS, Method
from shapley_kernels.games import GAMES

POINT = Point("Max", (40, 6))


def spoiled(inputs, change):
    credits = np.array(OURS[0].call(inputs)())
    change(credits)
    return credits


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 2, 5), (1, 1), (2, 70)])
@pytest.mark.parametrize("game", [game.__name__ for game in GAMES])
def test_right_credits_pass(game, shape, dtype):
    if game == "Table" and shape[-1] > TABLE_PLAYERS:
        with pytest.raises(Unsuited, match=r"2\^70 worths"):
            Inputs(Point(game, shape, dtype))
        return
    inputs = Inputs(Point(game, shape, dtype))
    passed = 0
    for method in (OURS[0], *FIVE_LINERS):
        try:
            call = method.call(inputs)
        except Unsuited:
            continue
        check(method, inputs, call())
        passed += 1
    assert passed


CHANGES = {
    "one row of 40": lambda c: c[17].__setitem__(slice(None), c[17][::-1].copy()),
    "one credit": lambda c: c.__setitem__((39, 5), c[39, 5] * 1.001),
    "an element that was not written": lambda c: c.__setitem__((20, 0), np.nan),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", [OURS[0], FIVE_LINERS[0]], ids=lambda m: m.name)
def test_wrong_credits_do_not(method, change):
    inputs = Inputs(POINT)
    with pytest.raises(GateFailed, match=method.name):
        check(method, inputs, spoiled(inputs, CHANGES[change]))


def test_ours_are_held_to_their_own_bound_too():
    """Within the coarse bound of the other methods, but not within the a-priori bound of the kernel."""
    inputs = Inputs(POINT)
    credits = spoiled(inputs, lambda c: c.__setitem__((0, 0), c[0, 0] + 4e-7))
    check(FIVE_LINERS[0], inputs, credits)
    with pytest.raises(GateFailed, match="times the bound"):
        check(OURS[0], inputs, credits)


@pytest.mark.parametrize("game", [game.__name__ for game in GAMES])
def test_every_game_has_credits_that_fail(game):
    """A unit that is too large, such as one taken from labels, would let everything pass."""
    inputs = Inputs(Point(game, (8, 5)))
    wrong = Method("wrong", "five-liner", lambda inputs: lambda: None)
    with pytest.raises(GateFailed):
        check(wrong, inputs, spoiled(inputs, lambda c: c.__setitem__((3, 0), c[3, 0] + 0.01)))


def test_another_shape_does_not():
    inputs = Inputs(POINT)
    with pytest.raises(GateFailed, match="shape"):
        check(OURS[0], inputs, np.zeros((6, 40), np.float32))


def test_every_method_gets_the_same_numbers():
    a, b = Inputs(POINT), Inputs(POINT)
    assert (a.rewards("numpy") == b.rewards("numpy")).all()
    assert (a.rewards("torch").numpy() == a.rewards("numpy")).all()
    assert (Inputs(POINT, seed=1).rewards("numpy") != a.rewards("numpy")).any()


def test_a_method_without_its_package_says_how_to_get_it():
    method = Method("x", "peer", lambda inputs: lambda: None, ("no_such_package",))
    with pytest.raises(Unsuited, match="pip install no_such_package"):
        method.call(Inputs(POINT))


@pytest.mark.gpu
def test_a_graph_replay_times_every_call():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from shapley_kernels.bench.records import Record
    from shapley_kernels.bench.run import run

    found = [r for r in run(Point("Max", (64, 8), device="cuda"), OURS, 0.01) if isinstance(r, Record)]
    assert {r.method for r in found} == {"torch", "triton"}
    assert all(r.host_s > 0 for r in found)
