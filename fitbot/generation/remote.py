"""An engine on another machine: any server that speaks OpenAI's chat completions.

vLLM, SGLang or llama.cpp compute, fitbot stays in front. One thread for each request forwards its
chunks. The server renders the conversation with its own template, so it should serve the adapter
with the template of its export. The system prompt is sent with every conversation that has none.
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx

from fitbot.errors import BusyError, ConfigError, ContextLengthError, EngineError, RequestError
from fitbot.generation.detokenize import Thoughts
from fitbot.generation.engine import Prompt, Stream, choose_model
from fitbot.generation.messages import TUNED, Chunk, Sampling, Stats, TokenLogprob, Usage
from fitbot.pairs.formats import Message

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 120.0  # without a byte, before a server counts as dead
_DEFAULTS = Sampling()
# Not every server knows these, so defaults are not sent.
_NOT_EVERYWHERE = (
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "min_tokens",
    "stop",
    "seed",
)


class RemoteEngine:
    """See `engine.Engine`; the weights are held by a server."""

    def __init__(
        self,
        url: str,
        *,
        models: Sequence[str] | None = None,
        api_key: str | None = None,
        system_prompt: str | None = None,
        max_active: int = 64,
        extra_fields: dict[str, Any] | None = None,
    ):
        """Connect.

        Args:
            url: Where its OpenAI-compatible routes begin, such as "http://host:8000/v1".
            models: Names to offer, the default one first; by default all of the server's own, and
                "fitbot" before others: vLLM lists the base before its adapters.
            api_key: Sent as bearer token.
            system_prompt: Sent with conversations that have none.
            max_active: Requests under way at once.
            extra_fields: Further fields of every request, such as {"chat_template_kwargs":
                {"enable_thinking": False}} for a vLLM that was started without that default.

        Raises:
            ConfigError: The server does not answer, or does not have one of `models`.
        """
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        limits = httpx.Limits(max_connections=max_active + 1)
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/", headers=headers, timeout=timeout, limits=limits
        )
        self.system_prompt, self.max_active = system_prompt, max_active
        self.extra_fields = extra_fields or {}
        self._tokens_out = 0
        self._lock = threading.Lock()
        self._active: set[Stream] = set()
        self._closed = False
        try:
            answer = self._client.get("models").raise_for_status().json()
            offered = [str(model["id"]) for model in answer["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{url}: no server of OpenAI's kind answers there: {error}"
            ) from error
        self.models = tuple(models or sorted(offered, key=lambda name: name != TUNED))
        if missing := set(self.models) - set(offered):
            raise ConfigError(
                f"{url}: no model {', '.join(sorted(missing))}; it has {', '.join(offered)}"
            )

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """See `Engine`; conversations only, because that is what the route takes."""
        body = self._body(choose_model(self.models, model), prompt, sampling)
        stream = Stream()
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed")
            if len(self._active) >= self.max_active:
                raise BusyError(f"{self.max_active} requests are under way")
            self._active.add(stream)
        try:
            response = self._open(body, deadline)
        except _LateError:
            self._active.discard(stream)
            usage = Usage(0, 0, sampling.max_new_tokens)
            stream.put(Chunk(finish_reason="deadline", usage=usage))
            return stream
        except BaseException:
            self._active.discard(stream)
            raise
        threading.Thread(
            target=self._forward,
            args=(response, stream, sampling, deadline),
            name="fitbot-remote",
            daemon=True,
        ).start()
        return stream

    def stats(self) -> Stats:
        """See `Engine`; what the server holds in its cache is not known here."""
        return Stats(len(self._active), 0, self.max_active, 0, 0, self._tokens_out)

    def health(self) -> str | None:
        """See `Engine`."""
        return "the engine is closed" if self._closed else None

    def close(self) -> None:
        """See `Engine`."""
        with self._lock:
            self._closed = True
        for stream in list(self._active):
            stream.cancel()
        while self._active:
            time.sleep(0.01)
        self._client.close()

    def _body(self, model: str, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        turns = [message for message in prompt if isinstance(message, Message)]
        if not turns or len(turns) != len(prompt):
            raise RequestError("a remote engine takes a conversation, no text or token ids")
        if self.system_prompt and turns[0].role != "system":
            turns.insert(0, Message("system", self.system_prompt))
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        for name in _NOT_EVERYWHERE:
            if (value := getattr(sampling, name)) != getattr(_DEFAULTS, name):
                body[name] = value
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if sampling.reasoning:
            body["include_reasoning"] = True
        return body | self.extra_fields

    def _open(self, body: dict[str, Any], deadline: float | None) -> httpx.Response:
        """Send a request; if the server refuses it, this raises, not the stream."""
        left = _SILENCE_SECONDS if deadline is None else max(0.001, deadline - time.monotonic())
        timeout = httpx.Timeout(min(left, _SILENCE_SECONDS), connect=_CONNECT_SECONDS)
        request = self._client.build_request("POST", "chat/completions", json=body, timeout=timeout)
        try:
            response = self._client.send(request, stream=True)
            if response.is_success:
                return response
            response.read()
        except httpx.HTTPError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise _LateError from error
            raise EngineError(f"the server does not answer: {error}") from error
        said = response.text[:500]
        response.close()
        if response.status_code in (429, 503):
            wait = response.headers.get("Retry-After", "1")
            raise BusyError(f"the server is full: {said}", float(wait) if wait.isdigit() else 1.0)
        if response.status_code < 500:
            overflows = "context_length_exceeded" in said or "maximum context length" in said
            refusal = ContextLengthError if overflows else RequestError
            raise refusal(f"the server refuses ({response.status_code}): {said}")
        raise EngineError(f"the server failed ({response.status_code}): {said}")

    def _forward(
        self,
        response: httpx.Response,
        stream: Stream,
        sampling: Sampling,
        deadline: float | None,
    ) -> None:
        """Put the server's events as chunks into the stream until the answer ends."""
        last, drawn = Chunk(finish_reason="error", error="the server ended in mid-answer"), 0
        thoughts = Thoughts()
        try:
            for event in _events(response):
                if stream.cancelled or (deadline and time.monotonic() > deadline):
                    last = Chunk(finish_reason="cancelled" if stream.cancelled else "deadline")
                    break
                chunk = _set_apart(_chunk_of(event), thoughts)
                if chunk.usage:
                    last = last._replace(usage=chunk.usage)
                elif chunk.finish_reason:
                    last = chunk
                else:
                    stream.put(chunk if sampling.reasoning else chunk._replace(reasoning=""))
                drawn += 1
        except httpx.ReadTimeout:
            late = deadline is not None and time.monotonic() >= deadline
            silent = Chunk(finish_reason="error", error="the server has fallen silent")
            last = Chunk(finish_reason="deadline") if late else silent
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            last = Chunk(finish_reason="error", error=f"the server failed: {error}")
        finally:
            response.close()
        said, thought = thoughts.finish()
        thought = last.reasoning + thought if sampling.reasoning else ""
        # The server reports the usage at the end only: of an answer cut short it is counted here.
        usage = last.usage or Usage(0, drawn, 0)
        usage = replace(usage, budget=usage.budget or sampling.max_new_tokens)
        with self._lock:
            self._active.discard(stream)
            self._tokens_out += usage.completion
        stream.put(last._replace(text=last.text + said, reasoning=thought, usage=usage))


