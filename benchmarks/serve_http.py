"""`fitbot serve` asked by many clients at once, beside the same engine in process; see `serve.py`.

All clients are one asyncio process that looks no further into an answer than it must: where clients
and server share a CPU, what the clients take is missing from the server. Their share is reported.

As a program it is `fitbot serve` without the health layer, to measure what that layer costs.
"""

import asyncio
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
QUESTIONS = (
    "Is tofu vegan?",
    "How much protein is in 100 g of lentils?",
    "How long should I rest between heavy sets?",
    "Which muscle does the squat train?",
)
_START_SECONDS = 600.0  # a server has to be ready by then
_AGAIN_SECONDS = 0.1  # a client that was refused waits; the server asks for longer
_PROBE_SECONDS = 0.1
_SAMPLES = 60  # of memory, in one soak
_WARM = 0.2  # of a soak; what is measured and compared comes after it

_TEXT = re.compile(rb'"content": ?"[^"]')
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_PROMPT = re.compile(rb'"prompt_tokens": ?(\d+)')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TAIL_BYTES = 4096  # of an answer; its usage is within
_LOST, _BROKEN = 0, 299  # statuses that HTTP has not
_NAMES = {_LOST: "connection lost", _BROKEN: "200, then an error"}


@dataclass
class Answer:
    """What a client saw of one answer; times are `time.perf_counter`'s.

    Args:
        asked: When.
        status: Of HTTP.
        begun: When the first bytes came.
        ended: When the last ones did.
        texts: When text came; pieces that came together count once.
        tokens: As the usage says.
        prompt: Tokens of the question with all that goes around it, as the usage says.
    """

    asked: float = field(default_factory=time.perf_counter)
    status: int = _LOST
    begun: float = 0.0
    ended: float = 0.0
    texts: list[float] = field(default_factory=list)
    tokens: int = 0
    prompt: int = 0


Ask = Callable[[int], Awaitable[Answer]]  # for so many new tokens


class Connection(asyncio.Protocol):
    """Carries one request at a time."""

    transport: asyncio.WriteTransport
    _done: "asyncio.Future[None] | None" = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for the end of its answer."""
        self._answer, self._tail = Answer(), b""
        self._received = self._size = 0
        if not self.transport.is_closing():
            self._done = asyncio.get_running_loop().create_future()
            self.transport.write(request)
            await self._done
        self._answer.ended = time.perf_counter()
        return self._answer

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Note when it came."""
        now, answer = time.perf_counter(), self._answer
        self._received += len(data)
        self._tail = self._tail[-_TAIL_BYTES:] + data
        if not answer.begun:
            head, end, _ = self._tail.partition(b"\r\n\r\n")
            if not end:
                return
            answer.status, answer.begun = int(head[9:12]), now
            if length := _LENGTH.search(head):
                self._size = len(head) + len(end) + int(length[1])
        if _TEXT.search(data):
            answer.texts.append(now)
        # Without a length it is chunked, and the last chunk is empty.
        if self._received >= self._size > 0 or self._tail.endswith(b"\r\n0\r\n\r\n"):
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait no more."""
        if self._done and not self._done.done():
            self._answer.status = _LOST
            self._done.set_result(None)

    def _finish(self, answer: Answer) -> None:
        if found := _TOKENS.search(self._tail):
            answer.tokens = int(found[1])
        if found := _PROMPT.search(self._tail):
            answer.prompt = int(found[1])
        if b'data: {"error"' in self._tail:
            answer.status = _BROKEN
        if self._done and not self._done.done():
            self._done.set_result(None)


class Client:
    """Asks a server to go on with one conversation, over one connection."""

    def __init__(
        self,
        port: int,
        question: str,
        model: str | None = None,
        *,
        numbered: bool = False,
        system_prompt: str | None = None,
        more: dict[str, Any] | None = None,
    ):
        """Get ready to ask.

        Args:
            port: Of the server, on 127.0.0.1.
            question: What is asked.
            model: Of whom; the server's choice by default.
            numbered: Each time with another number before it.
            system_prompt: For a server that has none of its own.
            more: Further fields of every request.
        """
        self._question, self._numbered = question, numbered
        self._system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._port = port
        self._connection: Connection | None = None
        self._body: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9} | (more or {})
        if model:
            self._body["model"] = model

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.transport.abort()
            await asyncio.sleep(0)  # in which the loop lets go of it

    async def ask(self, new: int, *, stream: bool = True) -> Answer:
        """Ask for so many tokens."""
        question = number(self._question) if self._numbered else self._question
        messages = [*self._system, {"role": "user", "content": question}]
        body = self._body | {"messages": messages, "max_tokens": new}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        was_open = self._connection is not None
        if self._connection is None:
            loop = asyncio.get_running_loop()
            try:
                _, self._connection = await loop.create_connection(
                    Connection, "127.0.0.1", self._port
                )
            except OSError:
                return Answer()
        answer = await self._connection.ask(head.encode() + content)
        if answer.status == _LOST or self._connection.transport.is_closing():
            self._connection = None
        if answer.status == _LOST and was_open and not answer.begun:
            return await self.ask(new, stream=stream)  # the server had closed it before
        return answer


_numbers = itertools.count()


def number(question: str) -> str:
    """Begin a question as none was begun: some servers remember prompts, and the work is saved."""
    return f"{next(_numbers):04}. {question}"


def asking_engine(engine: Any, question: str, model: str | None) -> Ask:
    """Ask an engine in process, as the server's worker does."""
    from fitbot.generation.messages import Sampling
    from fitbot.pairs.formats import Message

    async def ask(new: int) -> Answer:
        answer = Answer(status=200)
        messages = [Message("user", number(question))]
        stream = await asyncio.to_thread(engine.submit, messages, Sampling(new), model=model)
        async for chunk in stream:
            now = time.perf_counter()
            answer.begun = answer.begun or now
            if chunk.text:
                answer.texts.append(now)
            if chunk.usage:
                answer.tokens, answer.prompt = chunk.usage.completion, chunk.usage.prompt
        answer.ended = time.perf_counter()
        return answer

    return ask


