"""The engine that llama.cpp computes, on a CPU, from the files that `fitbot export --gguf` wrote.

A thread for each slot takes a request, has llama.cpp answer it and sends its tokens on. As in the
embedded engine, conversations are rendered as in training and text is made from token ids.
"""

import atexit
import logging
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fitbot.errors import BusyError, DataError, EngineError, RequestError, RoomError
from fitbot.generation.detokenize import AnswerText, TokenBytes
from fitbot.generation.engine import Stream, choose_model
from fitbot.generation.llama_models import LlamaModels, Told, ask
from fitbot.generation.messages import (
    BASE,
    Chunk,
    FinishReason,
    Sampling,
    Stats,
    TokenLogprob,
    Usage,
)
from fitbot.generation.token_budget import BudgetRule, answer_budget
from fitbot.pairs.chat import Chat
from fitbot.pairs.formats import Message

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SEEDS = 2**32 - 1  # llama.cpp takes this many; the next one has it draw a seed itself


@dataclass(eq=False)
class LlamaRequest:
    """One request, from being accepted to its last chunk."""

    prompt: list[int]
    sampling: Sampling
    budget: int  # new tokens
    server: Any
    deadline: float | None
    stream: Stream
    text: AnswerText
    drawn: int = 0  # tokens
    ended: bool = False


