"""Verdicts, exponents and sampling, on times that are made up."""

from pathlib import Path

import numpy as np
import pytest

from shapley_kernels._command import CommandError
from shapley_kernels.bench import measure, scaling
from shapley_kernels.bench.compare import compare, refuse_other_machines
from shapley_kernels.bench.measure import Timing
from shapley_kernels.bench.records import read

from .conftest import MACHINE, record, write


def noisy(median, spread, blocks=40, seed=0):
    return list(median * np.exp(spread * np.random.default_rng(seed).standard_normal(blocks)))


CASES = {
    "FASTER": (noisy(1e-3, 0.02), noisy(0.8e-3, 0.02, seed=1)),
    "SLOWER": (noisy(1e-3, 0.02), noisy(1.2e-3, 0.02, seed=1)),
    "SAME": (noisy(1e-3, 0.02), noisy(1.01e-3, 0.02, seed=1)),
    "UNDECIDED": (noisy(1e-3, 0.5), noisy(1.05e-3, 0.5, seed=1)),
}


@pytest.mark.parametrize("verdict", CASES)
def test_verdicts_and_exit_status(bench, verdict):
    a, b = (write(Path(f"{name}.jsonl"), record(s)) for name, s in zip("ab", CASES[verdict], strict=True))
    (found,) = compare(read([a]), read([b]))
    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high
    result = bench("compare", a, b, status=int(verdict == "SLOWER"))
    assert f"1 {verdict}" in result.output


def test_few_samples_decide_nothing():
    (found,) = compare([record([1e-3] * 4)], [record([9e-3] * 40)])
    assert found.verdict == "UNDECIDED"


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says():
    """95 % nominal, 100 trials of 40 blocks: fewer than 84 % would be outside of chance (5 standard deviations)."""
    inside = 0
    for trial in range(100):
        a, b = noisy(1e-3, 0.1, seed=2 * trial), noisy(2e-3, 0.1, seed=2 * trial + 1)
        (found,) = compare([record(a)], [record(b)])
        inside += found.low <= 2.0 <= found.high
    assert inside >= 84


def test_slower_ones_come_first_and_runs_are_pooled():
    a = [record(noisy(1e-3, 0.01), shape=(1, n)) for n in (2, 3, 4)]
    b = [record(noisy(x * 1e-3, 0.01, seed=n), shape=(1, n)) for n, x in ((2, 0.5), (3, 1), (4, 2))]
    assert [c.verdict for c in compare(a, b)] == ["SLOWER", "FASTER", "SAME"]
    pooled = compare([record(1e-3), record(3e-3), record(3e-3)], [record(3e-3)])
    assert pooled[0].a == 3e-3


def test_a_control_takes_off_what_slowed_everything_down(bench):
    def side(machine, ours):
        line = {"method": "numpy-five-liner", "kind": "five-liner"}
        return [record(noisy(machine * ours, 0.02, seed=3)), record(noisy(machine * 1e-3, 0.02, seed=4), **line)]

    a, b, c = side(1, 1e-3), side(1.5, 1e-3), side(1.5, 2e-3)
    assert [x.verdict for x in compare(a, b)] == ["SLOWER", "SLOWER"]
    (same,), (slower,) = (compare(a, other, control="numpy-five-liner") for other in (b, c))
    assert (same.verdict, slower.verdict) == ("SAME", "SLOWER")
    assert slower.ratio == pytest.approx(2)
    paths = [write(Path(name), *records) for name, records in (("a.jsonl", a), ("c.jsonl", c))]
    result = bench("compare", *paths, "--control", "numpy-five-liner", status=1)
    assert "1 SLOWER" in result.output
    assert "are not in" not in result.output  # the points of the control are its own
    alone = [write(Path(f"{name}2.jsonl"), *records, record(game="Min")) for name, records in (("a", a), ("b", b))]
    said = " ".join(bench("compare", *alone, "--control", "numpy-five-liner").output.split())
    assert said.endswith("1 points of both have no numpy-five-liner beside them")
    assert (
        "with torch-five-liner beside it" in bench("compare", *paths, "--control", "torch-five-liner", status=2).output
    )


def test_other_machines_are_refused_with_what_differs(bench):
    a = write(Path("a.jsonl"), record())
    b = write(Path("b.jsonl"), record(machine={**MACHINE, "cpu": "b"}))
    with pytest.raises(CommandError, match="cpu 'a' and 'b'"):
        refuse_other_machines(read([a]), read([b]))
    assert "--force" in bench("compare", a, b, status=2).output
    bench("compare", a, b, "--force")


def test_nothing_in_common_is_an_error(bench):
    a, b = write(Path("a.jsonl"), record()), write(Path("b.jsonl"), record(dtype="float64"))
    assert "no point in common" in bench("compare", a, b, status=2).output
    c = write(Path("c.jsonl"), record(clock="cpu"))
    assert "c.jsonl has cpu time" in " ".join(bench("compare", a, c, status=2).output.split())


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3, 2.0, -1.0])
def test_exponents(exponent):
    x = [2**k for k in range(2, 12)]
    seconds = [1e-9 * n**exponent for n in x]
    found = scaling.fit(x[::-1], seconds[::-1])
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert (found.points, found.first, found.last) == (5, 128, 2048)


def test_the_cost_of_a_call_does_not_flatten_the_exponent():
    x = [2**k for k in range(2, 16)]
    found = scaling.fit(x, [2e-5 + 1e-7 * n for n in x])
    assert found.exponent == pytest.approx(1, abs=0.15)
    assert scaling.fit(x[:2], [1.0, 2.0]).error == float("inf")
    assert scaling.fit([3, 3], [1.0, 2.0]) is None


def test_the_interval_of_an_exponent_covers_it():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        x = 2.0 ** np.arange(4, 12)
        seconds = 1e-9 * x**1.5 * np.exp(0.1 * rng.standard_normal(8))
        found = scaling.fit(list(x), list(seconds))
        inside += abs(found.exponent - 1.5) <= found.error
    assert inside >= 270


def test_series_are_the_longest_that_differ_in_one_thing():
    records = [record(shape=(rows, n)) for rows, n in ((1, 4), (1, 8), (1, 16), (2, 4), (2, 8), (4, 32))]
    assert {name: len(s) for name, s in scaling.series(records, "players").items()} == {("Max", "numba"): 3}
    assert [r.rows for r in scaling.series(records, "rows")["Max", "numba"]] == [1, 2]


def test_calls_alternate_and_all_get_samples():
    order = []

    def sampler(name, seconds):
        def sample():
            order.append(name)
            return seconds

        return sample

    timings = {name: Timing(0.0) for name in "ab"}
    measure.interleaved(timings, {"a": sampler("a", 1.0), "b": sampler("b", 2.0)}, 0.0)
    assert all(sorted(order[i : i + 2]) == ["a", "b"] for i in range(0, len(order), 2))
    assert timings["a"].samples == [1.0] * measure.FEWEST
    assert (timings["b"].median, timings["b"].quantile(0.8)) == (2.0, 2.0)


def test_blocks_keep_the_order_of_time():
    timing = Timing(0.0, list(range(1, 401)))
    assert len(timing.blocks()) == measure.BLOCKS
    assert timing.blocks() == sorted(timing.blocks())
    assert Timing(0.0, [1.0, 2.0, 3.0]).blocks() == [1.0, 2.0, 3.0]
