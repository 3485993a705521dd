"""Every public name has a target."""

import shapley_kernels as sk
from shapley_kernels import rl, testing
from tests.fuzz.targets import TARGETS

WITH = {
    "Estimate": "estimate",
    "get_num_threads": "set_num_threads",
    "rl.decode_rewards": "rl.encode_rewards",
    "rl.merge_diagnostics": "rl.diagnostics",
    "rl.RewardAllocator": "RewardAllocator",
    "rl.grpo_advantages": "grpo_advantages",
    "testing.exact_decisions": "rl.SuffixSwap",
    "testing.AxiomViolation": "testing.check_axioms",
    "testing.Budget": "testing.error_budget",
    "testing.assert_within_budget": "testing.error_budget",
}
"""Names that are asked in the target of another."""

WITHOUT = {
    "BackendUnavailable": "raised, not called",
    "Semivalue": "a base class",
    "rl": "a module",
    "rl.Baseline": "a base class",
    "rl.GroupValue": "a base class",
    "testing.strategies": "they draw what tests of hypothesis ask for; these tests are their target",
    "testing.parametrize_with_checks": "a decorator of pytest",
}

PUBLIC = [*sk.__all__, *(f"rl.{name}" for name in rl.__all__), *(f"testing.{name}" for name in testing.__all__)]


def test_every_public_name_has_a_target() -> None:
    assert [name for name in PUBLIC if WITH.get(name, name) not in TARGETS and name not in WITHOUT] == []
    assert {*WITH, *WITHOUT} <= set(PUBLIC)
