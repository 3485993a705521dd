"""Other packages on the games that they know, each by its own fastest exact way; games in a loop where a package takes
one at a time.

What they need is built inside the timed call, as ours is, but for what can be built once for all games (compiled
classes, the Moebius coefficients of pairs, a kernel's model).
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from shapley_kernels.bench.cases import Call, Inputs
from shapley_kernels.bench.lines import Unsuited, members, of_coalitions
from shapley_kernels.bench.methods import Method

SHAPES = ((1, 4), (1, 8), (1, 12), (1, 16), (1000, 8), (32, 8, 5))
"""Of `Max`: one game of growing size, a batch, and the call of one GRPO step."""

FAMILIES = {
    "NoisyOr": ((1, 8), (1, 64)),
    "Pairwise": ((1, 8), (1, 64)),
    "WeightedVoting": ((1, 8), (1, 50)),
    "FacilityLocation": ((1, 8), (1, 64)),
    "Table": ((1, 8), (1, 12)),
}

QUICK = ((1, 4), (1, 8), (50, 5))

ENUMERATED = 16
"""Players up to which 2^n methods are asked."""

OneGame = Callable[[Mapping[str, Any]], Call]
"""From the arrays of one game in float64, with the quota of votes, to the call."""


def _peer(name: str, package: str, games: Mapping[str, OneGame], precision: str | None = None) -> Method:
    """A package that takes one game at a time."""

    def prepare(inputs: Inputs) -> Call:
        game = inputs.point.game
        if game not in games:
            raise Unsuited(f"{name} is asked for {', '.join(games)}")
        _refuse(name, inputs, limited=(game, name) not in UNLIMITED)
        arrays, shape = inputs.arrays("numpy", "float64"), inputs.point.shape
        flat = {key: x.reshape(-1, *x.shape[len(shape) - 1 :]) for key, x in arrays.items()}
        rows = [{key: x[i] for key, x in flat.items()} for i in range(int(np.prod(shape[:-1])))]
        calls = [games[game]({**row, **inputs.others}) for row in rows]
        return lambda: np.stack([call() for call in calls]).reshape(shape)

    return Method(name, "peer", prepare, (package,), precision)


UNLIMITED = {("NoisyOr", "shapiq"), ("Pairwise", "shapiq"), ("WeightedVoting", "powerindices")}
UNLIMITED |= {("FacilityLocation", "shap")}
"""What needs no enumeration."""


def _refuse(name: str, inputs: Inputs, limited: bool = True) -> None:
    if inputs.point.device != "cpu" or inputs.point.masked:
        raise Unsuited(f"{name} runs on the cpu, without masks")
    if limited and inputs.players > ENUMERATED:
        raise Unsuited(f"{name} would enumerate 2^{inputs.players} coalitions")


def _singles(values: Any, n: int) -> np.ndarray:
    """Values of single players out of shapiq's InteractionValues."""
    return np.array([values[(i,)] for i in range(n)])


def _shapiq_exact(worth: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    import shapiq

    return _singles(shapiq.ExactComputer(lambda s: worth(np.atleast_2d(s)), n_players=n)("SV", 1), n)


def _shapiq_noisy_or(x: Mapping[str, Any]) -> Call:
    from shapiq.explainer.product_kernel import ProductKernelComputer
    from shapiq.explainer.product_kernel.base import ProductKernelModel

    n, fail = len(x["p"]), 1 - x["p"]
    model = ProductKernelModel(alpha=np.ones(1), X_train=np.zeros((1, n)), n=1, d=n, gamma=None, kernel_type="rbf")
    computer = ProductKernelComputer(model, max_order=1, index="SV")
    return lambda: -np.array([computer.compute_shapley_value(fail, i) for i in range(n)])


def _shapiq_pairwise(x: Mapping[str, Any]) -> Call:
    import shapiq

    w, n = x["w"], len(x["w"])
    own = x["values"] if "values" in x else np.zeros(n)
    sets = [(), *((i,) for i in range(n)), *((i, j) for i in range(n) for j in range(i + 1, n))]
    values = np.array([0.0, *own, *(w[s] for s in sets[n + 1 :])])
    lookup = {s: k for k, s in enumerate(sets)}
    options: dict[str, Any] = {"index": "Moebius", "min_order": 0, "max_order": 2, "n_players": n}
    moebius = shapiq.InteractionValues(values=values, interaction_lookup=lookup, baseline_value=0.0, **options)
    return lambda: _singles(shapiq.game_theory.MoebiusConverter(moebius)("SV", 1), n)


def _shapiq_table(values: np.ndarray) -> np.ndarray:
    n = len(values).bit_length() - 1
    powers = 1 << np.arange(n)
    return _shapiq_exact(lambda s: values[s.astype(int) @ powers], n)


def _coopgame(table: np.ndarray) -> np.ndarray:
    import coopgame

    return np.array(coopgame.shapley(coopgame.Game(table[1:].tolist())))


def _table_of_max(rewards: np.ndarray) -> np.ndarray:
    table = np.zeros(1)
    for reward in rewards:  # player 0 is the lowest bit
        table = np.concatenate([table, np.maximum(table, reward)])
    return table


def _powerindices(x: Mapping[str, Any]) -> Call:
    import powerindices

    weights, quota = np.asarray(x["weights"]).astype(int).tolist(), int(np.asarray(x["quota"]))
    return lambda: np.array(powerindices.compute_ssi(quota, weights))


def _shapley_numba(rewards: np.ndarray) -> np.ndarray:
    from shapley_numba.shapley import shapley

    return shapley(_numba_game()(rewards), len(rewards))


@cache
def _numba_game() -> Any:
    import numba
    from shapley_numba.core import numba_game

    @numba_game([("rewards", numba.float64[:])])
    class MaxGame:
        def __init__(self, rewards: Any) -> None:
            self.rewards = rewards

        def value(self, subset: Any) -> Any:
            best = 0.0
            for i in range(len(subset)):
                if subset[i] and self.rewards[i] > best:
                    best = self.rewards[i]
            return best

    return MaxGame


def _shap(rewards: np.ndarray) -> np.ndarray:
    """Max as a decision list: a chain that asks for the best player, then the next, against a background of nobody."""
    import shap

    n = len(rewards)
    order = np.argsort(-rewards)
    nodes = 2 * n + 1  # node 2d asks for the d-th best, leaf 2d + 1 is its reward; the last one is worth 0
    ask, leaf = np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)
    left, right, feature = (np.full(nodes, -1) for _ in range(3))
    values, thresholds = np.zeros((nodes, 1)), np.full(nodes, 0.5)
    left[ask], right[ask], feature[ask] = ask + 2, leaf, order
    values[leaf, 0] = rewards[order]
    tree = {
        "children_left": left,
        "children_right": right,
        "children_default": left,
        "features": feature,
        "thresholds": thresholds,
        "values": values,
        "node_sample_weight": np.ones(nodes),
    }
    explainer = shap.TreeExplainer(
        {"trees": [tree]}, data=np.zeros((1, n)), feature_perturbation="interventional", model_output="raw"
    )
    return explainer.shap_values(np.ones((1, n)), check_additivity=False)[0]


