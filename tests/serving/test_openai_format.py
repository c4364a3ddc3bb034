"""Answers in OpenAI's shapes; test_openai_client.py lets OpenAI's own client read them."""

import asyncio
import json
from contextlib import ExitStack
from typing import Any

from fitbot.generation.messages import Chunk
from fitbot.serving.answer_routes import measured_answer
from fitbot.serving.metrics import Metrics
from fitbot.serving.openai_format import Completion
from fitbot.serving.shared_state import SharedState


def test_a_silent_stream_is_kept_open_by_pings() -> None:
    class Job:
        coming = [None, None, Chunk("hi", finish_reason="stop")]

        async def next(self, seconds: float) -> Chunk | None:
            assert seconds == 15
            return self.coming.pop(0)

    async def collect() -> list[str]:
        job: Any = Job()
        answer = measured_answer(job, None, Metrics(SharedState()), {}, ExitStack(), begun=0)
        completion = Completion("id", "toy", with_logprobs=False, with_reasoning=False)
        events = completion.events(Chunk(), answer, include_usage=False)
        return [event async for event in events]

    role, ping, other_ping, text, finish, done = asyncio.run(collect())
    assert ping == other_ping == ": ping\n\n"
    assert '"content": "hi"' in text
    assert json.loads(finish.removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"
    assert done == "data: [DONE]\n\n"
