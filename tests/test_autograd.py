"""`order` under torch: gradients by the kernels, transforms of torch.func, torch.compile."""

import shutil

import numpy as np
import pytest
import torch
from torch import library
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

import shapley_kernels as sk
from shapley_kernels.arrays import may_keep
from shapley_kernels.games.order.tables import order_tables
from shapley_kernels.kernels.order import torch_op
from tests.kernels.order import gradients

GAMES = [sk.Max, sk.Min, sk.Median, sk.Range]
# Dynamo warns of deprecated parts of torch itself
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning")
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # which torch itself calls
newer = pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="needs torch 2.7")


@pytest.fixture(autouse=True)
def no_graphs_of_others():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def data():
    """rewards [4, 5] float64, mask with an empty row, v_empty [4], weights [4, 5]."""
    rng = np.random.default_rng(5)
    mask = rng.random((4, 5)) < 0.6
    mask[2] = False
    arrays = rng.standard_normal((4, 5)), mask, rng.standard_normal(4), rng.standard_normal((4, 5))
    return tuple(map(torch.from_numpy, arrays))


def reference(game, mask=None):
    return lambda r, c: sk.shapley(game(r, mask=mask, v_empty=c), backend="torch")


def gradient(f, *inputs, weights):
    inputs = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad((f(*inputs) * weights).sum(), inputs)


def close(got, want):
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-13, atol=1e-13)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "numba"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("game", GAMES, ids=lambda g: g.__name__)
def test_gradients_are_those_of_the_reference(game, masked, backend, data):
    r, mask, c, w = data
    mask = mask if masked else None
    if masked:
        r = r.masked_fill(~mask, float("nan"))  # never read

    def credits(r, c):
        return sk.shapley(game(r, mask=mask, v_empty=c), backend=backend)

    found = gradient(credits, r, c, weights=w)
    close(found, gradient(reference(game, mask), r, c, weights=w))
    if masked:
        assert (found[0][~mask] == 0).all()
    else:
        assert torch.autograd.gradcheck(credits, (r.requires_grad_(), c.requires_grad_()))


def test_no_reference_runs(data, monkeypatch):
    from shapley_kernels.kernels.order import _torch

    monkeypatch.setattr(_torch, "run", None)
    assert gradient(lambda r: sk.shapley(sk.Max(r)), data[0], weights=data[3])[0].shape == (4, 5)


