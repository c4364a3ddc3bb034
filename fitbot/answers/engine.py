"""What every engine that answers promises: a conversation goes in, chunks of text come out.

These are the terms; nothing here computes. `local.py` is the embedded engine.
Token ids, models and devices are the engine's own affair; HTTP is nobody's here.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from fitbot.errors import RequestError
from fitbot.pairs.preferences import Message

TUNED, BASE = "fitbot", "base"  # names of the model with an adapter, and of that without

FinishReason = Literal["stop", "length", "cancelled", "deadline", "error"]


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn.

    Args:
        max_new_tokens: Tokens asked for; what is granted may be less, see `Usage`.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Draw among the likeliest tokens that together hold this probability, in (0, 1].
        top_k: Draw among this many likeliest tokens; 0 for all.
        min_p: Leave out tokens less probable than this share of the likeliest one's probability.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that stand in
            prompt or answer already (arXiv:1909.05858, section 4.1); 1 does nothing.
        stop: Strings that end the answer; they are not part of it.
        seed: The same request with the same seed has the same answer, whoever else is asking. None
            draws a seed.
        logprobs: With each token its own log-probability and those of this many likeliest; None
            leaves them out.
        reasoning: Tell what the model thinks, between <think> and </think>, apart from the text;
            otherwise it is dropped.

    Raises:
        RequestError: A value is out of range.
    """

    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    reasoning: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "temperature": (0 <= self.temperature <= 2, "from 0 to 2"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "min_p": (0 <= self.min_p < 1, "from 0, below 1"),
            "repetition_penalty": (0.1 <= self.repetition_penalty <= 10, "from 0.1 to 10"),
            "stop": (all(self.stop), "without empty strings"),
            "seed": (self.seed is None or 0 <= self.seed < 2**63, "from 0, below 2^63"),
            "logprobs": (self.logprobs is None or 0 <= self.logprobs <= 20, "from 0 to 20"),
        }
        for name, (fits, wanted) in ranges.items():
            if not fits:
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer: its text, its log-probability in nats, the likeliest and theirs.

    Before temperature and the other filters: what the model itself thinks.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Usage:
    """What a request cost, in tokens; `granted` is how many new ones it could have had."""

    prompt: int
    completion: int
    granted: int


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer. The last one alone has a finish reason and the usage.

    Args:
        text: New text; may be empty. A thought is never part of it.
        logprobs: Of its tokens, when asked for. Text may lag behind its tokens: characters of
            several tokens, and what may become a stop string, come when they are sure.
        finish_reason: "stop" the answer is complete; "length" it had all tokens it was granted;
            "cancelled", "deadline"; "error" the engine failed.
        usage: Tokens, in the last chunk.
        error: What failed, for finish reason "error".
        reasoning: New text of a thought, when asked for.
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: str | None = None
    reasoning: str = ""


@dataclass(frozen=True)
class Stats:
    """How busy an engine is.

    Args:
        active: Requests being answered.
        waiting: Requests accepted but not begun.
        slots: Requests it can answer at once.
        kv_tokens_used: Tokens held in the cache for active requests.
        kv_tokens: Tokens it can hold.
        tokens_out: New tokens since it started.
    """

    active: int
    waiting: int
    slots: int
    kv_tokens_used: int
    kv_tokens: int
    tokens_out: int


@dataclass(eq=False)
class Stream:
    """The chunks of one answer, as they come; iterate over it once, with `for` or `async for`.

    Leaving the loop early does not end the answer: call `cancel`. The engine's thread puts chunks
    in, any other thread or event loop takes them out.
    """

    _chunks: "queue.SimpleQueue[Chunk]" = field(default_factory=queue.SimpleQueue)
    _alarm: "_Alarm | None" = None
    cancelled: bool = False

    def put(self, chunk: Chunk) -> None:
        """Add a chunk; for engines."""
        self._chunks.put(chunk)
        if self._alarm is not None:
            self._alarm.ring(self)

    def cancel(self) -> None:
        """Ask the engine to stop within a step; the last chunk then says "cancelled"."""
        self.cancelled = True

    def __iter__(self) -> Iterator[Chunk]:
        """Wait for each chunk."""
        while True:
            chunk = self._chunks.get()
            yield chunk
            if chunk.finish_reason:
                return

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Wait for each chunk without holding up the event loop."""
        self._alarm = alarm = _Alarm.of(asyncio.get_running_loop())
        while True:
            # Before looking, or a chunk that comes in between would wake nobody.
            rung = alarm.set_for(self)
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                await rung
                continue
            yield chunk
            if chunk.finish_reason:
                return


class _Alarm:
    """Wakes those who wait in one event loop: however many chunks came, the loop is woken once."""

    _of_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarm]" = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._lock = threading.Lock()
        self._rung: list[Stream] = []
        self._waiting: dict[Stream, asyncio.Future[None]] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "_Alarm":
        return cls._of_loops.setdefault(loop, cls(loop))

    def set_for(self, stream: Stream) -> "asyncio.Future[None]":
        """Return what is done once a chunk has come."""
        future = self._waiting.get(stream)
        if future is None or future.done():
            future = self._waiting[stream] = self._loop.create_future()
        return future

    def ring(self, stream: Stream) -> None:
        """Wake whoever waits for a stream; from any thread."""
        with self._lock:
            self._rung.append(stream)
            if len(self._rung) > 1:
                return  # it has been woken, and has not looked yet
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        with self._lock:
            rung, self._rung = self._rung, []
        for stream in rung:
            future = self._waiting.pop(stream, None)
            if future is not None and not future.done():
                future.set_result(None)


class Engine(Protocol):
    """Anything that answers. All methods may be called from any thread."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names that `submit` takes, the default one first."""

    def submit(
        self,
        prompt: Sequence[Message] | Sequence[int],
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """Accept a request; its chunks come through the stream that is returned.

        Args:
            prompt: A conversation, rendered as in training, or token ids as they are.
            sampling: How the answer is drawn.
            model: One of `models`; the first by default.
            deadline: On `time.monotonic`'s clock; after it the answer ends with "deadline".

        Raises:
            RequestError: It can never be answered: no such model, a prompt that leaves no room.
            BusyError: Not now; too many are waiting.
            EngineError: Never again; the engine is dead.
        """

    def stats(self) -> Stats:
        """Say how busy it is; never waits."""

    def health(self) -> str | None:
        """Say why it cannot answer any more, or None when all is well; never waits."""

    def close(self) -> None:
        """End: what is active or waiting is cancelled."""
