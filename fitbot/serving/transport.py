"""LitServe's way from the worker to the API process, with what comes close together in one message.

A message through the manager takes all three processes together half a millisecond, whatever is in
it; an engine has written a dozen tokens by then. So the pieces of all answers travel together.
"""

import asyncio
import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from litserve.transport.process_transport import MPQueueTransport
from litserve.utils import LitAPIStatus

from fitbot.generation.messages import Chunk

BUNDLE_SECONDS = 0.025
_STEP_SECONDS = 0.002  # what an engine writes in one step has come within this

Item = tuple[str, tuple[Any, ...]]  # uid; content, status and what else LitServe sends along


class BundlingTransport(MPQueueTransport):  # type: ignore[misc]
    """Both ends: the worker sends, on its event loop; the API process, one alone, receives.

    The first piece of an answer and the last go at once, so that nobody waits for them. Those
    between are held, for at most 25 milliseconds, and an answer's own are made one.
    """

    def __init__(self, manager: Any, queues: Sequence[Any]):
        """Take LitServe's manager and a queue of it."""
        super().__init__(manager, queues)
        self._held: dict[str, list[Item]] = {}
        self._begun: set[str] = set()
        self._urgent: list[str] = []
        self._next = 0.0  # when a bundle may go
        self._is_due = False  # it will
        self._arrived: deque[Item] = deque()

    def __reduce__(self) -> Any:
        """Travel to the worker, as LitServe's own does."""
        return BundlingTransport, (None, self._queues)

    def send(self, item: Item | None, consumer_id: int) -> None:
        """Send an item, soon; None at once, to say that it is over."""
        if item is None:
            super().send(None, consumer_id)
            return
        uid, (content, status, *_) = item
        if status == LitAPIStatus.FINISH_STREAMING:
            return  # the last piece has said so
        self._held.setdefault(uid, []).append(item)
        goes_on = isinstance(content, Chunk) and not content.finish_reason
        is_between = goes_on and uid in self._begun
        (self._begun.add if goes_on else self._begun.discard)(uid)
        loop = asyncio.get_running_loop()
        if not is_between:
            self._urgent.append(uid)
            loop.call_soon(self._send_urgent, consumer_id)
        elif not self._is_due:
            self._is_due = True
            wait = max(self._next - time.monotonic(), _STEP_SECONDS)
            loop.call_later(wait, self._send_bundle, consumer_id)

    async def areceive(
        self, consumer_id: int, timeout: float | None = None, block: bool = True
    ) -> Item | None:
        """Wait for the next item; None if there is none for a while."""
        if not self._arrived:
            message = await super().areceive(consumer_id, timeout, block)
            if message is None:
                return None
            self._arrived.extend(pickle.loads(message))
        return self._arrived.popleft()

    def _send_urgent(self, consumer_id: int) -> None:
        uids, self._urgent = self._urgent, []
        self._send_held(uids, consumer_id)

    def _send_bundle(self, consumer_id: int) -> None:
        self._is_due = False
        self._next = time.monotonic() + BUNDLE_SECONDS
        self._send_held(list(self._held), consumer_id)

    def _send_held(self, uids: Iterable[str], consumer_id: int) -> None:
        held = [self._held.pop(uid, ()) for uid in uids]
        items = [item for of_one in held for item in _join_items(of_one)]
        if items:
            # Pickled here, it is bytes to the manager, which has nothing to take apart.
            super().send(pickle.dumps(items), consumer_id)


def join_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Make one chunk of several that follow each other."""
    if len(chunks) == 1:
        return chunks[0]
    text = "".join(chunk.text for chunk in chunks)
    logprobs = tuple(token for chunk in chunks for token in chunk.logprobs)
    reasoning = "".join(chunk.reasoning for chunk in chunks)
    last, echo = chunks[-1], chunks[0].echo  # which comes before all else
    return last._replace(text=text, logprobs=logprobs, reasoning=reasoning, echo=echo)


def _join_items(items: Sequence[Item]) -> Iterator[Item]:
    """Join an answer's chunks; what is none follows them."""
    chunks = [item[1][0] for item in items if isinstance(item[1][0], Chunk)]
    if chunks:
        uid, (_, *rest) = items[0]
        yield uid, (join_chunks(chunks), *rest)
    yield from (item for item in items if not isinstance(item[1][0], Chunk))
