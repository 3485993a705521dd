"""What every primitive promises, on every backend: numba and torch; Triton under TRITON_INTERPRET=1, in a process of
its own, or on a GPU."""

import subprocess
import sys
from functools import cache
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest
import torch

from shapley_kernels.values import Shapley
from tests.kernels import rig
from tests.kernels.conftest import INTERPRETED, need
from tests.kernels.order import Order, OrderBackward
from tests.kernels.products import Knapsack, Multilinear
from tests.kernels.sums import Pairwise, Swap, Table

if INTERPRETED:
    need("triton")

F32, F64 = torch.float32, torch.float64
PRIMITIVES = [Order(), OrderBackward(), Multilinear(), Knapsack(), Pairwise(), Table(), Swap()]

# interpreted, NaN that a kernel makes on purpose is a numpy warning
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


def cases(*columns):
    """Parametrised by primitives, backends and what `columns` (name, (primitive, backend) -> list) say."""
    names = ["primitive", "backend", *(name for name, _ in columns)]
    rows = [(p, b) for p in PRIMITIVES for b in rig.BACKENDS if b in p.backends]
    for _, choices in columns:
        rows = [(*row, choice) for row in rows for choice in choices(*row[:2])]
    ids = ["-".join([f"{p.package}{p.suffix}", *map(str, rest)]) for p, *rest in rows]
    return pytest.mark.parametrize(names, rows, ids=ids)


kinds = ("kind", lambda primitive, _: primitive.kinds)
main_kinds = ("kind", lambda primitive, _: primitive.main)
bad_numbers = ("bad", lambda *_: (*rig.NON_FINITE, "all ones"))


@cache
def case(primitive, kind, players, dtype=F32, masked=True):
    rng = np.random.default_rng([players, masked])
    return primitive.case(rng, players, dtype, masked, **primitive.kinds[kind])


def same(results, others, rows=slice(None)):
    return all(torch.equal(rig.bits(x), rig.bits(y[rows])) for x, y in zip(results, others, strict=True))


@cases(kinds, ("players", lambda primitive, _: primitive.players))
def test_results_are_within_their_bound(primitive, backend, kind, players):
    every_dtype = players in primitive.every_dtype and backend != "numba"  # which gets the compute dtype
    ways = [*product(rig.DTYPES if every_dtype else (F64, F32), (False, True))]
    if backend == "triton":  # takes long to interpret
        main = kind in primitive.main
        ways = [(F32, main), (F32, not main)][: 1 + every_dtype]
        ways += [(dtype, True) for dtype in rig.DTYPES if dtype != F32 and main and every_dtype]
    for dtype, masked in ways:
        primitive.check(backend, case(primitive, kind, players, dtype, masked))


@cases(("forced", lambda primitive, backend: primitive.forced.get(backend, ())))
def test_forced_choices(primitive, backend, forced):
    players, how = forced
    if backend == "triton":
        primitive.check(backend, case(primitive, primitive.main[0], players), **how)
        return
    for kind, dtype, masked in product(primitive.kinds, (F32, F64), (False, True)):
        primitive.check(backend, case(primitive, kind, players, dtype, masked), **how)


@cases(("limit", lambda primitive, backend: [x for x in primitive.limits if x[0] == backend]))
def test_small_limits(primitive, backend, limit, monkeypatch):
    """They change no bit, but where numba adds up in blocks."""
    *limit, players = limit
    arguments = [case(primitive, kind, players) for kind in primitive.main]
    before = [primitive.results(backend, them)[0] for them in arguments]
    monkeypatch.setattr(primitive.module(backend), *limit[1:])
    for them, results in zip(arguments, before, strict=True):
        assert same(primitive.check(backend, them), results) or backend == "numba"


@cases(main_kinds, ("out_dtype", lambda _, backend: rig.DTYPES if backend != "numba" else ()))
def test_results_of_another_dtype(primitive, backend, kind, out_dtype):
    for dtype in rig.DTYPES if isinstance(primitive, Order) else (F32,):
        # the interpreter turns float64 into wrong bfloat16; compiled, the cast is right
        if not (INTERPRETED and (dtype, out_dtype) == (F64, torch.bfloat16)):
            arguments = case(primitive, kind, primitive.lengths[0], dtype)
            if isinstance(primitive, Order):  # without the rows of numbers that another dtype does not hold
                arguments, _ = primitive.some(arguments, torch.arange(len(arguments[0]) - 2))
            primitive.check(backend, arguments, out_dtype)


@cases(kinds)
def test_nothing_to_do(primitive, backend, kind):
    empty = [primitive.some(case(primitive, kind, 5), torch.zeros(0, dtype=torch.long))[0]]
    if backend in primitive.without_players:
        empty.append(case(primitive, kind, 0))
    for arguments in empty:
        assert (primitive.results(backend, arguments)[0][-1] == 0).all()


