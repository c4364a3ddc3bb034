"""An exported adapter → base.gguf and adapter.gguf beside it, and how far they drift.

The base is the one that training saw, an NF4 base expanded. `fitbot serve --backend llama` answers
with these files; so do llama.cpp's own programs, `llama-server -m base.gguf --lora adapter.gguf`.
"""

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.base_model.adapter_files import read_adapter
from fitbot.base_model.gguf_file import ADAPTER_FILE, BASE_FILE, Kind, write_adapter, write_base
from fitbot.base_model.loading import load_base
from fitbot.base_model.provenance import PROVENANCE_FILE, provenance_of, sha256_of
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import ConfigError
from fitbot.generation.decoders.llama_decoder import LlamaDecoder, score_forced
from fitbot.generation.merging import TEXTS, Text, encode, merge
from fitbot.pairs.chat import Chat, load_tokenizer

logger = logging.getLogger(__name__)

_COARSE = 0.1  # nats a token that are worth a warning


def export_gguf(folder: Path, kind: Kind, *, alone: bool = False) -> dict[str, Any]:
    """Write an exported adapter and its base as GGUF too.

    Args:
        folder: That `fitbot export` wrote.
        kind: Of the base's matrices.
        alone: Write the embedded model without an adapter; the folder is made if missing.

    Returns:
        What fitbot.json now says under "gguf": the kind, the files' SHA-256, and the drift, see
        `drift_of`; None where llama.cpp is not installed.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
        ConfigError: The package gguf is not installed, or the base cannot be written.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError("--gguf: gguf is not installed here; run pip install 'fitbot[llama]'")
    provenance = dict(provenance_of(None if alone else folder))
    base_model, in_4bit = provenance["base_model"], provenance["settings"]["load_in_4bit"]
    base = BaseSettings(base_model=base_model, load_in_4bit=in_4bit, expand_4bit=in_4bit)
    model = load_base(base, device=torch.device("cpu"), compute_dtype=torch.float32)
    chat = Chat(load_tokenizer(base_model), system_prompt=provenance["data"]["system_prompt"])
    weights = None if alone else read_adapter(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder / BASE_FILE, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
    files = [BASE_FILE]
    if weights is not None:
        write_adapter(folder / ADAPTER_FILE, weights, model.config)
        files.append(ADAPTER_FILE)
    told = {
        "kind": kind,
        "sha256": {name: sha256_of(folder / name) for name in files},
        "drift": _checked(folder, kind, weights, model, chat),
    }
    (folder / PROVENANCE_FILE).write_text(
        json.dumps(provenance | {"gguf": told}, indent=2) + "\n", "utf-8"
    )
    return told


def _checked(
    folder: Path,
    kind: Kind,
    weights: dict[str, tuple[Tensor, Tensor]] | None,
    model: Any,
    chat: Chat,
) -> dict[str, float] | None:
    """Measure the drift and tell it, if llama.cpp is there to measure it."""
    if importlib.util.find_spec("xllamacpp") is None:
        logger.warning(
            "the GGUF files were not checked, llama.cpp is not installed here; run pip install "
            "'fitbot[llama]' and export again"
        )
        return None
    drift = drift_of(folder / BASE_FILE, kind, weights, model, chat)
    logger.info(
        "at %d tokens the log-probs of llama.cpp are %.5f nats from those of transformers on "
        "average, %.5f at most; %.1f %% of the likeliest tokens agree",
        *(drift[name] for name in ("tokens", "mean_nats", "max_nats")),
        100 * drift["same_token"],
    )
    if drift["mean_nats"] > _COARSE:
        logger.warning("%s is coarse for this base; q8_0 is nearer to it", kind)
    return drift


def drift_of(
    file: Path,
    kind: Kind,
    weights: dict[str, tuple[Tensor, Tensor]] | None,
    model: Any,
    chat: Chat,
) -> dict[str, float]:
    """Compare what llama.cpp makes of a file with the network that it was written from.

    Args:
        file: The base.
        kind: Of its matrices.
        weights: An adapter's, see `Decoder.adapt`; None for the base alone.
        model: The network in float32; the adapter is added to its weights.
        chat: Renders the texts that are compared on.

    Returns:
        The number of tokens; of their log-probs the mean and the largest difference, nats; the
        share of places at which both take the same token to be likeliest.
    """
    texts = [encode(chat, question, answer) for question, answer in TEXTS]
    longest = max(len(prompt) + len(answer) for prompt, answer in texts)
    decoder = LlamaDecoder(file, model.config, chat, kind, slots=1, context=longest)
    server = decoder.open(weights)
    found = [one for prompt, answer in texts for one in score_forced(server, prompt, answer)]
    decoder.close()
    if weights is not None:
        merge(model, weights)
    expected = _score_network(model, texts)
    tokens = torch.tensor([token for _, answer in texts for token in answer])[:, None]
    own, likeliest = (torch.tensor(one) for one in zip(*found, strict=True))
    differences = (own.double() - expected.gather(-1, tokens)[:, 0]).abs()
    return {
        "tokens": len(tokens),
        "mean_nats": differences.mean().item(),
        "max_nats": differences.max().item(),
        "same_token": (likeliest == expected.argmax(-1)).double().mean().item(),
    }


@torch.no_grad()
def _score_network(model: Any, texts: list[Text]) -> Tensor:
    """Return the network's log-probs where each token of the answers follows, (N, V)."""
    rows = []
    for prompt, answer in texts:
        logits = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0]
        rows.append(logits[len(prompt) - 1 :].double().log_softmax(-1))
    return torch.cat(rows)
