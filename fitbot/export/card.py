"""The model card of an export, README.md: what the hub reads of it, how to load it, its figures.

All that it says comes from the export's fitbot.json; what is not known is left out.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.errors import AdapterError

Kind = Literal["adapter", "merged", "gguf", "ollama"]

_OF_HUB: dict[Kind, tuple[str, tuple[str, ...]]] = {  # library, tags
    "adapter": ("peft", ("lora",)),
    "merged": ("transformers", ()),
    "gguf": ("gguf", ("gguf",)),
    "ollama": ("gguf", ("gguf", "ollama")),
}
_SETTINGS = (
    *("beta", "label_smoothing", "nll_weight", "length_normalised", "gamma", "learning_rate"),
    *("optimizer", "weight_decay", "lr_schedule", "warmup_ratio", "max_grad_norm"),
)
_QUESTION = "How long should I rest between heavy sets?"


def write_card(folder: Path, provenance: dict[str, Any], kind: Kind) -> None:
    """Write README.md into an export's folder, over the one that is there.

    Args:
        folder: Of the export.
        provenance: What its fitbot.json holds.
        kind: What the folder is.
    """
    from jinja2 import Environment, PackageLoader

    system = provenance["data"]["system_prompt"]
    turns = [{"role": "system", "content": system}] * bool(system)
    loader = PackageLoader("fitbot", "export")
    pages = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)
    text = pages.get_template("card.md.j2").render(
        provenance,
        kind=kind,
        metadata=_metadata(provenance, kind),
        in_4bit=kind == "adapter" and provenance["settings"]["load_in_4bit"],
        is_embedded=provenance["base_model"] == EMBEDDED,
        messages=[*turns, {"role": "user", "content": _QUESTION}],
        question=_QUESTION,
        shown_settings=_SETTINGS,
        shown=_shown,
        cell=lambda value: f"{value:.6g}" if isinstance(value, float) else str(value),
        py=repr,
    )
    text = re.sub(r"\n{3,}", "\n\n", text)  # of parts that are left out
    (folder / "README.md").write_text(text + "\n", encoding="utf-8")


def run_findings(run: Path, step: int | None) -> dict[str, Any]:
    """Read what a run has said of its last step, if that is this one.

    Args:
        run: The run's folder; one of no run has nothing to say.
        step: Of the weights that are exported.

    Returns:
        The figures of summary.json as "metrics"; as "evaluation" the sentences on its adapter of
        evaluation/evaluation.json, where `fitbot evaluate --out RUN/evaluation` wrote it.

    Raises:
        AdapterError: One of these files is damaged.
    """
    found: dict[str, Any] = {}
    summary, evaluation = run / "summary.json", run / "evaluation" / "evaluation.json"
    if not summary.is_file() or _read(summary).get("steps") != step:
        return found
    found["metrics"] = _read(summary)
    for model in (told := _read(evaluation))["models"] if evaluation.is_file() else ():
        own = model["model"]["adapter"]
        if own is not None and Path(own).resolve() == (run / "adapter").resolve():
            sentences = told["verdicts"][model["model"]["name"]]
            found["evaluation"] = {"pairs": told["pairs"]["path"], "found": sentences}
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{file} cannot be read: {error}; mend it or take it away") from error
    return read


def _metadata(provenance: dict[str, Any], kind: Kind) -> str:
    from huggingface_hub import ModelCardData

    base, loss = provenance["base_model"], provenance["settings"].get("loss")
    library, tags = _OF_HUB[kind]
    data = ModelCardData(
        base_model=None if Path(base).is_absolute() or base == EMBEDDED else base,
        library_name=library,
        license=_licence(base),
        pipeline_tag="text-generation",
        tags=["fitbot", *([] if loss is None else ["sft" if loss == "sft" else "dpo"]), *tags],
    )
    return data.to_yaml()


def _licence(base_model: str) -> str | None:
    """Look the licence up in the base's own card, if that is on this machine."""
    from huggingface_hub import metadata_load
    from transformers.utils import cached_file

    if base_model == EMBEDDED:
        return "apache-2.0"
    card = cached_file(
        resolve_base_model(base_model),
        "README.md",
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
    )
    licence = (metadata_load(card) or {}).get("license") if card else None
    return licence if isinstance(licence, str) else None


def _shown(path: str) -> str:
    """Name what lies in a folder of one machine by its last part; hub ids stay."""
    return Path(path).name if Path(path).is_absolute() else path