@cases(main_kinds, ("players", lambda primitive, _: primitive.batches))
def test_rows_do_not_depend_on_the_batch(primitive, backend, kind, players):
    """In another order, alone, and on either side of what fills a program, or a vector."""
    arguments = case(primitive, kind, players)
    whole = primitive.check(backend, arguments)
    rows = len(whole[0])
    for count in (1, rows - 1, *primitive.batches[players]):
        part, places = primitive.some(arguments, (torch.arange(count) * 5 + 2) % rows)
        assert same(primitive.results(backend, part)[0], whole, places)


@cases(("kind", lambda primitive, _: primitive.main if not isinstance(primitive, Swap) else ()), bad_numbers)
def test_what_is_not_finite_stays_in_its_row(primitive, backend, kind, bad):
    """The live players of that row are spoilt, masked ones get 0, and every other row what it got before."""
    lengths = primitive.lengths if backend == "triton" else (*primitive.lengths, 1, 4)
    for players, (dtype, masked) in zip(lengths, cycle(((F32, True), (F64, False))), strict=False):
        if bad == "all ones":
            value = torch.tensor(-1, dtype=torch.int64 if dtype == F64 else torch.int32).view(dtype)
        else:
            value = torch.tensor(bad, dtype=dtype)
        arguments = case(primitive, kind, players, dtype, masked)
        live = primitive.live(arguments)
        before, _ = primitive.results(backend, arguments)
        for row in (2, len(live) - 1)[: 1 if backend == "triton" else 2]:  # of which all players are live
            for spoilt in primitive.spoil(arguments, row, value):
                after, returned = primitive.results(backend, spoilt)
                for x, y in zip(after, before, strict=True):
                    expected = y.clone()
                    expected[row] = primitive.spoilt
                    torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)
                assert returned in (None, row)
                if returned is not None and row > 2:
                    for twice in primitive.spoil(spoilt, 2, value):  # the first one is named
                        assert primitive.results(backend, twice)[1] == 2


@cases(main_kinds)
def test_it_does_not_matter_where_arguments_begin(primitive, backend, kind):
    def moved(x):
        if not isinstance(x, torch.Tensor) or not x.numel():
            return x
        x = x.to(rig.DEVICE[backend])
        return torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape)

    arguments = case(primitive, kind, primitive.lengths[-1])
    whole, _ = primitive.results(backend, arguments)
    assert same(primitive.results(backend, tuple(map(moved, arguments)))[0], whole)


DIFFERENTIABLE = [(p, kind) for p in PRIMITIVES if not isinstance(p, (Order, OrderBackward)) for kind in p.main]


@pytest.mark.skipif(INTERPRETED, reason="of torch alone")
@pytest.mark.parametrize(("primitive", "kind"), DIFFERENTIABLE)
@pytest.mark.filterwarnings("ignore:Input #. requires gradient:UserWarning")
def test_torch_has_gradients(primitive, kind):
    for masked in (False, True):
        first = list(case(primitive, kind, 3, F64, masked))
        at = [i for i, x in enumerate(first[: primitive.by_row]) if rig.is_float(x)]

        def credits(*inputs, first=first, at=at):
            arguments = [inputs[at.index(i)] if i in at else x for i, x in enumerate(first)]
            out = torch.zeros(primitive.shapes(first)[0], dtype=F64)
            primitive.run("torch", {})(*arguments, out)
            return out

        finite = [torch.where(first[i].isinf(), torch.rand_like(first[i]), first[i]) for i in at]
        assert torch.autograd.gradcheck(credits, [x.requires_grad_() for x in finite])


# -- what one primitive promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", rig.BACKENDS)
@pytest.mark.parametrize("bad", rig.NON_FINITE)
def test_one_v_empty_of_all_rows_of_order(backend, bad):
    arguments = case(Order(), "plain", 5)
    [credits], bad_row = Order().results(backend, (*arguments[:2], torch.tensor([bad]), *arguments[3:]))
    assert torch.equal(credits.isnan(), arguments[1])
    assert (credits[~arguments[1]] == 0).all()
    assert bad_row in (None, arguments[1].any(1).nonzero()[0, 0])


@pytest.mark.parametrize("backend", rig.BACKENDS)
@pytest.mark.parametrize("players", [7, 18, 33, 100])
def test_players_of_order_in_another_order(backend, players):
    rewards, _, *tables = case(Order(), "B, v_empty by row", players, masked=False)
    moved = torch.tensor(np.random.default_rng(0).permutation(players))
    [whole], _ = Order().results(backend, (rewards, None, *tables))
    assert same(Order().results(backend, (rewards[:, moved].contiguous(), None, *tables))[0], [whole[:, moved]])