class _LateError(Exception):
    """The deadline passed before the server had answered."""


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            event = json.loads(data)
            if "error" in event:
                raise ValueError(event["error"])
            yield event


def _set_apart(chunk: Chunk, thoughts: Thoughts) -> Chunk:
    """Move thoughts that a server leaves in the text to `reasoning`; drop their log-probs."""
    was_inside = thoughts.inside
    text, thought = thoughts.feed(chunk.text)
    only_thought = bool(chunk.reasoning) and not chunk.text
    logprobs = () if was_inside or thoughts.inside or only_thought else chunk.logprobs
    return chunk._replace(text=text, logprobs=logprobs, reasoning=chunk.reasoning + thought)


def _chunk_of(event: dict[str, Any]) -> Chunk:
    """Read one event: text, or the end and why, or, without a choice, the usage."""
    if not event["choices"]:
        usage = event["usage"]
        budget = usage.get("granted_tokens", 0)  # only fitbot's own server sends it
        return Chunk(usage=Usage(usage["prompt_tokens"], usage["completion_tokens"], budget))
    (choice,) = event["choices"]
    scored = (choice.get("logprobs") or {}).get("content") or []
    logprobs = tuple(
        TokenLogprob(
            one["token"],
            one["logprob"],
            tuple((top["token"], top["logprob"]) for top in one.get("top_logprobs", [])),
        )
        for one in scored
    )
    reason = choice.get("finish_reason")
    if reason == "content_filter":  # what came is all there will be
        reason = "stop"
    if reason not in (None, "stop", "length"):
        raise ValueError(f"it ended with {reason!r}")
    delta = choice["delta"]
    # The second name is what vLLM called it once, and others do.
    reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
    return Chunk(delta.get("content") or "", logprobs, reason, reasoning=reasoning)