class LlamaEngine:
    """See `engine.Engine`; llama.cpp holds the weights."""

    def __init__(
        self,
        opener: LlamaModels,
        chat: Chat,
        *,
        adapters: int = 0,
        max_waiting: int = 64,
        policy: BudgetRule = "room",
    ):
        """Open the base and start answering with it.

        Args:
            opener: Opens a server for each model; the engine closes it.
            chat: Renders conversations as in training.
            adapters: How many `add` may add.
            max_waiting: Requests accepted beyond those that are active.
            policy: How many tokens a request may have, see `answer_budget`.

        Raises:
            ConfigError: llama.cpp cannot open the base.
        """
        self.opener, self.chat, self.slots = opener, chat, opener.slots
        self.servers: dict[str, Any] = {BASE: opener.open()}  # by what requests call the model
        self.most_adapters, self.max_waiting, self.policy = adapters, max_waiting, policy
        self._bytes = TokenBytes(chat.tokenizer)
        self._waiting: deque[LlamaRequest] = deque()
        self._active: list[LlamaRequest] = []
        self._tokens_out = 0
        self._dead: str | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._adding = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"fitbot-llama-{number}", daemon=True)
            for number in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()
        # A thread that Python ends within llama.cpp's code would abort the process.
        atexit.register(self.close)

    @property
    def models(self) -> tuple[str, ...]:
        """See `Engine`."""
        return tuple(self.servers)

    def submit(
        self,
        prompt: Sequence[Message] | Sequence[int],
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """See `Engine`."""
        servers = self.servers
        name = choose_model(tuple(servers), model)
        ids = self._encode(prompt)
        context = self.opener.context
        with self._changed:
            self._check_alive()
            busy = len(self._active) + len(self._waiting)
            if busy >= self.slots + self.max_waiting:
                raise BusyError(f"{busy} requests are being answered or waiting")
            crowded = busy >= self.slots
            budget = answer_budget(
                sampling.max_new_tokens, context - len(ids), crowded=crowded, rule=self.policy
            )
            if budget < 1:
                raise RequestError(
                    f"a prompt of {len(ids)} tokens leaves no room for an answer in {context}; "
                    "shorten it"
                )
            text = AnswerText(self._bytes, sampling.stop, prompt=ids, reasoning=sampling.reasoning)
            request = LlamaRequest(ids, sampling, budget, servers[name], deadline, Stream(), text)
            self._waiting.append(request)
            self._changed.notify()
        return request.stream

    def add(self, name: str, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Answer with one adapter more; everything waits while llama.cpp opens a server for it.

        Args:
            name: What requests call it.
            weights: See `TorchDecoder.adapt`.

        Raises:
            RequestError: The name is taken, or is none.
            RoomError: There is no room for one more.
            ConfigError: llama.cpp refuses it.
        """
        if not _NAME.fullmatch(name):
            raise RequestError(f"{name!r} is no name for a model; use a-z, 0-9, '.', '_' and '-'")
        with self._adding:
            self._check_alive()
            if name in self.servers:
                raise RequestError(f"there is a model {name!r} already; remove it first")
            if len(self.servers) > self.most_adapters:
                raise RoomError(f"there is no room for more than {self.most_adapters} adapters")
            self.servers = {**self.servers, name: self.opener.open(weights)}

    def prefer(self, name: str) -> None:
        """Answer with this model where a request names none."""
        self.servers = {name: self.servers[name], **self.servers}

    def remove(self, name: str) -> None:
        """Take no more requests for an adapter; those that were accepted are answered.

        Raises:
            RequestError: There is none of that name, or it is the base or the default.
        """
        with self._adding:
            choose_model(self.models, name)
            if name in (BASE, self.models[0]):
                raise RequestError(f"{name!r} cannot be removed")
            self.servers = {key: one for key, one in self.servers.items() if key != name}

    def stats(self) -> Stats:
        """See `Engine`."""
        active = list(self._active)
        return Stats(
            active=len(active),
            waiting=len(self._waiting),
            slots=self.slots,
            kv_tokens_used=sum(len(one.prompt) + max(0, one.drawn - 1) for one in active),
            kv_tokens=self.slots * self.opener.context,
            tokens_out=self._tokens_out,
        )

    def health(self) -> str | None:
        """See `Engine`."""
        if self._dead is None and not self._closed:
            alive = all(thread.is_alive() for thread in self._threads)
            return None if alive else "a thread of the engine has ended"
        return self._dead or "the engine is closed"

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        atexit.unregister(self.close)
        for thread in self._threads:
            thread.join()
        self._drop()
        self.servers = dict.fromkeys(self.servers)  # they close
        self.opener.close()

    def _check_alive(self) -> None:
        if self._dead or self._closed:
            raise EngineError(self._dead or "the engine is closed")

    def _encode(self, prompt: Sequence[Message] | Sequence[int]) -> list[int]:
        if not prompt:
            raise RequestError("the prompt is empty")
        ids = [token for token in prompt if isinstance(token, int)]
        if len(ids) == len(prompt):
            size = self.opener.config.vocab_size
            if not all(0 <= token < size for token in ids):
                raise RequestError(f"token ids must be from 0, below {size}")
            return ids
        most = self.opener.context - 1
        try:
            ids, cut = self.chat.encode_prompt(prompt, most)  # type: ignore[arg-type]
        except DataError as error:
            raise RequestError(str(error)) from error
        if cut:
            raise RequestError(
                f"the conversation has {len(ids) + cut} tokens, {most} are the most; leave out old "
                "turns"
            )
        return ids

    def _work(self) -> None:
        """Answer one request after the other: the loop of each thread."""
        while request := self._next():
            try:
                if reason := self._interrupted(request):
                    self._end(request, reason)
                else:
                    ask(request.server, _wanted(request), self._taker(request))
            except Exception as error:  # whatever it is, the requests must end with it
                logger.exception("the engine failed")
                with self._changed:
                    self._dead = f"the engine failed: {type(error).__name__}: {error}"
                    self._changed.notify_all()
                self._end(request, "error")
                self._drop()
            request.server = None  # it closes if its adapter was removed

    def _next(self) -> LlamaRequest | None:
        """Wait for a request; None once the engine is closed or dead."""
        with self._changed:
            while not (self._waiting or self._closed or self._dead):
                self._changed.wait()
            if self._closed or self._dead:
                return None
            request = self._waiting.popleft()
            self._active.append(request)
            return request

    def _interrupted(self, request: LlamaRequest) -> FinishReason | None:
        """Say why a request must end before its answer is complete, if it must."""
        if self._dead:
            return "error"
        if request.stream.cancelled or self._closed:
            return "cancelled"
        if request.deadline is not None and time.monotonic() > request.deadline:
            return "deadline"
        return None

    def _drop(self) -> None:
        """End the waiting requests that are cancelled or late, or that nobody can answer."""
        with self._changed:
            over = [(one, reason) for one in self._waiting if (reason := self._interrupted(one))]
            for request, _ in over:
                self._waiting.remove(request)
        for request, reason in over:
            self._end(request, reason)

    def _taker(self, request: LlamaRequest) -> Any:
        """Return what takes an answer's tokens as they come, and stops llama.cpp by True."""

        def take(told: list[Told], reason: FinishReason | None) -> bool:
            self._drop()
            if over := self._interrupted(request):
                self._end(request, over)
            for one in told:
                if not request.ended:
                    self._commit(request, one)
            if reason and not request.ended:
                self._end(request, reason)
            return request.ended

        return take

    def _commit(self, request: LlamaRequest, told: Told) -> None:
        """Add a token to an answer; ends the answer if it is complete."""
        token, logprob, top = told
        request.drawn += 1
        with self._changed:
            self._tokens_out += 1
        logprobs: tuple[TokenLogprob, ...] = ()
        if logprob is not None:
            texts = tuple((self._bytes.text(other), value) for other, value in top)
            most = request.sampling.logprobs or 0  # llama.cpp tells one at least
            logprobs = (TokenLogprob(self._bytes.text(token), logprob, texts[:most]),)
        if token in self.opener.ends:
            self._end(request, "stop", logprobs=logprobs)
            return
        text = request.text.add(token)
        if request.text.in_thought:
            logprobs = ()  # they would tell it
        if request.text.stopped:
            self._end(request, "stop", text, logprobs)
        elif request.drawn >= request.budget:
            self._end(request, "length", text, logprobs)
        elif text or logprobs or request.text.reasoning:
            reasoning = request.text.take_reasoning()
            request.stream.put(Chunk(text, logprobs, reasoning=reasoning))

    def _end(
        self,
        request: LlamaRequest,
        reason: FinishReason,
        text: str = "",
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> None:
        request.ended = True
        with self._changed:
            if request in self._active:
                self._active.remove(request)
        text += request.text.finish()
        usage = Usage(len(request.prompt), request.drawn, request.budget)
        error = self._dead if reason == "error" else None
        reasoning = request.text.take_reasoning()
        request.stream.put(Chunk(text, logprobs, reason, usage, error, reasoning))


def _wanted(request: LlamaRequest) -> dict[str, Any]:
    """Put a request into the words of llama.cpp's server; stop strings are found here."""
    sampling = request.sampling
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    return {
        "prompt": request.prompt,
        "n_predict": request.budget,
        # In this order: top_p is of the probabilities that temperature has changed, as in `draw`.
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(request.prompt) + request.budget,  # all
        "seed": seed,
        "n_probs": 0 if sampling.logprobs is None else max(1, sampling.logprobs),
    }