def test_ties_share_their_gradient(data):
    r = torch.tensor([[1.0, 0.5, 1.0, 0.5, 1.0]], dtype=torch.float64)
    w = data[3][:1]
    (found,) = gradient(lambda r: sk.shapley(sk.Min(r)), r, weights=w)
    A, B, C, row_of_count = order_tables(((1.0, sk.Min, ()),), sk.Shapley(), 5, (5,)).arrays
    (want, _), _ = gradients(w.numpy(), r.numpy(), None, np.zeros(1), A, B, C, row_of_count, 2.0**-52)
    torch.testing.assert_close(found, torch.from_numpy(want.astype(float)), rtol=1e-13, atol=1e-13)
    assert len(set(found[0, ::2].tolist())) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_keep_the_dtype(dtype, data):
    r, _, c, w = data
    found = gradient(lambda r, c: sk.shapley(sk.Max(r, v_empty=c)), r.to(dtype), c.float(), weights=w.to(dtype))
    assert [x.dtype for x in found] == [dtype, torch.float32]
    want = gradient(reference(sk.Max), r.to(dtype).double(), c.float().double(), weights=w.to(dtype).double())
    for x, y in zip(found, want, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_one_v_empty_for_all_rows(data):
    r, _, _, w = data
    c = torch.tensor(0.25, dtype=torch.float64)
    close(
        gradient(lambda r, c: sk.shapley(sk.Max(r, v_empty=c)), r, c, weights=w),
        gradient(reference(sk.Max), r, c, weights=w),
    )


def test_sums_merged_and_weighted(data):
    r, mask, c, w = data

    def credits(backend):
        def run(r, weight):
            game = 0.7 * sk.TopM(r, 2, mask=mask) + sk.Max(r, mask=mask) - sk.Min(r, mask=mask) * weight
            return sk.semivalue(game, sk.Banzhaf(), backend=backend)

        return run

    close(gradient(credits("auto"), r, c, weights=w), gradient(credits("torch"), r, c, weights=w))


def test_bad_rows_are_refused_or_get_no_gradient(data):
    r = data[0]
    r[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"at \[1, 2\]"):
        sk.shapley(sk.Max(r.clone().requires_grad_()))
    (found,) = gradient(lambda r: sk.shapley(sk.Max(r), nan="propagate"), r, weights=torch.ones(4, 5))
    assert (found[1] == 0).all()
    assert torch.isfinite(found).all()


def test_second_derivatives_are_refused_but_by_the_reference(data):
    r = data[0].requires_grad_()
    for backend in ("auto", "torch"):
        (first,) = torch.autograd.grad((sk.shapley(sk.Max(r), backend=backend) ** 2).sum(), r, create_graph=True)
        if backend == "torch":
            assert torch.isfinite(torch.autograd.grad(first.sum(), r)[0]).all()
        else:
            with pytest.raises(RuntimeError, match="use backend='torch'"):
                torch.autograd.grad(first.sum(), r)


# -- torch.func --------------------------------------------------------------------------------------------------------


def test_vmap(data):
    r, mask, c, _ = data
    close([torch.func.vmap(lambda x: sk.shapley(sk.Max(x)))(r)], [sk.shapley(sk.Max(r))])
    close([torch.func.vmap(lambda x: sk.shapley(sk.Max(x)), in_dims=1)(r.T.contiguous())], [sk.shapley(sk.Max(r))])
    nested = torch.func.vmap(torch.func.vmap(lambda x, c: sk.shapley(sk.Max(x, v_empty=c))))
    both = torch.stack([r, 2 * r]), torch.stack([c, -c])
    close([nested(*both)], [sk.shapley(sk.Max(both[0], v_empty=both[1]))])
    masks = torch.func.vmap(lambda m: sk.shapley(sk.Min(r[0], mask=m)))(mask)
    close([masks], [sk.shapley(sk.Min(r[0].expand(4, 5), mask=mask))])
    empties = torch.func.vmap(lambda c: sk.shapley(sk.Max(r, v_empty=c)))(c)
    close([empties], [torch.stack([sk.shapley(sk.Max(r, v_empty=float(x))) for x in c])])


def test_grad_vmap_grad_and_jacobian(data):
    r, mask, c, w = data

    def loss(r, c, m, w):
        return (sk.shapley(sk.Median(r, mask=m, v_empty=c)) * w).sum()

    want = gradient(reference(sk.Median, mask), r, c, weights=w)
    close(torch.func.grad(loss, argnums=(0, 1))(r, c, mask, w), want)
    close(torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(r, c, mask, w), want)
    jacobian = torch.func.jacrev(lambda r: sk.shapley(sk.Min(r)))(r[0])
    close([jacobian], [torch.func.jacrev(lambda r: sk.shapley(sk.Min(r), backend="torch"))(r[0])])


# -- torch.compile -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # opcheck of 2.15
@pytest.mark.parametrize(("masked", "per_row"), [(False, True), (True, False)])
def test_operators(masked, per_row, data):
    r, mask, c, w = data
    mask, c = mask if masked else None, c if per_row else c[:1].clone()
    tables = order_tables(((1.0, sk.Median, ()),), sk.Shapley(), 5, tuple(range(6))).on("torch", "float64", "cpu")
    inputs = r.clone().requires_grad_(), mask, c.clone().requires_grad_()
    for found in (
        library.opcheck(torch_op.order, (*inputs, *tables, "numba", torch.float32)),
        library.opcheck(torch_op.gradient, (w, r, mask, c, *tables, "numba")),
    ):
        assert set(found.values()) == {"SUCCESS"}


def check_compiled(f, *inputs, backend="aot_eager", **how):
    """One graph, and bitwise what an eager call gives."""
    compiled = torch.compile(f, fullgraph=True, backend=backend, **how)
    assert torch.equal(compiled(*inputs), f(*inputs))
    return compiled


@compiles
def test_compiled(data):
    r, mask, c, _ = data
    check_compiled(lambda r, m, c: sk.shapley(sk.Max(2 * r, mask=m, v_empty=c)) + 1, r, mask, c)
    check_compiled(lambda r: sk.shapley(sk.Max(r)), r.bfloat16())  # without mask, v_empty a number
    check_compiled(lambda r: sk.shapley(sk.Max(r), backend="torch"), r)
    many = torch.rand(3, 100)
    check_compiled(lambda r, m: sk.shapley(sk.Max(r, mask=m)), many, many < 0.5)  # counts cannot be looked at


@compiles
@newer  # dataclasses.replace is not traced before
def test_compiled_sums(data):
    r, mask, _, _ = data
    value = sk.BetaShapley(4, 1)
    game = lambda r, m: 0.7 * sk.TopM(r, 2, mask=m) + 0.3 * sk.Max(r, mask=m)  # noqa: E731
    check_compiled(lambda r, m: sk.semivalue(game(r, m), value) - sk.shapley(sk.Min(r)), r, mask)


@compiles
def test_compiled_sizes_may_change():
    f = check_compiled(lambda r: sk.shapley(sk.Max(r)), torch.rand(4, 5), dynamic=True)
    for shape in ((7, 5), (9, 5), (4, 3)):
        r = torch.rand(shape)
        assert torch.equal(f(r), sk.shapley(sk.Max(r)))


@compiles
def test_compiled_gradients(data):
    r, mask, c, w = data

    def credits(r, c):
        return sk.shapley(sk.Median(r, mask=mask, v_empty=c))

    compiled = torch.compile(credits, fullgraph=True, backend="aot_eager")
    close(gradient(compiled, r, c, weights=w), gradient(credits, r, c, weights=w))


@compiles
def test_compiled_calls_propagate(data):
    r = data[0].clone()
    r[1, 2] = float("inf")
    found = torch.compile(lambda r: sk.shapley(sk.Max(r)), fullgraph=True, backend="aot_eager")(r)
    assert found[1].isnan().all()
    assert torch.isfinite(found[[0, 2, 3]]).all()


@compiles
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_compiled_by_inductor(data):
    r, mask, _, _ = data
    check_compiled(lambda r, m: sk.shapley(sk.Max(2 * r, mask=m)), r, mask, backend="inductor")


def test_what_is_made_within_a_transform_is_not_kept():
    tables = order_tables(((1.0, sk.Max, ()),), sk.Shapley(), 3, (3,))
    tables._placed.clear()

    def loss(x):
        assert not may_keep(torch.zeros(1))
        return (x * tables.on("torch", "float32", "cpu")[0]).sum()

    torch.func.grad(loss)(torch.ones(3))
    assert tables.on("torch", "float32", "cpu")[0].data_ptr()
    assert may_keep(torch.zeros(1))
    with FakeTensorMode():
        assert not may_keep(torch.zeros(1))


OTHERS = {
    "NoisyOr": (sk.NoisyOr, (3, 4)),
    "AtLeast": (lambda p: sk.AtLeast(p, 2), (3, 4)),
    "LogSum": (sk.LogSum, (3, 4)),
    "Coverage": (sk.Coverage, (3, 4, 2)),
    "Pairwise": (sk.Pairwise, (3, 4, 4)),
    "Volume": (sk.Volume, (3, 4, 4)),
    "Table": (sk.Table, (3, 16)),
    "Clusters": (lambda r: sk.Clusters(torch.zeros(4, dtype=torch.int64), r), (3, 4)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_vmap_over_other_games_says_what_to_do(name):
    """Where PyTorch would end in errors about itself."""
    make, shape = OTHERS[name]
    data = torch.zeros(shape)
    with pytest.raises(TypeError, match=f"{name}: .* must not be mapped over by torch.func.vmap, .* as leading axes"):
        torch.func.vmap(lambda x: sk.shapley(make(x)))(data)
    assert torch.func.vmap(lambda x: x + sk.shapley(make(data[0])).sum())(torch.zeros(2)).shape == (2,)
    with pytest.raises(TypeError, match="NoisyOr: mask must not be mapped over"):
        torch.func.vmap(lambda m: sk.shapley(sk.NoisyOr(torch.zeros(4), mask=m)))(torch.ones(2, 4, dtype=torch.bool))


@forward_mode
@pytest.mark.parametrize("name", OTHERS)
def test_torch_func_differentiates_other_games(name):
    make, (_, *shape) = OTHERS[name]
    generator = torch.Generator().manual_seed(0)
    data, weight = (torch.rand(size, generator=generator, dtype=torch.float64) for size in (shape, 4))
    if name in ("Pairwise", "Volume"):
        data = data @ data.mT  # symmetric, and positive semidefinite

    def loss(x):
        return (sk.shapley(make(x)) * weight).sum()

    wanted = data.clone().requires_grad_()
    loss(wanted).backward()
    assert wanted.grad.abs().sum() > 0
    close([torch.func.grad(loss)(data)], [wanted.grad])
    if name != "Clusters":  # sorted, by a kernel
        close([torch.func.jvp(loss, (data,), (torch.ones_like(data),))[1]], [wanted.grad.sum()])


SAME = {"Max": (sk.Max, (3, 5)), "a sum": (lambda x: 0.5 * sk.TopM(x, 2) + sk.Mean(x), (3, 5))}
SAME |= {"FacilityLocation": (sk.FacilityLocation, (3, 5, 2))}
EXPORTED = SAME | {name: game for name, game in OTHERS.items() if name != "LogSum"}
EXPORTED["BudgetCap"] = (lambda x: sk.BudgetCap((5 * x[..., 0]).long(), budget=6), (3, 4, 1))
EXPORTED["Clusters"] = (lambda x: sk.Clusters((5 * x[..., 0]).long(), x[..., 1]), (3, 4, 2))
EXPORTED["with a mask"] = (lambda x: masked(x, x > 0.3), (3, 4))


def masked(x, mask):
    return sk.Max(x, mask=mask) - sk.NoisyOr(x, mask=mask)


class Credits(torch.nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return sk.shapley(self.make(x))


@newer
@pytest.mark.parametrize("name", EXPORTED)
def test_export(name):
    make, shape = EXPORTED[name]
    x, other = (x @ x.mT if shape[-2:] == (4, 4) else x for x in torch.rand(2, *shape, dtype=torch.float64))
    exported = torch.export.export(Credits(make), (x,)).module()
    if name in SAME:
        assert (exported(other) == sk.shapley(make(other))).all()
    else:
        torch.testing.assert_close(exported(other), sk.shapley(make(other)))


@newer
def test_what_cannot_be_exported_says_so():
    for make, message in (
        (sk.LogSum, r"LogSum: w must not be traced by torch\.export, .*; export sk\.Table of its"),
        (
            lambda x: sk.Max(x, mask=x > 0) - sk.Min(x),
            r"under torch\.export only on one mask.* the same tensor to both",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            torch.export.export(Credits(make), (torch.rand(3, 4),))


@forward_mode
def test_forward_mode_gives_no_tangent_away():
    r = torch.rand(4, 3)
    for make, raises in ((sk.Max, True), (sk.NoisyOr, False)):
        sk.shapley(make(r))  # the like of which is known from here on
        with forward_ad.dual_level():
            x = forward_ad.make_dual(r, torch.ones_like(r))
            tangent = forward_ad.unpack_dual(sk.shapley(make(x), backend="torch")).tangent
            step = (sk.shapley(make(r.double() + 1e-6)) - sk.shapley(make(r.double() - 1e-6))) / 2e-6
            torch.testing.assert_close(tangent, step.float())
            if raises:  # the kernels of games of sorted rewards go backwards alone
                with pytest.raises(NotImplementedError, match="jvp"):
                    sk.shapley(make(x))
            else:
                assert torch.equal(forward_ad.unpack_dual(sk.shapley(make(x))).tangent, tangent)
                with pytest.raises(TypeError, match="use backend='torch'"):
                    sk.shapley(make(x), backend="numba")
            assert torch.equal(sk.shapley(make(r)), sk.shapley(make(x.detach())))
