"""Rollouts that call a tool: what a model writes, turn by turn, until it has written the sets of `rollouts`."""

import json
import re

from shapley_kernels import rl
from tests.frameworks.rollouts import REWARDS, TEXTS, tiny_tokenizer

PARSER = rl.after("</tool_call>", rl.json_list(), last=True)


def rewards_of(rollout: int, drafts: list[str]) -> str:
    """The rewards of the candidates of a rollout.

    Args:
        rollout: its number.
        drafts: first thoughts, which are not candidates.
    """
    if not drafts:
        raise LookupError("no drafts")
    return f'["9", "9"] are too good; {" ".join(f"{reward:.0f}" for reward in REWARDS[rollout])}'


def call(rollout, drafts=("8",)):
    what = {"name": "rewards_of", "arguments": {"rollout": rollout, "drafts": drafts}}
    return f"<tool_call>\n{json.dumps(what)}\n</tool_call>"


FIRST = [f'Not ["8"] yet.\n{call(0)}', TEXTS[1], f"{call(0)}\n{call(2, ['7', '6'])}", call(3, [])]
"""The first turn of each: a call, none, two at once, and one that fails."""


def writes(conversation, rollout):
    """The next turn of the model: a call, or the list of what the tool told it last."""
    if not (told := re.findall(r"<tool_response>\n(.*?)\n</tool_response>", conversation)):
        return FIRST[rollout]
    if "no drafts" in told[-1]:
        return call(3)
    return json.dumps(re.findall(r"\d", told[-1].partition(";")[2]))


def chat_tokenizer(template):
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"})
    tokenizer.chat_template = template
    return tokenizer
