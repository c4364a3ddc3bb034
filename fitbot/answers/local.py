"""The embedded engine: one thread that answers many requests at once, by fitbot's own decoder.

Requests join and leave between two steps: each turn of the loop drops who is cancelled or late,
reads at most one new prompt into a free slot, and draws the next token for everybody active.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fitbot.answers.decoder import Decoder
from fitbot.answers.engine import (
    Chunk,
    FinishReason,
    Sampling,
    Stats,
    Stream,
    TokenLogprob,
    Usage,
)
from fitbot.answers.grant import Policy, Room, grant
from fitbot.answers.sampling import Draw, Drawn, draw
from fitbot.answers.text import AnswerText, TokenBytes
from fitbot.errors import BusyError, DataError, EngineError, RequestError
from fitbot.pairs.chat import Chat
from fitbot.pairs.preferences import Message

logger = logging.getLogger(__name__)


@dataclass
class Request:
    """One request, from being accepted to its last chunk."""

    prompt: list[int]
    sampling: Sampling
    seed: int
    granted: int
    who: Tensor | None  # (R,) the ranks of its adapter; None for the base
    deadline: float | None
    stream: Stream
    text: AnswerText
    seen: Tensor | None = None  # (V,) with a repetition penalty
    slot: int = -1
    drawn: int = 0
    last: int = -1  # the newest token; it is not in the cache yet

    @property
    def length(self) -> int:
        """Tokens in its slot."""
        return len(self.prompt) + self.drawn - 1

    def over(self) -> FinishReason | None:
        """Say why it should not go on, if there is a reason outside of it."""
        if self.stream.cancelled:
            return "cancelled"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "deadline"
        return None


class LocalEngine:
    """See `engine.Engine`; the weights are held here."""

    def __init__(
        self,
        decoder: Decoder,
        chat: Chat,
        adapters: dict[str, slice | None],
        *,
        max_waiting: int = 64,
        policy: Policy = "room",
        below_gib: float = 10.0,
    ):
        """Start answering.

        Args:
            decoder: Weights and cache.
            chat: Renders conversations as in training.
            adapters: The names of models, the default one first, and the ranks of each one's
                adapter in the decoder; None for the base alone.
            max_waiting: Requests accepted beyond those that are active.
            policy: How many tokens a request is granted.
            below_gib: For policy "published": free GPU memory below which it grants less.
        """
        self.decoder, self.chat, self.adapters = decoder, chat, adapters
        self.slots, self.max_waiting = decoder.slots, max_waiting
        self.policy, self.below_gib = policy, below_gib
        self._bytes = TokenBytes(chat.tokenizer)
        self._ends = {chat.end_of_turn_id, chat.tokenizer.eos_token_id}
        self._free = list(range(self.slots))
        self._waiting: deque[Request] = deque()
        self._active: list[Request] = []
        self._tokens_out = 0
        self._dead: str | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="fitbot-engine", daemon=True)
        self._thread.start()

    @property
    def models(self) -> tuple[str, ...]:
        """See `Engine`."""
        return tuple(self.adapters)

    def submit(
        self,
        prompt: Sequence[Message] | Sequence[int],
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """See `Engine`."""
        name = self.models[0] if model is None else model
        if name not in self.adapters:
            raise RequestError(f"no model {name!r}; there are {', '.join(self.models)}")
        ids = self._encode(prompt)
        with self._changed:
            if self._dead or self._closed:
                raise EngineError(self._dead or "the engine is closed")
            busy = len(self._active) + len(self._waiting)
            if busy >= self.slots + self.max_waiting:
                raise BusyError(f"{busy} requests are being answered or waiting")
            granted = grant(
                sampling.max_new_tokens, len(ids), self._room(busy), self.policy, self.below_gib
            )
            if granted < 1:
                raise RequestError(
                    f"a prompt of {len(ids)} tokens leaves no room for an answer in "
                    f"{self.decoder.context}; shorten it"
                )
            request = Request(
                prompt=ids,
                sampling=sampling,
                seed=secrets.randbits(63) if sampling.seed is None else sampling.seed,
                granted=granted,
                who=self._who(self.adapters[name]),
                deadline=deadline,
                stream=Stream(),
                text=AnswerText(self._bytes, sampling.stop),
            )
            self._waiting.append(request)
            self._changed.notify()
        return request.stream

    def stats(self) -> Stats:
        """See `Engine`."""
        active = list(self._active)
        return Stats(
            active=len(active),
            waiting=len(self._waiting),
            slots=self.slots,
            kv_tokens_used=sum(request.length for request in active),
            kv_tokens=self.slots * self.decoder.context,
            tokens_out=self._tokens_out,
        )

    def health(self) -> str | None:
        """See `Engine`."""
        if self._dead is None and not self._closed and not self._thread.is_alive():
            return "the engine's thread has ended"
        return self._dead or ("the engine is closed" if self._closed else None)

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _encode(self, prompt: Sequence[Message] | Sequence[int]) -> list[int]:
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
            raise RequestError(
                f"the conversation has {len(ids) + cut} tokens, {self.decoder.context - 1} are the "
                "most; leave out old turns"
            )
        return ids

    def _room(self, busy: int) -> Room:
        device, free = self.decoder.device, None
        if self.policy == "published" and device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0] / 2**30
        # A slot is as long as the context: whoever gets one has the cache that goes with it.
        context = self.decoder.context
        return Room(context, context, self.slots, busy, free)

    def _who(self, ranks: slice | None) -> Tensor | None:
        if ranks is None:
            return None
        who = torch.zeros(self.decoder.ranks, device=self.decoder.device)
        who[ranks] = 1
        return who

    def _loop(self) -> None:
        try:
            while self._wait():
                self._drop()
                if self._waiting and self._free:
                    self._begin(self._waiting.popleft())
                if self._active:
                    self._step()
        except Exception as error:  # whatever it is, those who wait must hear of it
            logger.exception("the engine failed")
            self._dead = f"the engine failed: {type(error).__name__}: {error}"
        with self._changed:
            everybody = [*self._active, *self._waiting]
            self._active, self._waiting = [], deque()
        for request in everybody:
            reason: FinishReason = "error" if self._dead else "cancelled"
            request.stream.put(Chunk(finish_reason=reason, error=self._dead))

    def _wait(self) -> bool:
        """Wait for work; False once the engine is closed."""
        with self._changed:
            while not (self._closed or self._active or self._waiting):
                self._changed.wait()
            return not self._closed

    def _drop(self) -> None:
        """End whoever is cancelled or late."""
        for request in [*self._active, *self._waiting]:
            if reason := request.over():
                self._end(request, reason)

    def _begin(self, request: Request) -> None:
        """Read a prompt into a free slot and draw the first token."""
        request.slot = self._free.pop()
        self._active.append(request)
        try:
            logits = self.decoder.prefill(request.slot, request.prompt, request.who)
            if request.sampling.repetition_penalty != 1:
                request.seen = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
                request.seen[torch.tensor(request.prompt, device=logits.device)] = True
            self._take(request, draw(logits[None], [self._draw_of(request)])[0])
        except torch.OutOfMemoryError as error:
            # The others have their memory already.
            self._end(request, "error", error=f"out of memory: {error}")

    def _step(self) -> None:
        """Draw the next token for everybody."""
        active = list(self._active)
        adapted = any(request.who is not None for request in active)
        who = None
        if adapted:
            none = torch.zeros(self.decoder.ranks, device=self.decoder.device)
            who = torch.stack([none if r.who is None else r.who for r in active])
        drawn = self.decoder.advance(
            [request.last for request in active],
            [request.slot for request in active],
            [request.length for request in active],
            who,
            [self._draw_of(request) for request in active],
        )
        for request, token in zip(active, drawn, strict=True):
            self._take(request, token)

    def _draw_of(self, request: Request) -> Draw:
        return Draw(request.sampling, request.seed, request.drawn, request.seen)

    def _take(self, request: Request, drawn: Drawn) -> None:
        """Add a token to an answer; ends the answer if it is complete."""
        request.last = drawn.token
        request.drawn += 1
        self._tokens_out += 1
        if request.seen is not None:
            request.seen[drawn.token] = True
        logprobs = self._logprobs(drawn)
        if drawn.token in self._ends:
            self._end(request, "stop", logprobs=logprobs)
            return
        text = request.text.add(drawn.token)
        if request.text.stopped:
            self._end(request, "stop", text, logprobs)
        elif request.drawn >= request.granted:
            self._end(request, "length", text, logprobs)
        elif text or logprobs:
            request.stream.put(Chunk(text, logprobs))

    def _logprobs(self, drawn: Drawn) -> tuple[TokenLogprob, ...]:
        if drawn.logprob is None:
            return ()
        top = tuple((self._bytes.text(token), logprob) for token, logprob in drawn.top)
        return (TokenLogprob(self._bytes.text(drawn.token), drawn.logprob, top),)

    def _end(
        self,
        request: Request,
        reason: FinishReason,
        text: str = "",
        logprobs: tuple[TokenLogprob, ...] = (),
        error: str | None = None,
    ) -> None:
        with self._changed:
            if request.slot >= 0:
                self._active.remove(request)
                self._free.append(request.slot)
            else:
                self._waiting.remove(request)
        usage = Usage(len(request.prompt), request.drawn, request.granted)
        text += request.text.finish()
        request.stream.put(Chunk(text, logprobs, reason, usage, error))
