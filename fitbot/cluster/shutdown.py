"""How a run ends early: another of its processes is gone, or it receives SIGTERM or SIGINT."""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import torch.distributed
from lightning import Trainer

from fitbot.cluster.launchers import launched_as
from fitbot.cluster.processes import num_processes
from fitbot.errors import LostError

# What gloo says, in a plain RuntimeError, when another process does not answer any more.
_GLOO_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Timed out waiting")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # that end a run
_EXIT = 128  # plus a signal's number: the exit status, as a shell has it
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 5.0  # for the main thread to end by itself
_ending = threading.Lock()  # two threads may find out


def is_lost(error: BaseException) -> bool:
    """Tell whether an error means that another process is gone or cannot be reached."""
    if "EADDRINUSE" in str(error):  # another program of this host has the port
        return False
    if isinstance(error, torch.distributed.DistError):  # NCCL's, and those of the rendezvous
        return True
    return num_processes() > 1 and any(words in str(error) for words in _GLOO_LOST)


def lost(why: object) -> LostError:
    """Say that this process has waited in vain for another one, and what to do."""
    if isinstance(why, torch.distributed.DistBackendError):  # NCCL names the cause last
        why = str(why).splitlines()[-1]
    return LostError(
        f"process {launched_as()} on {socket.gethostname()} waited in vain for another process of "
        f"this run, which is gone or out of reach; its own host's log says why. The same command "
        f"with --ckpt_path last goes on from the latest checkpoint. ({why})"
    )


def end_lost(error: LostError) -> NoReturn:
    """Say that another process is gone, and end this one at once, with status 1.

    An interpreter that ends as usual waits for NCCL: torch ended a process whose main thread had
    the error already by SIGABRT, a minute later, in two pages of C++.
    """
    with _ending:
        sys.stderr.write(f"fitbot: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def keep_sigterm(trainer: Trainer) -> None:
    """Leave SIGTERM to `interruptible` while this trainer runs.

    Lightning's own answer ends with status 0, as if all were done; it has several processes ask
    each other before every batch, for which each waits until its GPU is done; and they wait for
    each other for ever if the signal comes in the middle of a step.
    """
    connector = trainer._signal_connector
    register = connector.register_signal_handlers

    def register_ours() -> None:
        before = signal.getsignal(signal.SIGTERM)
        register()
        if threading.current_thread() is not threading.main_thread():
            return  # one of Ray's workers, which Ray ends
        signal.signal(signal.SIGTERM, before)
        if trainer.world_size > 1:
            PeerWatchdog.begin()

    connector.register_signal_handlers = register_ours  # type: ignore[method-assign]
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


class Interrupted(SystemExit):
    """Raised by a signal within `interruptible`: of KeyboardInterrupt Lightning makes status 1."""

    code: int


@contextmanager
def interruptible(end_others: Callable[[int], object]) -> Iterator[None]:
    """Have SIGINT (Ctrl-C) and SIGTERM raise Interrupted, and a second one end the process at once.

    Lightning would ignore the second one, for as long as it takes to close its loggers.

    Args:
        end_others: Called first, with the signal: ends the processes that this one has started.
    """
    came = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            os._exit(_EXIT + number)
        came = True
        end_others(number)
        raise Interrupted(_EXIT + number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # Ray's workers are ended by Ray
        before = {number: signal.getsignal(number) for number in _SIGNALS}
    # A shell has a job in the background ignore Ctrl-C.
    ours = {number: was for number, was in before.items() if was not in (None, signal.SIG_IGN)}
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, was in ours.items():
            signal.signal(number, was)


def interrupted_by(stop: BaseException) -> int | None:
    """Return the signal that ended a run, be it by what Lightning makes of a KeyboardInterrupt."""
    for one in (stop, stop.__context__):
        if isinstance(one, Interrupted):
            return one.code - _EXIT
        if isinstance(one, KeyboardInterrupt):
            return signal.SIGINT
    return None


class PeerWatchdog(threading.Thread):
    """Ends this process where its main thread cannot: it waits for a process that is gone.

    Python handles signals in the main thread only. NCCL does not report a lost process to a thread
    that waits for the GPU: torch ends such a program by a signal, a minute later, in many words
    that do not say what to do.
    """

    @classmethod
    def begin(cls) -> None:
        """Start, once; only the main thread may do so."""
        if not any(isinstance(thread, cls) for thread in threading.enumerate()):
            cls().start()

    def __init__(self) -> None:
        """Have signals written to a socket that this thread reads."""
        super().__init__(daemon=True, name="peer-watchdog")
        # Windows can wait for sockets only.
        self._signals, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Look for signals and lost processes until the program ends."""
        while True:
            readable, _, _ = select.select([self._signals], [], [], _POLL_SECONDS)
            numbers = self._signals.recv(1024) if readable else b""
            for number in _SIGNALS:
                if number in numbers:
                    time.sleep(_GRACE_SECONDS)
                    os._exit(_EXIT + number)
            if why := nccl_error():
                end_lost(lost(why))


def nccl_error() -> str:
    """Ask all groups of processes that talk by NCCL whether they are whole; "" if so."""
    groups = torch.distributed.distributed_c10d._world.pg_map
    for group in list(groups):
        if torch.distributed.get_backend(group) == "nccl":
            error = group._get_backend(torch.device("cuda")).get_error()
            if error.name != "SUCCESS":
                return f"NCCL: {error.name}"
    return ""
