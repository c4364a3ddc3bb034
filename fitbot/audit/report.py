"""TRAIN and VAL files → one Audit: everything measured, and the findings."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from fitbot import __version__
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
from fitbot.audit.shortcuts import ShortcutReport, audit_alone, audit_shortcuts
from fitbot.audit.tokens import RunCost, TokenReport, audit_tokens, run_cost
from fitbot.pairs.chat import Chat, LengthLimits
from fitbot.pairs.preferences import LoadedPairs


class NamedPairs(NamedTuple):
    """A file's pairs with what the report calls it."""

    path: str
    loaded: LoadedPairs


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
    shortcuts: list[ShortcutReport]  # one a VAL; without VAL, one of TRAIN
    cost: RunCost
    findings: list[Finding]  # in the order of KINDS

    def to_json(self) -> str:
        """Write it as JSON, ASCII only."""
        return json.dumps(asdict(self), indent=2) + "\n"


def audit_files(
    train: NamedPairs, val: Sequence[NamedPairs], chat: Chat, settings: RunSettings
) -> Audit:
    """Measure everything.

    Args:
        train: The pairs that a run would learn from.
        val: The pairs that it would be measured on; none, one or more files.
        chat: With the tokenizer and system prompt that `settings` name.
        settings: The run's.
    """
    limits = LengthLimits(settings.max_prompt_length, settings.max_length)
    files = [
        FileReport(
            path=path,
            records=audit_records(loaded),
            diversity=audit_diversity(loaded.pairs),
            tokens=audit_tokens(loaded.pairs, chat, limits, pairs_per_step=settings.pairs_per_step),
        )
        for path, loaded in (train, *val)
    ]
    pairs = train.loaded.pairs
    leaks = [audit_leaks(pairs, loaded.pairs, path) for path, loaded in val]
    shortcuts = [audit_shortcuts(pairs, loaded.pairs, path) for path, loaded in val]
    shortcuts = shortcuts or [audit_alone(pairs, train.path)]
    tokens = [file.tokens for file in files]
    findings = [finding for report in leaks for finding in leak_findings(report)]
    findings += [finding for report in shortcuts for finding in shortcut_findings(report)]
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
