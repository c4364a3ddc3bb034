"""The command as a user types it: fitbot's own engine, with the embedded model, behind HTTP."""

from pathlib import Path

import httpx
from serve_fixtures import Start
from server_process import ServerProcess

from fitbot.answers.engine import Sampling
from fitbot.answers.loading import open_engine
from fitbot.answers.remote import RemoteEngine
from fitbot.pairs.preferences import Message

QUESTION = "How much protein is in 100 g of tofu?"


def test_the_server_says_what_the_engine_says(start: Start, tmp_path: Path) -> None:
    server = start(program=("-m", "fitbot", "serve"), cwd=tmp_path)
    engine = open_engine(None, slots=2)
    sampling = Sampling(max_new_tokens=40, temperature=0.7, seed=7)
    expected = "".join(c.text for c in engine.submit([Message("user", QUESTION)], sampling))
    greedy = "".join(
        c.text for c in engine.submit([Message("user", QUESTION)], Sampling(temperature=0))
    )
    engine.close()

    remote = RemoteEngine(f"{server.url}/v1")
    chunks = list(remote.submit([Message("user", QUESTION)], sampling))
    remote.close()
    body = {
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 40,
    }
    whole = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).json()
    plain = server.predict(QUESTION, max_new_tokens=40)

    assert expected
    assert "".join(chunk.text for chunk in chunks) == expected
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.granted == 40
    assert whole["choices"][0]["message"]["content"] == greedy
    assert whole["usage"]["prompt_tokens"] == chunks[-1].usage.prompt
    assert whole["usage"]["granted_tokens"] == 40
    assert plain.json()["response"]
    assert "the embedded model answers" in server.log_file.read_text()


def test_another_server_answers_through_this_one(server: ServerProcess, start: Start) -> None:
    front = start(f"--remote={server.url}/v1", program=("-m", "fitbot", "serve"))

    direct, through = (one.predict("Is rice ok?") for one in (server, front))

    assert through.json() == direct.json()
    models = [httpx.get(f"{one.url}/v1/models").json()["data"] for one in (server, front)]
    assert [model["id"] for model in models[1]] == [model["id"] for model in models[0]]
