"""The serving benchmark: that its clients read answers right, and that it runs; not how fast."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import serve_beside
from serve_http import Answer, Client, measure, number

SERVE = Path(__file__).parents[2] / "benchmarks" / "serve.py"


def test_clients_count_tokens_and_time_text(server: ServerProcess) -> None:
    clients = [Client(server.port, "hello", "toy") for _ in range(4)]

    async def go() -> dict[str, Any]:
        measured = await measure([client.ask for client in clients], new=20, rounds=2)
        await asyncio.gather(*(client.close() for client in clients))
        return measured

    told = asyncio.run(go())

    assert told["statuses"] == {"200": 11}  # the last client's first answer is whole
    assert told["tokens"] == 4 * 2 * 20
    for when in ("at_once", "busy"):
        assert 0 < told["first_byte_ms"][when]["p50"] <= told["first_text_ms"][when]["p50"]
    assert told["gap_ms"]["p50"] > 5  # the toy writes a word in 10 ms


def test_clients_tell_failures_apart(server: ServerProcess) -> None:
    async def ask(question: str, model: str = "toy", *, stream: bool = True) -> Answer:
        client = Client(server.port, question, model)
        answer = await client.ask(20, stream=stream)
        await client.close()
        return answer

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


@pytest.mark.slow
def test_a_server_is_soaked(base: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = f"--model {base} --streams 1 --new 6 --requests 1 --soak 1 --places 2 --out {out}"

    done = subprocess.run(
        [sys.executable, SERVE, *options.split()],
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


def test_no_question_is_asked_twice() -> None:
    assert len({number("Is tofu vegan?") for _ in range(100)}) == 100


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="transformers serve asks it")
def test_another_server_reads_the_same_prompt(base: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = f"--model {base} --streams --http 2 --new 6 --requests 1 --out {out}"

    done = subprocess.run(
        [sys.executable, SERVE, *options.split(), "--beside", "transformers"],
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    (told,) = json.loads(out.read_text())["http"]
    other = told["beside"]["transformers"]
    assert other["statuses"] == {"200": 3}
    assert other["prompt_tokens"] == told["engine"]["prompt_tokens"] > 90
    assert told["server"]["prompt_tokens"] == told["engine"]["prompt_tokens"]
    assert 0 < other["tokens"] <= other["tokens_asked"] == 12


def test_a_server_that_cannot_be_started_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none, fails = serve_beside.Contender("no-such-program"), serve_beside.Contender("ls")
    monkeypatch.setattr(serve_beside, "CONTENDERS", {"none": none, "fails": fails})

    with pytest.raises(SystemExit, match="--beside none: no program no-such-program"):
        serve_beside.check_installed(["fails", "none"])
    with pytest.raises(SystemExit, match="did not start: exit status 2\n.*unrecognized option"):
        serve_beside.start("fails", "/", tmp_path / "log")
