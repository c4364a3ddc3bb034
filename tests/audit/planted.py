"""Pairs without a fault, and files made of them, for tests to plant faults in."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitbot.pairs.formats import Message, PreferencePair

Record = dict[str, Any]

_SYLLABLES = ["ba", "do", "fe", "gi", "ku", "la", "me", "no", "pi", "ru", "sa", "to", "vi", "we"]


def clean_records(count: int = 60, *, seed: int = 0) -> list[Record]:
    """Random words: no two texts near, and nothing that tells chosen from rejected."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        return " ".join("".join(draw.choices(_SYLLABLES, k=3)) for _ in range(words))

    return [
        {"question": f"{text(6)}?", "chosen": f"{text(n)}.", "rejected": f"{text(n)}."}
        for n in (8 + i % 5 for i in range(count))
    ]


def write(path: Path, records: Sequence[Record]) -> str:
    """Write a preference file; → its path."""
    path.write_text(json.dumps(list(records)), encoding="utf-8")
    return str(path)


def pairs_of(records: Sequence[Record]) -> list[PreferencePair]:
    """Make pairs without a file."""
    return [
        PreferencePair((Message("user", r["question"]),), r["chosen"], r["rejected"], i)
        for i, r in enumerate(records)
    ]
