"""What fuzz targets pass: the numbers of `shapley_kernels.testing` in every container, dtype and layout, and things
that no careful user would pass."""

import datetime
import decimal
import enum
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

import shapley_kernels as sk
from shapley_kernels.testing.samples import Sample, Utility, family, place, rounded, sample
from shapley_kernels.testing.subjects import views
from tests.fuzz.rig import chance, is_dense, pick

DTYPES = {"numpy": ("float64", "float32", "float16"), "torch": ("float64", "float32", "float16", "bfloat16")}
INTEGERS = ("int64", "int32", "int8", "bool")


@dataclass(frozen=True)
class Form:
    """A container, a dtype of floats or of what becomes them, and a layout in memory."""

    container: str
    dtype: str
    layout: str

    @classmethod
    def drawn(cls, rng: np.random.Generator, integers: bool = True) -> "Form":
        container = pick(rng, ("numpy", "numpy", "torch"))
        dtype = pick(rng, INTEGERS) if integers and chance(rng, 0.1) else pick(rng, DTYPES[container])
        layout = pick(rng, ("plain", *views(container), *(("list",) if container == "numpy" else ())))
        return cls(container, dtype, layout) if layout != "list" else cls("numpy", "float64", "list")

    @property
    def floats(self) -> str:
        """The dtype that the numbers have before they are placed."""
        return "float64" if self.dtype in INTEGERS else self.dtype

    @property
    def result(self) -> str:
        """The dtype of what is computed from numbers of this form."""
        if self.dtype not in INTEGERS:
            return self.dtype
        return "float64" if self.container == "numpy" else "float32"

    def numbers(self, x: np.ndarray) -> np.ndarray:
        """The float64 numbers that `placed` keeps of some."""
        if self.dtype not in INTEGERS:
            return rounded(x, self.dtype)
        whole = np.nan_to_num(np.rint(x), nan=0.0).clip(-100, 100)
        return (whole > 0) * 1.0 if self.dtype == "bool" else whole

    def placed(self, x: np.ndarray) -> Any:
        """float64 numbers, or bools, as a user would pass them."""
        kind = x.dtype if x.dtype.kind == "b" else self.dtype
        if self.layout == "list" and x.size:
            return x.tolist()
        if self.dtype in INTEGERS and x.dtype.kind != "b":
            given = self.numbers(x).astype(kind)
            given = torch.tensor(given) if self.container == "torch" else given
        else:
            given = place(x, self.container, str(kind))
        view = views(self.container).get(self.layout)
        return view(given) if view and given.ndim > 1 else given


def batch(
    rng: np.random.Generator,
    utility: Utility,
    form: Form,
    players: int | None = None,
    rows: int | None = None,
    masked: bool = True,
) -> Sample:
    """Arguments of a utility for few players and rows, at any scale where it has one."""
    players = pick(rng, (1, 2, 2, 3, 3, 3, 4, 4, 5, 0)) if players is None else players
    rows = pick(rng, (1, 1, 2, 2, 3, 0)) if rows is None else rows
    draw = int(rng.integers(1 << 40)) & (-1 if masked else -2)  # odd ones have a mask
    data = sample(utility, form.floats, players, draw, rows)
    return data if form.dtype in INTEGERS or chance(rng, 0.7) else scaled(rng, data, form.floats)


EXPONENTS = {"float64": 900, "float32": 90, "float16": 4, "bfloat16": 90}


def scaled(rng: np.random.Generator, data: Sample, dtype: str) -> Sample:
    """With all that scales the worth in another unit."""
    unit = 2.0 ** int(rng.integers(-EXPONENTS[dtype], EXPONENTS[dtype]))
    with np.errstate(all="ignore"):
        arrays = {name: rounded(unit * np.asarray(x), dtype) for name, x in data.arrays.items() if _scales(data, name)}
    live = [x[~np.isnan(x)] for x in arrays.values()]
    if not all(np.isfinite(x).all() for x in live):
        return data
    return data.with_arrays(**{name: x if x.ndim else float(x) for name, x in arrays.items()})


def _scales(data: Sample, name: str) -> bool:
    return name in family(data.utility).scales


def with_mask(data: Sample, mask: np.ndarray | None) -> Sample:
    return replace(data, mask=mask).at_masked(np.nan)


