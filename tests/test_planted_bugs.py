"""A test of the tests: every planted bug is caught, by the axiom one expects, and its correct twin passes."""

import re
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import Phase, settings

import shapley_kernels as sk
from shapley_kernels.kernels.order import _numba
from shapley_kernels.launch import RUNS
from shapley_kernels.testing import AxiomViolation, check_axioms
from shapley_kernels.testing.laws import LAWS
from shapley_kernels.testing.subjects import Broken, Ours
from shapley_kernels.values import Shapley
from tests.conftest import need


def gap_form(rewards, mask, v_empty, *, divisor=0, unwritten=False, tie_break=False, leak=False, dtype=np.float64):
    """The max game under Shapley, one row at a time, with switches for what can go wrong."""
    out = np.empty(rewards.shape, rewards.dtype)
    carried = 0.0
    for b, row in enumerate(rewards):
        live = np.flatnonzero(mask[b])
        out[b, ~mask[b]] = 0.0
        if not np.isfinite(row[live]).all():
            out[b, live] = np.nan
            continue
        order = live[np.argsort(-row[live], kind="stable")]
        c = v_empty[b] if np.ndim(v_empty) else v_empty
        ranked = np.append(row[order], c).astype(dtype)
        total = dtype(carried)
        for k in range(len(order), 0, -1):
            total += (ranked[k - 1] - ranked[k]) / dtype(k + divisor)
            if not (unwritten and k == len(order) == rewards.shape[1]):
                out[b, order[k - 1]] = total
        if tie_break and len(order) > 1 and ranked[0] == ranked[1]:
            out[b, order[:2]] += 0.25 * (ranked[0] - c) * np.array([1, -1])
        carried = total if leak else 0.0
    return out


def mask_ignored(rewards, mask, v_empty):
    return gap_form(rewards, np.ones_like(mask), v_empty)


