"""The gate lets right credits pass, and no others."""

import numpy as np
import pytest

from shapley_kernels.bench.cases import TABLE_PLAYERS, Inputs, Point
from shapley_kernels.bench.gate import GateFailed, check
from shapley_kernels.bench.gpu_forms import FORMS, fits
from shapley_kernels.bench.lines import Unsuited
from shapley_kernels.bench.methods import FIVE_LINERS, OURS, Method
from shapley_kernels.bench.training import PIECES, inputs_of
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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("game", PIECES)
def test_right_pieces_of_training_pass_and_wrong_ones_do_not(game, masked):
    shape = (4, 30) if game == "tokens" else (4, 5, 6)
    point = Point(game, shape, masked=masked)
    if game in ("tokens", "token-advantages") and masked:
        with pytest.raises(Unsuited, match=r"no mask|knows masks"):
            inputs_of(point)
        return
    inputs = inputs_of(point)
    passed = []
    for method in (*OURS[:2], *FIVE_LINERS):
        try:
            result = method.call(inputs)()
        except Unsuited:
            continue
        check(method, inputs, result)
        wrong = np.array(result.tolist(), "float32")
        wrong[tuple(np.argwhere(wrong)[-1])] *= 1.01
        with pytest.raises(GateFailed):
            check(method, inputs, wrong)
        passed.append(method.name)
    assert "numba" in passed
    assert masked or game.startswith("advantages-by-") or "torch-five-liner" in passed


@pytest.mark.parametrize("game", ["Max", "Mean", "NoisyOr"])
def test_masked_points(game):
    inputs = Inputs(Point(game, (6, 5, 8), masked=True))
    assert not inputs.sample.mask.all()
    check(OURS[0], inputs, OURS[0].call(inputs)())
    for method in FIVE_LINERS:
        with pytest.raises(Unsuited, match="masks"):
            method.call(inputs)


def test_forms_of_the_gpu_are_for_max_on_a_gpu():
    assert {m.name.split("-")[1] for m in FORMS if fits(m.name.split("-")[1], 4, False, "float32")} == {"unrolled"}
    assert {m.name.split("-")[1] for m in FORMS if fits(m.name.split("-")[1], 64, True, "float32")} == {"tile"}
    for method in FORMS:
        with pytest.raises(Unsuited):
            method.prepare(Inputs(POINT))


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

    found = [r for r in run(Point("Max", (64, 8), device="cuda"), (*OURS, *FORMS), 0.01) if isinstance(r, Record)]
    forms = {"triton-unrolled-64", "triton-unrolled-128", "triton-rolled-64"}
    assert {r.method for r in found} >= {"torch", "triton"} | forms
    assert all(r.host_s > 0 for r in found)
