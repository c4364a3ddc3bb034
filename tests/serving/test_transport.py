"""What the worker sends arrives in bundles, in order and in time."""

import asyncio
import pickle
import queue

from litserve.utils import LitAPIStatus

from fitbot.generation.messages import Chunk, Usage
from fitbot.serving.http_errors import HttpError
from fitbot.serving.transport import BUNDLE_SECONDS, BundlingTransport

LAST = Chunk("end", finish_reason="stop", usage=Usage(1, 2, 3))


class Line:
    """The worker's end of the transport, whose messages are kept."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.transport = BundlingTransport(None, [self.queue])

    def send(self, uid: str, content: object) -> None:
        self.transport.send((uid, (content, LitAPIStatus.OK, "kind", 0)), 0)

    def messages(self) -> list[list[tuple[str, object]]]:
        """What has gone by now."""
        raw = [self.queue.get() for _ in range(self.queue.qsize())]
        return [[(uid, content) for uid, (content, *_) in pickle.loads(one)] for one in raw]


def test_what_comes_close_together_travels_together() -> None:
    async def go() -> None:
        line = Line()
        for uid in ("a", "b"):
            line.send(uid, Chunk("0"))
        await asyncio.sleep(0)
        assert line.messages() == [[("a", Chunk("0")), ("b", Chunk("0"))]]  # at once
        for text in ("1", "2"):
            for uid in ("a", "b"):
                line.send(uid, Chunk(text))
        await asyncio.sleep(0)
        assert line.messages() == []
        await asyncio.sleep(2 * BUNDLE_SECONDS)
        assert line.messages() == [[("a", Chunk("12")), ("b", Chunk("12"))]]

    asyncio.run(go())


def test_the_end_of_an_answer_does_not_wait() -> None:
    async def go() -> None:
        line = Line()
        failure = HttpError(500, "code", "message")
        for uid in ("a", "b", "c"):
            line.send(uid, Chunk("first"))
        await asyncio.sleep(0)
        line.messages()
        for uid in ("a", "b", "c"):
            line.send(uid, Chunk("and the "))
        line.send("a", LAST)
        line.send("b", failure)
        await asyncio.sleep(0)
        assert line.messages() == [
            [("a", LAST._replace(text="and the end")), ("b", Chunk("and the ")), ("b", failure)]
        ]
        await asyncio.sleep(2 * BUNDLE_SECONDS)
        assert line.messages() == [[("c", Chunk("and the "))]]

    asyncio.run(go())


def test_a_bundle_is_taken_apart_where_it_arrives() -> None:
    async def go() -> None:
        line = Line()
        for uid in ("a", "b"):
            line.send(uid, LAST)
        await asyncio.sleep(0)
        other_end = BundlingTransport(None, [line.queue])

        items = [await other_end.areceive(0) for _ in range(2)]

        assert [item[0] for item in items if item] == ["a", "b"]
        assert await other_end.areceive(0) is None

    asyncio.run(go())
