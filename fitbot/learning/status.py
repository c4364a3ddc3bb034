"""What the learner says of itself: a file that it writes and that servers read."""

import json
import time
from pathlib import Path
from typing import Any

from fitbot.platforms import written_whole

BUSY = "busy"  # a file in the learning folder, see fitbot.learning.learner
BEAT = "learner.beat"  # a file that a living learner renews all the time
_STATUS = "learner.json"


def say(folder: Path, stage: str, **more: Any) -> None:
    """Write the learner's status: loading, waiting, learning, checking, taken, refused, failed."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / _STATUS) as file:
        file.write(json.dumps({"stage": stage, "time": time.time(), **more}).encode())


def status(folder: Path) -> dict[str, Any]:
    """Read what the learner last said; nothing if it never did."""
    try:
        found: dict[str, Any] = json.loads((folder / _STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
