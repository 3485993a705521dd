"""One run: a transformer of some 40,000 parameters, from nothing but a warm start, through TRL and the adapter."""

import hashlib
import os
import tempfile
import time
from functools import cache
from typing import Any

import numpy as np

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # nothing here comes from the network

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

import shapley_kernels as sk
from benchmarks.learning.runs import BLOCK
from benchmarks.learning.tasks import CANDIDATES, DIGITS, EXPRESSIONS, SCHEMES, TARGETS, TASKS
from shapley_kernels import rl
from shapley_kernels.adapters.trl import ShapeGRPOTrainer

STEPS = 120
GENERATIONS = 8
WARM_STEPS = 400
CURVES = ("set_reward", "candidate_reward", "distinct", "candidates")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Two tokens per candidate, such as "3+" and "4;"; one per prompt, "7="."""
    pieces = [f"{a}{op}" for a in DIGITS for op in ("+", "*", ";")] + [f"{t}=" for t in TARGETS]
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<eos>", *pieces])}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    found.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d+[+*=;]"), "isolated")
    found.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=found, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def new_model() -> Qwen2ForCausalLM:
    words = tokenizer()
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(words),
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


@cache
def warm_start() -> tuple[dict[str, torch.Tensor], str]:
    """Weights that know the format, and their hash: trained on random expressions, whatever the target."""
    model, rng = new_model(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(WARM_STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / WARM_STEPS)
        texts = [
            f"{rng.choice(TARGETS)}=" + "".join(f"{e};" for e in rng.choice(EXPRESSIONS, CANDIDATES)) for _ in range(64)
        ]
        ids = torch.tensor(tokenizer()(texts)["input_ids"])
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    state = model.state_dict()
    return state, hashlib.sha256(b"".join(x.numpy().tobytes() for x in state.values())).hexdigest()[:12]


class Recorder(ShapeGRPOTrainer):
    """Notes, of every generation, means over the sets."""

    def set_reward(self, prompts: list[Any], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        rewards = super().set_reward(prompts, completion_ids, **columns)
        assert self._scored is not None
        scored = self._scored[1]
        alone = sk.semivalue(self.scorer.utility(scored.rewards, mask=scored.mask), sk.Stratum(1))
        self.points.append(
            (
                float(np.mean(rewards)),
                float(alone.sum() / scored.mask.sum() * self.unit),
                float(np.mean([len(set(texts)) for texts in scored.texts])),
                float(scored.mask.sum() / len(scored.mask)),
            )
        )
        return rewards


def train(task_name: str, scheme: str, learning_rate: float, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """The curves of a run, and what it took."""
    task, (state, weights) = TASKS[task_name], warm_start()
    model = new_model()
    model.load_state_dict(state)
    scorer = rl.SetScorer(task.score, rl.separated(";"), tokenizer(), utility=task.utility, takes="batch")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Recorder(
            model=model,
            scorer=scorer,
            allocator=rl.RewardAllocator(task.utility, SCHEMES[scheme], sizes="share"),  # as all records were made
            args=config(folder, learning_rate, seed, steps),
            processing_class=tokenizer(),
            train_dataset=Dataset.from_dict({"prompt": [f"{t}=" for t in TARGETS] * 2, "target": [*TARGETS] * 2}),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.points, trainer.unit = [], 1 / task.alone
        start = time.process_time()
        trainer.train()
        seconds = time.process_time() - start
    curves = np.array(trainer.points).reshape(-1, BLOCK, len(CURVES)).mean(1).round(4)
    return {"weights": weights, "cpu_s": round(seconds, 2), **dict(zip(CURVES, curves.T.tolist(), strict=True))}


def config(folder: str, learning_rate: float, seed: int, steps: int) -> GRPOConfig:
    """Every step: two groups of eight responses of 12 tokens for each target, one update."""
    return GRPOConfig(
        output_dir=folder,
        seed=seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        per_device_train_batch_size=GENERATIONS * len(TARGETS) * 2,
        num_generations=GENERATIONS,
        max_completion_length=2 * CANDIDATES,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
