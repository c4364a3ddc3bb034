"""Pairs without a fault, files made of them, and faults to plant there."""

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


def realistic_records() -> tuple[list[Record], list[Record]]:
    """Twenty pairs for TRAIN and ten for VAL as people write them: figures, lists, dates."""
    records = json.loads((Path(__file__).parent / "clean.json").read_text(encoding="utf-8"))
    return records[:20], records[20:]


def turned(record: Record) -> Record:
    """Return the same two answers with their labels swapped."""
    return record | {"chosen": record["rejected"], "rejected": record["chosen"]}


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