async def measure(clients: Sequence[Ask], new: int, rounds: int) -> dict[str, Any]:
    """Let every client ask for `rounds` answers' worth of `new` tokens, one after another.

    All begin at once. Their first answers are of different lengths and their last ones make up for
    it, so that whoever asks later does so while all others are being answered, as in life.
    """

    async def ask(number: int, client: Ask) -> list[Answer]:
        first = max(1, new * (number + 1) // len(clients))
        lengths = [first, *[new] * (rounds - 1), new - first]
        return [await client(length) for length in lengths if length]

    began, computed = time.perf_counter(), time.process_time()
    asked = await asyncio.gather(*(ask(*numbered) for numbered in enumerate(clients)))
    seconds, computed = time.perf_counter() - began, time.process_time() - computed
    at_once, busy = [each[0] for each in asked], [one for each in asked for one in each[1:]]
    answers = at_once + busy
    tokens = sum(answer.tokens for answer in answers)
    return {
        "streams": len(clients),
        "statuses": statuses(answer.status for answer in answers),
        "prompt_tokens": max(answer.prompt for answer in answers),
        "tokens_asked": len(clients) * new * rounds,
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "first_byte_ms": {
            "at_once": spread(answer.begun - answer.asked for answer in at_once),
            "busy": spread(answer.begun - answer.asked for answer in busy),
        },
        "first_text_ms": {"at_once": first_text(at_once), "busy": first_text(busy)},
        "gap_ms": spread(
            after - before
            for answer in answers
            for before, after in zip(answer.texts, answer.texts[1:], strict=False)
        ),
        "cores": {"this process": round(computed / seconds, 2)},
    }


async def measure_server(
    server: "Process", clients: Sequence[Ask], new: int, rounds: int
) -> dict[str, Any]:
    """Measure a server, and how much each of its processes computes."""
    await asyncio.gather(*(client(2) for client in clients))  # nobody waits for what happens once
    before = server.seconds_of_cpu()
    report = await measure(clients, new, rounds)
    for name, seconds in server.seconds_of_cpu().items():
        report["cores"][name] = round((seconds - before.get(name, 0)) / report["seconds"], 2)
    return report


async def soak(server: "Server", clients: int, seconds: float) -> dict[str, Any]:
    """Have more clients ask than the server takes, every other one streaming, for so long.

    Ten times a second a probe asks whether the server lives.
    """
    began = time.perf_counter()
    seen: Counter[int] = Counter()
    answers: list[Answer] = []
    memory: list[tuple[float, dict[str, float]]] = []
    probes: list[float] = []
    failed = 0

    async def ask(number: int) -> None:
        client = Client(server.port, QUESTIONS[number % len(QUESTIONS)])
        while time.perf_counter() < began + seconds:
            answer = await client.ask(random.randint(16, 64), stream=number % 2 == 0)
            seen[answer.status] += 1
            if answer.status == 200:
                answers.append(answer)
            else:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def weigh() -> None:
        while True:
            memory.append((round(time.perf_counter() - began, 1), server.memory_mib()))
            await asyncio.sleep(seconds / _SAMPLES)

    async def probe() -> None:
        nonlocal failed
        while True:
            asked = time.perf_counter()
            failed += await asyncio.to_thread(server.get, "/livez") is None
            probes.append(time.perf_counter() - asked)
            await asyncio.sleep(_PROBE_SECONDS)

    beside = [asyncio.create_task(one()) for one in (weigh, probe)]
    await asyncio.gather(*map(ask, range(clients)))
    for task in beside:
        task.cancel()
    memory.append((round(time.perf_counter() - began, 1), server.memory_mib()))
    lasted = time.perf_counter() - began
    # At the end nobody asks any more, and the last answers have the server for themselves.
    first, measured = began + _WARM * seconds, (1 - _WARM) * seconds
    steady = [answer for answer in answers if first <= answer.ended < began + seconds]
    warm = next(held for when, held in memory if when >= _WARM * lasted)
    return {
        "clients": clients,
        "seconds": round(lasted, 1),
        "statuses": statuses(seen.elements()),
        "only_200_and_429": set(seen) <= {200, 429},
        "answers_per_second": round(len(steady) / measured, 1),
        "tokens_per_second": round(sum(answer.tokens for answer in steady) / measured, 1),
        "answer_ms": spread(answer.ended - answer.asked for answer in answers),
        "livez_ms": spread(probes),
        "livez_failed": failed,
        "memory_mib": [[when, round(sum(held.values()), 1)] for when, held in memory],
        "memory_mib_when_warm": warm,
        "memory_mib_at_the_end": memory[-1][1],
        "memory_growth": round(sum(memory[-1][1].values()) / sum(warm.values()) - 1, 4),
    }


def statuses(seen: Iterable[int]) -> dict[str, int]:
    """Count them."""
    return dict(sorted(Counter(_NAMES.get(status, str(status)) for status in seen).items()))


def first_text(answers: Iterable[Answer]) -> dict[str, float] | None:
    """Say how long the first text was waited for."""
    return spread(answer.texts[0] - answer.asked for answer in answers if answer.texts)


def spread(seconds: Iterable[float]) -> dict[str, float] | None:
    """Return median and 99th percentile in milliseconds; None of nothing."""
    times = sorted(seconds)
    if not times:
        return None
    return {
        "p50": round(1000 * statistics.median(times), 1),
        "p99": round(1000 * times[min(len(times) - 1, int(0.99 * len(times)))], 1),
    }


def write_adapter(folder: Path, model: str, rank: int) -> Path:
    """Write an adapter that changes nothing, as `fitbot export` writes one, on a model's folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT
    from fitbot.base_model.lora import POLICY_ADAPTER
    from fitbot.base_model.settings import LoraSettings
    from fitbot.export.adapter import export_adapter

    base, lora = str(Path(model).resolve()), LoraSettings(r=rank)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    weights = {}
    for name, layer in network.named_modules():
        if name.rpartition(".")[2] in lora.target_modules:
            path = f"policy.network.base_model.model.{name}"
            shapes = {"A": (rank, layer.in_features), "B": (layer.out_features, rank)}
            for letter, shape in shapes.items():
                weights[f"{path}.lora_{letter}.{POLICY_ADAPTER}.weight"] = torch.zeros(shape)
    settings = {"base_model": base, "load_in_4bit": False, "lora": asdict(lora), "beta": 0.1}
    training = {"data": {"system_prompt": EMBEDDED_SYSTEM_PROMPT}}
    return export_adapter(folder, weights, settings, training=training)


def write_question(model: str, tokens: int) -> str:
    """Write one that has so many tokens with its number and all around it, or as few as can be."""
    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT
    from fitbot.pairs.chat import Chat, load_tokenizer
    from fitbot.pairs.formats import Message

    chat = Chat(load_tokenizer(model), system_prompt=EMBEDDED_SYSTEM_PROMPT)
    text = "I train three times a week and eat no meat. How do I plan my meals and my sets? "
    around = len(chat.encode_prompt([Message("user", number("?"))], 10_000)[0])
    ids = chat.tokenizer.encode(text * tokens, add_special_tokens=False)
    return str(chat.tokenizer.decode(ids[: max(1, tokens - around)]))


class Process:
    """A server on a port of 127.0.0.1, in processes of its own."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        ready: str,
        environment: dict[str, str] | None = None,
    ):
        """Start it and wait until it is ready.

        Args:
            command: Program and arguments.
            port: That it will listen on.
            log: File that what it prints goes to.
            ready: Path that answers 200 once it is.
            environment: Added to this process's.
        """
        self.port, self.log = port, log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while self.get(ready) is None:
            status, late = self._process.poll(), time.monotonic() > until
            if status is not None or late:
                self.stop()
                what = (
                    f"not ready after {_START_SECONDS:.0f} s" if late else f"exit status {status}"
                )
                raise SystemExit(f"{' '.join(command)}\ndid not start: {what}\n{self.said()}")
            time.sleep(0.2)

    def get(self, path: str) -> str | None:
        """Return what it answers; None where it does not, or with an error."""
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer,
        ):
            return str(answer.read().decode())
        return None

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes, by what they do."""
        main = psutil.Process(self._process.pid)
        others = enumerate(main.children(recursive=True))
        return {"main": main} | {f"other {number}": one for number, one in others}

    def seconds_of_cpu(self) -> dict[str, float]:
        """Return how long each has computed."""
        times = {name: one.cpu_times() for name, one in self.processes().items()}
        return {name: spent.user + spent.system for name, spent in times.items()}

    def memory_mib(self) -> dict[str, float]:
        """Return what each holds, shared pages counted in each."""
        held = {name: one.memory_info().rss for name, one in self.processes().items()}
        return {name: round(size / 2**20, 1) for name, size in held.items()}

    def stop(self) -> int:
        """End it as an init system would; return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        with suppress(ProcessLookupError):  # what is left of it would take from whoever is next
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


