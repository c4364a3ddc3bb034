"""fitbot export: a checkpoint's adapter as a folder, merged weights, files for other engines."""

import logging
from pathlib import Path
from typing import Any

from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.base_model.gguf_file import KINDS
from fitbot.base_model.provenance import PROVENANCE_FILE
from fitbot.commands.command_line import SuggestingParser, announce, check_at_least, say
from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)

_OF_ADAPTERS = (PROVENANCE_FILE, "adapter_config.json")  # of PEFT's, the other one is missed
# Those of TARGETS, whose module loads torch.
OLLAMA = "ollama"
ENGINES = ("vllm", "ray", OLLAMA)


def main(args: list[str]) -> int:
    """Write a checkpoint's adapter, or merged weights."""
    parser = SuggestingParser(
        prog="fitbot export",
        usage="fitbot export CHECKPOINT [options]",
        description="Write a checkpoint's adapter as PEFT folder.",
    )
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        help="a .ckpt file, or a run's folder (its last.ckpt); with --target or --gguf an "
        "adapter's folder, too",
    )
    add("--out", type=Path, help="folder to write; default: beside the checkpoint")
    add("--merge", action="store_true", help="write merged bf16 weights instead, and their drift")
    add("--drift_pairs", type=int, default=32, help="pairs that the merge's drift is measured on")
    add(
        "--target",
        choices=ENGINES,
        help="write besides what serves the adapter with that engine: for vllm and ray a script, "
        "for ollama a folder with merged weights and a Modelfile",
    )
    add(
        "--gguf",
        choices=KINDS,
        help="write besides base and adapter for llama.cpp, the base in this precision, and their "
        "drift; with --target ollama the precision of that, by default q8_0. `embedded` instead "
        "of a checkpoint is the embedded model alone, into --out",
    )
    add("--push", metavar="OWNER/NAME", help="then upload the folder to this repository of the hub")
    add("--private", action="store_true", help="make the repository private, if it is new")
    add("--dry_run", action="store_true", help="say what --push would upload, and upload nothing")
    options = parser.parse_args(args[1:])
    check_at_least(options, drift_pairs=1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("gguf").setLevel(logging.WARNING)
    if options.merge and (options.target or options.gguf):
        raise ConfigError("--merge: --target and --gguf want the adapter unmerged; leave one out")
    if options.push:
        from fitbot.export.hub import check_repository

        check_repository(options.push)
    elif options.private or options.dry_run:
        raise ConfigError("--private and --dry_run are of --push OWNER/NAME, which is missing")
    announce(f"fitbot export: loading {options.checkpoint}")
    folder = _write(options)
    if options.push:
        _push(folder, options)
    return 0


def _write(options: Any) -> Path:
    """Write what was asked for; returns the folder."""
    for_ollama = options.target == OLLAMA
    if str(options.checkpoint) == EMBEDDED and (for_ollama or options.gguf):
        return _export_embedded(options)
    wants_unmerged = options.target or options.gguf
    writes = wants_unmerged or options.merge or options.out
    if options.push and not writes and (options.checkpoint / PROVENANCE_FILE).is_file():
        return Path(options.checkpoint)  # an export of any kind
    if wants_unmerged and any((options.checkpoint / name).is_file() for name in _OF_ADAPTERS):
        adapter = Path(options.checkpoint)
    else:
        adapter = _export_checkpoint(options, None if for_ollama else options.out)
    if for_ollama:
        out = options.out or adapter.with_name(f"{adapter.name.removesuffix('-adapter')}-ollama")
        return _export_ollama(adapter, out, options)
    if options.target:
        from fitbot.export.vllm import write_deployment

        logger.info("wrote %s", write_deployment(adapter, options.target))
    if options.gguf:
        _export_gguf(adapter, options)
    return adapter


def _push(folder: Path, options: Any) -> None:
    """Upload an export, or say what would be uploaded."""
    from fitbot.export.hub import files_of, push

    if not options.dry_run:
        announce(f"fitbot export: uploading {folder}")
        say(f"pushed to {push(folder, options.push, private=options.private)}")
        return
    sizes = {file.name: file.stat().st_size for file in files_of(folder)}
    where = f"{options.push}, {'private' if options.private else 'public'} if it is new"
    say(f"would push {len(sizes)} files, {sum(sizes.values()):,} bytes, of {folder} to {where}:")
    for name, size in sizes.items():
        say(f"{size:>16,}  {name}")


def _export_embedded(options: Any) -> Path:
    """Write the embedded model alone; returns the folder."""
    kind = "ollama" if options.target == OLLAMA else "gguf"
    out = options.out or Path(f"{EMBEDDED}-{kind}")
    if kind == "ollama":
        return _export_ollama(None, out, options)
    _export_gguf(out, options, alone=True)
    return out


def _export_ollama(adapter: Path | None, out: Path, options: Any) -> Path:
    from fitbot.export.ollama import export_ollama

    export_ollama(adapter, out, options.gguf or "q8_0")
    logger.info("wrote %s; now: cd %s && ollama create coach -f Modelfile", out, out)
    return out


def _export_gguf(folder: Path, options: Any, *, alone: bool = False) -> None:
    from fitbot.export.gguf import export_gguf

    for name in export_gguf(folder, options.gguf, alone=alone)["sha256"]:
        logger.info("wrote %s", folder / name)


def _export_checkpoint(options: Any, out: Path | None) -> Path:
    """Write the adapter, or merged weights; returns the folder."""
    from fitbot.export.adapter import export_adapter, load_checkpoint, training_of
    from fitbot.export.card import run_findings
    from fitbot.export.merged import export_merged

    path = options.checkpoint / "last.ckpt" if options.checkpoint.is_dir() else options.checkpoint
    checkpoint = load_checkpoint(path)
    settings = checkpoint["hyper_parameters"]
    base_model = settings["base_model"]
    # Of a hub id, an adapter's export fetches the tokenizer only.
    if options.merge or Path(resolve_base_model(base_model)).is_dir():
        check_base(base_model, checkpoint.get("base_sha256"), str(path))
    kind = "merged" if options.merge else "adapter"
    out = out or path.parent / f"{path.stem}-{kind}"
    training = training_of(checkpoint)
    training |= run_findings(path.parent, training["step"])
    if options.merge:
        export_merged(out, checkpoint, training=training, drift_pairs=options.drift_pairs)
    else:
        export_adapter(out, checkpoint["state_dict"], settings, training=training)
    logger.info("wrote %s", out)
    return out
