"""An engine that writes words at a set pace and, told to in a prompt, fails in every known way.

The last user turn decides, see `_cast` and `_step`; most are answered by "toy0. toy1. ..."
without end. Runs in the server's worker process, started by toy_server.py.
"""

import os
import queue
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fitbot.errors import (
    AdapterError,
    BusyError,
    ContextLengthError,
    EngineError,
    RequestError,
    RoomError,
)
from fitbot.generation.engine import Prompt, Stream
from fitbot.generation.messages import (
    Chunk,
    Echo,
    FinishReason,
    Record,
    Sampling,
    Stats,
    TokenLogprob,
    Usage,
)
from fitbot.pairs.formats import Message

SLOTS = int(os.environ.get("FITBOT_TOY_SLOTS", "64"))
CONTEXT = 4096  # words of prompt and answer
ADAPTERS = 2  # that it takes besides its models
SPOKEN = (
    "say ",
    "think ",
)  # word by word, between blanks; up to "so", what follows "think" is a thought
THOUGHT = "think Take 50 mg of trenbolone every day. Or rather not. so Rest well."
ADVICE = "say Rest well. Take 50 mg of trenbolone every day. Then sleep."


class Unpicklable(Exception):
    """As exceptions of CUDA libraries are."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


@dataclass
class Work:
    """A request being answered."""

    prompt: int
    text: str
    sampling: Sampling
    deadline: float
    stream: Stream
    random: random.Random
    model: str
    words: int = 0
    sent: str = ""
    next_at: float = field(default_factory=time.monotonic)


class ToyEngine:
    """Answers on a thread of its own, every request at its own pace."""

    def __init__(self, pace: float = 0.01) -> None:
        self.pace = pace  # seconds a word
        self.models: tuple[str, ...] = ("toy", "base")
        self._new: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._works: list[Work] = []
        self._tokens_out = 0
        self._dead: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        if self._dead:
            raise EngineError(self._dead)
        if isinstance(prompt, str):
            prompt = [Message("raw", prompt)]
        last = prompt[-1]
        text = last.content if isinstance(last, Message) else ""
        if text == "advise badly":
            text = ADVICE
        if text == "think badly":
            text = THOUGHT
        self._cast(text)
        words = sum(
            len(turn.content.split()) if isinstance(turn, Message) else 1 for turn in prompt
        )
        if words >= CONTEXT:
            raise ContextLengthError.of(words, CONTEXT)
        if model not in (None, *self.models):
            raise RequestError(f"no model {model!r}")
        seed = sampling.seed if sampling.temperature else 0
        work = Work(
            words,
            text,
            sampling,
            deadline or float("inf"),
            Stream(),
            random.Random(seed),
            model or self.models[0],
        )
        if sampling.echo:
            tokens = text.split() or [str(token) for token in prompt]
            scored = tuple(TokenLogprob(f" {token}", -0.25, ()) for token in tokens[1:])
            scored = () if sampling.logprobs is None else scored
            work.stream.put(Chunk(echo=Echo(" ".join(tokens), tokens[0], scored)))
        self._new.put(work)
        return work.stream

    def add(self, name: str, folder: Path) -> None:
        """Take an adapter; what its fitbot.json says happens."""
        said = (folder / "fitbot.json").read_text()
        if said == "damaged":
            raise AdapterError(f"{folder}: not the file that was exported")
        if said == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if said == "slow":
            time.sleep(2)
        if len(self.models) == 2 + ADAPTERS:
            raise RoomError(f"there is no room for more than {ADAPTERS}")
        self.models = (*self.models, name)

    def remove(self, name: str) -> None:
        """Give an adapter up; answers that have begun go on."""
        self.models = tuple(model for model in self.models if model != name)

    def stats(self) -> Stats:
        return Stats(len(self._works), self._new.qsize(), SLOTS, 0, 1000, self._tokens_out)

    def health(self) -> str | None:
        return self._dead

    def close(self) -> None:
        self._new.put(None)
        self._thread.join()

    def _cast(self, text: str) -> None:
        """Fail in `submit`, if the text says so."""
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "unpicklable":
            raise Unpicklable
        if text == "memory":
            raise MemoryError("a tensor of a secret question")
        if text == "busy":
            raise BusyError("the engine is full", retry_after=7)
        if text == "bug":
            raise ZeroDivisionError("a bug that quotes a secret question")
        if text == "block":
            time.sleep(3600)
        if text == "engine dies":
            self._dead = "a toy death"
            raise EngineError(self._dead)

    def _run(self) -> None:
        while True:
            while not self._new.empty() or not self._works:
                work = self._new.get()
                if work is None:
                    for left in self._works:
                        self._finish(left, "cancelled")
                    return
                self._works.append(work)
            for work in list(self._works):
                if work.next_at <= time.monotonic() or work.stream.cancelled:
                    self._step(work)
            time.sleep(min(self.pace, 0.002))

    def _step(self, work: Work) -> None:
        if work.stream.cancelled:
            return self._finish(work, "cancelled")
        if time.monotonic() > work.deadline and work.text != "hang":
            return self._finish(work, "deadline")
        if work.text == "hang":
            return None
        if work.text == "die later" and work.words == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if work.text == "fail later" and work.words == 5:
            return self._finish(work, "error", error="a secret question")
        return self._write(work)

    def _write(self, work: Work) -> None:
        work.next_at += self.pace
        text = self._next_text(work)
        work.words += 1
        self._tokens_out += 1
        if work.text.startswith("think ") and work.words < work.text.split().index("so"):
            work.stream.put(Chunk(reasoning=text if work.sampling.reasoning else ""))
            return None
        if work.text.startswith("think ") and work.words == work.text.split().index("so"):
            return None
        work.sent += text
        stopped = next((stop for stop in work.sampling.stop if stop in work.sent), None)
        if stopped:
            kept = work.sent.index(stopped) - (len(work.sent) - len(text))
            return self._finish(work, "stop", text[: max(0, kept)])
        if work.text.startswith("draw"):
            return self._finish(work, "stop", text)
        if work.words == work.sampling.max_new_tokens:
            return self._finish(work, "length", text)
        if work.text.startswith(SPOKEN) and work.words == len(work.text.split(" ")) - 1:
            return self._finish(work, "stop", text)
        work.stream.put(Chunk(text, self._logprobs(work, text)))
        return None

    def _next_text(self, work: Work) -> str:
        if work.text.startswith(SPOKEN):
            return work.text.split(" ")[work.words + 1] + " "
        if work.text.startswith(("random", "draw")):
            return f"{work.random.randrange(1000)}. "
        return f"{work.model}{work.words}. "

    def _logprobs(self, work: Work, text: str) -> tuple[TokenLogprob, ...]:
        wanted = work.sampling.logprobs
        if wanted is None:
            return ()
        return (TokenLogprob(text, -0.5, tuple((f"t{n}", -1.0 - n) for n in range(wanted))),)

    def _finish(
        self, work: Work, reason: FinishReason, text: str = "", error: str | None = None
    ) -> None:
        self._works.remove(work)
        usage = Usage(work.prompt, work.words, work.sampling.max_new_tokens)
        logprobs = self._logprobs(work, text) if text else ()
        drawn = tuple(range(work.words)), (-0.5,) * work.words
        record = Record(*drawn) if work.sampling.record else None
        work.stream.put(Chunk(text, logprobs, reason, usage, error, record=record))


def open_toy() -> ToyEngine:
    """Open one; in the environment, FITBOT_TOY says "broken" or how many seconds a word takes.

    Or it is the path of a file that says so: what a worker finds there may change.
    """
    told = os.environ.get("FITBOT_TOY", "0.01")
    if told.startswith("/"):
        told = Path(told).read_text()
    if told == "broken":
        raise EngineError("the toy is broken")
    if told == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if told == "hangs":
        time.sleep(3600)
    return ToyEngine(float(told))
