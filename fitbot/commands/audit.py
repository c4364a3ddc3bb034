"""The command `fitbot audit`: files and settings → report, page, exit status."""

import argparse
from pathlib import Path
from typing import Any

from jsonargparse import DefaultHelpFormatter

from fitbot.audit.kinds import KINDS, SEVERITIES
from fitbot.commands.command_line import (
    SuggestingParser,
    announce,
    check_at_least,
    say,
    write_file,
)
from fitbot.errors import ConfigError


def main(args: list[str]) -> int:
    """Say what is wrong with preference files; 1 if --fail-on names the kind of a finding."""
    parser = _parser()
    options = parser.parse_args(args[1:])
    fail_on = {word.strip() for word in options.fail_on.split(",") if word.strip()}
    fail_on = set(KINDS) if fail_on == {"all"} else fail_on
    if unknown := sorted(fail_on - set(KINDS)):
        parser.error(
            f"--fail-on: no kind of finding {', '.join(map(repr, unknown))}; "
            f"kinds: all, or some of {', '.join(KINDS)}"
        )
    check_at_least(options, max_prompt_length=1, pairs_per_step=1, max_epochs=1)
    if options.max_length <= options.max_prompt_length:
        raise ConfigError(
            f"--max_length {options.max_length} must exceed --max_prompt_length "
            f"{options.max_prompt_length}: it counts the prompt and its completion"
        )
    return _run(options, fail_on)


def _parser() -> SuggestingParser:
    kinds = "".join(
        f"\n{severity}s:"
        + "".join(f"\n  {k:<11} {what}" for k, what in KINDS.items() if SEVERITIES[k] == severity)
        for severity in dict.fromkeys(SEVERITIES.values())
    )
    parser = SuggestingParser(
        prog="fitbot audit",
        usage="fitbot audit TRAIN [VAL ...] [options]",
        description="Say what is wrong with preference pairs before a run learns it.",
        epilog=f"kinds of findings{kinds}",
        formatter_class=_LineKeeping,
    )
    add = parser.add_argument
    add("train", help="pairs to learn from: a file, or a hub data set")
    add("val", nargs="*", default=[], help="pairs to measure on; leaks are looked for there")
    add("--html", help="write the report as one HTML page")
    add("--json", help="write the report as JSON")
    add(
        "--fail-on",
        "--fail_on",
        default="",
        help="exit with status 1 on a finding of these kinds, separated by commas, or all",
    )
    add(
        "--base_model",
        default="embedded",
        help="whose tokenizer counts; the recipe's is unsloth/Qwen3-0.6B-unsloth-bnb-4bit",
    )
    add("--system_prompt", help="first turn of conversations that bring none")
    add("--max_prompt_length", type=int, default=256, help="tokens of a prompt")
    add("--max_length", type=int, default=1024, help="tokens of prompt and one completion")
    add(
        "--pairs_per_step",
        type=int,
        default=8,
        help="data.batch_size x data.accumulate_batches: pairs that are padded together",
    )
    add("--max_epochs", type=int, default=5, help="epochs whose cost is told")
    add("--train_limit", type=int, help="read the first so many records of TRAIN")
    add("--val_limit", type=int, help="read the first so many records of each VAL")
    return parser


class _LineKeeping(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the list of kinds."""


def _run(options: Any, fail_on: set[str]) -> int:
    announce(f"fitbot audit: reading {options.train}")
    from fitbot.audit.page import html_page
    from fitbot.audit.report import RunSettings, audit_sources
    from fitbot.audit.terminal import show_audit
    from fitbot.evaluation.cases import label_fault

    settings = {name: options[name] for name in RunSettings.__dataclass_fields__}
    audit = audit_sources(
        options.train,
        options.val,
        RunSettings(**settings),
        train_limit=options.train_limit,
        val_limit=options.val_limit,
        label_fault=label_fault,
    )
    say(show_audit(audit))
    if options.json:
        write_file(Path(options.json), audit.to_json())
    if options.html:
        write_file(Path(options.html), html_page(audit))
    failed = {finding.kind: None for finding in audit.findings if finding.kind in fail_on}
    if failed:
        say(f"failed on: {', '.join(failed)}")
    return 1 if failed else 0
