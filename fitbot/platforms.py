"""What Linux, macOS and Windows do differently. Nothing else in fitbot asks which of them it is on.

fitbot is made and measured on Linux. The other two were imitated only: docs/reference/platforms.md.
"""

import ctypes
import io
import logging
import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_LINUX, _WINDOWS = sys.platform == "linux", sys.platform == "win32"

# -- processes -------------------------------------------------------------------------------------

# That ask a program to end, as far as there are such: a closed terminal sends SIGHUP, a closed
# window of Windows SIGBREAK.
ENDING_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in <linux/prctl.h>
_MOST_WORKERS = 61  # that Windows can wait for at once


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Return how many processes to start for work that takes every core."""
    return min(cores(), _MOST_WORKERS) if _WINDOWS else cores()


def peak_memory() -> int:
    """Return the most bytes of the host's memory that this process has had so far."""
    import psutil

    on_windows = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if on_windows is not None:
        return int(on_windows)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024 if _LINUX else peak  # kilobytes; on macOS bytes


def start_method() -> Literal["fork", "spawn"]:
    """Return how to start a helper process: a fork is quicker, but safe on Linux only."""
    return "fork" if _LINUX else "spawn"


def can_fork() -> bool:
    """Say whether a process can be copied at all; Windows cannot."""
    return not _WINDOWS


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit of open files to so many, if it may; return what it is then.

    Many systems begin with 1,024 and let a process raise that itself.
    """
    if _WINDOWS:
        return wanted  # there is no such limit for sockets
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def die_with_parent(ignored: Sequence[int] = (), folder: str | None = None) -> None:
    """End this process as soon as the one that started it has ended, however that ended.

    On Linux the kernel does it. Elsewhere a thread waits for the parent, so this process ends only
    when Python lets that thread run.

    Args:
        ignored: Signals that do not end it: the parent ends it, and they come to its whole group.
        folder: Removed then; the parent would have removed it.
    """
    import multiprocessing

    def end(*_: Any) -> None:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    def end_after(parent: Any) -> None:
        parent.join()
        end()

    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if _LINUX:
        number = signal.SIGUSR1 if folder else signal.SIGKILL
        if folder:
            signal.signal(number, end)
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, number)
        if parent is not None and parent.pid != os.getppid():
            end()  # it had ended already
    elif parent is not None:
        threading.Thread(target=end_after, args=(parent,), name="parent", daemon=True).start()


def take_from_environment(name: str) -> str:
    """Remove a secret from the environment; "" if it is not there.

    On Linux it is overwritten, too, where the kernel shows it to this user's other processes:
    /proc/PID/environ, of this process and of those that are forked from it. What started this
    process may have a copy of its own.
    """
    value = os.environ.pop(name, "")
    if value and _LINUX:
        with suppress(OSError):  # without /proc there is nothing to be seen, either
            _overwrite_variable(os.fsencode(name) + b"=")
    return value


def _overwrite_variable(begins: bytes) -> None:
    # The 50th and 51st field of proc(5): where the variables are that it was started with.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    at, end = int(fields[47]), int(fields[48])
    for entry in ctypes.string_at(at, end - at).split(b"\0"):
        if entry.startswith(begins):
            ctypes.memset(at + len(begins), ord("*"), len(entry) - len(begins))
        at += len(entry) + 1


# -- files and terminals ---------------------------------------------------------------------------

_REPLACE_SECONDS = 5.0
_LOCKED_BYTE = 1 << 30


def replace_file(new: Path, old: Path) -> None:
    """Put a file in another one's place, in one step.

    Windows refuses while any process has the old one open, such as another run that reads it, or a
    virus scanner; then this tries again for some seconds.

    Raises:
        OSError: It cannot be done.
    """
    until = time.monotonic() + _REPLACE_SECONDS
    while True:
        try:
            new.replace(old)
            return
        except PermissionError:
            if not _WINDOWS or time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that takes another one's place in one step, once all of it is on the disk.

    Until then it lies beside it under a name that ends in .partial. A process that dies meanwhile
    leaves the old file as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_file(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def lock_file(file: IO[Any]) -> bool:
    """Lock an open file for this process, until it is closed or the process ends, however it ends.

    Returns:
        Whether that was possible: another process may have locked it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        if _WINDOWS:
            import msvcrt

            file.seek(_LOCKED_BYTE)  # beyond the content, which others could not read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def link_file(link: Path, file: Path) -> None:
    """Let a file be found by another path too, without copying it where that is possible.

    Windows lets only administrators and developers make symbolic links, and hard links only within
    one drive; then it is a copy.
    """
    for make in (link.symlink_to, link.hardlink_to):
        try:
            make(file.resolve())
            return
        except OSError:
            if not _WINDOWS:
                raise
    shutil.copyfile(file, link)


