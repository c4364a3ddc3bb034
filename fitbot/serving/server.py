"""LitServe's server, made to survive: it replaces dead workers, drains, and leaves nothing behind.

It runs in the process called main; see the package's docstring for the others.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.managers import SyncManager
from multiprocessing.util import get_temp_dir
from tempfile import gettempdir
from types import FrameType, SimpleNamespace
from typing import Any

import litserve
from fastapi import FastAPI
from litserve.utils import WorkerSetupStatus

from fitbot.errors import ConfigError, EngineError
from fitbot.platforms import ENDING_SIGNALS, can_fork, die_with_parent, start_method
from fitbot.serving.connections import (
    BACKLOG,
    ClientProtocol,
    Connections,
    allow_connections,
)
from fitbot.serving.jobs import Dispatcher
from fitbot.serving.learning_side import Learning
from fitbot.serving.logs import leave_stderr, set_up_logging
from fitbot.serving.settings import RequestLimits
from fitbot.serving.shared_state import CLOSING, DRAINING, SharedState
from fitbot.serving.transport import BundlingTransport
from fitbot.serving.worker import POLL_SECONDS, EngineAPI

_TICK_SECONDS = 0.1
_HUNG_SECONDS = 60.0  # a process that has not moved for so long is killed
_DEATHS = 5  # within so many seconds, and the server gives up
_DEATHS_SECONDS = 120.0
_LONGEST_PATH = 70  # bytes of TMPDIR; a socket's own may have 107
_STARTS = 3  # in a row without a worker that became ready, and it does, too

log = logging.getLogger(__name__)


class FitbotServer(litserve.LitServer):  # type: ignore[misc]
    """One worker, one API process, and a main process that looks after both."""

    def __init__(
        self,
        api: EngineAPI,
        dispatcher: Dispatcher,
        shared: SharedState,
        limits: RequestLimits,
        learning: Learning | None = None,
    ):
        """Make the server; its routes and middleware are added to `app` before it runs.

        Args:
            api: The worker's side.
            dispatcher: Is given LitServe's queues when the API process starts.
            shared: What the processes know of each other.
            limits: Of time and connections.
            learning: Has a process of its own, and something to do in the API process.
        """
        self._api = api
        self._dispatcher = dispatcher
        self._shared = shared
        self._limits = limits
        self._learning = learning
        self._signals = 0  # that asked to end
        self._deaths: list[float] = []
        self._failed_starts = 0  # since a worker was ready
        self._failure: str | None = None  # why the server gives up
        # "cpu" makes it one worker; the engine looks for its device itself.
        super().__init__(api, accelerator="cpu", timeout=False, disable_openapi_url=True)
        self._monitor_workers = False  # main does it itself
        self.uvicorn_graceful_timeout = 3

    def register_endpoints(self) -> None:
        """Do nothing: `fitbot.serving.routes.add_routes` adds all routes, with documentation."""

    def serve(self, host: str, port: int, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal says otherwise.

        Args:
            host: Address to bind.
            port: From 1024.
            on_ready: Called once the server answers.

        Raises:
            ConfigError: The port is taken, or not one to be had; or TMPDIR is too deep.
            EngineError: The engine did not start, or could not be kept alive.
        """
        set_up_logging()
        allow_connections(self._limits)
        temporary = gettempdir()
        if len(os.fsencode(temporary)) > _LONGEST_PATH:
            raise ConfigError(
                f"TMPDIR {temporary}: too long a path for a socket; name a folder with a path of "
                f"at most {_LONGEST_PATH} bytes"
            )
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._address, self._on_ready = (here, port), on_ready
        for number in ENDING_SIGNALS:
            signal.signal(number, self._count_signal)
        warnings.filterwarnings("ignore", "Windows does not support forking")  # see ApiThread
        try:
            self.run(
                host=host,
                port=port,
                num_api_servers=1,
                api_server_worker_type="process" if can_fork() else "thread",
                generate_client_file=False,
                log_level="warning",
                log_config=None,
                access_log=False,
                http=partial(
                    ClientProtocol, limits=self._limits, connections=Connections(self._limits)
                ),
                ws="none",
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
            )
        except (SystemExit, ValueError) as error:
            # uvicorn exits the process when it cannot bind, LitServe wants ports from 1024.
            raise ConfigError(
                f"--port {port}: cannot listen there on {host}; take another"
            ) from error
        finally:
            if self._learning:
                self._learning.close()
            leave_stderr()
        if self._failure:
            raise EngineError(self._failure)

    def _count_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Set up the API process."""
        die_with_parent()
        self._ignore_signals_until_closing()
        jobs = self._get_request_queue(self._api.api_path)
        consumer: int = app.response_queue_id  # type: ignore[attr-defined]  # LitServe sets it
        self._dispatcher.connect(jobs, self.response_buffer, consumer)
        gc.freeze()  # a full collection would look at all modules: a third of a second
        async with super().lifespan(app):
            watching = [asyncio.create_task(self._dispatcher.watch())]
            if self._learning:
                watching.append(asyncio.create_task(self._learning.watch()))
            yield
            for task in watching:
                task.cancel()
        with suppress(OSError, EOFError):  # the thread that LitServe leaves waiting may go now
            self._transport.send(None, consumer)
        leave_stderr()

    def _ignore_signals_until_closing(self) -> None:
        """Let signals to the whole group pass: main gets them too, and says when it is time."""
        if threading.current_thread() is not threading.main_thread():
            return  # it is a thread of main, see ApiThread
        for number in (signal.SIGTERM, signal.SIGINT):
            uvicorns: Any = signal.getsignal(number)

            def handle(number: int, frame: FrameType | None, uvicorns: Any = uvicorns) -> None:
                if self._shared.phase == CLOSING:
                    uvicorns(number, frame)

            signal.signal(number, handle)

    def _init_manager(self, num_api_servers: int) -> SyncManager:
        set_up_logging()  # run has just set up LitServe's own
        manager = SyncManager(ctx=multiprocessing.get_context(start_method()))
        # Its socket lies there. Main removes the folder at its end, or the manager for it.
        manager.start(die_with_parent, (ENDING_SIGNALS, get_temp_dir()))
        self._manager = manager
        self._manager_process: Any = manager._process  # type: ignore[attr-defined]
        self.transport_config.manager = manager
        self.transport_config.num_consumers = num_api_servers
        self.workers_setup_status = manager.dict()
        # run waits on this event until the server is to end.
        self._shutdown_event = SimpleNamespace(wait=self._supervise)
        self.litapi_request_queues[self._api.api_path] = manager.Queue()
        self._transport = BundlingTransport(manager, [manager.Queue()])
        return manager

    def _start_server(self, *args: Any, **kwargs: Any) -> dict[int, Any]:
        self._shared.beat_api()
        processes: dict[int, Any] = super()._start_server(*args, **kwargs)
        if not can_fork():
            processes = {number: ApiThread(one) for number, one in processes.items()}
        self._api_processes = processes
        return processes

    def verify_worker_status(self) -> None:
        """Wait until the engine is open.

        Raises:
            EngineError: It cannot be opened, or the wait was ended by a signal.
        """
        worker = self.inference_workers[0]
        until = time.monotonic() + self._limits.start_seconds
        while WorkerSetupStatus.READY not in self.workers_setup_status.values():
            is_late = time.monotonic() > until
            if self._signals or not worker.is_alive() or is_late:
                self._kill_worker(self._too_late() if is_late else "")
                why = self._why_it_ended()
                self._manager.shutdown()
                if self._signals:
                    raise EngineError("ended before the engine had started")
                raise EngineError(f"the engine did not start: {why}")
            wait([worker.sentinel], timeout=_TICK_SECONDS)
        log.info("ready", extra={"models": list(self._shared.models)})

    def launch_single_inference_worker(self, *args: Any) -> Any:
        """Start a worker; LitServe calls it for the first one."""
        self._shared.failure = ""
        self._started_at = time.monotonic()
        return super().launch_single_inference_worker(*args)

    def _supervise(self) -> None:
        """Keep a worker alive until a signal comes, then let running answers finish."""
        manager, is_ready = self._manager_process, False
        last_tick = moves_since = time.monotonic()
        while not (self._signals or self._failure):
            worker, api = self.inference_workers[0], self._api_processes[0]
            ends = [one.sentinel for one in (worker, api, manager) if one.sentinel is not None]
            wait(ends, timeout=_TICK_SECONDS)
            if not is_ready and _answers(self._address):
                is_ready = True
                self._on_ready()
            if is_ready and self._learning:
                self._learning.tick()
            now = time.monotonic()
            if now - last_tick > _HUNG_SECONDS / 2:  # main was stopped, and so were all, perhaps
                moves_since = now
            last_tick = now
            self._look_at_api(now - moves_since)
            self._look_at_worker(now - moves_since)
        self._drain()

    def _look_at_api(self, seconds: float) -> None:
        """Give up if the API process, or the manager, is gone or has not moved for so long."""
        api, manager = self._api_processes[0], self._manager_process
        if not (api.is_alive() and manager.is_alive()):
            self._failure = "the API process or the manager died"
        elif min(seconds, self._shared.seconds_since_api_beat()) > _HUNG_SECONDS:
            self._failure = f"the API process has not moved for {_HUNG_SECONDS:g} s"
            api.kill()
        if self._failure:
            log.error(self._failure)

    def _look_at_worker(self, seconds: float) -> None:
        """Replace the worker if it is gone, or has not moved or become ready for too long."""
        worker, shared = self.inference_workers[0], self._shared
        if worker.is_alive() and shared.worker:
            if min(seconds, shared.seconds_since_beat()) > _HUNG_SECONDS:
                self._kill_worker(f"it had not moved for {_HUNG_SECONDS:g} s")
        elif worker.is_alive():
            starting = min(seconds, time.monotonic() - self._started_at)
            if starting > self._limits.start_seconds:
                self._kill_worker(self._too_late())
        if not (worker.is_alive() or self._failure):
            self._replace_worker()

    def _kill_worker(self, why: str) -> None:
        self.inference_workers[0].kill()
        self.inference_workers[0].join()
        self._shared.failure = self._shared.failure or why

    def _too_late(self) -> str:
        return f"it was not ready within {self._limits.start_seconds:g} s (--start_seconds)"

    def _replace_worker(self) -> None:
        """Start a new worker, or give up when too many have died."""
        self._failed_starts = 0 if self._shared.worker else self._failed_starts + 1
        self._shared.worker = 0
        now, why = time.monotonic(), self._why_it_ended()
        self._deaths = [when for when in self._deaths if when > now - _DEATHS_SECONDS] + [now]
        log.error("the worker died: %s", why)
        if self._failed_starts >= _STARTS:
            self._failure = f"the engine did not start {_STARTS} times in a row; the last: {why}"
        elif len(self._deaths) >= _DEATHS:
            self._failure = f"the worker died {_DEATHS} times, the last time: {why}"
        if self._failure:
            return
        # By then a read of the queue that the dead worker has left behind is over.
        pause = 2 * POLL_SECONDS * 2 ** (len(self._deaths) - 1)
        _wait_while(lambda: not self._signals, pause)
        if not self._signals:
            self._shared.restarts += 1
            self.inference_workers[0] = self.launch_single_inference_worker(self._api, 0)

    def _why_it_ended(self) -> str:
        """Say why the worker has ended."""
        status = self.inference_workers[0].exitcode
        if self._shared.failure:
            return self._shared.failure
        if status < 0:
            return f"its process was ended by signal {-status} (9: often for want of memory)"
        return f"its process ended with status {status}; the log says why"

    def _drain(self) -> None:
        """Let running answers finish; a second signal, or too long a wait, ends them."""
        log.info("shutting down", extra={"in_flight": self._shared.active})
        if self._learning:
            self._learning.close()
        self._shared.phase = DRAINING
        shared, worker = self._shared, self.inference_workers[0]
        if shared.worker and not self._failure:
            _wait_while(
                lambda: shared.active and self._signals < 2 and worker.is_alive(),
                self._limits.drain_seconds,
            )
        shared.phase = CLOSING
        _wait_while(lambda: shared.active, 1)  # they are being refused

    def _perform_graceful_shutdown(self, manager: SyncManager, *args: Any, **kwargs: Any) -> None:
        self._shared.phase = CLOSING
        worker = self.inference_workers[0]
        if self._signals < 2 and worker.is_alive() and self._manager_process.is_alive():
            # LitServe's loop ends by itself; terminate() does not reach the worker.
            self.litapi_request_queues[self._api.api_path].put((None, None, None, None))
            worker.join(3)
        worker.kill()
        super()._perform_graceful_shutdown(manager, *args, **kwargs)


class ApiThread:
    """The API as a thread of main, where processes cannot be copied; it looks like a process."""

    sentinel = None

    def __init__(self, thread: Any):
        """Take LitServe's thread, which runs a server of uvicorn."""
        self._server = thread._target.__self__
        self.name, self.pid = thread.name, os.getpid()
        self.is_alive, self.join = thread.is_alive, thread.join

    def terminate(self) -> None:
        """Let it end."""
        self._server.should_exit = True

    def kill(self) -> None:
        """Have it end now."""
        self._server.should_exit = self._server.force_exit = True


def _answers(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=_TICK_SECONDS):
        return True
    return False


def _wait_while(condition: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while condition() and time.monotonic() < until:
        time.sleep(_TICK_SECONDS)
