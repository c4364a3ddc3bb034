"""A toy server in processes of its own, on a free port of 127.0.0.1."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[1]


class ServerProcess:
    """Start it with options as typed, stderr to a file or a descriptor; `stop` must follow."""

    def __init__(
        self,
        log: Path | int,
        *options: str,
        host: str = "127.0.0.1",
        port: int | None = None,
        wait: bool = True,
        program: tuple[str, ...] = ("-m", "tests.serving.toy_server"),
        cwd: Path | None = None,
        **environment: str,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = log if isinstance(log, Path) else Path(os.devnull)
        arguments = [sys.executable, *program, f"--host={host}", f"--port={self.port}"]
        clean = {name: value for name, value in os.environ.items() if "FITBOT" not in name}
        with open(log, "a") as stderr:  # noqa: PTH123
            self.process = subprocess.Popen(
                [*arguments, *options],
                stderr=stderr,
                cwd=cwd,
                env={**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
                start_new_session=True,
            )
        if wait:
            try:
                self.wait_ready()
            except BaseException:  # nobody else could stop it
                self.stop()
                raise

    def wait_ready(self, seconds: float = 120) -> None:
        until(lambda: self.status("/readyz") == 200 or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.log_file.read_text()

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=20).status_code
        except httpx.TransportError:
            return 0

    def predict(self, text: str, *, timeout: float = 30, **fields: Any) -> httpx.Response:
        body = {"user_query": text, "max_new_tokens": 5, **fields}
        return httpx.post(f"{self.url}/predict/", json=body, timeout=timeout)

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def processes(self) -> list[psutil.Process]:
        """Main and all below it."""
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    @property
    def worker(self) -> int:
        """Process id of the worker, the youngest that was spawned."""
        spawned = [p for p in self.processes() if "spawn_main" in " ".join(p.cmdline())]
        return int(max(spawned, key=lambda process: process.create_time()).pid)

    @property
    def api(self) -> int:
        """Process id of the API process, the youngest that was forked."""
        main, *others = self.processes()
        forked = [p for p in others if p.cmdline() == main.cmdline()]
        return int(max(forked, key=lambda process: process.create_time()).pid)

    @property
    def manager(self) -> int:
        main, *others = self.processes()
        forked = [p for p in others if p.cmdline() == main.cmdline()]
        return int(min(forked, key=lambda process: process.create_time()).pid)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def log(self) -> list[dict[str, Any]]:
        """The log's lines that are JSON objects; all others are for people."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self) -> int:
        """End it as an init system would; return the exit status."""
        processes = self.processes() if self.process.poll() is None else []
        if processes:
            self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
        self.process.wait(5)
        return status


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true; return how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - begun


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies do not."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
