"""Answers in the shapes of OpenAI's chat completions, whole and as server-sent events."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fitbot.generation.messages import TokenLogprob, Usage
from fitbot.serving.answers import PING_SECONDS, Piece, PieceStream
from fitbot.serving.http_errors import HttpError

_in_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one every time


class Completion:
    """What all parts of one completion have in common."""

    def __init__(
        self, identifier: str, model: str, *, with_logprobs: bool, with_reasoning: bool = False
    ):
        """Take the completion's own id, the model's name and what is due besides the text."""
        self._head = {
            "id": f"chatcmpl-{identifier}",
            "created": int(time.time()),
            "model": model,
        }
        self._with_logprobs = with_logprobs
        self._with_reasoning = with_reasoning

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Return a complete answer."""
        message = {
            "role": "assistant",
            "content": "".join(piece.text for piece in pieces),
            "refusal": None,
        }
        if self._with_reasoning:  # not OpenAI's: vLLM's
            message["reasoning"] = "".join(piece.reasoning for piece in pieces) or None
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs([token for piece in pieces for token in piece.logprobs]),
            "finish_reason": pieces[-1].finish_reason,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(pieces[-1].usage),
        }

    async def events(
        self, first: Piece, answer: PieceStream, *, include_usage: bool
    ) -> AsyncIterator[str]:
        """Write an answer as events, the first piece having come already."""
        yield self._event({"role": "assistant", "content": "", "refusal": None})
        piece: Piece | None = first
        try:
            while True:
                if piece is None:
                    yield ": ping\n\n"
                else:
                    if piece.reasoning:
                        yield self._event({"reasoning": piece.reasoning})
                    if piece.text or piece.logprobs:
                        yield self._event({"content": piece.text}, piece.logprobs)
                    if piece.finish_reason:
                        break
                piece = await answer.next(PING_SECONDS)
        except HttpError as error:
            yield _data(error.body())
            yield "data: [DONE]\n\n"
            return
        yield self._event({}, finish_reason=piece.finish_reason)
        if include_usage:
            yield _data(
                {
                    **self._head,
                    "object": "chat.completion.chunk",
                    "choices": [],
                    "usage": _usage(piece.usage),
                }
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
        return _data({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        content = [
            {
                **_token(token.token, token.logprob),
                "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def _data(value: dict[str, Any]) -> str:
    return f"data: {_in_json(value)}\n\n"


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": max(logprob, -9999.0),  # JSON has no -inf
        "bytes": list(text.encode("utf-8", "replace")),
    }


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "granted_tokens": usage.budget,  # not OpenAI's: new ones that the request could have had
    }
