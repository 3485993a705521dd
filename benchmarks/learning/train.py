"""One run: a transformer of some 40,000 parameters, from nothing but a warm start, through TRL and the adapter."""

import os
import tempfile
import time
import warnings
from functools import cache, lru_cache
from typing import Any

import numpy as np

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # nothing here comes from the network

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

from benchmarks.learning import runs
from benchmarks.learning.runs import BLOCK, CANDIDATES, EXPRESSIONS, SETS, STEPS, TARGETS, TASKS, Run
from benchmarks.learning.schemes import SCHEMES
from shapley_kernels import rl
from shapley_kernels.adapters.trl import ShapeGRPOTrainer

GENERATIONS = 8
WARM_STEPS = 400
KNOWN = 0.2
"""In every second warm start, so many of the expressions are right for their target."""
CURVES = ("set_reward", "distinct", "candidates")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Two tokens per candidate, such as "3+" and "4;"; one per prompt, "7="."""
    pieces = [f"{a}{op}" for a in runs.DIGITS for op in ("+", "*", ";")] + [f"{t}=" for t in TARGETS]
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<eos>", *pieces])}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    found.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d+[+*=;]"), "isolated")
    found.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=found, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def new_model(seed: int) -> Qwen2ForCausalLM:
    words = tokenizer()
    torch.manual_seed(seed)
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


@lru_cache(2)
def warm_start(seed: int) -> dict[str, torch.Tensor]:
    """Weights that know the format, and of odd seeds a little about targets."""
    model, rng = new_model(seed), np.random.default_rng(seed)
    right = {t: [e for e in EXPRESSIONS if runs.value_of(e) == t] for t in TARGETS}
    known = KNOWN * (seed % 2)

    def line() -> str:
        target = int(rng.choice(TARGETS))
        return f"{target}=" + "".join(
            f"{rng.choice(right[target] if rng.random() < known else EXPRESSIONS)};" for _ in range(CANDIDATES)
        )

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(WARM_STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / WARM_STEPS)
        ids = torch.tensor(tokenizer()([line() for _ in range(64)])["input_ids"])
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return {name: weights.clone() for name, weights in model.state_dict().items()}


class Recorder(ShapeGRPOTrainer):
    """Notes, of every generation, means over the sets."""

    def set_reward(self, prompts: list[Any], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        rewards = super().set_reward(prompts, completion_ids, **columns)
        assert self._scored is not None
        scored = self._scored[1]
        different = np.mean([len(set(texts)) for texts in scored.texts])
        self.points.append((np.mean(rewards), different, scored.mask.sum() / len(scored.mask)))
        return rewards

    def reward_of(self, target: int, sets: int = 64) -> float:
        """The mean worth of so many sets for a target."""
        prompt = tokenizer()([f"{target}="] * sets, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            tokens = self.model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=True, max_new_tokens=2 * CANDIDATES
            )[:, 1:]
        end = tokenizer().eos_token_id
        written = [row[: row.index(end) + 1] if end in row else row for row in tokens.tolist()]
        return float(np.mean(ShapeGRPOTrainer.set_reward(self, [f"{target}="] * sets, written, target=[target] * sets)))


def do(run: Run) -> dict[str, Any]:
    """In a process of a worker."""
    warnings.simplefilter("ignore")  # of the frameworks
    torch.set_num_threads(1)
    return {**run._asdict(), **train(run), **runs.origin()}


def train(run: Run, steps: int = STEPS) -> dict[str, Any]:
    """The curves of a run, the set reward on the target that it did not see before and after, and what it took."""
    task, scheme = TASKS[run.task], SCHEMES[run.scheme]
    model = new_model(run.seed)
    model.load_state_dict(warm_start(run.seed))
    seen = [t for t in TARGETS if t != run.held_out]
    scorer = rl.SetScorer(task.score, rl.separated(";"), tokenizer(), utility=task.utility, takes="batch")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Recorder(
            model=model,
            scorer=scorer,
            allocator=rl.RewardAllocator(task.utility, scheme.value, sizes=scheme.sizes),
            args=config(folder, run, steps),
            processing_class=tokenizer(),
            train_dataset=Dataset.from_dict({"prompt": [f"{t}=" for t in seen] * 2, "target": seen * 2}),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.points = []
        start = time.process_time()
        before = trainer.reward_of(run.held_out)
        trainer.train()
        held_out = [round(x, 4) for x in (before, trainer.reward_of(run.held_out))]
        seconds = time.process_time() - start
    curves = np.array(trainer.points).reshape(-1, BLOCK, len(CURVES)).mean(1).round(4)
    return {"cpu_s": round(seconds, 2), "held_out": held_out, **dict(zip(CURVES, curves.T.tolist(), strict=True))}


def config(folder: str, run: Run, steps: int) -> GRPOConfig:
    """Groups of eight responses of 12 tokens, and one update per step."""
    return GRPOConfig(
        output_dir=folder,
        seed=run.seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_steps=steps,
        beta=0.0,
        learning_rate=run.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        per_device_train_batch_size=SETS,
        num_generations=GENERATIONS,
        max_completion_length=2 * CANDIDATES,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