@pytest.mark.skipif(INTERPRETED, reason="of torch alone")
@pytest.mark.parametrize("kind", Order.kinds)
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradients_of_order_are_those_of_its_reference(kind, masked):
    """Where no rewards are equal; of tied ones, the sums."""
    for players in (1, 2, 5, 9):
        grad_out, rewards, mask, v_empty, *tables = case(OrderBackward(), kind, players, F64, masked)
        (grad, _), (grad_c, _) = OrderBackward().exact((grad_out, rewards, mask, v_empty, *tables))
        r, c = rewards.clone().requires_grad_(), v_empty.expand(len(rewards)).clone().requires_grad_()
        out = torch.empty_like(rewards)
        Order().run("torch", {})(r, mask, c, *tables, out)
        found, found_c = torch.autograd.grad((out * grad_out.nan_to_num(0.0)).sum(), (r, c))
        live = torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask
        tied = ((rewards[:, :, None] == rewards[:, None, :]) & live[:, :, None]).double()  # [rows, players, players]
        for x, y in ((found, grad), (found_c, grad_c)):
            x, y = (tied @ t[:, :, None] if t.ndim == 2 else t for t in (x, torch.tensor(y.astype(float))))
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", [b for b in rig.BACKENDS if b != "torch"])
def test_gradients_of_order_without_that_of_v_empty(backend):
    arguments = case(OrderBackward(), "B, v_empty by row", 5)
    whole, _ = OrderBackward().results(backend, arguments)
    run = OrderBackward().run(backend, {})
    alone = rig.launch(lambda *a: run(*a, None), arguments, [(whole[0].shape, F32)], backend)[0]
    assert same(alone, whole[:1])


@pytest.mark.parametrize("backend", rig.BACKENDS)
@pytest.mark.parametrize("form", ["nodes", "sizes"])
def test_many_players_of_multilinear_in_closed_form(backend, form):
    """Equal players share the worth of all: (1 - (1 - p)^n) / n each, at p = 1 too."""
    players = 512
    p = np.repeat([[1.0], [0.5], [1e-3], [-1e-3]], players, axis=1)
    tables = (*map(torch.tensor, Shapley().nodes(players)), None, None)
    if form == "sizes":
        tables = (
            None,
            None,
            torch.full((1, players), 1 / players, dtype=F64),
            torch.zeros(players + 1, dtype=torch.int32),
        )
    [credits], _ = Multilinear().results(backend, (torch.tensor(p), None, *tables))
    with np.errstate(divide="ignore"):
        exact = -np.expm1(players * np.log1p(-p)) / players
    np.testing.assert_allclose(credits.numpy(), exact, rtol=6 * players * 2.0**-53)


@pytest.mark.parametrize("primitive", [Multilinear(), Knapsack()], ids=lambda p: p.package)
@pytest.mark.skipif(INTERPRETED, reason="of torch alone")
def test_masked_players_are_as_those_who_never_succeed(primitive):
    """To the bit, in the form of nodes (by size they are not)."""
    first, *others = case(primitive, next(k for k in primitive.kinds if "nodes" in k), 5, F64)
    live = primitive.live((first, *others))
    [masked], _ = primitive.results("torch", (first, *others))
    others = [None if x is live else x for x in others]
    [filled], _ = primitive.results("torch", (torch.where(live, first, 0.0), *others))
    assert same([filled[live]], [masked[live]])


@pytest.mark.skipif(INTERPRETED or sys.platform == "win32", reason="of numba, and of mprotect")
def test_nothing_beyond_an_array_is_read():
    """In a process of its own, which would end there."""
    command, root = [sys.executable, "-m", "tests.kernels.pages"], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500


@pytest.mark.parametrize(("dtype", "players", "scale"), [(F32, 42, 1e10), (F64, 340, 1e100)])
@pytest.mark.skipif(INTERPRETED, reason="of numba")
def test_products_as_small_as_large_weights_let_matter(dtype, players, scale):
    """Equal players get the same, though partial products are as small as numbers get."""
    t = torch.ones(1, dtype=dtype)
    arguments = (torch.full((1, players), 0.9, dtype=dtype), None, t, scale * t, None, None)
    [credits], _ = Multilinear().results("numba", arguments)
    exact = scale * 0.9 * np.longdouble(1 - arguments[0][0, 0].item()) ** (players - 1)
    np.testing.assert_allclose(
        credits.numpy(), np.full((1, players), exact, float), rtol=1e-4 if dtype == F32 else 1e-11
    )
