"""The serving benchmark: that its clients read answers right, and that it runs; not how fast."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from server_process import ServerProcess

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from serve_http import Answer, Client, measure


def test_clients_count_tokens_and_time_text(server: ServerProcess) -> None:
    clients = [Client(server.port, "hello", "toy").ask for _ in range(4)]

    told = asyncio.run(measure(clients, new=20, rounds=2))

    assert told["statuses"] == {"200": 11}  # the last client's first answer is whole
    assert told["tokens"] == 4 * 2 * 20
    for when in ("at_once", "busy"):
        assert 0 < told["first_byte_ms"][when]["p50"] <= told["first_text_ms"][when]["p50"]
    assert told["gap_ms"]["p50"] > 5  # the toy writes a word in 10 ms


def test_clients_tell_failures_apart(server: ServerProcess) -> None:
    async def ask(question: str, model: str = "toy", *, stream: bool = True) -> Answer:
        return await Client(server.port, question, model).ask(20, stream=stream)

    async def go() -> list[Answer]:
        return [
            await ask("hello", stream=False),
            await ask("hello", "none"),
            await ask("busy"),
            await ask("fail later"),
            await Client(1, "hello").ask(20),
        ]

    answers = asyncio.run(go())

    assert [answer.status for answer in answers] == [200, 404, 429, 299, 0]
    assert [answer.tokens for answer in answers] == [20, 0, 0, 0, 0]


def test_a_server_is_soaked(base: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = f"--model {base} --streams 1 --new 6 --requests 1 --soak 1 --places 2 --out {out}"

    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "benchmarks" / "serve.py", *options.split()],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert told["engine"][0]["tokens"] > 0
    assert told["soak"]["only_200_and_429"]
    assert told["soak"]["statuses"]["200"] > 0
    assert set(told["soak"]["left_over"].values()) == {0}
    assert told["soak"]["exit_status"] == 0
    assert "soak: 4 clients on 2 places" in done.stdout
