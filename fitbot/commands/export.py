"""fitbot export: a checkpoint's adapter as a folder, merged weights, GGUF files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitbot.base_model.embedded import EMBEDDED
from fitbot.base_model.provenance import PROVENANCE_FILE
from fitbot.commands.command_line import SuggestingParser
from fitbot.errors import ConfigError
from fitbot.export.vllm import TARGETS, write_deployment

if TYPE_CHECKING:
    from fitbot.base_model.gguf_file import Kind

logger = logging.getLogger(__name__)

# Those of FILE_TYPES, whose module loads torch.
KINDS = ("f32", "f16", "q4_0", "q8_0", "bf16")


def main(args: list[str]) -> int:
    """Run `fitbot export`: write a checkpoint's adapter, or merged weights.

    Args:
        args: The command and its options, as typed.

    Returns:
        0.
    """
    parser = SuggestingParser(
        prog="fitbot export",
        allow_abbrev=False,
        description="Write a checkpoint's adapter as PEFT folder.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="a .ckpt file, or a run's folder (its last.ckpt); with --target or --gguf an "
        "adapter's folder, too",
    )
    parser.add_argument("--out", type=Path, help="folder to write; default: beside the checkpoint")
    parser.add_argument(
        "--merge", action="store_true", help="write merged bf16 weights instead, and their drift"
    )
    parser.add_argument(
        "--drift_pairs", type=int, default=32, help="pairs that the merge's drift is measured on"
    )
    parser.add_argument(
        "--target",
        choices=list(TARGETS),
        help="write besides what serves the adapter with that engine",
    )
    parser.add_argument(
        "--gguf",
        choices=KINDS,
        help="write besides base and adapter for llama.cpp, the base in this precision, and their "
        "drift; `embedded` instead of a checkpoint is the embedded model alone, into --out",
    )
    options = parser.parse_args(args[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.merge and (options.target or options.gguf):
        raise ConfigError("--merge: --target and --gguf want the adapter unmerged; leave one out")
    if options.gguf and str(options.checkpoint) == EMBEDDED:
        out = options.out or Path(f"{EMBEDDED}-gguf")
        _export_gguf(out, options.gguf, alone=True)
        return 0
    is_adapter = (options.target or options.gguf) and (
        options.checkpoint / PROVENANCE_FILE
    ).is_file()
    out = options.checkpoint if is_adapter else _export_checkpoint(options)
    if options.target:
        logger.info("wrote %s", write_deployment(out, options.target))
    if options.gguf:
        _export_gguf(out, options.gguf)
    return 0


def _export_checkpoint(options: Any) -> Path:
    """Write the adapter, or merged weights; returns the folder."""
    from fitbot.export.adapter import export_adapter, load_checkpoint, training_of
    from fitbot.export.merged import export_merged

    path = options.checkpoint / "last.ckpt" if options.checkpoint.is_dir() else options.checkpoint
    checkpoint = load_checkpoint(path)
    out: Path
    if options.merge:
        out = options.out or path.parent / f"{path.stem}-merged"
        export_merged(out, checkpoint, drift_pairs=options.drift_pairs)
    else:
        out = options.out or path.parent / f"{path.stem}-adapter"
        export_adapter(
            out,
            checkpoint["state_dict"],
            checkpoint["hyper_parameters"],
            training=training_of(checkpoint),
        )
    logger.info("wrote %s", out)
    return out


def _export_gguf(folder: Path, kind: "Kind", *, alone: bool = False) -> None:
    from fitbot.export.gguf import export_gguf

    logging.getLogger("gguf").setLevel(logging.WARNING)
    told = export_gguf(folder, kind, alone=alone)
    for name in told["sha256"]:
        logger.info("wrote %s", folder / name)