def tail_of_rows_dropped(rewards, mask, v_empty):
    """Blocks of 4 rows, and what is less than one: the rest behind whole blocks is forgotten."""
    c = np.broadcast_to(v_empty, len(rewards))
    out = np.zeros_like(rewards)
    for i in range(0, len(rewards) // 4 * 4 or len(rewards), 4):
        out[i : i + 4] = gap_form(rewards[i : i + 4], mask[i : i + 4], c[i : i + 4])
    return out


def modified_in_place(rewards, mask, v_empty):
    result = gap_form(rewards, mask, v_empty)
    rewards *= mask
    rewards.sort(axis=-1)
    return result


def one_buffer_for_all(rewards, mask, v_empty, buffers={}):  # noqa: B006, the bug
    result = buffers.setdefault(rewards.shape, np.empty_like(rewards))
    result[...] = gap_form(rewards, mask, v_empty)
    return result


def noisy(rewards, mask, v_empty):
    return gap_form(rewards, mask, v_empty) + np.random.default_rng().random()


def nan_everywhere(rewards, mask, v_empty):
    result = gap_form(rewards, mask, v_empty)
    return result + 0.0 * result.sum() * mask


def masked_by_multiplication(rewards, mask, v_empty):
    return gap_form(rewards * mask, mask, v_empty) + 0.0 * rewards * ~mask


def masked_infinity_multiplied(rewards, mask, v_empty):
    return masked_by_multiplication(np.where(np.isnan(rewards) & ~mask, 0.0, rewards), mask, v_empty)


def masked_infinity_refused(rewards, mask, v_empty):
    if np.isinf(rewards).any():
        raise ValueError("rewards must be finite")
    return gap_form(rewards, mask, v_empty)


def read_in_order_of_memory(rewards, mask, v_empty):
    return gap_form(rewards.ravel("K").reshape(rewards.shape), mask, v_empty)


def gaps_in_memory_ignored(rewards, mask, v_empty):
    memory = rewards if rewards.base is None else rewards.base
    if memory.size > rewards.size:
        rewards = memory.reshape(-1)[: rewards.size].reshape(rewards.shape)
    return gap_form(rewards, mask, v_empty)


def shares_of_reward(rewards, mask, v_empty):
    """Efficient and symmetric, but no Shapley value: the surplus in equal parts."""
    best = np.where(mask, rewards, -np.inf).max(axis=-1)
    surplus = np.where(mask.any(-1), best - v_empty, 0.0)
    return np.where(mask, surplus[:, None] / np.maximum(mask.sum(-1, keepdims=True), 1), 0.0).astype(rewards.dtype)


def winner_takes_all(rewards, mask, v_empty):
    """Efficient, symmetric, null players get nothing: only sums of games give it away."""
    best = np.where(mask, rewards, -np.inf).max(axis=-1)
    winners = mask & (rewards == best[:, None])
    surplus = np.where(mask.any(-1), best - v_empty, 0.0)
    return np.where(winners, surplus[:, None] / np.maximum(winners.sum(-1, keepdims=True), 1), 0.0)


def first_is_favoured(rewards, mask, v_empty):
    """A tenth of the second player's credit goes to the first, if no two are equal."""
    result = gap_form(rewards, mask, v_empty)
    for row, found in zip(rewards, result, strict=True):
        if 1 < len(row) == len(set(row)) and found.all():
            found[:2] += found[1] / 10 * np.array([1, -1])
    return result


def abel_form(rewards, v_empty):
    """The same sum by parts: right in exact arithmetic, it cancels under a large common offset."""
    order = np.argsort(-rewards, axis=-1, kind="stable")
    r = np.take_along_axis(rewards, order, -1)
    n = r.shape[1]
    k = np.arange(1, n + 1)
    below = np.cumsum((r / np.maximum(k * (k - 1), 1))[:, ::-1], axis=-1)[:, ::-1]
    below = np.append(below[:, 1:], np.zeros((len(r), 1)), axis=-1)
    out = np.empty_like(rewards)
    np.put_along_axis(out, order, r / k - below - (v_empty / n)[:, None], -1)
    return out


def gap_form_without_mask(rewards, v_empty):
    return gap_form(rewards, np.ones(rewards.shape, bool), v_empty)


def rewards_only(rewards):
    return gap_form(rewards, np.ones(rewards.shape, bool), 0.0)


BUGS = {
    "wrong divisor": (partial(gap_form, divisor=1), "efficiency"),
    "unwritten last element": (partial(gap_form, unwritten=True), "completeness"),
    "tie broken by index": (partial(gap_form, tie_break=True), "symmetry"),
    "row leaking": (partial(gap_form, leak=True), "independence of rows"),
    "float32 inside": (partial(gap_form, dtype=np.float32), "accuracy"),
    "v_empty dropped": (lambda rewards, mask, v_empty: gap_form(rewards, mask, 0.0), "efficiency"),
    "negatives clipped": (
        lambda rewards, mask, v_empty: gap_form(np.maximum(rewards, 0.0), mask, v_empty),
        "efficiency",
    ),
    "float32 out": (lambda rewards, mask, v_empty: gap_form(rewards, mask, v_empty).astype(np.float32), "form"),
    "mean instead": (lambda rewards: rewards / rewards.shape[-1], "efficiency"),
    "mask ignored": (mask_ignored, "masked players"),
    "tail of rows dropped": (tail_of_rows_dropped, "independence of rows"),
    "modified in place": (modified_in_place, "inputs"),
    "one buffer for all": (one_buffer_for_all, "results"),
    "noisy": (noisy, "results"),
    "nan everywhere": (nan_everywhere, "independence of rows"),
    "masked by multiplication": (masked_by_multiplication, "masked players"),
    "masked infinity multiplied": (masked_infinity_multiplied, "masked players"),
    "masked infinity refused": (masked_infinity_refused, "masked players"),
    "read in order of memory": (read_in_order_of_memory, "layout"),
    "gaps in memory ignored": (gaps_in_memory_ignored, "layout"),
    "shares of reward": (shares_of_reward, "null player"),
    "winner takes all": (winner_takes_all, "additivity"),
    "first is favoured": (first_is_favoured, "relabelling"),
    "abel form": (abel_form, "accuracy"),
}


@pytest.fixture
def unshrunk():
    """Counterexamples as they are found: making them small takes most of the time."""
    before = settings.get_current_profile_name()
    settings.register_profile("unshrunk", settings.get_profile(before), phases=(Phase.generate,))
    settings.load_profile("unshrunk")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught_by_its_axiom(name):
    bug, axiom = BUGS[name]
    with pytest.raises(AxiomViolation) as caught:
        check_axioms(bug, max_examples=20, v_empty="batch" if bug is abel_form else None)
    message = str(caught.value)
    assert caught.value.axiom == axiom, message
    (sentence,) = [law.sentence for law in LAWS if law.name == axiom]
    assert message.startswith(f"{axiom}: {sentence}; ")
    for label in ("rewards", "mask", "v_empty", "expected", "got"):
        assert f"\n  {label}" in message


@pytest.mark.parametrize("twin", [gap_form, gap_form_without_mask, rewards_only])
def test_correct_twin_passes(twin):
    check_axioms(twin, max_examples=20, v_empty="batch" if twin is gap_form_without_mask else None)


def test_counterexamples_are_small():
    with pytest.raises(AxiomViolation) as caught:
        check_axioms(BUGS["tie broken by index"][0], max_examples=30)
    lines = dict(line.split(maxsplit=1) for line in str(caught.value).splitlines()[1:])
    assert lines["rewards"] in ("[[0.0, 0.0]]", "[[1.0, 1.0]]", "[[-1.0, -1.0]]")
    assert lines["expected"] in ("[[0, 0]]", "[[1/2, 1/2]]", "[[-1/2, -1/2]]")


@pytest.mark.usefixtures("unshrunk")
def test_other_games_values_and_dtypes_are_told_apart():
    def median(rewards, mask, v_empty):
        return sk.semivalue(sk.Median(rewards, mask=mask, v_empty=v_empty), sk.Banzhaf(), nan="propagate")

    check_axioms(median, game=sk.Median, value=sk.Banzhaf(), max_examples=10)
    with pytest.raises(AxiomViolation, match="definition"):
        check_axioms(median, game=sk.Median, value=sk.LeaveOneOut(), max_examples=10)
    check_axioms(gap_form, dtype="float32", max_examples=10)


@pytest.mark.usefixtures("unshrunk")
def test_tolerance_replaces_the_budget():
    float32_inside = BUGS["float32 inside"][0]
    check_axioms(float32_inside, tolerance=1e-5, max_examples=10)
    with pytest.raises(AxiomViolation, match="accuracy") as caught:
        check_axioms(float32_inside, tolerance=1e-12, max_examples=10)
    assert "the tolerance is" in str(caught.value)


@pytest.mark.parametrize("error", [False, True])
def test_a_function_that_breaks_now_and_then(error):
    calls = []

    def allocate(rewards, mask, v_empty):
        calls.append(0)
        if error and len(calls) == 250:
            raise RuntimeError("no answer")
        return gap_form(rewards, mask, v_empty) + (not error and len(calls) in (250, 251))

    with pytest.raises(AxiomViolation) as caught:
        check_axioms(allocate)
    what = r"it raised RuntimeError\('no answer'\)" if error else "on the same data again .*"
    assert re.match(f"results: .*; {what} once, and not again on the same data: the function does", str(caught.value))


@pytest.mark.usefixtures("unshrunk")
def test_what_the_function_raises_breaks_the_axiom():
    def no_ties(rewards):
        if any(len(set(row)) < len(row) for row in rewards):
            raise ZeroDivisionError("tie")
        return rewards_only(rewards)

    def no_many_rows(rewards):
        return rewards_only(rewards if len(rewards) < 16 else rewards[:, 99])

    def no_nan(rewards):
        if np.isnan(rewards).any():
            raise FloatingPointError("NaN")
        return rewards_only(rewards)

    for bad, axiom, what, cause in (
        (no_ties, "form", r"it raised ZeroDivisionError\('tie'\)\n", ZeroDivisionError),
        (no_many_rows, "independence of rows", "with these rows repeated to 37 it raised IndexError", IndexError),
        (no_nan, "independence of rows", r"with NaN in row . it raised FloatingPoint", FloatingPointError),
    ):
        with pytest.raises(AxiomViolation, match=f"{axiom}: .*; {what}") as caught:
            check_axioms(bad, max_examples=20)
        assert isinstance(caught.value.__cause__, cause)
        assert "\n  rewards   [[" in str(caught.value)


@pytest.mark.usefixtures("unshrunk")
def test_what_v_empty_the_function_takes():
    def number(rewards, v_empty=0.0):
        if not isinstance(v_empty, float):
            raise TypeError("a number, please")
        return gap_form_without_mask(rewards, v_empty)

    for bad, kind in ((number, "scalar"), (abel_form, "batch")):
        with pytest.raises(AxiomViolation, match=f'it raised TypeError.*pass v_empty="{kind}"'):
            check_axioms(bad)
    check_axioms(number, v_empty="scalar", max_examples=10)


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (TypeError, {"allocate": 3}, r"allocate must be a function of rewards \[rows, players\], got 3"),
        (TypeError, {"game": "Max"}, "game must be a class of the order family, such as sk.Max, or .*, got 'Max'"),
        (TypeError, {"game": sk.FacilityLocation}, "game.*a class of the order family, .*, got FacilityLocation"),
        (TypeError, {"value": "Shapley"}, r"value must be a semivalue such as sk.Shapley\(\), or None, got 'Shapley'"),
        (TypeError, {"value": sk.Banzhaf}, r"value must be .*; make one with brackets, as Banzhaf\(...\)"),
        (TypeError, {"mask": "yes"}, "mask must be True, False or None, got 'yes'"),
        (TypeError, {"v_empty": 0.0}, "v_empty must be one of None, True, .*, got 0.0"),
        (TypeError, {"v_empty": np.zeros(2)}, r"v_empty must be one of .*, got array\(\[0., 0.\]\)"),
        (ValueError, {"dtype": "bfloat16"}, "dtype must be one of 'float64', .*, got 'bfloat16'"),
        (TypeError, {"dtype": np.dtype("float32")}, "dtype must be one of 'float64', .*, got dtype"),
        (ValueError, {"tolerance": -1}, "tolerance must be a number >= 0 or None, got -1"),
        (ValueError, {"tolerance": np.nan}, "tolerance must be a number >= 0 or None, got nan"),
        (ValueError, {"tolerance": Fraction(10**400)}, "tolerance must be a number >= 0 or None, got Fraction"),
        (TypeError, {"tolerance": "1e-3"}, "tolerance must be a number >= 0 or None, got '1e-3'"),
        (ValueError, {"max_players": 17}, "max_players must be an integer in 1..16, got 17; all 2\\^n sets"),
        (ValueError, {"max_players": 0}, "max_players must be an integer in 1..16, got 0$"),
        (TypeError, {"max_players": 4.0}, "max_players must be an integer in 1..16, got 4.0"),
        (ValueError, {"max_examples": 0}, "max_examples must be an integer >= 1, got 0"),
        (TypeError, {"max_examples": True}, "max_examples must be an integer >= 1, got True"),
    ],
)
def test_arguments_out_of_their_range(error, options, message):
    with pytest.raises(error, match=f"check_axioms: {message}"):
        check_axioms(**({"allocate": gap_form} | options))


