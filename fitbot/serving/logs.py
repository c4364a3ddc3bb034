"""Logs: one JSON object a line on stderr. What people ask is not in them; prompts are health data.

Exceptions are logged by type and place, without their text, which may quote a prompt. No process
waits for stderr: lines go through a queue, and what cannot be written is dropped and counted.
"""

import json
import logging
import os
import select
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

_MOST_WAITING = 4096  # lines, of some 400 bytes each
_FLUSH_SECONDS = 1.0

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record, and whatever `extra` added to it, as one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; json escapes whatever could end it or move a cursor."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            line["exception"] = describe(record.exc_info[1])
        return json.dumps(line, default=repr)


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception's type and where it came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"type": type(error).__name__, "at": places}


class QueuedHandler(logging.Handler):
    """Hands lines to a thread that writes them to a file descriptor.

    A full disk, a pipe that is gone and one that nobody reads cost lines, never a wait. The next
    line that can be written follows one that says how many were dropped.
    """

    def __init__(self, descriptor: int | None):
        """Start the thread; without a descriptor every line is dropped."""
        super().__init__()
        # A copy: while llama.cpp opens, its decoder leads stderr elsewhere.
        self._descriptor = None if descriptor is None else os.dup(descriptor)
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        # Each has one writer, so neither side needs a lock: the caller's side, and the thread's.
        self._queued = self._overflowed = 0
        self._done = self._failed = self._reported = 0
        self._is_torn = self._has_failed = False  # the last line: written in part; not written
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """Lines of this process that were not written."""
        return self._overflowed + self._failed

    @property
    def is_stuck(self) -> bool:
        """Whether the last line could not be written, or still waits."""
        return self._has_failed or self._done < self._queued

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it."""
        if self._process != os.getpid():  # a fork: the thread is the parent's
            self._start()
        if self._lines.qsize() >= _MOST_WAITING:
            self._overflowed += 1
            return
        try:
            self._lines.put(self.format(record))
            self._queued += 1
        except Exception:  # a value that cannot be written; logging would print a traceback
            self._overflowed += 1

    def flush(self) -> None:
        """Wait until all is written, for a second at most."""
        until = time.monotonic() + _FLUSH_SECONDS
        while self._process == os.getpid() and self._done < self._queued:
            if time.monotonic() > until:
                return
            time.sleep(0.002)

    def close(self) -> None:
        """End the thread when it has written what waits."""
        self._lines.put(None)
        super().close()

    def _write_lines(self) -> None:
        lines = self._lines
        while (line := lines.get()) is not None:
            try:
                if dropped := self.dropped - self._reported:
                    self._write(self._count_line(dropped))
                    self._reported += dropped
                self._write(line)
                self._has_failed = False
            except OSError:
                self._failed += 1
                self._has_failed = True
            self._done += 1
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _count_line(self, dropped: int) -> str:
        fields = {"name": __name__, "levelname": "WARNING", "msg": "log lines were dropped"}
        return self.format(logging.makeLogRecord({**fields, "dropped": dropped}))

    def _write(self, line: str) -> None:
        if self._descriptor is None:
            raise OSError("stderr is closed")
        left = ("\n" * self._is_torn + line + "\n").encode()
        while left:
            try:
                written = os.write(self._descriptor, left)
            except BlockingIOError:  # another program has set the terminal so
                select.select([], [self._descriptor], [])
                continue
            left = left[written:]
            self._is_torn = bool(left)


def set_up_logging() -> None:
    """Send every logger of this process through the queue; LitServe's, uvicorn's, warnings too."""
    handler = QueuedHandler(sys.stderr.fileno() if sys.stderr else None)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    for name in ("litserve", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("litserve").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)


def dropped_lines() -> int:
    """Return how many log lines of this process were not written."""
    return sum(one.dropped for one in _handlers())


def leave_stderr() -> None:
    """Write what waits; if nobody takes it, let what this process still prints go nowhere.

    Otherwise its last words, to a pipe that nobody reads, would keep it from ending.
    """
    for handler in _handlers():
        handler.flush()
        if handler.is_stuck and sys.stderr:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _handlers() -> list[QueuedHandler]:
    return [one for one in logging.getLogger().handlers if isinstance(one, QueuedHandler)]
