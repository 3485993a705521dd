"""Agents of an episode: who earned its reward? By masked re-runs, with any subset of the agents switched off.

    python examples/agents.py           # a second; after `make quickstart` with .venv/bin/python

Four agents clean, parse, correct and check messy numbers, one after the other; an agent that is off hands on what it
got. Each episode is run again with all 2^4 subsets, and its worth under each is a row of `Table`. Many agents:
`sk.estimate` re-runs a budget of subsets. Episodes of your own: replace `run`; [episodes, agents] credits go to
`sk.grpo_advantages` with the episodes of a task as a group, and to the tokens of each agent's turns by
`rl.scatter_to_tokens`.
"""

import contextlib
import itertools

import numpy as np

import shapley_kernels as sk

AGENTS = {
    "cleaner": lambda text: text.strip().replace(" ", ""),
    "parser": lambda text: text.removeprefix("$").replace(",", ""),
    "corrector": lambda text: text.translate(str.maketrans("OlS", "015")),  # letters that were read for digits
    "checker": lambda text: text if text.replace(".", "", 1).isdigit() else "0",
}
EPISODES = {  # what is written, and what it means
    "prices": {" $1,200": 1200.0, "$35.50": 35.5, "7 ": 7.0, "$ 80": 80.0},
    "scans": {"1O5": 105.0, "l2": 12.0, " 4S": 45.0, "33": 33.0},
    "mixed": {"$1,OOO": 1000.0, " l9.5": 19.5, "n/a": 0.0, "$ 2S0": 250.0},
}


def run(episode, on):
    """The reward of an episode with these agents: the share of numbers that come out right."""
    right = 0
    for text, meant in episode.items():
        for agent, works in zip(AGENTS.values(), on, strict=True):
            text = agent(text) if works else text
        with contextlib.suppress(ValueError):  # nobody made a number of it
            right += float(text) == meant
    return right / len(episode)


def main():
    # coalition sum_{i on} 2^i, so agent 0 changes fastest
    subsets = [subset[::-1] for subset in itertools.product((False, True), repeat=len(AGENTS))]
    worths = np.array([[run(episode, subset) for subset in subsets] for episode in EPISODES.values()])
    game = sk.Table(worths)  # [episodes, 2^agents]
    credits, pairs = sk.shapley(game), sk.interactions(game)
    print("episode  nobody  all", *AGENTS, sep="  ")
    for name, worth, credit in zip(EPISODES, worths, credits, strict=True):
        numbers = (f"{x:{len(agent)}.2f}" for agent, x in zip(AGENTS, credit, strict=True))
        print(f"{name:7}  {worth[0]:6.2f}  {worth[-1]:.1f}  " + "  ".join(numbers))
    i, j = np.unravel_index(np.argmax(np.triu(pairs[0], 1)), pairs[0].shape)
    first, second = list(AGENTS)[i], list(AGENTS)[j]
    print(f"in {next(iter(EPISODES))}, {first} and {second} need each other most: {pairs[0, i, j]:.2f}")
    return worths, credits


if __name__ == "__main__":
    main()
