"""A request of the embedded engine, from being accepted to its last chunk."""

from dataclasses import dataclass, field

from fitbot.generation.detokenize import AnswerText
from fitbot.generation.engine import Stream
from fitbot.generation.messages import Record, Usage
from fitbot.generation.sampling import Draw


@dataclass(eq=False, slots=True)
class RequestState:
    """What the engine knows of it."""

    prompt: list[int]
    draw: Draw
    budget: int  # new tokens
    ranks: slice | None  # of its adapter; None for the base
    deadline: float  # on the monotonic clock; infinity if there is none
    stream: Stream
    text: AnswerText
    slot: int = -1
    answer: list[int] = field(default_factory=list)  # `draw` may be a token ahead
    logprobs: list[float] = field(default_factory=list)  # of its tokens, when asked for
    ids: list[int] = field(default_factory=list)  # to be read before the next token is drawn
    read: int = 0  # of them
    room: int = 0  # tokens that the decoder has made room for
    ended: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it is the next token's turn."""
        return self.read == len(self.ids)

    @property
    def length(self) -> int:
        """Tokens in the cache; the newest one is not in it yet."""
        return len(self.prompt) + self.draw.drawn - 1 if self.is_read else self.read

    def usage(self) -> Usage:
        """Return what it has cost so far."""
        return Usage(len(self.prompt), len(self.answer), self.budget)

    def record(self) -> Record | None:
        """Return what was drawn, if that is wanted."""
        wanted = self.draw.sampling.record
        return Record(tuple(self.answer), tuple(self.logprobs)) if wanted else None