@pytest.mark.usefixtures("unshrunk")
def test_arguments_by_position_alone():
    def masked(rewards, mask, /, v_empty=0.0):
        return gap_form(rewards, mask, v_empty)

    def optional(rewards, v_empty=0.0, /):
        return gap_form_without_mask(rewards, v_empty)

    for bad, name in ((masked, "mask"), (optional, "v_empty")):
        with pytest.raises(
            TypeError, match=f"check_axioms: allocate is called with {name}= by name, got .* positional"
        ):
            check_axioms(bad)
    check_axioms(optional, v_empty=False, max_examples=10)


def test_two_runs_find_the_same_counterexample():
    def message():
        with pytest.raises(AxiomViolation) as caught:
            check_axioms(BUGS["wrong divisor"][0], max_examples=30)
        return str(caught.value)

    assert message() == message()


# -- bugs in a kernel, behind the laws -------------------------------------------------------------------------------


@contextmanager
def kernel_with(bug):
    """`run` of the numba kernel, spoilt, which all calls go through."""
    run = _numba.run

    def spoilt(rewards, mask, v_empty, A, B, C, row_of_count, out, form=None):
        return bug(run, rewards, mask, v_empty, A, B, C, row_of_count, out)

    with patch.dict(RUNS, clear=True), patch.multiple(_numba, run=spoilt, bound=lambda *_, **__: None):
        yield


