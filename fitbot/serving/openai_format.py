"""Answers in the shapes of OpenAI's chat completions, whole and as server-sent events."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fitbot.generation.messages import Chunk, TokenLogprob, Usage
from fitbot.serving.http_errors import HttpError

_in_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one every time


@dataclass
class Completion:
    """What all parts of one completion have in common: ids, and what is due besides the text."""

    request_id: str
    model: str
    with_logprobs: bool
    with_reasoning: bool
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def id(self) -> str:
        """What a client calls it."""
        return f"chatcmpl-{self.request_id}"

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """Return a complete answer."""
        message = {
            "role": "assistant",
            "content": "".join(chunk.text for chunk in chunks),
            "refusal": None,
        }
        if self.with_reasoning:  # not OpenAI's: vLLM's
            message["reasoning"] = "".join(chunk.reasoning for chunk in chunks) or None
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs([token for chunk in chunks for token in chunk.logprobs]),
            "finish_reason": chunks[-1].finish_reason,
        }
        return self._object("chat.completion", [choice], usage=usage_object(chunks[-1].usage))

    async def events(
        self, first: Chunk, answer: AsyncIterator[Chunk | None], *, include_usage: bool
    ) -> AsyncIterator[str]:
        """Write an answer as events, the first chunk having come already."""
        yield self._event({"role": "assistant", "content": "", "refusal": None})
        chunk: Chunk | None = first
        try:
            while True:
                if chunk is None:
                    yield ": ping\n\n"
                else:
                    if chunk.reasoning:
                        yield self._event({"reasoning": chunk.reasoning})
                    if chunk.text or (self.with_logprobs and chunk.logprobs):
                        yield self._event({"content": chunk.text}, chunk.logprobs)
                    if chunk.finish_reason:
                        break
                chunk = await anext(answer)
        except HttpError as error:
            yield event_of(error.body())
        else:
            yield self._event({}, finish_reason=chunk.finish_reason)
            if include_usage:
                yield event_of(
                    self._object("chat.completion.chunk", [], usage=usage_object(chunk.usage))
                )
        yield "data: [DONE]\n\n"

    def _event(
        self,
        delta: dict[str, Any],
        logprobs: Sequence[TokenLogprob] = (),
        finish_reason: str | None = None,
    ) -> str:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": self._logprobs(logprobs) if delta else None,
            "finish_reason": finish_reason,
        }
        return event_of(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        common = {"id": self.id, "created": self.created, "model": self.model}
        return {**common, "object": kind, "choices": choices, **more}

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        content = [
            {
                **_token(token.token, token.logprob),
                "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def event_of(value: dict[str, Any]) -> str:
    """Write a server-sent event."""
    return f"data: {_in_json(value)}\n\n"


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": limited(logprob),
        "bytes": list(text.encode("utf-8", "replace")),
    }


def limited(logprob: float) -> float:
    """Return a log-probability that JSON can hold: it has no -inf."""
    return max(logprob, -9999.0)


def usage_object(usage: Usage | None) -> dict[str, int] | None:
    """Return what a request has cost, in tokens."""
    if usage is None:
        return None
    left_out = {"messages_left_out": usage.left_out} if usage.left_out else {}  # not OpenAI's
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "granted_tokens": usage.budget,  # not OpenAI's: new ones that the request could have had
        **left_out,
    }