class Server(Process):
    """`fitbot serve` on a free port."""

    def __init__(
        self,
        adapter: Path,
        log: Path,
        *,
        slots: int,
        places: int | None = None,
        health_layer: bool = True,
    ):
        """Start it and wait until it is ready.

        Args:
            adapter: What it serves.
            log: File that its log goes to.
            slots: Answers written at once.
            places: Requests it takes at once; by default what it takes for so many `slots`.
            health_layer: Off, it is this file that runs, instead of `fitbot serve`.
        """
        port = free_port()
        program = ("-m", "fitbot", "serve") if health_layer else (__file__,)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        super().__init__(
            [
                *(sys.executable, *program, f"--adapter={adapter}"),
                *("--insecure", "--host=127.0.0.1", f"--port={port}", f"--slots={slots}"),
                *([f"--max_in_flight={places}"] if places else []),
                "--max_in_flight_per_key=100000",  # all clients have one address
                *("--rate_per_minute=100000000", "--request_seconds=600"),
            ],
            port,
            log,
            ready="/readyz",
            environment={"PYTHONPATH": os.pathsep.join(paths)},
        )

    def metrics(self) -> dict[str, float]:
        """Read /metrics; empty if the server does not answer."""
        lines = (self.get("/metrics") or "").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes, by what they do."""
        main = psutil.Process(self._process.pid)
        below = sorted(main.children(recursive=True), key=lambda one: one.create_time())
        forked = [one for one in below if one.cmdline() == main.cmdline()]
        spawned = [one for one in below if "spawn_main" in " ".join(one.cmdline())]
        named = {"main": main, "manager": forked[0], "api": forked[-1], "worker": spawned[-1]}
        others = [one for one in below if one not in named.values()]
        return named | {f"other {number}": one for number, one in enumerate(others)}

    def left_over(self) -> dict[str, float]:
        """Return what is still being answered."""
        time.sleep(1)  # the worker tells how busy it is a few times a second
        gauges = ("fitbot_in_flight", "fitbot_engine_active", "fitbot_engine_waiting")
        told = self.metrics()
        return {name: told.get(name, -1.0) for name in (*gauges, "fitbot_worker_restarts_total")}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve_without_health_layer() -> int:
    from fitbot.commands.serve import main

    return main(["serve", *sys.argv[1:]], health_layer=False)


if __name__ == "__main__":
    sys.exit(_serve_without_health_layer())
