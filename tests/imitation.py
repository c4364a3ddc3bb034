"""Commands of fitbot in a process that is, as far as fitbot can see, on another platform.

Only modules of fitbot see it: other libraries go on with Linux, whose ways they need. What cannot
be imitated is the other platform's own kernel, and its builds of torch and of the other wheels.
"""

import builtins
import importlib.machinery
import os
import pathlib
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SYSTEMS = {"win32": "Windows", "darwin": "Darwin"}

# What modules of the standard library lack there.
_POSIX_ONLY = {
    "os": "chown fork forkpty getegid geteuid getgid getpgid getsid getuid initgroups killpg "
    "lchown mkfifo nice openpty setgid setpgid setsid setuid statvfs sysconf uname wait3",
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_kill "
    "setitimer sigwait",
    "select": "epoll kqueue poll",
    "socket": "AF_UNIX",
}
_LINUX_ONLY = {
    "os": "sched_getaffinity sched_setaffinity memfd_create eventfd sendfile splice",
    "select": "epoll",
}
_NO_POSIX_MODULES = ["fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"]
_NO_WHEELS = {"win32": ["triton", "uvloop"], "darwin": ["triton"]}


def become(system: str) -> None:
    """Let fitbot see this platform: "win32" or "darwin"."""
    missing = {name: words.split() for name, words in _LINUX_ONLY.items()}
    if system == "win32":
        for name, words in _POSIX_ONLY.items():
            missing[name] = [*missing.get(name, ()), *words.split()]
        _refuse_what_windows_refuses()
    own: dict[str, dict[str, Any]] = {
        "sys": {"platform": system},
        "os": {"name": "nt" if system == "win32" else "posix"},
        "platform": {"system": lambda: SYSTEMS[system]},
        "ctypes": {"CDLL": _NoPrctl},
        "multiprocessing": {"get_context": _contexts_without_fork(system)},
    }
    seen = {
        name: _Seen(name, missing.get(name, ()), own.get(name, {})) for name in {*missing, *own}
    }
    if system == "win32":
        seen["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=_lock)  # type: ignore[assignment]
    gone = _NO_POSIX_MODULES if system == "win32" else []
    _hide(_NO_WHEELS[system])
    real = builtins.__import__

    def imported(name: str, globals: Any = None, *more: Any, **named: Any) -> Any:
        if (globals or {}).get("__name__", "").split(".")[0] != "fitbot":
            return real(name, globals, *more, **named)
        if name in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return seen.get(name) or real(name, globals, *more, **named)

    builtins.__import__ = imported


class _Seen(types.ModuleType):
    """A module of the standard library, as it is on the other platform."""

    def __init__(self, name: str, missing: Sequence[str], own: Mapping[str, Any]):
        super().__init__(name)
        self._real, self._missing, self._own = __import__(name), missing, own

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self._own.get(name) or getattr(self._real, name)


def _lock(number: int, mode: int, count: int) -> None:
    """Lock so many bytes from where an open file stands, as msvcrt does."""
    import fcntl

    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB, count, 0, os.SEEK_CUR)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


class _NoPrctl:
    """The C library of a system that is not Linux."""

    def __init__(self, *_: object, **__: object):
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name}: symbol not found")


def _contexts_without_fork(system: str) -> Any:
    import multiprocessing

    def get_context(method: str | None = None) -> Any:
        if method in ("fork", "forkserver") and system == "win32":
            raise ValueError(f"cannot find context for {method!r}")
        return multiprocessing.get_context(method or "spawn")

    return get_context


def _hide(names: Sequence[str]) -> None:
    """Have modules be not installed, for everybody."""
    find = importlib.machinery.PathFinder.find_spec

    class Without(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name: str, *more: Any) -> Any:
            return None if name.split(".")[0] in names else find(name, *more)

    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without


def _refuse_what_windows_refuses() -> None:
    """Let open files not be replaced, links not be made, and some names not be given."""
    replace = pathlib.Path.replace

    def replace_closed(self: Path, target: Any) -> Path:
        held = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
        for path in (os.path.realpath(self), os.path.realpath(target)):
            if path in held or path in mapped:
                raise PermissionError(13, "used by another process", path)
        return replace(self, target)

    def no_links(self: Path, *_: object, **__: object) -> None:
        raise OSError(22, "A required privilege is not held by the client", str(self))

    def refuse_names(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and args[2] & os.O_CREAT:
            name = args[0].rpartition("/")[2]
            if set(name) & set('<>:"|?*'):
                raise OSError(22, "Invalid argument", name)

    sys.addaudithook(refuse_names)
    pathlib.Path.replace = replace_closed  # type: ignore[method-assign,assignment]
    pathlib.Path.symlink_to = no_links  # type: ignore[method-assign]


def environment(system: str, folder: Path) -> dict[str, str]:
    """Return what the environment of a process has to say, so that it is on another platform.

    Args:
        system: "win32" or "darwin".
        folder: Gets a file that such a process reads first, and so do those that it starts.
    """
    start = f"from tests.imitation import become\nbecome({system!r})\n"
    (folder / "sitecustomize.py").write_text(start, encoding="utf-8")
    # Neither files nor a pipe are UTF-8, as on Windows; ASCII knows less than its code pages.
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return {
        **(locale if system == "win32" else {}),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "TRITON_INTERPRET": "0",
    }


def run(system: str, folder: Path, *command: object) -> str:
    """Run Python as on another platform, and return what it printed; it must end with 0."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment(system, folder)},
        capture_output=True,
        cwd=folder,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr
