"""A job seen from the API process."""

import asyncio
import queue
from contextlib import ExitStack
from dataclasses import replace

from litserve.utils import LitAPIStatus

from fitbot.generation.messages import Chunk, Sampling, Usage
from fitbot.serving.jobs import Dispatcher, GenerationTask
from fitbot.serving.metrics import Metrics
from fitbot.serving.shared_state import SharedState

LAST = Chunk("end", finish_reason="stop", usage=Usage(1, 2, 3))


def test_who_waits_for_a_chunk_is_told_that_none_has_come() -> None:
    async def go() -> None:
        shared = SharedState()
        shared.worker = 5
        shared.beat()
        dispatcher = Dispatcher(shared, Metrics(shared))
        dispatcher.connect(queue.SimpleQueue(), {}, 0)
        watching = asyncio.create_task(dispatcher.watch())
        with ExitStack() as cleanup:
            task = GenerationTask((), Sampling(), None)
            job = dispatcher.send(task, 9, cleanup)

            assert await job.next(0.01) is None
            for chunk in (Chunk("one "), Chunk("two "), LAST):
                job.item.response_queue.append((chunk, LitAPIStatus.OK))
            assert await job.next(5) == replace(LAST, text="one two end")
        watching.cancel()

    asyncio.run(go())
