"""An exported adapter → base.gguf and adapter.gguf beside it, and how far they drift.

The base is the one that training saw, an NF4 base expanded. `fitbot serve --backend llama` answers
with these files; so do llama.cpp's own programs, `llama-server -m base.gguf --lora adapter.gguf`.
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from fitbot.base_model.adapter_files import AdapterWeights, read_adapter
from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import resolve_base_model
from fitbot.base_model.gguf_file import (
    ADAPTER_FILE,
    BASE_FILE,
    Kind,
    gguf_family,
    write_adapter,
    write_base,
)
from fitbot.base_model.provenance import NEEDED_TO_ANSWER, provenance_of, sha256_of
from fitbot.errors import ConfigError
from fitbot.export.adapter import write_provenance
from fitbot.generation.decoders.llama_decoder import LlamaDecoder, score_forced
from fitbot.generation.loading import chat_of, load_trained
from fitbot.generation.merging import (
    WORTH_MERGING,
    check_sizes,
    encode_texts,
    merge,
)
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
        `measure_drift`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
        ConfigError: The package gguf is not installed, or the base cannot be written.
    """
    provenance, weights, model, chat = load_checked(None if alone else folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder / BASE_FILE, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
    files = [BASE_FILE]
    if not alone:
        write_adapter(folder / ADAPTER_FILE, weights, model.config)
        files.append(ADAPTER_FILE)
    told = {
        "kind": kind,
        "sha256": {name: sha256_of(folder / name) for name in files},
        "drift": measure_drift(folder / BASE_FILE, kind, weights or None, model, chat),
    }
    write_provenance(folder, provenance | {"gguf": told}, "gguf" if alone else "adapter")
    return told


def load_checked(adapter: Path | None) -> tuple[dict[str, Any], AdapterWeights, Any, Chat]:
    """Load what an export as GGUF needs, once it is clear that it fits together.

    Args:
        adapter: An exported adapter's folder; None for the embedded model alone.

    Returns:
        Its metadata, its weights (none of the embedded model), the base in float32 on the CPU, an
        NF4 base expanded, and how conversations are rendered, with the run's day in the template.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or its base was changed since.
        ConfigError: The package gguf is not installed, or GGUF has no such networks.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError("GGUF files need gguf, not installed here; pip install 'fitbot[cpu]'")
    provenance = dict(provenance_of(adapter, *NEEDED_TO_ANSWER))
    check_base(provenance["base_model"], provenance.get("base_sha256"), str(adapter))
    gguf_family(AutoConfig.from_pretrained(resolve_base_model(provenance["base_model"])))
    weights: AdapterWeights = {} if adapter is None else read_adapter(adapter)
    model, chat = load_trained(provenance, torch.device("cpu"), torch.float32), chat_of(provenance)
    if adapter is not None:
        check_sizes(model, weights, adapter)
    keep_day(chat.tokenizer, chat.date)
    return provenance, weights, model, chat


def measure_drift(
    file: Path,
    kind: Kind,
    weights: AdapterWeights | None,
    model: Any,
    chat: Chat,
    *,
    base: Tensor | None = None,
) -> dict[str, float] | None:
    """Compare what llama.cpp makes of a file with the network that it was written from.

    Args:
        file: The network's.
        kind: Of the file's matrices.
        weights: An adapter's, which llama.cpp applies, and which is then added to the network's.
        model: The network, in float32.
        chat: Renders the texts that both are compared on.
        base: Of a network that an adapter was merged into, what `score_network` said before.

    Returns:
        The number of tokens; of their log-probs the mean and the largest difference, nats; the
        share of places at which both take the same token to be likeliest; with `base`, the share
        of the adapter's changes, squared, that rounding does not blur. None where llama.cpp is not
        installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        logger.warning(
            "the GGUF files were not checked, llama.cpp is not installed here; run pip install "
            "'fitbot[cpu]' and export again"
        )
        return None
    texts, longest = encode_texts(chat)
    decoder = LlamaDecoder(file, model.config, chat, kind, slots=1, context=longest)
    server = decoder.open(weights)
    found = [one for prompt, answer in texts for one in score_forced(server, prompt, answer)]
    decoder.close()
    merge(model, weights or {})
    scores = score_network(model, chat)
    tokens = torch.tensor([token for _, answer in texts for token in answer])[:, None]
    own, likeliest = (torch.tensor(one) for one in zip(*found, strict=True))
    expected = scores.gather(-1, tokens)[:, 0]
    differences = (own.double() - expected).abs()
    drift = {
        "tokens": len(tokens),
        "mean_nats": differences.mean().item(),
        "max_nats": differences.max().item(),
        "same_token": (likeliest == scores.argmax(-1)).double().mean().item(),
    }
    logger.info(
        "at %d tokens the log-probs of llama.cpp are %.5f nats from those of transformers on "
        "average, %.5f at most; %.1f %% of the likeliest tokens agree",
        *(drift[name] for name in ("tokens", "mean_nats", "max_nats")),
        100 * drift["same_token"],
    )
    if drift["mean_nats"] > _COARSE:
        logger.warning("%s is coarse for this base; q8_0 is nearer to it", kind)
    if base is not None:
        change = expected - base.gather(-1, tokens)[:, 0]
        drift["effect_kept"] = _effect_kept(differences, change, kind)
    return drift


def _effect_kept(differences: Tensor, change: Tensor, kind: Kind) -> float:
    """Compare what rounding changes with what the adapter changes, at the same tokens."""
    # Unlike a regression of the changes, this is lowered by the noise of rounding.
    kept = 1 - (differences.square().sum() / change.square().sum()).item()
    if not kept > WORTH_MERGING:
        logger.warning(
            "%s is too coarse for this adapter, whose changes are no larger than what rounding "
            "changes; take --gguf f16 or f32",
            kind,
        )
    return kept


@torch.no_grad()
def score_network(model: Any, chat: Chat) -> Tensor:
    """Return the network's log-probs where tokens of `encode_texts`' answers follow, (N, V)."""
    rows = []
    for prompt, answer in encode_texts(chat)[0]:
        logits = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0]
        rows.append(logits[len(prompt) - 1 :].double().log_softmax(-1))
    return torch.cat(rows)
