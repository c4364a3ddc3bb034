"""Answers in OpenAI's shapes; test_openai_client.py lets OpenAI's own client read them."""

import asyncio
import json

from fitbot.serving.answers import Piece
from fitbot.serving.openai_format import Completion


def test_a_silent_stream_is_kept_open_by_pings() -> None:
    class Answer:
        coming = [None, None, Piece("hi", finish_reason="stop")]

        async def next(self, seconds: float) -> Piece | None:
            assert seconds == 15
            return self.coming.pop(0)

    async def collect() -> list[str]:
        completion = Completion("id", "toy", with_logprobs=False)
        events = completion.events(Piece(""), Answer(), include_usage=False)
        return [event async for event in events]

    role, ping, other_ping, text, finish, done = asyncio.run(collect())
    assert ping == other_ping == ": ping\n\n"
    assert '"content": "hi"' in text
    assert json.loads(finish.removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"
    assert done == "data: [DONE]\n\n"
