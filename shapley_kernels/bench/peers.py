"""Other packages on their home ground, `Max` of rewards >= 0, each by its own fastest exact way; games in a loop where
a package takes one at a time.

What they need is built inside the timed call, as ours is, but for what can be built once for all games (compiled
classes).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from shapley_kernels.bench.cases import Inputs, Unsuited
from shapley_kernels.bench.methods import Method, members, of_coalitions

SHAPES = ((1, 4), (1, 8), (1, 12), (1, 16), (1000, 8), (32, 8, 5))
"""One game of growing size, a batch, and the call of one GRPO step."""

QUICK = ((1, 4), (1, 8), (50, 5))

ENUMERATED = 16
"""Players up to which 2^n methods are asked."""


def _peer(name: str, package: str, one_game: Callable[[np.ndarray], Any], precision: str | None = None) -> Method:
    """A package that takes one game at a time."""

    def prepare(inputs: Inputs) -> Callable[[], Any]:
        _refuse(name, inputs)
        rewards = inputs.rewards("numpy", "float64")
        flat = rewards.reshape(-1, inputs.players)
        return lambda: np.stack([one_game(row) for row in flat]).reshape(rewards.shape)

    return Method(name, "peer", prepare, (package,), precision)


def _refuse(name: str, inputs: Inputs) -> None:
    if inputs.point.game != "Max":
        raise Unsuited(f"{name} is asked for Max only")
    if inputs.point.device != "cpu":
        raise Unsuited(f"{name} does not run on {inputs.point.device}")
    if inputs.players > ENUMERATED:
        raise Unsuited(f"{name} would enumerate 2^{inputs.players} coalitions")


def _shapiq(rewards: np.ndarray) -> np.ndarray:
    import shapiq

    def worth(coalitions: np.ndarray) -> np.ndarray:
        return np.where(np.atleast_2d(coalitions), rewards, 0.0).max(-1)

    found = shapiq.ExactComputer(worth, n_players=len(rewards))("SV", 1)
    return np.array([found[(i,)] for i in range(len(rewards))])


def _coopgame(rewards: np.ndarray) -> np.ndarray:
    import coopgame

    table = np.zeros(1)
    for reward in rewards:  # player 0 is the lowest bit
        table = np.concatenate([table, np.maximum(table, reward)])
    return np.array(coopgame.shapley(coopgame.Game(table[1:].tolist())))


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


def _power_set(inputs: Inputs) -> Callable[[], Any]:
    """The definition in numpy: the worth of every coalition of every game, then one matrix product."""
    _refuse("numpy-enumeration", inputs)
    rewards, n = inputs.rewards("numpy", "float64"), inputs.players
    if rewards.size * 2**n > 2**27:
        raise Unsuited(f"numpy-enumeration would need {rewards.size * 2**n * 8 / 2**30:.0f} GiB")
    inside, weights = members(n), of_coalitions(n)
    return lambda: np.where(inside, rewards[..., None, :], 0.0).max(-1) @ weights


PEERS = (
    Method("numpy-enumeration", "peer", _power_set),
    _peer("shapiq", "shapiq", _shapiq),
    _peer("shapley-numba", "shapley_numba", _shapley_numba),
    _peer("coopgame", "coopgame", _coopgame),
    _peer("shap", "shap", _shap, "float32"),
)
