"""The command as a user types it: fitbot's own engine, with the embedded model, behind HTTP."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from fitbot.export.adapter import export_adapter
from fitbot.generation.loading import open_engine
from fitbot.generation.messages import Sampling
from fitbot.generation.remote import RemoteEngine
from fitbot.pairs.formats import Message
from tests.conftest import SYSTEM, make_policy
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, until

QUESTION = "How much protein is in 100 g of tofu?"


def test_the_server_says_what_the_engine_says(start: Start, tmp_path: Path) -> None:
    server = start(program=("-m", "fitbot", "serve", "--backend", "torch"), cwd=tmp_path)
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
    assert chunks[-1].usage.budget == 40
    assert whole["choices"][0]["message"]["content"] == greedy
    assert whole["usage"]["prompt_tokens"] == chunks[-1].usage.prompt
    assert whole["usage"]["granted_tokens"] == 40
    assert plain.json()["response"]
    log = server.log_file.read_text()
    assert "the embedded model answers" in log
    said = ("fitbot serve", "no --adapter named", "health layer")
    records = [json.loads(line) for line in log.splitlines() if not line.startswith(said)]
    assert "ready" in [record["message"] for record in records]


def test_another_server_answers_through_this_one(server: ServerProcess, start: Start) -> None:
    front = start(f"--remote={server.url}/v1", program=("-m", "fitbot", "serve"))

    direct, through = (one.predict("Is rice ok?") for one in (server, front))

    assert through.json() == direct.json()
    messages = [{"role": "user", "content": "think hm hm so three sets"}]
    asked = {"messages": messages, "include_reasoning": True}
    answer = httpx.post(f"{front.url}/v1/chat/completions", json=asked, timeout=60).json()
    message = answer["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("hm hm ", "three sets ")
    models = [httpx.get(f"{one.url}/v1/models").json()["data"] for one in (server, front)]
    assert [model["id"] for model in models[1]] == [model["id"] for model in models[0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "reader",
    ["full disk", "idle", "gone"],
)
def test_who_reads_stderr_stops_nothing(start: Start, tmp_path: Path, reader: str) -> None:
    receiver, sender = os.pipe()
    server = start(
        f"--health_encoder={'auto' if reader == 'full disk' else 'none'}",  # it loads for seconds
        program=("-m", "fitbot", "serve"),
        cwd=tmp_path,
        log_file="/dev/full" if reader == "full disk" else sender,
    )
    if reader == "gone":
        os.close(receiver)
    # More than a pipe (64 KiB) and the queue of 4,096 lines hold; at 380 bytes each.
    with httpx.Client(base_url=server.url) as client:
        for _ in range(4500 if reader == "idle" else 50):
            assert client.get("/v1/models").status_code == 200

    assert server.predict(QUESTION, max_new_tokens=5, timeout=20).status_code == 200
    assert server.metric("fitbot_log_lines_dropped_total") > (0 if reader == "idle" else 50)
    os.kill(server.worker, signal.SIGKILL)
    until(lambda: server.status("/readyz") == 503, 2)
    server.wait_ready()
    assert server.predict(QUESTION, max_new_tokens=5).status_code == 200
    assert server.stop() == 0
    if reader != "gone":
        os.close(receiver)


@pytest.mark.slow
def test_an_adapter_is_added_to_the_real_engine_and_is_there_after_a_restart(
    start: Start, tmp_path: Path
) -> None:
    write_export(tmp_path / "shelf" / "strength")
    key = "staple-staple-staple"
    server = start(
        f"--adapters={tmp_path}/shelf",
        "--more_adapters=1",
        program=("-m", "fitbot", "serve"),
        cwd=tmp_path,
        FITBOT_ADMIN_KEYS=key,
    )

    def load(name: str) -> httpx.Response:
        body = {"lora_name": name, "lora_path": "strength"}
        url = f"{server.url}/v1/load_lora_adapter"
        return httpx.post(url, json=body, headers={"X-API-Key": key}, timeout=60)

    def ask(model: str) -> str:
        messages = [{"role": "user", "content": QUESTION}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 20}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
        return str(answer.json()["choices"][0]["message"]["content"])

    loaded, again, full = (load(name) for name in ("strength", "strength", "second"))
    said = ask("strength")
    os.kill(server.worker, signal.SIGKILL)
    until(lambda: server.status("/readyz") == 503, 2)
    server.wait_ready()

    assert [loaded.status_code, again.status_code, full.status_code] == [200, 409, 409]
    assert "strength does not fit: there is no room" in full.json()["error"]["message"]
    assert said != ask("base")
    assert ask("strength") == said


def write_export(folder: Path) -> None:
    """Write an adapter of the embedded model as fit does; it changes what the model says."""
    policy = make_policy("embedded", moved=True)
    weights = policy.network.state_dict()
    state = {f"policy.network.{name}": w for name, w in weights.items() if "lora_" in name}
    lora = {"r": 4, "alpha": 64, "dropout": 0.0}
    settings = {"base_model": "embedded", "load_in_4bit": False, "lora": lora, "beta": 0.1}
    data = {"system_prompt": SYSTEM}
    export_adapter(folder, state, settings, training={"data": data})
