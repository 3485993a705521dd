"""The Triton `order` kernel against the formula: interpreted (TRITON_INTERPRET=1, a process of its own) or on a GPU."""

import numpy as np
import pytest

from shapley_kernels.games import GAMES, OrderGame
from shapley_kernels.testing.laws import accuracy
from shapley_kernels.testing.subjects import VALUES, Ours
from tests.kernels.conftest import INTERPRETED, need

torch = need("torch")
_triton = need("triton", "shapley_kernels.kernels.order._triton")

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
NON_FINITE = (float("nan"), float("inf"), float("-inf"))
GUARD = 64  # elements on either side of `out` that no kernel may touch

# row lengths on either side of every choice, with loads of 1, 2 and 4 elements, each form at half filled widths too
PLAIN = [(n, torch.float32) for n in (1, 2, 3, 4, 5, 8, 16, 17, 18, 32, 64, 65, 257, 1024)]
CASES = [(*case, both, both) for case in PLAIN for both in (False, True)]
CASES += [(n, d, both, both) for n in (5, 8, 18, 100) for d in DTYPES if d != torch.float32 for both in [n != 8]]
CASES += [(n, torch.float32, masked, not masked) for n in (6, 20, 100) for masked in (False, True)]

FORMS = [("unrolled", 7), ("rolled", 18), ("tile", 6)]

# interpreted, NaN that the kernel makes on purpose is a numpy warning
poisons = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
named = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


def reward_rows(rng, players):
    """One row a kind: random, negative, ties, constant, zeros of both signs, 0-1, offset, sorted."""
    random = rng.standard_normal(players)
    return np.stack(
        [
            random,
            -np.abs(random) - 0.5,
            rng.integers(-2, 3, players),
            np.full(players, 0.7),
            rng.choice([-0.0, 0.0, 1.0], players),
            rng.integers(0, 2, players),
            1000 + rng.random(players),  # a large common offset cancels in the Abel form
            np.sort(random),
        ]
    )


def case(seed, rewards, dtype, *, masked=False, outside=False, per_row=False, levels=3):
    """Random tables and arguments of `run` without `out`; at masked players stands what must not matter."""
    rng = np.random.default_rng(seed)
    rows, players = rewards.shape
    mask = None
    rewards = torch.tensor(rewards, dtype=dtype)
    if masked:
        mask = torch.tensor(rng.random((rows, players)) < rng.choice([0.0, 0.3, 0.8, 1.0], (rows, 1)))
        junk = torch.tensor(rng.choice([*NON_FINITE, 6e4, -6e4], (rows, players)), dtype=dtype)
        rewards = torch.where(mask, rewards, junk)
    row_of_count = rng.integers(0, levels, players + 1)
    row_of_count[0] = 10**8  # no row without live players may follow it
    real = torch.promote_types(dtype, torch.float32)

    def table(*shape):
        return torch.tensor(rng.standard_normal(shape), dtype=real)

    tensors = (
        rewards,
        mask,
        table(rows if per_row else 1),
        table(levels, players),
        table(levels, players) if outside else None,
        table(levels),
        torch.tensor(row_of_count, dtype=torch.int32),
    )
    return tuple(x if x is None else x.to(DEVICE) for x in tensors)


def bits(x):
    return x.flatten().view(torch.uint8)


def launch(tensors, out_dtype=None, **forced):
    """Run the kernel on a poisoned `out` between guard bands: every element written, nothing beside them."""
    rewards = tensors[0]
    size = rewards.numel()
    buffer = torch.full((size + 2 * GUARD,), float("nan"), dtype=out_dtype or rewards.dtype, device=DEVICE)
    raw = bits(buffer).reshape(len(buffer), -1)
    poison = raw[0].clone()
    out = buffer[GUARD : GUARD + size].view(rewards.shape)
    before = [None if x is None else x.clone() for x in tensors]
    if forced:
        _triton.call(*tensors, out, **forced).on(out)
    else:
        _triton.run(*tensors, out)
    assert (raw[:GUARD] == poison).all()
    assert (raw[GUARD + size :] == poison).all()
    for x, y in zip(tensors, before, strict=True):
        assert x is None or torch.equal(bits(x), bits(y))
    return out


