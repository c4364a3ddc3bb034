"""fitbot export: a checkpoint's adapter as a folder, merged weights, GGUF files."""

import logging
from pathlib import Path
from typing import Any

from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.base_model.provenance import PROVENANCE_FILE
from fitbot.commands.command_line import SuggestingParser, announce, check_at_least
from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)

_OF_ADAPTERS = (PROVENANCE_FILE, "adapter_config.json")  # of PEFT's, the other one is missed
# Those of FILE_TYPES and TARGETS, whose modules load torch.
KINDS = ("f32", "f16", "q4_0", "q8_0", "bf16")
ENGINES = ("vllm", "ray")


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
        help="write besides what serves the adapter with that engine",
    )
    add(
        "--gguf",
        choices=KINDS,
        help="write besides base and adapter for llama.cpp, the base in this precision, and their "
        "drift; `embedded` instead of a checkpoint is the embedded model alone, into --out",
    )
    options = parser.parse_args(args[1:])
    check_at_least(options, drift_pairs=1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wants_unmerged = options.target or options.gguf
    if options.merge and wants_unmerged:
        raise ConfigError("--merge: --target and --gguf want the adapter unmerged; leave one out")
    announce(f"fitbot export: loading {options.checkpoint}")
    alone = bool(options.gguf) and str(options.checkpoint) == EMBEDDED
    if alone:
        out = options.out or Path(f"{EMBEDDED}-gguf")
    elif wants_unmerged and any((options.checkpoint / name).is_file() for name in _OF_ADAPTERS):
        out = options.checkpoint
    else:
        out = _export_checkpoint(options)
    if options.target and not alone:
        from fitbot.export.vllm import write_deployment

        logger.info("wrote %s", write_deployment(out, options.target))
    if options.gguf:
        from fitbot.export.gguf import export_gguf

        logging.getLogger("gguf").setLevel(logging.WARNING)
        told = export_gguf(out, options.gguf, alone=alone)
        for name in told["sha256"]:
            logger.info("wrote %s", out / name)
    return 0


def _export_checkpoint(options: Any) -> Path:
    """Write the adapter, or merged weights; returns the folder."""
    from fitbot.export.adapter import export_adapter, load_checkpoint, training_of
    from fitbot.export.merged import export_merged

    path = options.checkpoint / "last.ckpt" if options.checkpoint.is_dir() else options.checkpoint
    checkpoint = load_checkpoint(path)
    base_model = checkpoint["hyper_parameters"]["base_model"]
    # Of a hub id, an adapter's export fetches the tokenizer only.
    if options.merge or Path(resolve_base_model(base_model)).is_dir():
        check_base(base_model, checkpoint.get("base_sha256"), str(path))
    kind = "merged" if options.merge else "adapter"
    out: Path = options.out or path.parent / f"{path.stem}-{kind}"
    if options.merge:
        export_merged(out, checkpoint, drift_pairs=options.drift_pairs)
    else:
        weights, settings = checkpoint["state_dict"], checkpoint["hyper_parameters"]
        export_adapter(out, weights, settings, training=training_of(checkpoint))
    logger.info("wrote %s", out)
    return out
