"""By what a point is computed: each backend, the few lines a user would write instead, and a copy of as many bytes."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels.bench.cases import Inputs, Unsuited
from shapley_kernels.games import OWA, Clusters, FacilityLocation, Mean, Min, Pairwise, Range, Table
from shapley_kernels.games.order.base import FixedWeights
from shapley_kernels.testing.samples import place


@dataclass(frozen=True)
class Method:
    """A way to compute credits.

    `prepare(inputs)` gives the call that is timed: without arguments, all the work from rewards to credits in it. It
    raises `Unsuited` where the method has nothing to offer.
    """

    name: str
    kind: str
    """"ours", "five-liner", "peer", or "roof" for the copy."""
    prepare: Callable[[Inputs], Callable[[], Any]]
    packages: tuple[str, ...] = ()
    precision: str | None = None
    """What it computes in, where that is less than the dtype of the point."""

    def call(self, inputs: Inputs) -> Callable[[], Any]:
        """`prepare`, `Unsuited` when a package is missing."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                name = INSTALL.get(package, package)
                raise Unsuited(f"{package} is not installed: pip install {name}")
        return self.prepare(inputs)


INSTALL = {
    "torch": "'shapley_kernels[torch]'",
    "triton": "'shapley_kernels[triton]'",
    **dict.fromkeys(("coopgame", "shap", "shapiq", "shapley_numba"), "'shapley_kernels[peers]'"),
}


# -- shapley_kernels -------------------------------------------------------------------------------------------------


def _ours(backend: str) -> Method:
    container = "numpy" if backend == "numba" else "torch"

    def prepare(inputs: Inputs) -> Callable[[], Any]:
        device = inputs.point.device
        if (backend == "numba") != (device == "cpu") and backend != "torch":
            raise Unsuited(f"backend {backend!r} does not run on {device}")
        arrays, build = inputs.arrays(container), inputs.game
        return lambda: sk.shapley(build(arrays), backend=backend)

    return Method(backend, "ours", prepare, () if backend == "numba" else (backend,))


OURS = tuple(_ours(backend) for backend in ("numba", "torch", "triton"))


# -- five lines of numpy or torch ------------------------------------------------------------------------------------


