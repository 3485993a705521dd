"""Four rollouts of two prompts: the sets tie within each prompt, the candidates do not. And a tiny model to train."""

import json

import numpy as np

import shapley_kernels as sk

GROUP = 2
REWARDS = [[4.0, 3.0, 5.0], [5.0, 4.0], [0.0, 1.0, 0.0], [1.0, 1.0]]
TEXTS = [json.dumps([f"{reward:.0f}" for reward in row]) for row in REWARDS]
ADVANTAGES = [[-0.28283, -1.13131, 1.41413], [0.56565, -0.56565], [-0.81643, 1.63286, -0.81643], [0.0, 0.0]]
"""Of the candidates, once from `RewardAllocator()`; every route has to give them, to the digits written here."""


def assert_candidate_advantages(token_advantages, candidate_ids):
    """[4, T] each: the tokens of each candidate have its advantage, all others that of the set, 0."""
    advantages, ids = map(np.asarray, (token_advantages, candidate_ids))
    ids = np.pad(ids, ((0, 0), (0, advantages.shape[1] - ids.shape[1])))
    for found, of_row, wanted in zip(advantages, ids, ADVANTAGES, strict=True):
        assert set(of_row) == set(range(len(wanted) + 1))
        np.testing.assert_allclose(found, np.array([0.0, *wanted])[of_row], rtol=0, atol=5.1e-6)


def tiny_tokenizer():
    """Byte-level BPE, trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def tiny_model(tokenizer):
    """Two layers of width 16, always the same random weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def by_rl_alone():
    """[4, 3] advantages of the candidates."""
    rewards, mask = sk.pad(REWARDS)
    return sk.RewardAllocator().advantages(rewards, mask, num_generations=GROUP)