def arguments(rng: np.random.Generator, data: Sample, form: Form) -> dict[str, Any]:
    """The keywords of a utility's class, in a form; the batch axis is split or taken off now and then."""
    rows = data.shape[0]
    shape = pick(rng, ((rows,), (rows,), (1, rows), (rows, 1), *((),) * (rows == 1)))

    def given(x: Any) -> Any:
        if not isinstance(x, np.ndarray):  # one number, as the kernels get it
            return float(rounded(np.asarray(x), form.result))
        x = x.reshape(shape + x.shape[1:])
        return form.placed(x) if x.dtype.kind in "fb" else place(x, form.container, "int64")

    filled = data.at_masked(0.0) if form.dtype in INTEGERS else data
    named = {name: given(x) for name, x in filled.arrays.items()}
    return {**named, **({} if data.mask is None else {"mask": given(data.mask)}), **data.others}


ORDER = (sk.Max, sk.Min, sk.Mean, sk.Median, sk.Range, sk.TopM, sk.TopMMean, sk.KthBest, sk.Discounted, sk.OWA)


def value(rng: np.random.Generator, players: int) -> sk.Semivalue:
    """Any semivalue, its parameters at the ends of their ranges too."""
    kind = int(rng.integers(12))
    if kind < 4:
        return sk.Shapley()
    if kind < 6:
        return sk.Banzhaf(pick(rng, (0.5, 0, 1, 0.25, float(rng.random()), 1e-9, 1 - 1e-9)))
    if kind < 8:
        return sk.BetaShapley(*(pick(rng, (1, 0.5, 2, 4.0, float(rng.uniform(0.1, 9)))) for _ in range(2)))
    if kind < 9:
        return sk.Stratum(int(rng.integers(1, players + 3)))
    if kind < 10:
        return sk.LeaveOneOut()
    seed = int(rng.integers(1 << 16))
    return sk.SizeWeights(lambda n: np.random.default_rng([seed, n]).integers(0, 9, n) / 8)


# -- what no careful user would pass ----------------------------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 1


class Liar:
    """Says that it has a shape and a dtype."""

    shape, dtype, ndim = (2, 3), np.dtype("float64"), 2

    def __len__(self) -> int:
        return 2


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)


SCALARS = (
    *(None, True, 0, 1, -1, 3, 2**31, 2**70, -(2**70), 0.5, 1.0, 1e308, 5e-324, 1j, Colour.RED),
    *(float("nan"), float("inf"), -float("inf"), Fraction(1, 3), Fraction(10**400)),
    *(decimal.Decimal("0.5"), decimal.Decimal("NaN"), datetime.date(2020, 1, 1)),
    *(np.int64(2), np.uint8(1), np.bool_(True), np.float32(0.5), np.float64(1.0), np.longdouble(0.5)),
    *(np.complex128(1j), np.str_("x"), np.datetime64("2020-01-01")),
    *("", "1", "nope", "group", b"1", range(3), len, float, sk.Max, sk.Shapley, sk.Shapley(), (1.0, 2.0)),
)
"""Things that no call can change."""

LISTS = (
    *("[]", "{}", "[[]]", "[[], []]", "[1, 2, 3]", "[1.0, float('nan')]", "[[1.0, 2.0], [3.0]]", "[[1.0, [2.0]]]"),
    *("['a', 'b']", "[None, 1.0]", "[1j]", "[2**70, 1]", "[Fraction(1, 2), 1]", "{'a': 1}", "{1, 2}", "iter([1, 2])"),
    *("bytearray(b'ab')", "memoryview(b'ab')", "object()", "Liar()", "sk.Max(np.ones(3))"),
)

ARRAYS = (
    *("np.array(2.0)", "np.array([])", "np.zeros((0, 3))", "np.zeros((3, 0))", "np.zeros((2, 2, 2, 2))", "np.ones(3)"),
    *("np.ones((2, 3), bool)", "np.array([1, 2])", "np.array([1j, 2])", "np.array(['a', 'b'])"),
    *("np.array([None, 1.0])", "np.array([Fraction(1, 2), 1], object)", "np.array([[1.0], [2.0, 3.0]], object)"),
    *("np.array([1.0, 2.0], np.longdouble)", "np.array(['2020-01-01'], 'datetime64[D]')"),
    *("np.array([(1, 2.0)], [('a', int), ('b', float)])", "np.ma.masked_array([1.0, 2.0], [True, False])"),
    *("torch.tensor(1.0)", "torch.ones(3)", "torch.ones(2, 3, dtype=torch.bool)", "torch.zeros(0, 3)"),
    *("torch.tensor([1j])", "torch.tensor([1, 2])", "torch.ones(2, 3).to_sparse()", "torch.ones(2, 3, device='meta')"),
    *("torch.ones(2, 3, dtype=torch.float64, requires_grad=True)", "torch.ones(2, 3).to(torch.float8_e4m3fn)"),
    *("torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)", "quantized()"),
    "[torch.ones(2), torch.ones(2)]",
)