def mode_for_others(file: Path) -> str:
    """Return a file's mode if others than its owner may use it, such as "0644"; "" if not.

    0440 is "", too: nobody may write it, and Kubernetes mounts secrets so for a container's group.
    On Windows it is "": there a mode says nothing about others.
    """
    mode = stat.S_IMODE(file.stat().st_mode)
    return f"{mode:04o}" if mode & 0o077 and mode != 0o440 and not _WINDOWS else ""


def replace_unprintable() -> None:
    """Print question marks for what stdout cannot take: a pipe on Windows knows few characters."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def read_key() -> str | None:
    """Wait for one key at the terminal that stdin is; it needs no Enter, and is not shown.

    What was typed before counts for nothing, so that no key is taken for an answer to what was not
    yet to be seen.

    Returns:
        Its character; "" if it has none, such as an arrow; None if the terminal is closed.
    """
    if _WINDOWS:
        return _read_key_of_console()
    import termios
    import tty

    terminal = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSAFLUSH)
        try:
            typed = os.read(terminal, 64).decode(errors="replace")
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):  # it was closed
        return None
    if typed in ("", "\x04"):  # Ctrl-D
        return None
    return "" if typed.startswith("\x1b") else typed[0]


def _read_key_of_console() -> str:
    import msvcrt

    console: Any = msvcrt
    while console.kbhit():
        console.getwch()
    typed: str = console.getwch()
    if typed == "\x03":  # Ctrl-C
        raise KeyboardInterrupt
    if typed in ("\0", "\xe0"):  # the first half of an arrow or another such key
        console.getwch()
        return ""
    return typed


def lower_priority() -> None:
    """Let other processes go first, where the platform knows how."""
    with suppress(OSError, AttributeError):
        os.nice(10)


def load_library(path: str) -> ctypes.CDLL:
    """Open a library of C functions."""
    return ctypes.CDLL(path)


def open_utf8(file: str, mode: str = "r", **options: Any) -> IO[Any]:
    """Open a file as `open` does, but a text as UTF-8 and not in the encoding of the country."""
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
    return open(file, mode, **options)  # noqa: PTH123


# -- devices ---------------------------------------------------------------------------------------

APPLE = "mps"  # torch's name for Apple's GPU


def choose_device(
    why_not_mps: "Callable[[torch.device], str | None] | None" = None,
) -> "torch.device":
    """Return the GPU if there is one that can be used, or else the CPU.

    Args:
        why_not_mps: Tries on Apple's GPU (MPS) what is going to be computed, and says why that does
            not work, None if it does. Without it Apple's GPU is never taken.
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if why_not_mps is None or not torch.backends.mps.is_available():
        return torch.device("cpu")
    device = torch.device("mps", 0)
    if reason := why_not_mps(device):
        logger.warning("device: cpu, because Apple's GPU (MPS) cannot be used: %s", reason)
        return torch.device("cpu")
    logger.info("device: mps, where a trial gave what it gives on the CPU")
    return device


def as_float64(tensor: "torch.Tensor") -> "torch.Tensor":
    """Return the same numbers in float64; in the host's memory where the device has none (MPS)."""
    return (tensor.cpu() if is_apple(tensor.device) else tensor).double()


def is_apple(device: "torch.device") -> bool:
    """Say whether it is Apple's GPU, which has no float64."""
    return device.type == APPLE
