"""The embedded engine: one thread that answers many requests at once with a decoder.

A request's life:

1. `submit` encodes the prompt, gives the request a token budget and puts it into the queue.
2. `_admit` gives it a slot as soon as one is free and the cache has room for its prompt.
3. Every step is one pass of the decoder: `_schedule` chooses parts of the prompts that are still
   being read, and the requests that draw one token more; `_run` launches it. `_postprocess` waits
   for the tokens and `_commit` adds each one to its answer, whose text goes out through the
   request's stream.
4. `_end` frees the slot and sends the last chunk, with the reason and the usage: "stop" or "length"
   by `_commit`, "cancelled" or "deadline" between two steps.

When the cache is full, the request that came last waits in front of the others, see `_preempt`. It
is then read again with what it has been answered, so that nothing is lost.

On a GPU, the tokens of step N go out to clients while step N+1 runs.
"""

import atexit
import logging
import math
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import torch

from fitbot.base_model.adapter_files import AdapterWeights, rank_of
from fitbot.errors import (
    BusyError,
    ConfigError,
    ContextLengthError,
    DataError,
    EngineError,
    RequestError,
    RoomError,
)
from fitbot.generation.decoders.decoder import Decoder, Drawing, Part
from fitbot.generation.detokenize import AnswerText, TokenBytes
from fitbot.generation.engine import Prompt, Stream, choose_model
from fitbot.generation.messages import (
    BASE,
    Chunk,
    FinishReason,
    Sampling,
    Stats,
    TokenLogprob,
)
from fitbot.generation.request_state import RequestState
from fitbot.generation.sampling import Draw, Drawn
from fitbot.generation.token_budget import BudgetRule, answer_budget
from fitbot.pairs.chat import Chat

logger = logging.getLogger(__name__)

# Characters by which a spelled control token is known; a shorter one, </s>, may be a text's own.
_KNOWN_BY = 5
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class _Work(NamedTuple):
    """What a pass does."""

    parts: list[Part]  # of prompts
    ending: list[RequestState]  # whose prompts end with them
    going: list[RequestState]  # that draw one token more


class _InFlight(NamedTuple):
    requests: list[RequestState]
    drawing: Drawing  # the tokens being drawn for them


