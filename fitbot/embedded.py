"""Nothing in, a loadable model folder out: the tiny default model that needs no hub.

It has Qwen3's architecture, chat format and file layout, byte-level tokens and random weights.
Untrained, so losses and margins are real arithmetic while answers are noise. `make quickstart` and
the tests stand on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fitbot.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

EMBEDDED = "embedded"  # the base_model setting that means it
VERSION = 2  # names the cache folder; raise it whenever the files written below change

MAX_LENGTH = 4096  # tokens; bytes, with this tokenizer
HEAD_DIM = 32
WIDTH_MULTIPLE = 64  # NF4 on a CPU wants widths in whole blocks of 64

END_OF_TEXT = "<|endoftext|>"  # pads
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
THINK_TOKENS = ["<think>", "</think>"]  # ordinary text to Qwen3: decoding keeps them

# Plain turns, and the empty think blocks of Qwen3's own template: before a last answer, and in the
# generation prompt when thinking is off. No tools, no reasoning content.
CHAT_TEMPLATE = r"""
{%- for message in messages -%}
    {%- set answered = loop.last and message.role == 'assistant' -%}
    {{ '<|im_start|>' ~ message.role ~ '\n' ~ ('<think>\n\n</think>\n\n' if answered else '')
       ~ message.content ~ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- set thinking = enable_thinking is not defined or enable_thinking is not false -%}
    {{ '<|im_start|>assistant\n' ~ ('' if thinking else '<think>\n\n</think>\n\n') }}
{%- endif -%}
""".strip()


def resolve_base_model(base_model: str) -> str:
    """Turn a base model's name into what transformers can load: a hub id or an existing folder.

    Raises:
        ConfigError: It is written like a path, and no such folder is there.
    """
    if base_model == EMBEDDED:
        return str(embedded_model())
    if base_model.startswith((".", "/", "~")) or base_model.count("/") > 1:
        folder = Path(base_model).expanduser()
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"base_model {base_model!r}: no config.json there; give a folder with a model that "
                "transformers can load, a hub id such as 'Qwen/Qwen3-0.6B', or 'embedded'"
            )
        return str(folder)
    return base_model


def embedded_model() -> Path:
    """Return the folder of the embedded model, written on the first call.

    It lies in `$XDG_CACHE_HOME/fitbot` (default `~/.cache/fitbot`). Processes that get here at the
    same time each write a folder of their own; the first to finish wins and the rest use its files.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fitbot"
    folder = cache / f"embedded-{VERSION}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=cache))
    try:
        write_embedded_model(draft).replace(folder)
    except OSError:
        # A folder with files in it cannot be replaced, so another process was first.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def write_embedded_model(
    folder: Path,
    *,
    hidden_size: int = 128,
    num_layers: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a tiny random Qwen3 that AutoTokenizer and AutoModelForCausalLM can load.

    The same arguments give the same bytes, and the caller's random state is left alone.

    Args:
        folder: Where to write; made if missing.
        hidden_size: Width of the model, a positive multiple of 64.
        num_layers: Number of decoder layers.
        seed: Seed of the random weights.
        dtype: Type of the stored weights; they are drawn in float32 and then rounded.

    Returns:
        The folder, for chaining.

    Raises:
        ConfigError: If hidden_size is not a positive multiple of 64.
    """
    from transformers import AutoModelForCausalLM, Qwen3Config

    if hidden_size < WIDTH_MULTIPLE or hidden_size % WIDTH_MULTIPLE:
        raise ConfigError(
            f"hidden_size must be a positive multiple of {WIDTH_MULTIPLE}, got {hidden_size!r}. "
            "4-bit weights on a CPU allow no other widths."
        )
    tokenizer = chat_tokenizer(_byte_tokenizer(), MAX_LENGTH)
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE,
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
    # torch.manual_seed would also reseed every GPU, which this fork does not restore. The device is
    # named because Lightning builds models under a default device of its own.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return folder


def chat_tokenizer(tokenizer: Tokenizer, max_length: int) -> PreTrainedTokenizerFast:
    """Give a tokenizer of text Qwen3's chat format: five tokens of its own, and the template.

    Args:
        tokenizer: Of the tokenizers library; the five are added to it.
        max_length: Tokens that the model is told of.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    specials = [END_OF_TEXT, TURN_START, TURN_END]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in specials])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in THINK_TOKENS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _byte_tokenizer() -> Tokenizer:
    """Return a tokenizer with one token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    # alphabet() comes in no fixed order.
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