MADE = tuple(compile(source, source, "eval") for source in (*LISTS, *ARRAYS))
"""Makers of things that a call could change, each time anew."""


def hostile(rng: np.random.Generator) -> Any:
    """Something of any kind, most of them wrong wherever they stand."""
    which = int(rng.integers(len(SCALARS) + len(MADE)))
    return SCALARS[which] if which < len(SCALARS) else eval(MADE[which - len(SCALARS)])


def mutated(rng: np.random.Generator, x: Any) -> Any:
    """Something like a valid argument, or nothing like it."""
    if chance(rng, 0.3) or not isinstance(x, (np.ndarray, torch.Tensor)):
        return hostile(rng)
    if isinstance(x, torch.Tensor) and not (is_dense(x) and str(x.dtype) in NUMPY_DTYPES):
        return hostile(rng)
    return _array_mutated(rng, x)


EXTREMES = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 3e38, -6e4, 5e-324, -0.0, 2.0**53, 1e-300, -1.0)

NUMPY_DTYPES = [
    f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int8", "bool")
]

ODD_DTYPES = ("complex64", "object", "U3", "bool", "int8", "uint8", "uint64", "longdouble", "float16", "M8[s]", "S2")


def _array_mutated(rng: np.random.Generator, x: Any) -> Any:
    """An array with other entries, another shape, dtype, layout or container."""
    kind = int(rng.integers(10))
    if isinstance(x, torch.Tensor):
        if kind == 0:
            return x.to(
                pick(rng, (torch.complex64, torch.bool, torch.int8, torch.uint8, torch.float16, torch.bfloat16))
            )
        if kind == 1:
            return _as_numpy(x)
        if kind == 2 and x.is_floating_point():
            return x.clone().requires_grad_()
        if kind == 3:
            return pick(rng, (x.to_sparse, lambda: x.to("meta"), x.tolist))()
        if kind == 4 and x.is_floating_point():
            return torch.complex(torch.zeros_like(x.double()), -x.double()).conj().imag
        return (
            torch.tensor(found)
            if isinstance(found := _array_mutated(rng, _as_numpy(x)), np.ndarray)
            and (
                found.dtype.kind in "fiub"
                and found.dtype.itemsize <= 8
                and found.flags.writeable
                and all(s >= 0 for s in found.strides)
            )
            else found
        )
    if kind < 3 and x.size and x.dtype.kind == "f":
        changed = x.copy()
        with np.errstate(over="ignore"):
            changed.reshape(-1)[rng.integers(x.size)] = pick(rng, EXTREMES)
        return changed
    if kind == 3 and x.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return (x * 10.0 ** int(rng.integers(-320, 309))).astype(x.dtype)
    if kind == 4:
        with np.errstate(all="ignore"):
            return x.astype(pick(rng, ODD_DTYPES)) if x.dtype.kind in "fib" else x[..., None]
    if kind == 5:
        return pick(
            rng, (x[None], x[..., None], x.T, x.reshape(-1), x[..., :-1] if x.ndim else x, x[:1] if x.ndim else x)
        )
    if kind == 6 and x.ndim:
        return pick(rng, (np.concatenate([x, x], -1), x[..., ::-1], x[..., :1], x[..., :0], x[:0]))
    if kind == 7:
        return np.broadcast_to(x[..., :1] if x.ndim else x, x.shape)
    if kind == 8:
        return pick(
            rng,
            (x.tolist, lambda: np.ma.masked_array(x), lambda: x.view(Sub), lambda: tuple(x.tolist()) if x.ndim else x),
        )()
    return (
        torch.tensor(x.astype(float if x.dtype.kind == "f" else int if x.dtype.kind == "i" else bool))
        if x.dtype.kind in "fib"
        else x
    )


def _as_numpy(x: Any) -> np.ndarray:
    x = x.detach()
    return np.ascontiguousarray((x.double() if x.is_floating_point() else x).resolve_neg().numpy())


class Sub(np.ndarray):
    """A subclass that adds nothing."""


def spoiled(rng: np.random.Generator, given: dict[str, Any], most: int = 2) -> dict[str, Any]:
    """The arguments with one or more of them spoiled, left out, or added."""
    given = dict(given)
    for _ in range(int(rng.integers(1, most + 1))):
        name = pick(rng, list(given))
        given[name] = mutated(rng, given[name])
    return given