class LocalEngine:
    """See `engine.Engine`; the weights are held here."""

    def __init__(
        self,
        decoder: Decoder,
        chat: Chat,
        *,
        name: str = BASE,
        rank: int = 0,
        max_waiting: int = 64,
        policy: BudgetRule = "room",
        below_gib: float = 10.0,
    ):
        """Start answering.

        Args:
            decoder: Weights and cache; the engine closes it.
            chat: Renders conversations as in training.
            name: What requests call the decoder's weights without an adapter.
            rank: Largest rank of an adapter; the decoder has room for one every so many ranks.
            max_waiting: Requests accepted beyond those that are active.
            policy: How many tokens a request may have, see `answer_budget`.
            below_gib: For policy "published": free GPU memory below which a request gets fewer.
        """
        self.decoder, self.chat, self.rank = decoder, chat, rank
        self.adapters: dict[str, slice | None] = {name: None}  # their ranks in the decoder
        self.slots, self.max_waiting = decoder.slots, max_waiting
        self.policy, self.below_gib = policy, below_gib
        self._bytes = TokenBytes(chat.tokenizer)
        self._ends = chat.ends
        spelled: list[str] = chat.tokenizer.convert_ids_to_tokens(sorted(chat.ends))
        self._controls = [text[:_KNOWN_BY] for text in spelled if len(text) >= _KNOWN_BY]
        self._free = list(range(self.slots))
        self._waiting: deque[RequestState] = deque()
        self._active: list[RequestState] = []
        self._in_flight: list[_InFlight] = []
        self._tasks: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._tokens_out = self._preempted = 0
        self._dead: str | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="fitbot-engine", daemon=True)
        self._thread.start()
        # A thread that Python ends within a library's code may abort the process.
        atexit.register(self.close)

    @property
    def models(self) -> tuple[str, ...]:
        """See `Engine`."""
        return tuple(self.adapters)

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """See `Engine`."""
        ids = self._encode(prompt)
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        draw = Draw(sampling, seed, ends=tuple(self._ends))
        if draw.scores_prompt and not self.decoder.scores_prompts:
            raise RequestError("this engine does not score prompts; leave out echo or logprobs")
        with self._changed:
            name = choose_model(self.models, model)
            self._check_open()
            busy = len(self._active) + len(self._waiting)
            if busy >= self.slots + self.max_waiting:
                raise BusyError(f"{busy} requests are being answered or waiting")
            left = self.decoder.context - len(ids)
            budget = answer_budget(
                sampling.max_new_tokens,
                left,
                crowded=busy >= self.slots,
                free_gib=self._free_gib(),
                rule=self.policy,
                below_gib=self.below_gib,
            )
            if left < max(1, min(sampling.room, self.decoder.context // 4)):
                raise ContextLengthError.of(len(ids), self.decoder.context)
            raw = sampling.echo or isinstance(prompt, str)
            text = AnswerText(self._bytes, sampling, ids, controls=self._controls, raw=raw)
            until = math.inf if deadline is None else deadline
            request = RequestState(ids, draw, budget, self.adapters[name], until, Stream(), text)
            self._waiting.append(request)
            self._changed.notify()
        return request.stream

    def add(self, name: str, weights: AdapterWeights) -> None:
        """Answer with one adapter more, from the next step on; active requests wait one step.

        Args:
            name: What requests call it.
            weights: The adapter's.

        Raises:
            RequestError: The name is taken, or is none.
            RoomError: There is no room for one more.
            ConfigError: It is not for this base, or its rank is too large.
        """
        if not _NAME.fullmatch(name):
            raise RequestError(f"{name!r} is no name for a model; use a-z, 0-9, '.', '_', '-', '@'")
        rank = rank_of(weights)
        if rank > self.rank:
            raise ConfigError(f"its rank is {rank}; there is room for rank {self.rank}")

        def put() -> None:
            if name in self.adapters:
                raise RequestError(f"there is a model {name!r} already; remove it first")
            # Requests may still be answered with an adapter that was removed.
            taken = [*self.adapters.values(), *(request.ranks for request in self._requests())]
            starts = {ranks.start for ranks in taken if ranks}
            free = set(range(0, self.decoder.ranks, max(1, self.rank))) - starts
            if not free:
                raise RoomError(f"there is no room for more than {len(starts)} adapters")
            start = min(free)
            self.decoder.adapt(slice(start, start + rank), weights)
            self.adapters[name] = slice(start, start + rank)

        done: Future[None] = Future()
        with self._changed:
            self._check_open()
            self._tasks.append((put, done))  # for the engine's thread: no step sees it half done
            self._changed.notify()
        done.result()

    def prefer(self, name: str) -> None:
        """Answer with this model where a request names none."""
        self.adapters = {name: self.adapters[name], **self.adapters}

    def remove(self, name: str) -> None:
        """Take no more requests for an adapter; those that have begun are answered.

        Raises:
            RequestError: There is none of that name, or it is the base or the default.
        """
        with self._changed:
            choose_model(self.models, name)
            if name in (BASE, self.models[0]):
                raise RequestError(f"{name!r} cannot be removed")
            del self.adapters[name]

    def stats(self) -> Stats:
        """See `Engine`."""
        active = list(self._active)
        return Stats(
            active=len(active),
            waiting=len(self._waiting),
            slots=self.slots,
            kv_tokens_used=sum(request.length for request in active),
            kv_tokens=self.decoder.tokens,
            tokens_out=self._tokens_out,
            preempted=self._preempted,
        )

    def health(self) -> str | None:
        """See `Engine`."""
        return self._dead or ("the engine is closed" if self._closed else None)

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        atexit.unregister(self.close)
        self._thread.join()

    def _check_open(self) -> None:
        if reason := self.health():
            raise EngineError(reason)

    def _requests(self) -> list[RequestState]:
        return [*self._active, *self._waiting]

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):  # control tokens are read as such: all of it is the client's
            prompt = self.chat.tokenizer.encode(prompt.encode("utf-8", "replace").decode())
        if not prompt:
            raise RequestError("the prompt is empty")
        ids = [token for token in prompt if isinstance(token, int)]
        if len(ids) == len(prompt):
            size = self.decoder.vocabulary
            if not all(0 <= token < size for token in ids):
                raise RequestError(f"token ids must be from 0, below {size}")
            return ids
        try:
            ids, cut = self.chat.encode_prompt(prompt, self.decoder.context - 1)  # type: ignore[arg-type]
        except DataError as error:
            raise RequestError(str(error)) from error
        if cut:
            raise ContextLengthError.of(len(ids) + cut, self.decoder.context)
        return ids

    def _free_gib(self) -> float | None:
        device = self.decoder.device
        if self.policy == "published" and device.type == "cuda":
            return torch.cuda.mem_get_info(device)[0] / 2**30
        return None

    def _loop(self) -> None:
        try:
            while self._wait():
                self._run_tasks()
                self._drop()
                self._postprocess(self._run(self._schedule()))
        except Exception as error:  # whatever it is, the requests must end with it
            logger.exception("the engine failed")
            self._dead = f"the engine failed: {type(error).__name__}: {error}"
        with self._changed:
            requests, tasks = self._requests(), self._tasks
            self._active, self._waiting, self._tasks = [], deque(), deque()
        for request in requests:
            reason: FinishReason = "error" if self._dead else "cancelled"
            request.stream.put(Chunk(finish_reason=reason, usage=request.usage(), error=self._dead))
        for _, done in tasks:
            done.set_exception(EngineError(self.health()))
        self.decoder.close()

    def _wait(self) -> bool:
        """Wait for work; False once the engine is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._active or self._waiting or self._tasks
            )
            return not self._closed

    def _run_tasks(self) -> None:
        while self._tasks:
            task, done = self._tasks.popleft()
            try:
                done.set_result(task())
            except Exception as error:
                done.set_exception(error)

    def _drop(self) -> None:
        """End the requests that are cancelled or past their deadline."""
        now = time.monotonic()
        requests = self._requests()
        for request in [one for one in requests if one.stream.cancelled or now > one.deadline]:
            cancelled = request.stream.cancelled
            self._end(request, Chunk(finish_reason="cancelled" if cancelled else "deadline"))

    def _schedule(self) -> _Work:
        """Choose what the next pass does."""
        going = self._going()
        self._admit()
        everybody_goes = len(going) == len(self._active)  # nearly always
        return _Work(*(([], []) if everybody_goes else self._parts()), going)

    def _run(self, work: _Work) -> list[_InFlight]:
        """Launch a pass; returns those whose tokens are due."""
        launched: list[_InFlight] = []
        if work.parts or work.going:
            drawing = self.decoder.run(work.parts, [request.slot for request in work.going])
            launched = [_InFlight(work.ending + work.going, drawing)]
        if self.decoder.overlaps:  # what was launched is computed while the one before is sent
            launched, self._in_flight = self._in_flight, launched
        return launched

    def _postprocess(self, launched: list[_InFlight]) -> None:
        """Wait for tokens and add them to their answers."""
        for requests, drawing in launched:
            for request, drawn in zip(requests, drawing(), strict=True):
                if not request.ended:
                    self._commit(request, drawn)

    def _going(self) -> list[RequestState]:
        """List the requests that draw one token more, each with room for it in the cache."""
        # One whose last token is not known yet may have ended with it: `_postprocess` drops it.
        going = [one for one in self._active if one.is_read and one.draw.drawn < one.budget]
        for request in going:
            while request.slot >= 0 and not request.room:
                request.room = self.decoder.grow(request.slot)
                if not request.room:
                    self._preempt(self._active[-1])
            request.room -= 1
        return [request for request in going if request.slot >= 0]

    def _preempt(self, request: RequestState) -> None:
        """Have a request wait again, as the cache is full."""
        with self._changed:
            self._free_slot(request)
            self._waiting.appendleft(request)
        self._preempted += 1

    def _admit(self) -> None:
        """Give waiting requests slots, the first ones first."""
        while self._waiting and self._free:
            request = self._waiting[0]
            if request.draw.drawn > len(request.answer):
                return  # it was preempted, and its newest token is not known yet
            request.ids = [*request.prompt, *request.answer]
            slot = self._free[-1]
            try:
                known = self.decoder.admit(slot, request.ids, request.ranks, request.draw)
            except torch.OutOfMemoryError as error:  # the others have their memory already
                self._end(request, Chunk(finish_reason="error", error=f"out of memory: {error}"))
                continue
            if known is None:
                return
            request.read, request.slot, request.room = known, self._free.pop(), 0
            with self._changed:
                self._waiting.remove(request)
                self._active.append(request)

    def _parts(self) -> tuple[list[Part], list[RequestState]]:
        """Choose what a pass reads of prompts; also returns the requests whose prompts end."""
        parts: list[Part] = []
        ending: list[RequestState] = []
        left, block = self.decoder.pass_tokens, self.decoder.pass_block
        for request in self._active:
            start, number = request.read, min(left, len(request.ids) - request.read)
            if number == 0 or len(ending) == self.decoder.pass_prompts:
                continue
            request.read += number
            left -= -(-number // block) * block
            ends = request.read == len(request.ids)
            parts.append(Part(request.slot, request.ids[start : request.read], start, ends))
            if ends:
                ending.append(request)
        return parts, ending

    def _commit(self, request: RequestState, drawn: Drawn) -> None:
        """Add a token to an answer and send its text; ends the answer if it is complete."""
        if not request.answer and request.draw.sampling.echo:
            scores = [one for scores in request.draw.scores for one in scores.listed()]
            request.stream.put(Chunk(echo=self._bytes.echo(request.prompt, scores)))
        token, answer = drawn.token, request.text
        request.answer.append(token)
        self._tokens_out += 1
        logprobs: tuple[TokenLogprob, ...] = ()
        if drawn.logprob is not None:
            request.logprobs.append(drawn.logprob)
            logprobs = (self._bytes.logprob(*drawn),)  # type: ignore[arg-type]  # not None
        if token in self._ends:
            self._end(request, Chunk("", logprobs, "stop"))
            return
        text = answer.add(token)
        if answer.in_thought:
            logprobs = ()  # they would give the thought away
        if answer.stopped:
            self._end(request, Chunk(text, logprobs, "stop"))
        elif len(request.answer) >= request.budget:
            self._end(request, Chunk(text, logprobs, "length"))
        elif answer.reasoning:
            request.stream.put(Chunk(text, logprobs, reasoning=answer.take_reasoning()))
        elif text or logprobs:
            request.stream.put(Chunk(text, logprobs))

    def _end(self, request: RequestState, last: Chunk) -> None:
        """Free a request's slot and send its last chunk, with its usage and what was held back."""
        request.ended = True
        with self._changed:
            if request.slot >= 0:
                self._free_slot(request)
            else:
                self._waiting.remove(request)
        last = last._replace(text=last.text + request.text.finish(), usage=request.usage())
        last = last._replace(reasoning=request.text.take_reasoning(), record=request.record())
        request.stream.put(last)

    def _free_slot(self, request: RequestState) -> None:
        self._active.remove(request)
        self._free.append(request.slot)
        self.decoder.release(request.slot)
        request.slot = -1
