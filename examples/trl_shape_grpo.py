"""Train a tiny model with credit per candidate in TRL, from nothing, on a CPU: `python examples/trl_shape_grpo.py`.

    pip install '.[torch]' 'trl>=1.0,<2,!=1.15.0'     # 1.15.0 needs a GPU

The model writes a list of words, one a line. The best word of the list earns the reward (`Max`), so lists of one group
often tie and plain GRPO learns little; credit per candidate tells the words apart.

For a real model on a GPU, change four things:
- model and tokenizer: `model="Qwen/Qwen3-0.6B"`, `tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen3-0.6B")`, and no
  `use_cpu`; in the prompts, ask for the format that the parser reads, such as a JSON list with `json_list()`;
- `score`: your judge, `async def` if it is a service. It can take columns of the dataset, by name;
- the dataset: a column "prompt" and what score needs;
- GRPOConfig: lengths, batch sizes, learning rate, `use_vllm=True`. Groups may be spread over GPUs
  (`accelerate launch`). Keep `importance_sampling_level="token"`.
"""

import os
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")  # nothing here comes from the network

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

from shapley_kernels import rl
from shapley_kernels.adapters.trl import ShapeGRPOTrainer

WORTH = {"red": 0.1, "green": 0.2, "blue": 0.3, "amber": 0.5, "violet": 1.0}


def tiny_tokenizer():
    """One token per line of a word, made on the spot."""
    vocabulary = ["<pad>", "<eos>", "Colors:", *(f"{word}\n" for word in WORTH)]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(vocabulary)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
    tokenizer.decoder = decoders.Fuse()  # the text of a response is its pieces, joined
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def tiny_model(tokenizer):
    """Two layers with random weights."""
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


def score(word):
    """What a candidate is worth; here a table, elsewhere a judge or a checker."""
    return WORTH.get(word, 0.0)


def main():
    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer()
    trainer = ShapeGRPOTrainer(
        model=tiny_model(tokenizer),
        # a list that is cut at the length limit keeps its words: here each of them is complete
        scorer=rl.SetScorer(score, rl.separated("\n"), tokenizer, truncated="keep"),
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            max_steps=40,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=6,
            logging_steps=5,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["Colors:"] * 64}),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    curve = [entry for entry in trainer.state.log_history if "reward" in entry]
    print("step  reward  credit per word  groups whose rewards tie, where GRPO learns nothing: of these, taught here")
    for entry in curve:
        print(
            f"{entry['step']:4}  {entry['reward']:6.3f}  {entry['shapley/mean_credit']:15.3f}"
            f"  {entry['shapley/zero_variance_groups'] * 5:3.0f}: {entry['shapley/rescued_groups'] * 5:.0f}"
        )
    if curve[-1]["reward"] <= curve[0]["reward"]:
        raise SystemExit("the reward did not rise")


if __name__ == "__main__":
    main()
