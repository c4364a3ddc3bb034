"""What API process and worker send each other: plain data, so that it can always be pickled."""

from dataclasses import dataclass
from typing import NamedTuple

from fitbot.generation.messages import Chunk, Sampling
from fitbot.pairs.formats import Message
from fitbot.serving.http_errors import Failure

GRACE_SECONDS = 1.0  # an engine may be late by this much in noticing a deadline


class GenerationTask(NamedTuple):
    """A conversation to be answered; `model` is one of the engine's, None for the default."""

    messages: tuple[Message, ...]
    sampling: Sampling
    model: str | None


class AdapterChange(NamedTuple):
    """An adapter to be added from a folder below the registry's, or removed: folder None."""

    name: str  # what requests call it
    folder: str | None


@dataclass(frozen=True)
class Job:
    """One task on its way to a worker.

    Args:
        uid: Its name in the response buffer.
        worker: Process id of the worker it is meant for. A successor must not answer it: its
            client has been told that the worker died.
        deadline: On `time.monotonic`'s clock, which all processes of a machine share.
        task: What is to be done.
    """

    uid: str
    worker: int
    deadline: float
    task: GenerationTask | AdapterChange


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for the result of the job `uid` any more."""

    uid: str


Result = Chunk | Failure  # of a job, in pieces; a change that is done is one chunk without text
