"""An exported adapter → a folder that Ollama can serve: model.gguf, Modelfile, README.md.

The adapter is added to the weights that training saw, in float32, before they are rounded once to
the file's precision. What Ollama does on its own is said in the Modelfile, so that an answer is
fitbot's: template, end tokens, system prompt, sampling. The beginning-of-text token, where the base
has one, is written by the template alone; the file says that none is to be added.
"""

from pathlib import Path
from typing import Any

from fitbot.base_model.architecture import longest_of
from fitbot.base_model.gguf_file import Kind, write_base
from fitbot.base_model.provenance import answer_settings, sha256_of
from fitbot.errors import ConfigError
from fitbot.export.adapter import all_or_nothing, write_provenance
from fitbot.export.card import run_findings
from fitbot.export.gguf import load_checked, measure_drift, score_network
from fitbot.export.go_template import turns_of
from fitbot.generation.merging import merge
from fitbot.pairs.chat import Chat
from fitbot.pairs.template import Template

MODEL_FILE = "model.gguf"
_CONTEXT = 4096  # tokens of prompt and answer together, at most


def export_ollama(adapter: Path | None, out: Path, kind: Kind) -> dict[str, Any]:
    """Write what Ollama serves.

    Args:
        adapter: Folder that `fitbot export` wrote; None for the embedded model alone.
        out: Where to; made if missing.
        kind: Of the model's matrices.

    Returns:
        What fitbot.json there says under "gguf": the kind, the file's SHA-256, and the drift, see
        `measure_drift`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
        ConfigError: The package gguf is not installed, or base or chat template cannot be written.
    """
    provenance, weights, model, chat = load_checked(adapter)
    provenance.pop("sha256", None)  # of the adapter's own files
    modelfile = _modelfile(chat, adapter, longest_of(model.config, _CONTEXT))
    base = None
    if adapter is not None:
        step = provenance.get("step", provenance.get("metrics", {}).get("steps"))
        provenance |= run_findings(adapter.parent, step)
        base = score_network(model, chat)
        merge(model, weights)
    with all_or_nothing(out) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / MODEL_FILE
        write_base(file, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
        told = {
            "kind": kind,
            "sha256": {MODEL_FILE: sha256_of(file)},
            "drift": measure_drift(file, kind, None, model, chat, base=base),
        }
        (folder / "Modelfile").write_text(modelfile, encoding="utf-8", newline="\n")
        write_provenance(folder, {**provenance, "gguf": told}, "ollama")
    return told


def _modelfile(chat: Chat, adapter: Path | None, context: int) -> str:
    """Write template, system prompt and parameters; what is not named there is Ollama's default."""
    answers = answer_settings(adapter)
    texts = [chat.tokenizer.convert_ids_to_tokens(number) for number in sorted(chat.ends)]
    settings = {
        "temperature": answers.temperature if answers.do_sample else 0,
        "top_p": answers.top_p,
        "top_k": 0,  # all; these three are not fitbot's, and off
        "min_p": 0,
        "repeat_penalty": 1,
        "num_predict": answers.max_new_tokens,
        "num_ctx": context,
    }
    lines = [f"FROM ./{MODEL_FILE}"]
    template = turns_of(Template(chat.tokenizer, chat.date)).in_go()
    for name, text in (("TEMPLATE", template), ("SYSTEM", chat.system_prompt)):
        if '"""' in (text or ""):
            raise ConfigError(
                f'--target ollama: {name} holds """, which would end it there: a Modelfile has no '
                "way to write that; use another text"
            )
        lines += [f'{name} """{text}"""'] * bool(text)
    lines += [f'PARAMETER stop "{text}"' for text in texts]
    lines += [f"PARAMETER {name} {value}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"
