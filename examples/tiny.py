"""A tiny model from nothing, for the examples with TRL: a tokenizer of whole pieces, two layers, a warm start on a
format."""

import os
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")  # nothing here comes from the network

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

torch.set_num_threads(1)
torch.manual_seed(0)


def tokenizer_of(pieces):
    """One token per piece; pieces end with a line break, at which texts are split."""
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<eos>", *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
    tokenizer.decoder = decoders.Fuse()  # the text of a rollout is its pieces, joined
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def model_of(tokenizer, texts=(), steps=150):
    """A model that writes texts like these, as after supervised training; without texts, random weights."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes, **ends))
    if texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(steps):
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model


def config(**options):
    """Small batches on a CPU; no files but in a temporary folder."""
    plain = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "report_to": []}
    run = {"output_dir": tempfile.mkdtemp(), "disable_tqdm": True, "lr_scheduler_type": "constant", "seed": 0}
    return GRPOConfig(**plain, **run, per_device_train_batch_size=32, num_generations=8, logging_steps=10, **options)


def curve(trainer, *names):
    """Trains, and prints these numbers of the log every ten steps; returns the first of them."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    print("step", *names, sep="  ")
    for entry in log:
        print(f"{entry['step']:4}", *(f"{entry[name]:{len(name)}.3f}" for name in names), sep="  ")
    return [entry[names[0]] for entry in log]
