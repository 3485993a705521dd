"""Which unit tests earn their place? Tests are the players, and each is paid for the mutants (wrong programs) that it
kills.

    python examples/unit_tests.py       # seconds; after `make quickstart` with .venv/bin/python

A set of tests is worth the number of mutants that at least one of them kills: `Coverage`, whose Shapley value splits
each mutant evenly between its killers, exactly, whatever the order in which the tests were written. Tests and wrong
programs are those of examples/problems, run as make_rollouts.py runs them: in processes with limits, which is no jail
for hostile code.

For a model that writes test suites: `sk.RewardAllocator(lambda r, mask=None, kills=None: sk.Coverage(kills,
mask=mask))` and `.advantages(rewards, mask, kills=kills, num_generations=8)`, kills [rollouts, tests, mutants].
"""

import numpy as np
from make_rollouts import load_problems, passed

import shapley_kernels as sk


def main():
    problems = load_problems()
    kills = [~np.array([passed(problem, program) for program in problem.wrong.values()]).T for problem in problems]
    tests, mutants = (max(k.shape[axis] for k in kills) for axis in (0, 1))
    suites = np.stack([np.pad(k, ((0, tests - k.shape[0]), (0, mutants - k.shape[1]))) for k in kills])
    mask = np.arange(tests) < np.array([[len(k)] for k in kills])
    game = sk.Coverage(suites, mask=mask)  # ten suites in one call
    credits, alone = sk.shapley(game), sk.semivalue(game, sk.LeaveOneOut())
    for problem, k, credit, only, worth in zip(problems, kills, credits, alone, game.worth(), strict=True):
        print(f"\n{problem.name}: {worth:.0f} of {len(problem.wrong)} mutants killed by {len(k)} tests")
        for test in np.argsort(-credit[: len(k)], kind="stable"):
            call = ", ".join(map(repr, problem.tests[test][0]))
            print(f"  {credit[test]:5.2f}  kills {k[test].sum()}, {only[test]:.0f} of them alone   {call[:60]}")
    spare = int(((credits == 0) & mask).sum())
    print(f"\n{spare} of {int(mask.sum())} tests kill nothing and earn 0")
    return credits


if __name__ == "__main__":
    main()