def formula(tensors):
    """phi of every row and its error bound before output rounding, both [rows, players], in long double."""
    rewards, mask, v_empty, inside, outside, empty, row_of_count = (
        None if x is None else (x.double() if x.is_floating_point() else x).cpu().numpy() for x in tensors
    )
    eps = torch.finfo(tensors[2].dtype).eps
    phi = np.zeros(rewards.shape, np.longdouble)
    bound = np.zeros(rewards.shape, np.longdouble)
    players = rewards.shape[1]
    for row, values in enumerate(rewards):
        live = np.arange(players) if mask is None else np.flatnonzero(mask[row])
        m = len(live)
        if m == 0:
            continue
        c = np.longdouble(v_empty[row if len(v_empty) > 1 else 0])
        best_first = live[np.argsort(-values[live], kind="stable")]
        r = values[best_first].astype(np.longdouble)
        gaps = r - np.append(r[1:], c)
        level = row_of_count[m]
        a = inside[level, :m]
        b = np.zeros(m) if outside is None else outside[level, :m]
        lower = np.cumsum((gaps * a)[::-1])[::-1]
        upper = np.append(0, np.cumsum(gaps * b)[:-1])
        phi[row, best_first] = lower + upper + c * empty[level]
        scale = (np.abs(gaps) * (np.abs(a) + np.abs(b))).sum()
        bound[row, live] = (players + 2) * eps / 2 * scale + abs(c * empty[level]) * eps
    return phi, bound


def check(tensors, out):
    """Within the bound, 0 where masked, bitwise equal where tied; returns the worst error in units of the bound."""
    rewards, mask = tensors[:2]
    got = out.double().cpu().numpy()
    assert np.isfinite(got).all()
    phi, bound = formula(tensors)
    info = torch.finfo(out.dtype)
    # bfloat16 stores truncate in the interpreter, on a device they round to nearest
    rounding = info.eps if INTERPRETED and out.dtype == torch.bfloat16 else info.eps / 2
    bound = bound + rounding * (np.abs(phi) + bound) + info.tiny * info.eps
    error = np.abs(got - phi)
    live = np.ones(got.shape, bool) if mask is None else mask.cpu().numpy()
    assert (got[~live] == 0).all()
    assert (error[live] <= bound[live]).all(), float((error / bound)[live].max())
    for row, values in enumerate(rewards.double().cpu().numpy()):
        order = live[row].nonzero()[0]
        order = order[np.argsort(values[order], kind="stable")]
        tied = np.diff(values[order]) == 0
        pattern = got[row, order].view(np.int64)
        assert (pattern[1:] == pattern[:-1])[tied].all()
    return float((error / bound)[live].max(initial=0))


@pytest.mark.parametrize(("players", "dtype", "masked", "outside"), CASES, ids=lambda x: str(x).removeprefix("torch."))
def test_equals_the_formula(players, dtype, masked, outside):
    rewards = reward_rows(np.random.default_rng(players), players)
    tensors = case(players, rewards, dtype, masked=masked, outside=outside, per_row=masked and players % 2 == 0)
    check(tensors, launch(tensors))


@pytest.mark.parametrize(("form", "players"), [("rolled", 1), ("rolled", 2), ("rolled", 12), ("tile", 1), ("tile", 16)])
def test_every_form_beyond_its_share(form, players):
    tensors = case(6, reward_rows(np.random.default_rng(6), players), torch.float32, masked=True, outside=True)
    check(tensors, launch(tensors, form=form))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("game", [game for game in GAMES if issubclass(game, OrderGame)], ids=lambda g: g.__name__)
def test_equals_rational_enumeration(game, dtype):
    for value in VALUES:
        subject = Ours(game, value, dtype, "triton", "torch", "cpu" if INTERPRETED else "cuda")
        accuracy(subject, subject.sample(4 if dtype == "float64" else 2, 1, 3))


