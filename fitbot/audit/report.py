"""TRAIN and VAL files → one Audit: everything measured, and the findings."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from transformers.utils import logging

from fitbot.audit.diversity import DiversityReport, audit_diversity
from fitbot.audit.findings import (
    Finding,
    diversity_findings,
    leak_findings,
    record_findings,
    shortcut_findings,
    token_findings,
)
from fitbot.audit.kinds import KINDS
from fitbot.audit.leaks import LeakReport, audit_leaks
from fitbot.audit.records import RecordReport, audit_records
from fitbot.audit.shortcuts import ShortcutReport, audit_shortcuts
from fitbot.audit.tokens import RunCost, TokenReport, audit_tokens, run_cost
from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer
from fitbot.pairs.preferences import LoadedPairs, load_pairs
from fitbot.pairs.rendered import rendered_check
from fitbot.version import __version__


@dataclass(frozen=True)
class RunSettings:
    """The settings of the run that tokens are counted for; named as in its config."""

    base_model: str
    system_prompt: str | None
    max_prompt_length: int  # tokens
    max_length: int  # tokens
    pairs_per_step: int  # data.batch_size x data.accumulate_batches
    max_epochs: int


@dataclass(frozen=True)
class FileReport:
    """What one file holds."""

    path: str
    records: RecordReport
    diversity: DiversityReport
    tokens: TokenReport


@dataclass(frozen=True)
class Audit:
    """Everything that was measured; plain values throughout."""

    version: str  # of fitbot
    settings: RunSettings
    files: list[FileReport]  # TRAIN first
    leaks: list[LeakReport]  # one a VAL
    shortcuts: list[ShortcutReport]  # one a VAL; then that of TRAIN
    cost: RunCost
    findings: list[Finding]  # in the order of KINDS

    def to_json(self) -> str:
        """Write it as JSON, ASCII only."""
        return json.dumps(asdict(self), indent=2) + "\n"


def audit_sources(
    train: str,
    val: Sequence[str],
    settings: RunSettings,
    *,
    train_limit: int | None = None,
    val_limit: int | None = None,
) -> Audit:
    """Read preference files and measure everything.

    Args:
        train: The pairs that a run would learn from: a file, or a hub data set.
        val: The pairs that it would be measured on, likewise; none, one or more.
        settings: The run's.
        train_limit: Read only the first so many records of `train`.
        val_limit: Read only the first so many records of each of `val`.

    Raises:
        DataError: A file is not there, or holds no pairs.
        ConfigError: The tokenizer of the base model cannot be loaded.
    """
    logging.set_verbosity_error()  # it warns of long texts; their lengths are in the report
    chat = Chat(load_tokenizer(settings.base_model), system_prompt=settings.system_prompt)
    load = partial(load_pairs, skip_bad_records=True, check=rendered_check(chat.tokenizer))
    loaded = [load(train, limit=train_limit), *(load(source, limit=val_limit) for source in val)]
    paths = _short_names([train, *val])
    files = [_file_report(*both, chat, settings) for both in zip(paths, loaded, strict=True)]
    measured = [(file.pairs, path) for file, path in zip(loaded, paths, strict=True)]
    pairs = loaded[0].pairs
    leaks = [audit_leaks(pairs, *one) for one in measured[1:]]
    shortcuts = [audit_shortcuts(pairs, *one) for one in measured[1:]]
    shortcuts.append(audit_shortcuts(None, *measured[0]))
    tokens = [file.tokens for file in files]
    findings = [finding for leak in leaks for finding in leak_findings(leak)]
    findings += [finding for one in shortcuts for finding in shortcut_findings(one)]
    for file in files:
        findings += record_findings(file.records, file.path)
        findings += diversity_findings(file.diversity, file.path)
        findings += token_findings(file.tokens, file.path)
    return Audit(
        version=__version__,
        settings=settings,
        files=files,
        leaks=leaks,
        shortcuts=shortcuts,
        cost=run_cost(tokens[0], tokens[1:], epochs=settings.max_epochs),
        findings=sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)),
    )


def _file_report(path: str, loaded: LoadedPairs, chat: Chat, settings: RunSettings) -> FileReport:
    limits = LengthLimits(settings.max_prompt_length, settings.max_length)
    return FileReport(
        path=path,
        records=audit_records(loaded),
        diversity=audit_diversity(loaded.pairs),
        tokens=audit_tokens(loaded.pairs, chat, limits, pairs_per_step=settings.pairs_per_step),
    )


def _short_names(sources: Sequence[str]) -> list[str]:
    """Return each file's own name if no other file has it, else its path."""
    names = [Path(source).name for source in sources]
    return [
        name if names.count(name) == 1 else source
        for name, source in zip(names, sources, strict=True)
    ]
