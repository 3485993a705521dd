"""Candidates of a rollout and what each is worth, for `run.sh` beside this file: change `score` and the parser."""

from shapley_kernels import rl
from shapley_kernels.adapters.verl_trainer import ShapeRewardManager


def score(text, ground_truth):
    """What one candidate is worth: here, whether it is the answer. A judge may be `async def`."""
    return float(text.strip() == str(ground_truth))


class Rewards(ShapeRewardManager):
    """Responses are JSON lists of strings, and a list is worth its best member."""

    def scorer(self, tokenizer):
        return rl.SetScorer(score, rl.json_list(), tokenizer, floor=-0.1)