def numpy_rows(r: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """phi_[j] = sum_{k >= j} (r_[k] - r_[k+1]) inside_k, the rows sorted ascending; `inside` from the worst up."""
    order = np.argsort(r, -1)
    gaps = np.diff(np.take_along_axis(r, order, -1), axis=-1, prepend=r.dtype.type(0)) * inside
    out = np.empty_like(r)
    np.put_along_axis(out, order, np.cumsum(gaps, -1), -1)
    return out


def torch_rows(r: Any, inside: Any) -> Any:
    """`numpy_rows` in torch."""
    import torch

    s, order = torch.sort(r, dim=-1)
    gaps = torch.diff(s, dim=-1, prepend=torch.zeros_like(s[..., :1])) * inside
    return torch.empty_like(r).scatter_(-1, order, gaps.cumsum(-1))


def five_liner(inputs: Inputs) -> tuple[Callable[[Any, dict[str, Any], Any], Any], np.ndarray]:
    """What a user would write for the game of `inputs`: lines(rows, arrays, inside), `rows` one of `numpy_rows` and
    `torch_rows`, `arrays` in the same library; and `inside`.

    Raises:
        Unsuited: nothing as short is known.
    """
    utility, n = inputs.utility, inputs.players
    at_least = np.arange(n, 0, -1)  # players who are as good, in a row sorted ascending
    if issubclass(utility, FixedWeights) or (utility is OWA and inputs.others["weights"].ndim == 1):
        weights = utility.weights(n, *utility(np.zeros(n), **inputs.others).params)
        return lambda rows, x, inside: rows(x["rewards"], inside), (weights.cumsum() / at_least[::-1])[::-1].copy()
    if utility is Min:
        return lambda rows, x, inside: -rows(-x["rewards"], inside), 1 / at_least
    if utility is Range:
        return lambda rows, x, inside: rows(x["rewards"], inside) + rows(-x["rewards"], inside), 1 / at_least
    if utility is Mean:
        own = (1 / at_least).sum() / n
        rest = (own - 1 / n) / max(n - 1, 1)
        return _mean_lines, np.array([own + rest, rest])
    if utility is FacilityLocation:
        return _facility_lines, 1 / at_least
    if utility is Clusters and "rewards" not in inputs.sample.arrays:
        return lambda rows, x, _: 1 / (x["labels"][..., None] == x["labels"][..., None, :]).sum(-1), np.ones(1)
    if utility is Pairwise:
        return _pairwise_lines, np.ones(1)
    if utility is Table:
        return lambda rows, x, weights: x["values"] @ weights, of_coalitions(n)
    raise Unsuited(f"no five-liner for {utility.__name__}")


def _mean_lines(rows: Any, x: dict[str, Any], shares: Any) -> Any:
    return x["rewards"] * shares[0] - x["rewards"].sum(-1)[..., None] * shares[1]


def _facility_lines(rows: Any, x: dict[str, Any], inside: Any) -> Any:
    credits = rows(x["scores"].swapaxes(-1, -2), inside)  # [..., topics, players]
    return (credits * x["weights"][..., None] if "weights" in x else credits).sum(-2)


def _pairwise_lines(rows: Any, x: dict[str, Any], _: Any) -> Any:
    return x["values"] + (x["w"].sum(-1) - x["w"].diagonal(0, -2, -1)) / 2


def members(n: int) -> np.ndarray:
    """[2^n, n] bool: who is in coalition sum_{i in S} 2^i."""
    return np.arange(2**n)[:, None] >> np.arange(n) & 1 == 1


def of_coalitions(n: int) -> np.ndarray:
    """[2^n, n]: what the worth of each coalition counts for each player, +-1 / (n C(n-1, s)) with s others in it."""
    inside = members(n)
    others = inside.sum(1, keepdims=True) - inside
    weights = np.array([1 / (n * comb(n - 1, s)) for s in range(n)])
    return np.where(inside, 1.0, -1.0) * weights[others]


def _numpy_lines(inputs: Inputs) -> Callable[[], Any]:
    if inputs.point.device != "cpu":
        raise Unsuited(f"numpy does not run on {inputs.point.device}")
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("numpy")
    inside = inside.astype(inputs.point.dtype)
    return lambda: lines(numpy_rows, arrays, inside)


def _torch_lines(inputs: Inputs) -> Callable[[], Any]:
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("torch")
    on_device = place(inside, "torch", inputs.point.dtype, inputs.point.device)
    return lambda: lines(torch_rows, arrays, on_device)


def _compiled_lines(inputs: Inputs) -> Callable[[], Any]:
    import torch

    if inputs.point.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise Unsuited("torch.compile needs a C++ compiler")
    lines, inside = five_liner(inputs)
    arrays = inputs.arrays("torch")
    on_device = place(inside, "torch", inputs.point.dtype, inputs.point.device)
    if inputs.seed == 0:
        torch.compiler.reset()  # after some shapes it would give up compiling, and say so only in a log
    compiled = torch.compile(lambda x, a: lines(torch_rows, x, a), dynamic=False)
    return lambda: compiled(arrays, on_device)


FIVE_LINERS = (
    Method("numpy-five-liner", "five-liner", _numpy_lines),
    Method("torch-five-liner", "five-liner", _torch_lines, ("torch",)),
)

COMPILED = Method("compiled-five-liner", "five-liner", _compiled_lines, ("torch",))
"""The torch five-liner under torch.compile: seconds of compilation per shape, so only where asked for."""


# -- the roof --------------------------------------------------------------------------------------------------------


def _copy(inputs: Inputs) -> Callable[[], Any]:
    """A copy that moves the same bytes: half of them read, half written."""
    half = inputs.bytes // 2
    if inputs.point.device == "cpu":
        source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
        return lambda: np.copyto(target, source)
    import torch

    tensors = [torch.full((half,), n, dtype=torch.uint8, device=inputs.point.device) for n in (1, 0)]
    return lambda: tensors[1].copy_(tensors[0])


ROOF = Method("copy", "roof", _copy)
