"""The points and methods of `shapley-bench run --quick` as a pytest-benchmark suite.

python -m pytest benchmarks                          # a table
python -m pytest benchmarks --benchmark-disable      # each call once, checked
"""

import pytest

from shapley_kernels.bench.cases import Inputs, Point, Unsuited, standard_shapes
from shapley_kernels.bench.gate import check
from shapley_kernels.bench.machine import limited_to
from shapley_kernels.bench.methods import FIVE_LINERS, OURS
from shapley_kernels.games import GAMES

POINTS = [Point(g.__name__, shape) for g in GAMES for shape in standard_shapes(g.__name__, "cpu", quick=True)]


@pytest.mark.parametrize("method", [*OURS, *FIVE_LINERS], ids=lambda m: m.name)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_speed(point, method, benchmark):
    benchmark.group = str(point)
    inputs = Inputs(point)
    try:
        call = method.call(inputs)
    except Unsuited as reason:
        pytest.skip(str(reason))
    with limited_to(point.threads):
        check(method, inputs, call())
        benchmark(call)
