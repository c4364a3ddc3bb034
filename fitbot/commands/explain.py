"""An error of another library that a user can cause → one sentence: what it is, what to do."""

import errno
import os
import sysconfig
import traceback
from pathlib import Path

from fitbot.errors import FitbotError

_MORE_ROOM = "free some space there, or name a folder on another disk"
_OTHER_PLACE = "change its permissions, or name another place"
# Of the operating system's errors, what to do; libraries in C++ and Rust say them in words only.
_TO_DO = {
    errno.ENOSPC: _MORE_ROOM,
    errno.EDQUOT: _MORE_ROOM,
    errno.EACCES: _OTHER_PLACE,
    errno.EPERM: _OTHER_PLACE,
    errno.EROFS: "name a place that can be written",
    errno.EADDRINUSE: "take another port: --port of a server, $MASTER_PORT of a fit",
    errno.EMFILE: "raise the limit with `ulimit -n`",
}
_LONGEST = 300  # characters of another library's message
# Of a GPU that cannot be used at all.
_NO_GPU = ("NVIDIA driver", "CUDA driver", "no kernel image", "busy or unavailable")
_FITBOT = Path(__file__).parents[1]
_LIBRARIES = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}


def explain(error: BaseException) -> str | None:
    """Say in a sentence what ended a command, and what to do about it.

    Args:
        error: Of another library; what it was raised from counts, too.

    Returns:
        None where nobody foresaw it: it may be a bug.
    """
    if isinstance(error, FitbotError):  # in a wrapper of a parser's
        return str(error)
    found = _of_memory(error) or _of_system(error) or _of_library(error)
    return explain(error.__cause__) if found is None and error.__cause__ else found


def unexpected(error: BaseException) -> str:
    """Say what ended a command where nobody foresaw it: code of the user's own, or a bug."""
    said = f"{type(error).__name__}: {in_one_line(error)}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_FITBOT):
            break
        if path.is_file() and not any(map(path.is_relative_to, _LIBRARIES)):
            return f"{path}, line {frame.lineno}: {said}; that code is none of fitbot's"
    return f"unexpected {said} (a bug: please report it with --traceback's output)"


def in_one_line(error: BaseException) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split())[:_LONGEST].rstrip(".") or type(error).__name__


def _of_memory(error: BaseException) -> str | None:
    if not isinstance(error, MemoryError) and "out of memory" not in str(error):
        return None
    return "out of memory: end other programs, or take a smaller base or fewer pairs"


def _of_system(error: BaseException) -> str | None:
    said = str(error).lower()
    number = getattr(error, "errno", None)
    if number is None:
        number = next((one for one in _TO_DO if os.strerror(one).lower() in said), None)
    if number is None and not isinstance(error, OSError):
        return None
    where = getattr(error, "filename", None)
    what = f"{os.fsdecode(where)}: {os.strerror(number)}" if where and number else None
    to_do = _TO_DO.get(number or 0, "give a place that is there and can be used")
    return f"{what or in_one_line(error)}; {to_do}"


def _of_library(error: BaseException) -> str | None:
    kind, said = type(error), in_one_line(error)
    library = kind.__module__.partition(".")[0]
    if library == "wandb":
        return (
            f"Weights & Biases: {said}; log to this disk with WANDB_MODE=offline, or set "
            "run.wandb_project: null"
        )
    if isinstance(error, RuntimeError) and any(words in said for words in _NO_GPU):
        return f"the GPU cannot be used: {said}; `fitbot doctor` says what works here"
    # Early stopping has no kind of its own for a metric that is not there.
    if kind.__name__ == "MisconfigurationException" or said.startswith("Early stopping "):
        return f"the trainer's settings cannot be used here: {said}"
    return None