def _shap_topics(topics: np.ndarray, weights: Any) -> np.ndarray:
    credits = np.array([_shap(topic) for topic in topics])
    return (credits if weights is None else credits * weights[:, None]).sum(0)


def _power_set(inputs: Inputs) -> Call:
    """The definition in numpy: the worth of every coalition of every game, then one matrix product."""
    game = inputs.point.game
    if game not in WORTHS:
        raise Unsuited(f"numpy-enumeration is asked for {', '.join(WORTHS)}")
    _refuse("numpy-enumeration", inputs)
    x, n = inputs.arrays("numpy", "float64"), inputs.players
    if sum(array.size for array in x.values()) * 2**n > 2**27:
        raise Unsuited("numpy-enumeration would need more than 1 GiB")
    inside, weights = members(n), of_coalitions(n)
    return lambda: WORTHS[game](inside, x, inputs.others) @ weights


def _facility_worth(s: np.ndarray, scores: np.ndarray, weights: Any) -> np.ndarray:
    best = np.where(s[:, :, None], scores[..., None, :, :], -np.inf).max(-2)
    best[..., 0, :] = 0.0  # the empty coalition
    return (best if weights is None else best * weights[..., None, :]).sum(-1)


WORTHS: dict[str, Callable[[np.ndarray, Mapping[str, Any], Mapping[str, Any]], np.ndarray]] = {
    "Max": lambda s, x, _: np.where(s, x["rewards"][..., None, :], 0.0).max(-1),
    "NoisyOr": lambda s, x, _: 1 - np.where(s, 1 - x["p"][..., None, :], 1.0).prod(-1),
    "Pairwise": lambda s, x, _: (s @ np.triu(x["w"], 1) * s).sum(-1) + (x["values"] @ s.T if "values" in x else 0),
    "WeightedVoting": lambda s, x, others: (
        x["weights"] @ s.T >= np.asarray({**x, **others}["quota"])[..., None]
    ).astype(float),
    "FacilityLocation": lambda s, x, _: _facility_worth(s, x["scores"], x.get("weights")),
    "Table": lambda s, x, _: x["values"],
}
"""The worth of all coalitions [2^n, n], [..., 2^n]."""

PEERS = (
    Method("numpy-enumeration", "peer", _power_set),
    _peer(
        "shapiq",
        "shapiq",
        {
            "Max": lambda x: lambda: _shapiq_exact(lambda s: np.where(s, x["rewards"], 0.0).max(-1), len(x["rewards"])),
            "NoisyOr": _shapiq_noisy_or,
            "Pairwise": _shapiq_pairwise,
            "Table": lambda x: lambda: _shapiq_table(x["values"]),
        },
    ),
    _peer("shapley-numba", "shapley_numba", {"Max": lambda x: lambda: _shapley_numba(x["rewards"])}),
    _peer(
        "coopgame",
        "coopgame",
        {
            "Max": lambda x: lambda: _coopgame(_table_of_max(x["rewards"])),
            "Table": lambda x: lambda: _coopgame(x["values"] - x["values"][0]),
        },
    ),
    _peer("powerindices", "powerindices", {"WeightedVoting": _powerindices}),
    _peer(
        "shap",
        "shap",
        {
            "Max": lambda x: lambda: _shap(x["rewards"]),
            "FacilityLocation": lambda x: lambda: _shap_topics(x["scores"].T, x.get("weights")),
        },
        "float32",
    ),
)