@named
@pytest.mark.parametrize("out_dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def test_out_of_another_dtype(dtype, out_dtype):
    if INTERPRETED and (dtype, out_dtype) == (torch.float64, torch.bfloat16):
        pytest.skip("the interpreter turns float64 into wrong bfloat16; compiled, the cast is right")
    tensors = case(1, reward_rows(np.random.default_rng(1), 6), dtype, masked=True, outside=True)
    check(tensors, launch(tensors, out_dtype))


@pytest.mark.parametrize(("players", "height"), [(5, 128), (18, 128), (200, 4)])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_last_program_is_partly_filled(players, height, extra):
    """Programs of `height` rows each."""
    rewards = np.random.default_rng(extra + 1).standard_normal((height + extra, players))
    tensors = case(players, rewards, torch.float32, masked=True, per_row=True)
    check(tensors, launch(tensors))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_do(shape):
    tensors = case(0, np.zeros(shape), torch.float32, masked=True)
    assert launch(tensors).shape == shape


@pytest.mark.parametrize("players", [3, 18, 100])
def test_rows_do_not_depend_on_the_batch(players):
    rng = np.random.default_rng(players)
    rewards = np.concatenate([reward_rows(rng, players) for _ in range(4)])
    tensors = case(0, rewards, torch.float32, masked=True, outside=True, per_row=True)
    out = launch(tensors)
    order = torch.tensor(rng.permutation(len(rewards)), device=DEVICE)
    for subset in (order, order[:1], order[:17]):
        part = [x if x is None or len(x) != len(rewards) else x[subset].contiguous() for x in tensors[:3]]
        assert torch.equal(bits(launch((*part, *tensors[3:]))), bits(out[subset]))


@pytest.mark.parametrize("players", [7, 18, 100])
def test_deterministic_and_equivariant(players):
    rng = np.random.default_rng(0)
    tensors = case(0, reward_rows(rng, players), torch.float32, outside=True)
    out = launch(tensors)
    assert torch.equal(bits(launch(tensors)), bits(out))
    order = torch.tensor(rng.permutation(players), device=DEVICE)
    moved = launch((tensors[0][:, order].contiguous(), *tensors[1:]))
    assert torch.equal(bits(moved), bits(out[:, order]))


@pytest.mark.parametrize(("form", "players"), FORMS)
@pytest.mark.parametrize("bad", NON_FINITE)
@pytest.mark.parametrize(("masked", "dtype"), [(False, torch.float32), (True, torch.float32), (True, torch.bfloat16)])
@poisons
def test_non_finite_reward(masked, bad, dtype, form, players):
    """The live players of that row get NaN, masked ones 0, and every other row what it got before."""
    rng = np.random.default_rng(3)
    tensors = case(3, rng.standard_normal((10, players)), dtype, masked=masked, outside=True)
    live = torch.ones(10, players, dtype=torch.bool, device=DEVICE) if tensors[1] is None else tensors[1]
    before = launch(tensors, form=form)
    hit = torch.zeros_like(live)
    for row in (0, 7, 9):
        for player in live[row].nonzero()[-1:, 0]:
            hit[row, player] = True
    assert hit.any()
    rows = hit.any(1)
    after = launch((torch.where(hit, bad, tensors[0]), *tensors[1:]), form=form)
    assert after[rows][live[rows]].isnan().all()
    assert (after[rows][~live[rows]] == 0).all()
    assert torch.equal(bits(after[~rows]), bits(before[~rows]))


@pytest.mark.parametrize(("form", "players"), FORMS)
@pytest.mark.parametrize("bad", NON_FINITE)
@pytest.mark.parametrize("per_row", [False, True])
@poisons
def test_non_finite_v_empty(per_row, bad, form, players):
    rng = np.random.default_rng(4)
    tensors = list(case(4, rng.standard_normal((10, players)), torch.float32, masked=True, per_row=per_row))
    live = tensors[1]
    before = launch(tuple(tensors), form=form)
    tensors[2] = tensors[2].clone()
    tensors[2][-1] = bad
    live[-1] = torch.arange(players, device=DEVICE) < 3
    after = launch(tuple(tensors), form=form)
    rows = torch.zeros(10, dtype=torch.bool, device=DEVICE)
    rows[-1 if per_row else slice(None)] = True
    assert after[rows][live[rows]].isnan().all()
    assert (after[rows][~live[rows]] == 0).all()
    assert torch.equal(bits(after[~rows]), bits(before[~rows]))


@pytest.mark.parametrize("rows_per_program", [1, 4, 256])
@pytest.mark.parametrize(("form", "players"), FORMS)
def test_forced_choices(form, players, rows_per_program):
    tensors = case(6, reward_rows(np.random.default_rng(6), players), torch.float32, masked=True, outside=True)
    check(tensors, launch(tensors, form=form, rows_per_program=rows_per_program))


def test_views_that_are_not_aligned():
    rewards = reward_rows(np.random.default_rng(7), 16)
    tensors = case(7, rewards, torch.float32, masked=True, outside=True)
    moved = tuple(None if x is None else torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in tensors)
    assert torch.equal(bits(launch(moved)), bits(launch(tensors)))
