"""Names of files and the settings of a run → the Audit of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from fitbot.audit.report import Audit, NamedPairs, RunSettings, audit_files
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.pairs.preferences import load_pairs


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
        val: The pairs that it would be measured on, likewise; may be empty.
        settings: The run's.
        train_limit: Read only the first so many records of `train`.
        val_limit: Read only the first so many records of each of `val`.

    Raises:
        DataError: A file is not there, or holds no pairs.
        ConfigError: The tokenizer of the base model cannot be loaded.
    """
    sources = [train, *val]
    limits = [train_limit, *(val_limit for _ in val)]
    files = [
        NamedPairs(name, load_pairs(source, limit=limit, skip_bad_records=True))
        for name, source, limit in zip(_short_names(sources), sources, limits, strict=True)
    ]
    logging.set_verbosity_error()  # it warns of long texts; their lengths are in the report
    chat = Chat(load_tokenizer(settings.base_model), system_prompt=settings.system_prompt)
    return audit_files(files[0], files[1:], chat, settings)


def _short_names(sources: Sequence[str]) -> list[str]:
    """Return each file's own name if no other file has it, else its path."""
    names = [Path(source).name for source in sources]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else source for name, source in zip(names, sources, strict=True)
    ]
