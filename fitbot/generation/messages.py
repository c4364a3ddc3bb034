"""The data that goes into an engine and comes out of it.

In: how an answer is drawn (`Sampling`). Out: its text, piece by piece (`Chunk`), the tokens it cost
(`Usage`), how busy the engine is (`Stats`).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from fitbot.base_model.settings import AnswerSettings
from fitbot.errors import RequestError

TUNED, BASE = "fitbot", "base"  # names of the model with an adapter, and of that without
FinishReason = Literal["stop", "length", "content_filter", "cancelled", "deadline", "error"]


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn.

    Args:
        max_new_tokens: Tokens asked for; the request's budget may be smaller, see `Usage`.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Draw among the likeliest tokens that together hold this probability, in (0, 1].
        top_k: Draw among this many likeliest tokens; 0 for all.
        min_p: Leave out tokens less probable than this share of the likeliest one's probability.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that prompt or
            answer contain already (arXiv:1909.05858, section 4.1); 1 does nothing.
        frequency_penalty: Subtracted from a token's logit for each time that the answer has it.
        presence_penalty: Subtracted once from the logit of each token that the answer has.
        min_tokens: Neither an end token nor a stop string ends the answer before it has so many.
        stop: Strings that end the answer; they are not part of it.
        seed: The same request with the same seed has the same answer, alone or among others. None
            draws a seed.
        logprobs: Return with each token its own log-probability and those of this many likeliest
            tokens; None returns none.
        record: Return at the end what was drawn, see `Record`; with `logprobs`.
        reasoning: Return what the model thinks, between <think> and </think>, apart from the text;
            otherwise it is dropped.
        echo: Return the prompt first, see `Echo`; with `logprobs`, those of its tokens too.
        room: Tokens that the prompt must leave free in the context, but never more than a quarter
            of it; a longer prompt is refused.

    Raises:
        RequestError: A value is out of range.
    """

    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    record: bool = False
    reasoning: bool = False
    echo: bool = False
    room: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "temperature": (0 <= self.temperature <= 2, "from 0 to 2"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "min_p": (0 <= self.min_p < 1, "from 0, below 1"),
            "repetition_penalty": (0.1 <= self.repetition_penalty <= 10, "from 0.1 to 10"),
            "frequency_penalty": (-2 <= self.frequency_penalty <= 2, "from -2 to 2"),
            "presence_penalty": (-2 <= self.presence_penalty <= 2, "from -2 to 2"),
            "min_tokens": (self.min_tokens >= 0, "0 or more"),
            "stop": (all(self.stop), "without empty strings"),
            "seed": (self.seed is None or 0 <= self.seed < 2**63, "from 0, below 2^63"),
            "room": (self.room >= 1, "1 or more"),
            "logprobs": (self.logprobs is None or 0 <= self.logprobs <= 20, "from 0 to 20"),
        }
        for name, (fits, wanted) in ranges.items():
            if not fits:
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")

    @classmethod
    def from_settings(cls, settings: AnswerSettings) -> "Sampling":
        """Return how a run's settings say that answers are drawn."""
        return cls(
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature if settings.do_sample else 0.0,
            top_p=settings.top_p,
        )


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer: its text, its log-probability in nats, the likeliest and theirs.

    These are the model's own, before temperature and the other filters.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Echo:
    """A prompt as it was read.

    Args:
        text: All of it.
        first: The text of its first token, which has no log-probability.
        logprobs: Of the tokens after it, when asked for.
    """

    text: str
    first: str
    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Usage:
    """What a request cost, in tokens; `budget` is how many new ones it could have had.

    `left_out` counts the messages of the conversation that were too old to be read.
    """

    prompt: int
    completion: int
    budget: int
    left_out: int = 0


class Record(NamedTuple):
    """All tokens of an answer as they were drawn, an end's and a thought's too.

    Args:
        token_ids: In order.
        logprobs: Theirs, in nats; the model's own.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class Chunk(NamedTuple):  # one for each token: a dataclass takes six times as long to make
    """A piece of an answer. The last one alone has a finish reason and the usage.

    Args:
        text: New text; may be empty. A thought is never part of it.
        logprobs: Of its tokens, when asked for. Text may lag behind its tokens: a character of
            several tokens, or what may become a stop string, comes once it is certain.
        finish_reason: "stop" the answer is complete; "length" it has used up its token budget;
            "content_filter" the health layer has cut it, which no engine does; "cancelled",
            "deadline"; "error" the engine failed.
        usage: Tokens, in the last chunk.
        error: What failed, for finish reason "error".
        reasoning: New text of a thought, when asked for.
        echo: The prompt, when asked for; before any text.
        record: In the last chunk, when asked for.
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: str | None = None
    reasoning: str = ""
    echo: Echo | None = None
    record: Record | None = None


@dataclass(frozen=True)
class Stats:
    """How busy an engine is."""

    active: int  # requests being answered
    waiting: int  # requests accepted but not begun
    slots: int  # requests it can answer at once
    kv_tokens_used: int  # tokens held in the cache for active requests
    kv_tokens: int  # tokens it can hold
    tokens_out: int  # new tokens since it started
    preempted: int = 0  # times that a request had to wait again, as the cache was full
