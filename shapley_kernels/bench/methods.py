"""By what a point is computed: each backend, the few lines a user would write instead, a sort, a copy, and a matrix
product."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.bench.cases import Call, Inputs
from shapley_kernels.bench.lines import Unsuited


@dataclass(frozen=True)
class Method:
    """A way to compute what a point asks for.

    `prepare(inputs)` gives the call that is timed: without arguments, all the work from rewards to credits in it. It
    raises `Unsuited` where the method has nothing to offer.
    """

    name: str
    kind: str
    """"ours", "five-liner", "peer", or "roof" for the copy, the sort and the matrix product."""
    prepare: Callable[[Inputs], Call]
    packages: tuple[str, ...] = ()
    precision: str | None = None
    """What it computes in, where that is less than the dtype of the point."""

    def call(self, inputs: Inputs) -> Call:
        """`prepare`, `Unsuited` when a package is missing."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                name = INSTALL.get(package, package)
                raise Unsuited(f"{package} is not installed: pip install {name}")
        return self.prepare(inputs)


PEER_PACKAGES = ("coopgame", "powerindices", "shap", "shapiq", "shapley_numba")
INSTALL = {
    "torch": "'shapley_kernels[torch]'",
    "triton": "'shapley_kernels[triton]'",
    **dict.fromkeys(PEER_PACKAGES, "'shapley_kernels[peers]'"),
}


def _ours(backend: str) -> Method:
    def prepare(inputs: Inputs) -> Call:
        device = inputs.point.device
        if (backend == "numba") != (device == "cpu") and backend != "torch":
            raise Unsuited(f"backend {backend!r} does not run on {device}")
        return inputs.ours("numpy" if backend == "numba" else "torch", backend)

    return Method(backend, "ours", prepare, () if backend == "numba" else (backend,))


OURS = tuple(_ours(backend) for backend in ("numba", "torch", "triton"))


def _on_tensors(inputs: Inputs) -> Call:
    if inputs.point.device != "cpu":
        raise Unsuited(f"on {inputs.point.device}, all methods take tensors")
    return inputs.ours("torch", "auto")


TENSORS = Method("tensors", "ours", _on_tensors, ("torch",))
"""What "auto" does on tensors on the CPU: the same as on arrays of numpy, and what it takes to get there and back."""


def _numpy_lines(inputs: Inputs) -> Call:
    if inputs.point.device != "cpu":
        raise Unsuited(f"numpy does not run on {inputs.point.device}")
    return inputs.lines("numpy")


def _compiled_lines(inputs: Inputs) -> Call:
    if inputs.point.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise Unsuited("torch.compile needs a C++ compiler")
    return inputs.lines("compiled")


FIVE_LINERS = (
    Method("numpy-five-liner", "five-liner", _numpy_lines),
    Method("torch-five-liner", "five-liner", lambda inputs: inputs.lines("torch"), ("torch",)),
)

COMPILED = Method("compiled-five-liner", "five-liner", _compiled_lines, ("torch",))
"""The torch five-liner under torch.compile: seconds of compilation per shape, so only where asked for."""


def _copy(inputs: Inputs) -> Call:
    """A copy that moves the same bytes: half of them read, half written."""
    half = inputs.bytes // 2
    if inputs.point.device == "cpu":
        source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
        return lambda: np.copyto(target, source)
    import torch

    tensors = [torch.full((half,), n, dtype=torch.uint8, device=inputs.point.device) for n in (1, 0)]
    return lambda: tensors[1].copy_(tensors[0])


def _votes(inputs: Inputs) -> float:
    """Of few players the differences of all coalitions, and their sums; of many two products and a sum for each node
    and sum of weights that somebody is added to."""
    players, quota = inputs.players, inputs.others["quota"]
    if players <= FEW:
        return 2 * 2 ** (players - 1)
    rows = np.minimum(inputs.sample.arrays["weights"], quota).tolist()
    added = np.mean([_added(weights, 0, sum(weights), quota) for weights in rows])
    return float(3 * ((players + 1) // 2) * added / players)


FEW = 8
"""Players whose coalitions are fewer than the sums of half of them, of the others, and so on."""


def _added(part: list[int], outside: int, everything: int, quota: int) -> int:
    """To how many sums somebody is added when each half of a part is added to the others, and so on: those that are
    reached, and from which the quota can be reached."""
    if len(part) < 2:
        return 0
    half, count = 1 << (len(part) - 1).bit_length() - 1, 0
    for others, rest in ((part[:half], part[half:]), (part[half:], part[:half])):
        total = outside
        for weight in others:
            total += weight
            count += max(0, min(quota, total + 1) - max(0, quota - (everything - total)))
        count += _added(rest, total, everything, quota)
    return count


STEPS: dict[str, Callable[[Inputs], float]] = {
    # a node: a factor (2), the products of those before, of those behind and of both (3), and a sum
    "NoisyOr": lambda inputs: 6 * ((inputs.players + 1) // 2),
    "WeightedVoting": _votes,
    # a difference and its sum for half of all coalitions
    "Table": lambda inputs: 2 * 2 ** (inputs.players - 1),
}
"""Products and sums that credits take, for each player, of games whose time is arithmetic."""

SQUARE = 512
"""Rows of the matrices of the roof of arithmetic."""


def _product(inputs: Inputs) -> Call:
    """A matrix product in the dtype that the kernel computes in."""
    if inputs.point.game not in STEPS or inputs.point.device != "cpu":
        raise Unsuited("nothing that is all arithmetic")
    square = np.ones((SQUARE, SQUARE), "float64" if inputs.point.game == "WeightedVoting" else inputs.point.dtype)
    return lambda: square @ square


def products(inputs: Inputs) -> float:
    """How many of the matrix products of `_product` take as many steps as the credits. A step of those is a product and
    a sum at once, which no kernel makes one of: the same credits are promised on every machine."""
    return STEPS[inputs.point.game](inputs) * prod(inputs.point.shape) / SQUARE**3


COPY = Method("copy", "roof", _copy)
SORT = Method("sort", "roof", lambda inputs: inputs.sorting())
PRODUCT = Method("product", "roof", _product)
ROOFS: tuple[Any, ...] = (COPY, SORT, PRODUCT)
