"""The toy keeps the engine's contract; whatever it cannot do, the server's tests cannot show."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fitbot.errors import BusyError, EngineError, RequestError
from fitbot.generation.engine import Stream
from fitbot.generation.messages import Chunk, Sampling
from fitbot.pairs.formats import Message
from tests.serving.toy_engine import ToyEngine


@pytest.fixture
def engine() -> Iterator[ToyEngine]:
    opened = ToyEngine(pace=0.001)
    yield opened
    opened.close()


def ask(engine: ToyEngine, text: str, deadline: float | None = None, **sampling: object) -> Stream:
    return engine.submit([Message("user", text)], Sampling(**sampling), deadline=deadline)  # type: ignore[arg-type]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_only_the_last_chunk_has_finish_reason_and_usage(engine: Any) -> None:
    chunks = list(ask(engine, "hello there", max_new_tokens=3))

    assert [chunk.finish_reason for chunk in chunks] == [None, None, "length"]
    assert [chunk.usage is None for chunk in chunks] == [True, True, False]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt, usage.completion) == (2, 3)


def test_a_stream_can_be_awaited(engine: Any) -> None:
    async def collect() -> list[Chunk]:
        return [chunk async for chunk in ask(engine, "say one two")]

    assert text_of(asyncio.run(collect())) == "one two "


def test_a_seed_repeats_an_answer_and_another_does_not(engine: Any) -> None:
    answers = [
        text_of(list(ask(engine, "random", seed=seed, max_new_tokens=9))) for seed in (1, 1, 2)
    ]

    assert answers[0] == answers[1] != answers[2]


def test_cancelling_ends_an_answer_within_a_step(engine: Any) -> None:
    stream = ask(engine, "hello", max_new_tokens=100_000)

    stream.cancel()

    assert list(stream)[-1].finish_reason == "cancelled"


def test_a_deadline_ends_an_answer(engine: Any) -> None:
    begun = time.monotonic()

    chunks = list(ask(engine, "hello", deadline=begun + 0.2, max_new_tokens=100_000))

    assert chunks[-1].finish_reason == "deadline"
    assert time.monotonic() - begun < 1


def test_a_stop_string_is_not_part_of_the_answer(engine: Any) -> None:
    chunks = list(ask(engine, "say one two three", stop=("two",)))

    assert text_of(chunks) == "one "
    assert chunks[-1].finish_reason == "stop"


def test_logprobs_come_when_asked_for(engine: Any) -> None:
    (first, *_) = ask(engine, "say one two", logprobs=2)

    assert [len(token.top) for token in first.logprobs] == [2]


def test_a_thought_comes_apart_when_asked_for(engine: Any) -> None:
    for reasoning, expected in [(True, "hm hm "), (False, "")]:
        chunks = list(ask(engine, "think hm hm so yes sir", reasoning=reasoning))

        assert text_of(chunks) == "yes sir "
        assert "".join(chunk.reasoning for chunk in chunks) == expected


def test_a_prompt_without_room_is_refused(engine: Any) -> None:
    with pytest.raises(RequestError, match="room"):
        ask(engine, "word " * 5000)


def test_a_model_that_is_not_there_is_refused(engine: Any) -> None:
    with pytest.raises(RequestError, match="no model"):
        engine.submit([Message("user", "hello")], Sampling(), model="gpt")


def test_a_full_engine_says_when_to_come_back(engine: Any) -> None:
    with pytest.raises(BusyError) as raised:
        ask(engine, "busy")

    assert raised.value.retry_after == 7


def test_a_dead_engine_answers_nothing(engine: Any) -> None:
    with pytest.raises(EngineError):
        ask(engine, "engine dies")
    with pytest.raises(EngineError):
        ask(engine, "hello")
    assert engine.health() == "a toy death"


def test_closing_cancels_what_is_active() -> None:
    engine = ToyEngine(pace=0.001)
    stream = ask(engine, "hello", max_new_tokens=100_000)
    next(iter(stream))

    engine.close()

    assert list(stream)[-1].finish_reason == "cancelled"