def afterwards(change):
    """The kernel, whose results are changed."""

    def spoilt(run, *arguments):
        bad = run(*arguments)
        change(arguments[-1])
        return bad

    return spoilt


def without_outside(run, rewards, mask, v_empty, A, B, *rest):
    return run(rewards, mask, v_empty, A, None, *rest)


def without_shift(run, rewards, mask, v_empty, A, B, C, *rest):
    return run(rewards, mask, v_empty, A, B, np.zeros_like(C), *rest)


def last_row_skipped(run, *arguments):
    before = arguments[-1][-1:].copy()
    bad = run(*arguments)
    arguments[-1][-1:] = before
    return bad


def mask_dropped(run, rewards, mask, *rest):
    return run(np.where(np.isnan(rewards), 0, rewards), None, *rest)


@afterwards
def batch_mixed(out):
    out += 1e-7 * np.nanmean(out) * (out != 0)


@afterwards
def biased_by_index(out):
    out *= 1 + np.arange(out.shape[1]) * 4 * np.finfo(out.dtype).eps


@afterwards
def one_percent_more(out):
    out *= 1.01


@afterwards
def offset_added(out):
    out += (out != 0) * 1e-3


@afterwards
def everybody_gets_something(out):
    out += 1e-3


def in_place(run, rewards, *rest):
    bad = run(rewards, *rest)
    if rewards.flags.writeable:
        rewards[...] = 0
    return bad


