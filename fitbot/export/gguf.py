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

from fitbot.base_model.adapter_files import AdapterWeights, read_adapter
from fitbot.base_model.base_files import check_base
from fitbot.base_model.gguf_file import ADAPTER_FILE, BASE_FILE, Kind, write_adapter, write_base
from fitbot.base_model.provenance import NEEDED_TO_ANSWER, PROVENANCE_FILE, provenance_of, sha256_of
from fitbot.errors import ConfigError
from fitbot.generation.decoders.llama_decoder import LlamaDecoder, score_forced
from fitbot.generation.loading import chat_of, load_trained
from fitbot.generation.merging import Text, check_sizes, encode_texts, merge
from fitbot.pairs.chat import Chat
from fitbot.pairs.template import keep_day

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
        `_measure_drift`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
        ConfigError: The package gguf is not installed, or the base cannot be written.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError("--gguf: gguf is not installed here; run pip install 'fitbot[llama]'")
    provenance = dict(provenance_of(None if alone else folder, *NEEDED_TO_ANSWER))
    check_base(provenance["base_model"], provenance.get("base_sha256"), str(folder))
    weights = None if alone else read_adapter(folder)
    model, chat = load_trained(provenance, torch.device("cpu"), torch.float32), chat_of(provenance)
    if weights is not None:
        check_sizes(model, weights, folder)
    folder.mkdir(parents=True, exist_ok=True)
    keep_day(chat.tokenizer, chat.date)
    write_base(folder / BASE_FILE, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
    files = [BASE_FILE]
    if weights is not None:
        write_adapter(folder / ADAPTER_FILE, weights, model.config)
        files.append(ADAPTER_FILE)
    told = {
        "kind": kind,
        "sha256": {name: sha256_of(folder / name) for name in files},
        "drift": _measure_drift(folder / BASE_FILE, kind, weights, model, chat),
    }
    (folder / PROVENANCE_FILE).write_text(
        json.dumps(provenance | {"gguf": told}, indent=2) + "\n", "utf-8"
    )
    return told


def _measure_drift(
    file: Path, kind: Kind, weights: AdapterWeights | None, model: Any, chat: Chat
) -> dict[str, float] | None:
    """Compare what llama.cpp makes of a file with the network that it was written from.

    The network is in float32; the adapter is added to its weights.

    Returns:
        The number of tokens; of their log-probs the mean and the largest difference, nats; the
        share of places at which both take the same token to be likeliest. None where llama.cpp is
        not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        logger.warning(
            "the GGUF files were not checked, llama.cpp is not installed here; run pip install "
            "'fitbot[llama]' and export again"
        )
        return None
    texts, longest = encode_texts(chat)
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
    drift = {
        "tokens": len(tokens),
        "mean_nats": differences.mean().item(),
        "max_nats": differences.max().item(),
        "same_token": (likeliest == expected.argmax(-1)).double().mean().item(),
    }
    logger.info(
        "at %d tokens the log-probs of llama.cpp are %.5f nats from those of transformers on "
        "average, %.5f at most; %.1f %% of the likeliest tokens agree",
        *(drift[name] for name in ("tokens", "mean_nats", "max_nats")),
        100 * drift["same_token"],
    )
    if drift["mean_nats"] > _COARSE:
        logger.warning("%s is coarse for this base; q8_0 is nearer to it", kind)
    return drift


@torch.no_grad()
def _score_network(model: Any, texts: list[Text]) -> Tensor:
    """Return the network's log-probs where each token of the answers follows, (N, V)."""
    rows = []
    for prompt, answer in texts:
        logits = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0]
        rows.append(logits[len(prompt) - 1 :].double().log_softmax(-1))
    return torch.cat(rows)
