"""A random Qwen3 of next to no size, with a token per byte: what the tests' sums are done on."""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Qwen3Config

sys.path.append(str(Path(__file__).parents[1] / "data" / "build"))
from tiny import chat_tokenizer as chat_tokenizer

MAX_LENGTH = 4096  # tokens; bytes, with this tokenizer
HEAD_DIM = 32


def write_tiny_model(
    folder: Path,
    *,
    hidden_size: int = 128,
    num_layers: int = 2,
    seed: int = 0,
) -> Path:
    """Write a folder that AutoTokenizer and AutoModelForCausalLM can load, and return it.

    The same arguments give the same bytes, and the caller's random state is left alone.

    Args:
        folder: Where to write; made if missing.
        hidden_size: Width of the model, a multiple of 64: 4-bit weights on a CPU want that.
        num_layers: Number of decoder layers.
        seed: Seed of the random weights.
    """
    tokenizer = chat_tokenizer(_byte_tokenizer(), MAX_LENGTH)
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // HEAD_DIM,
        num_key_value_heads=hidden_size // HEAD_DIM // 2,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        # The last norm gives hidden states of length sqrt(hidden_size), so logits have std 1. With
        # Qwen3's 0.02 every token would get nearly -ln V and a wrong log-prob could look right.
        initializer_range=hidden_size**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return folder


def _byte_tokenizer() -> Tokenizer:
    """Return a tokenizer with one token per byte."""
    # alphabet() comes in no fixed order.
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