def nan_forgiven(run, rewards, mask, v_empty, *rest):
    run(np.where(np.isfinite(rewards), rewards, 0), mask, np.where(np.isfinite(v_empty), v_empty, 0), *rest)
    return -1


def nan_not_named(run, *arguments):
    run(*arguments)
    return -1


KERNEL_BUGS = {
    "without B": (without_outside, sk.Mean, {"accuracy", "equals gap formula", "efficiency"}),
    "without C": (without_shift, sk.TopM, {"accuracy", "equals gap formula", "efficiency"}),
    "last row skipped": (last_row_skipped, sk.Max, {"accuracy", "every element is written"}),
    "mask dropped": (mask_dropped, sk.Max, {"accuracy", "masked players"}),
    "batch mixed": (batch_mixed, sk.Max, {"accuracy", "independence of rows"}),
    "biased by index": (biased_by_index, sk.Median, {"equals gap formula", "symmetry", "relabelling"}),
    "in place": (in_place, sk.Max, {"inputs"}),
    "nan forgiven": (nan_forgiven, sk.Max, {"independence of rows", "nonfinite raises"}),
    "nan not named": (nan_not_named, sk.Max, {"nonfinite raises"}),
    "one percent more": (one_percent_more, sk.Max, {"accuracy", "efficiency", "equals gap formula"}),
    "offset added": (offset_added, sk.Max, {"accuracy", "scaling", "sums of games"}),
    "everybody gets something": (everybody_gets_something, sk.Max, {"accuracy", "null player", "masked players"}),
    "topics": (one_percent_more, sk.FacilityLocation, {"accuracy", "equals reference", "efficiency"}),
}


@pytest.mark.parametrize("name", KERNEL_BUGS)
def test_laws_catch_a_spoilt_kernel(name):
    bug, game, laws = KERNEL_BUGS[name]
    if "equals reference" in laws:
        need("torch")
    subject = Ours(game, Shapley(), "float64", "numba")
    with kernel_with(bug):
        asked = [law for law in LAWS if law.name in laws]
        assert [law.name for law in asked if not law.holds(subject) or holds(law, subject)] == []
    assert len(asked) == len(laws)


def holds(law, subject):
    try:
        for arguments in law.on:
            law.check(subject, subject.sample(*arguments))
    except (Broken, ValueError):
        return False
    return True


def test_every_law_holds_for_the_kernel_as_it_is_and_breaks_for_some_bug():
    subject = Ours(sk.Max, Shapley(), "float64", "numba")
    assert all(holds(law, subject) for law in LAWS if law.holds(subject))
    caught = {law for _, _, laws in KERNEL_BUGS.values() for law in laws}
    assert caught | {"form", "results", "layout", "batches", "shift"} >= {law.name for law in LAWS if law.on}
