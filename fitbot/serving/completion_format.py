"""Answers in the shapes of OpenAI's completions, whole and as server-sent events."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fitbot.generation.messages import Chunk, TokenLogprob, Usage
from fitbot.serving.http_errors import HttpError
from fitbot.serving.openai_format import event_of, limited, usage_object

Piece = tuple[int, Chunk | None]  # which prompt's, and what of its answer; None: still nothing


@dataclass
class TextCompletion:
    """What all parts of one completion have in common.

    Args:
        request_id: The completion's own id is made of it.
        model: What answers.
        with_logprobs: Whether they were asked for.
        with_answer: Off, what the engine drew is left out: no new token was asked for.
    """

    request_id: str
    model: str
    with_logprobs: bool
    with_answer: bool = True
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Return the complete answers to all prompts."""
        answers: dict[int, list[Chunk]] = {}
        for index, chunk in pieces:
            if chunk:
                answers.setdefault(index, []).append(chunk)
        choices = [self._choice(index, chunks) for index, chunks in answers.items()]
        return self._object(choices, usage=usage_object(self._cost(pieces)))

    async def events(
        self, first: Piece, rest: AsyncIterator[Piece], *, include_usage: bool
    ) -> AsyncIterator[str]:
        """Write the answers as events, the first piece having come already."""
        spent, piece = [], first
        offsets: dict[int, int] = {}
        try:
            while True:
                index, chunk = piece
                if chunk is None:
                    yield ": ping\n\n"
                else:
                    choice = self._choice(index, [chunk], offsets.get(index, 0))
                    if choice["logprobs"]:
                        offsets[index] = offsets.get(index, 0) + sum(
                            map(len, choice["logprobs"]["tokens"])
                        )
                    yield event_of(self._object([choice]))
                    spent.append((index, chunk))
                piece = await anext(rest)
        except StopAsyncIteration:
            if include_usage:
                yield event_of(self._object([], usage=usage_object(self._cost(spent))))
        except HttpError as error:
            yield event_of(error.body())
        yield "data: [DONE]\n\n"

    def _choice(self, index: int, chunks: Sequence[Chunk], offset: int = 0) -> dict[str, Any]:
        echo, shown = chunks[0].echo, chunks if self.with_answer else ()
        reason = chunks[-1].finish_reason
        logprobs = None
        if self.with_logprobs:
            scored = [token for chunk in shown for token in chunk.logprobs]
            tokens = [*(echo.logprobs if echo else ()), *scored]
            logprobs = _logprobs(echo.first if echo else None, tokens, offset)
        return {
            "index": index,
            "text": (echo.text if echo else "") + "".join(chunk.text for chunk in shown),
            "logprobs": logprobs,
            "finish_reason": reason if self.with_answer or not reason else "length",
        }

    def _cost(self, pieces: Sequence[Piece]) -> Usage:
        """Add up what the answers have cost."""
        spent = [chunk.usage for _, chunk in pieces if chunk and chunk.usage]
        return Usage(
            sum(usage.prompt for usage in spent),
            sum(usage.completion for usage in spent) if self.with_answer else 0,
            sum(usage.budget for usage in spent) if self.with_answer else 0,
        )

    def _object(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        identifier = f"cmpl-{self.request_id}"
        common = {"id": identifier, "created": self.created, "model": self.model}
        return {**common, "object": "text_completion", "choices": choices, **more}


def _logprobs(first: str | None, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """List tokens, where they begin in the text, and their log-probabilities.

    Args:
        first: The text of a prompt's first token, which has no log-probability; None without echo.
        tokens: All others.
        offset: Where the first of all begins.
    """
    texts = [*([] if first is None else [first]), *(token.token for token in tokens)]
    nothing = [] if first is None else [None]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [*nothing, *(limited(token.logprob) for token in tokens)],
        "top_logprobs": [*nothing, *map(_top, tokens)],
        "text_offset": offsets,
    }


def _top(token: TokenLogprob) -> dict[str, float]:
    """Map the likeliest texts, and the token's own, to their log-probabilities.

    Two tokens may have one text, such as two halves of characters: the likelier one counts.
    """
    found: dict[str, float] = {}
    for text, logprob in (*token.top, (token.token, token.logprob)):
        found.setdefault(text, limited(logprob))
    return found
