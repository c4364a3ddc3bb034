"""Whatever a model writes, nothing of its chat template gets to who asked.

`babble` is what the model writes. Which of it is the answer is worked out here once more, from the
whole text at a time: all up to the first control token, be it a token or spelled, without thoughts.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from fitbot.commands import chat as command
from fitbot.generation.messages import Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.formats import Message
from tests.generation.babble import CONTROLS, THOUGHTS, babble, open_babbler
from tests.serve_fixtures import Start

MANY = 400
LONGEST = 60  # tokens of an answer
# Whole marks, or as much of a control as can be no text.
TEMPLATE = re.compile(r"<\|im_|<\|end|</?think>|(system|user|assistant)\n|You are a helpful")
HALVES = re.compile(r"(</?\|?\w*)+$")


def answer_of(seed: int) -> tuple[str, str]:
    """What a babbling model has said, and thought, before the first control token."""
    whole = "".join(text for text, _ in islice(babble(seed), LONGEST))
    said = re.split(r"<\|im_|<\|end", whole)[0]
    parts, inside = ["", ""], False
    for part in re.split("(<think>|</think>)", said):
        if part in THOUGHTS:
            inside = part == "<think>"
        else:
            parts[inside] += part
    return parts[0], parts[1]


def letters(text: str) -> str:
    """All but blanks, and without halves of marks at the end."""
    return HALVES.sub("", re.sub(r"\s", "", text))


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    opened = open_babbler()
    yield opened
    opened.close()


def test_the_babble_holds_what_is_to_be_kept_out() -> None:
    whole = ["".join(text for text, _ in islice(babble(seed), LONGEST)) for seed in range(MANY)]

    assert sum(bool(TEMPLATE.search(text)) for text in whole) > 0.9 * MANY
    for mark in (*CONTROLS, *THOUGHTS):
        assert sum(mark in text for text in whole) > 0.2 * MANY


@pytest.mark.parametrize("reasoning", [False, True])
def test_an_engine_lets_nothing_of_it_through_and_loses_nothing_else(
    engine: LocalEngine, reasoning: bool
) -> None:
    lengths = []
    for seed in range(MANY):
        sampling = Sampling(max_new_tokens=LONGEST, seed=seed, reasoning=reasoning)
        chunks = list(engine.submit([Message("user", "Hi")], sampling))
        said = "".join(chunk.text for chunk in chunks)
        thought = "".join(chunk.reasoning for chunk in chunks)

        assert not TEMPLATE.search(said + thought), seed
        expected = answer_of(seed)
        # Where the tokens ended first, the babble goes on.
        assert letters(expected[0]).startswith(letters(said.rstrip("\ufffd"))), seed
        assert letters(expected[1]).startswith(letters(thought.rstrip("\ufffd"))), seed
        if chunks[-1].finish_reason == "stop":
            assert letters(said) == letters(expected[0]), seed
            assert letters(thought) == letters(expected[1]) * reasoning, seed
            lengths.append(len(said))
    assert len(lengths) > 0.8 * MANY
    assert sum(lengths) > 5 * MANY


@pytest.mark.parametrize("ways", ["--ask", "typed"])
def test_chat_shows_nothing_of_it(
    ways: str,
    engine: LocalEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "open_local", lambda *_: _Kept(engine))
    asked = iter(["Hi"] * 40 + [""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(asked))
    options = ["chat", "--health_encoder", "none", "--max_new_tokens", str(LONGEST)]

    if ways == "--ask":
        for seed in range(12):
            command.main([*options, "--seed", str(seed), "--ask", "Hi"])
    else:
        command.main(options)

    shown = capsys.readouterr().out
    assert "Squat" in shown
    assert not TEMPLATE.search(shown)


class _Kept:
    """An engine that a command does not close."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_a_server_sends_nothing_of_it(start: Start) -> None:
    server = start("--rate_per_minute=100000", program=("-m", "tests.generation.babble"))
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": LONGEST}
    shown = ""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for seed in range(40):
            answer = client.post("/v1/chat/completions", json={**body, "seed": seed})
            shown += answer.json()["choices"][0]["message"]["content"]
            wanted = {**body, "seed": seed, "stream": True, "include_reasoning": True}
            events = client.post("/v1/chat/completions", json=wanted).text
            for event in re.findall("data: ({.*})", events):
                delta = json.loads(event)["choices"][0]["delta"]
                shown += (delta.get("content") or "") + (delta.get("reasoning") or "")
    assert len(shown) > 400
    assert not TEMPLATE.search(shown)
