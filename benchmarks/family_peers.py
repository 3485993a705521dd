"""Games beyond `Max` beside the packages that know them, and beside the numpy a user would write instead.

    python benchmarks/family_peers.py [--quick]

One game per call, float64, one thread, at n = 8 and at the largest n each method can do here; medians of alternating
calls, after every method was checked against ours. A dash: the method does not know the game, or not at that size.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from math import comb
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table as RichTable

import shapley_kernels as sk

Calls = dict[str, Callable[[], Any]]
"""Methods by name; "ours" is one of them."""


def members(n: int) -> np.ndarray:
    return np.arange(2**n)[:, None] >> np.arange(n) & 1 == 1


def enumerated(worth: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """The definition in numpy: all worths, then weighted differences."""
    inside = members(n)
    v, size = worth(inside), inside.sum(1)
    weight = np.array([1 / (n * comb(n - 1, s)) for s in range(n)])
    index = np.arange(2**n)
    return np.array([((v[index | 1 << i] - v)[~inside[:, i]] * weight[size[~inside[:, i]]]).sum() for i in range(n)])


def singles(found: Any, n: int) -> np.ndarray:
    """Values of single players out of shapiq's InteractionValues."""
    return np.array([found[(i,)] for i in range(n)])


def noisy_or(n: int, rng: np.random.Generator) -> Calls:
    from shapiq.explainer.product_kernel import ProductKernelComputer
    from shapiq.explainer.product_kernel.base import ProductKernelModel

    p = rng.random(n)
    model = ProductKernelModel(alpha=np.ones(1), X_train=np.zeros((1, n)), n=1, d=n, gamma=None, kernel_type="rbf")
    computer = ProductKernelComputer(model, max_order=1, index="SV")
    kernel_values = 1 - p
    calls: Calls = {
        "ours": lambda: sk.shapley(sk.NoisyOr(p)),
        "shapiq ProductKernel": lambda: -np.array([computer.compute_shapley_value(kernel_values, i) for i in range(n)]),
    }
    if n <= 16:
        calls["2^n numpy"] = partial(enumerated, lambda s: 1 - np.where(s, 1 - p, 1.0).prod(-1), n)
    return calls


def pairwise(n: int, rng: np.random.Generator) -> Calls:
    import shapiq

    w = rng.normal(size=(n, n))
    w = np.triu(w, 1) + np.triu(w, 1).T
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    moebius = shapiq.InteractionValues(
        values=np.array([0.0, *(w[pair] for pair in pairs)]),
        index="Moebius",
        min_order=0,
        max_order=2,
        n_players=n,
        interaction_lookup={(): 0, **{pair: k for k, pair in enumerate(pairs, 1)}},
        baseline_value=0.0,
    )
    calls: Calls = {
        "ours": lambda: sk.shapley(sk.Pairwise(w)),
        "shapiq Moebius": lambda: singles(shapiq.game_theory.MoebiusConverter(moebius)("SV", 1), n),
        "numpy lines": lambda: (w.sum(-1) - w.diagonal()) / 2,
    }
    if n <= 16:
        calls["2^n numpy"] = partial(enumerated, lambda s: np.einsum("si,ij,sj->s", s, np.triu(w, 1), s), n)
    return calls


def voting(n: int, rng: np.random.Generator) -> Calls:
    import powerindices

    weights = rng.integers(1, 51, n)
    quota = int(weights.sum()) // 2 + 1
    calls: Calls = {
        "ours": lambda: sk.shapley(sk.WeightedVoting(weights, quota=quota)),
        "powerindices": lambda: np.array(powerindices.compute_ssi(quota, weights.tolist())),
    }
    if n <= 16:
        calls["2^n numpy"] = partial(enumerated, lambda s: (s @ weights >= quota).astype(float), n)
    return calls


def facility(n: int, rng: np.random.Generator) -> Calls:
    from shapley_kernels.bench.peers import _shap

    scores = rng.random((n, 30))

    def lines() -> np.ndarray:
        order = np.argsort(scores, 0)
        gaps = np.diff(np.take_along_axis(scores, order, 0), axis=0, prepend=0.0) / np.arange(n, 0, -1)[:, None]
        out = np.empty_like(scores)
        np.put_along_axis(out, order, np.cumsum(gaps, 0), 0)
        return out.sum(1)

    calls: Calls = {
        "ours": lambda: sk.shapley(sk.FacilityLocation(scores)),
        "shap chain trees": lambda: sum(_shap(topic) for topic in scores.T),
        "numpy lines": lines,
    }
    if n <= 12:
        calls["2^n numpy"] = partial(enumerated, lambda s: np.where(s[:, :, None], scores, 0.0).max(1).sum(-1), n)
    return calls


def table(n: int, rng: np.random.Generator) -> Calls:
    import coopgame
    import shapiq

    v = rng.random(2**n)
    v[0] = 0.0
    powers = 1 << np.arange(n)
    calls: Calls = {
        "ours": lambda: sk.shapley(sk.Table(v)),
        "coopgame": lambda: np.array(coopgame.shapley(coopgame.Game(v[1:].tolist()))),
        "2^n numpy": partial(enumerated, lambda s: v, n),
    }
    if n <= 12:
        worth = lambda s: v[np.atleast_2d(s).astype(int) @ powers]  # noqa: E731
        calls["shapiq Exact"] = lambda: singles(shapiq.ExactComputer(worth, n_players=n)("SV", 1), n)
    return calls


FAMILIES: dict[str, tuple[Callable[[int, np.random.Generator], Calls], tuple[int, ...]]] = {
    "NoisyOr": (noisy_or, (8, 64)),
    "Pairwise": (pairwise, (8, 64)),
    "WeightedVoting, weights 1..50": (voting, (8, 50)),
    "FacilityLocation, 30 topics": (facility, (8, 200)),
    "Table": (table, (8, 12, 18)),
}


def measured(calls: Calls, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of alternating calls, and the largest difference from ours."""
    ours = calls["ours"]()
    apart = {name: float(np.abs(np.asarray(call()) - ours).max()) for name, call in calls.items()}
    for name, error in apart.items():
        if not error < 1e-5:  # shap's trees are float32
            raise SystemExit(f"{name} differs from ours by {error}: nothing is timed")
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = perf_counter() + seconds
    while perf_counter() < end or len(times["ours"]) < 3:
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}, apart


def rows(seconds: float) -> Iterator[list[str]]:
    points = [(name, make, n) for name, (make, sizes) in FAMILIES.items() for n in sizes]
    for name, make, n in track(points, console=Console(stderr=True), description="families"):
        times, apart = measured(make(n, np.random.default_rng(n)), seconds)
        for method, time in times.items():
            error = "" if method == "ours" else f"{apart[method]:.0e}"
            yield [name, str(n), method, f"{time * 1e6:,.0f}", f"{time / times['ours']:.2f}", error]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time per point")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sk.set_num_threads(1)
    result = RichTable("game", "n", "method", "us", "times ours", "difference")
    for row in rows(0.2 if options.quick else 2.0):
        result.add_row(*row)
    Console(width=120).print(result)


if __name__ == "__main__":
    main()
