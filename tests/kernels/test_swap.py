"""The `swap` kernels against rational arithmetic; Triton under TRITON_INTERPRET=1 (a process of its own) or on a
GPU."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from shapley_kernels.kernels.swap import KINDS
from tests.kernels.conftest import need

torch = need("torch")
rig = need("torch", "tests.kernels.rig")

backends = pytest.mark.parametrize("backend", rig.backends())
dtypes = pytest.mark.parametrize("dtype", rig.DTYPES, ids=str)

EQUAL = ([3, 3], None)
UNEVEN = ([4, 1, 2], [5, 0, 3, 1, 6, 4, 2])


def case(groups=UNEVEN, players=3, topics=2, dtype=torch.float64, lam=0.5, by_row=True, seed=0, texture="numbers"):
    """Arguments of `run` but the kind and out; what stands behind the last candidate is NaN."""
    sizes, order = groups
    rng, rows, real = np.random.default_rng([seed, players, topics]), sum(sizes), rig.real(dtype)
    x = torch.tensor(
        rng.normal(size=(rows, players, topics)) if texture == "numbers" else np.full((rows, players, topics), 0.1)
    )
    x[torch.tensor(rng.random(x.shape) < 0.25)] = -torch.inf if texture == "numbers" else 0.1
    count = torch.tensor(rng.integers(0, players + 1, rows), dtype=torch.int32)
    count[0] = players
    x[torch.arange(players)[None, :] >= count[:, None]] = torch.nan
    weights, empty = torch.tensor(rng.normal(size=(rows, topics))), torch.tensor(rng.normal(size=rows))
    if not by_row:
        weights, empty = weights[:1], empty[:1]
    gap = np.arange(players + 1)[:, None] - np.arange(players + 1)
    mix = np.where(gap == 0, 1.0, np.where(gap > 0, (lam - 1) * float(lam) ** np.maximum(gap - 1, 0), 0.0))
    tensors = (x.to(dtype), count, weights.to(dtype), empty.to(dtype))
    starts = np.cumsum([0, *sizes])
    order = None if order is None else np.array(order)
    return tensors, (order, starts), torch.tensor(mix if lam < 1 else np.zeros((0, 0)), dtype=real)


def launched(backend, arguments, kind, dtype=None):
    (x, count, weights, empty), groups, mix = arguments
    run, real = rig.backend("swap", backend).run, rig.real(x.dtype)
    dtype = real if backend == "numba" else dtype or x.dtype

    def call(x, count, weights, empty, mix, out):
        assert run(x, count, weights, empty, *groups, mix, KINDS.index(kind), out) in (None, -1)

    given = (x, count, weights, empty)
    if backend == "numba":
        given = tuple(t.to(real) if t.dtype.is_floating_point else t for t in given)
    return rig.launch(call, (*given, mix), (x.shape[0], x.shape[1] + 1), backend, dtype)[0]


def exact(arguments, kind):
    """out and its bound before it is rounded, [rows, K + 1], from the definition."""
    (x, count, weights, empty), (order, starts), mix = arguments
    rows, players, topics = x.shape
    order = np.arange(rows) if order is None else order
    eps = float(torch.finfo(rig.real(x.dtype)).eps)
    out, bound = np.full((rows, players + 1), Fraction(0), object), np.zeros((rows, players + 1))
    shares = mix if mix.numel() else torch.eye(players + 1, dtype=torch.float64)
    for start, stop in pairwise(starts):
        for own in order[start:stop]:
            others = [h for h in order[start:stop] if h != own]
            n = int(count[own])
            places = n + (kind == "suffix") if others else 0
            d, m = [], []
            w = [Fraction(float(v)) for v in weights[own if len(weights) > 1 else 0]]
            c = Fraction(float(empty[own if len(empty) > 1 else 0]))
            for k in range(places):
                gains = [gain(x, count, own, h, n, k, kind, c) for h in others]  # [others][topics]
                d.append(sum(v * g for row in gains for v, g in zip(w, row, strict=True)) / len(others))
                m.append(float(sum(abs(v * g) for row in gains for v, g in zip(w, row, strict=True)) / len(others)))
            for k in range(places):
                share = [Fraction(float(shares[j, k])) for j in range(places)]
                out[own, k] = sum((a * b for a, b in zip(share, d, strict=True)), Fraction(0))
                size = sum(abs(float(a)) * b for a, b in zip(share, m, strict=True))
                bound[own, k] = ((stop - start) * topics + 2 * players + 4) * eps / 2 * size
    return out, bound


def gain(x, count, own, h, n, k, kind, c):
    """By topic, what the own list is worth above the one mixed with h at place k, from 0."""
    mine, theirs = x[own, :n].double().tolist(), x[h, : int(count[h])].double().tolist()
    mixed = [*mine[:k], *theirs[k:]] if kind == "suffix" else [*mine[:k], *theirs[k : k + 1], *mine[k + 1 :]]

    def best(rows, t):
        found = max((row[t] for row in rows), default=-np.inf)
        return c if found == -np.inf else Fraction(found)

    return [best(mine, t) - best(mixed, t) for t in range(x.shape[2])]


def check(backend, arguments, kind, dtype=None):
    out = launched(backend, arguments, kind, dtype)
    expected, bound = exact(arguments, kind)
    # bfloat16 stores truncate in the interpreter, on a device they round to nearest
    truncates = backend == "triton" and rig.INTERPRETED and out.dtype == torch.bfloat16
    rounding = float(torch.finfo(out.dtype).eps) * (1 if truncates else 0.5)
    for got, value, allowed in zip(out.double().flatten().tolist(), expected.flat, bound.flat, strict=True):
        error = abs(Fraction(got) - value)
        assert error <= Fraction(allowed + rounding * (abs(float(value)) + allowed)), (got, float(value), allowed)


@backends
@dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [EQUAL, UNEVEN, ([1, 1], None), ([2, 5], None)], ids=str)
def test_within_the_bound(backend, dtype, kind, groups):
    for lam, by_row in ((1, True), (0.5, True), (0, False)):
        check(backend, case(groups, dtype=dtype, lam=lam, by_row=by_row), kind)


@backends
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("players", "topics"), [(1, 1), (2, 1), (7, 1), (8, 3), (5, 17), (3, 40), (33, 1)])
def test_sizes(backend, kind, players, topics):
    for lam in (1, 0.75):
        check(backend, case(([3, 2], [4, 0, 1, 3, 2]), players, topics, lam=lam), kind)


@backends
@pytest.mark.parametrize("kind", KINDS)
def test_ties_are_exactly_0(backend, kind):
    for lam in (1, 0.5):
        arguments = case(([7], None), 4, 3, lam=lam, texture="ties")
        arguments[0][1].fill_(4)
        arguments[0][0].fill_(0.1)
        assert (launched(backend, arguments, kind) == 0).all()


@backends
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_does_not_depend_on_the_others(backend, kind):
    tensors, (_, starts), mix = case(([3] * 40, None), 5, 2, dtype=torch.float32)
    whole = launched(backend, (tensors, (None, starts), mix), kind)
    for first in (0, 17, 39):
        some = tuple(x[3 * first : 3 * first + 3] for x in tensors)
        found = launched(backend, (some, (None, np.array([0, 3])), mix), kind)
        assert torch.equal(found, whole[3 * first : 3 * first + 3])


@backends
def test_nothing_to_do(backend):
    for groups, players in (([], 3), ([2], 0)):
        arguments = case((groups, None), players) if groups else None
        if arguments is None:
            tensors = tuple(torch.empty(0, *shape) for shape in ((3, 2), (), (2,), ()))
            tensors = (tensors[0], tensors[1].int(), *tensors[2:])
            arguments = tensors, (None, np.array([0])), torch.empty(0, 0)
        assert launched(backend, arguments, "suffix").shape == (len(arguments[0][0]), players + 1)


def test_the_torch_backend_has_gradients():
    (x, *rest), groups, mix = case(players=3, topics=2)
    x = torch.rand_like(x).requires_grad_()  # no ties, where there is no gradient
    run = rig.backend("swap", "torch").run

    def call(x):
        out = x.new_empty(len(x), x.shape[1] + 1)
        run(x, *rest, *groups, mix, 0, out)
        return out

    assert torch.autograd.gradcheck(call, (x,))
