"""A job seen from the API process."""

import asyncio
import queue
from contextlib import ExitStack
from typing import Any

from litserve.utils import LitAPIStatus

from fitbot.generation.messages import Chunk, Sampling, Usage
from fitbot.serving.http_errors import HttpError
from fitbot.serving.jobs import Cancel, Dispatcher, GenerationTask
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
            assert await job.next(5) == LAST._replace(text="one two end")
        watching.cancel()

    asyncio.run(go())


def test_an_answer_that_is_stopped_has_the_usage_that_the_worker_says_if_it_says_any() -> None:
    async def stop(*arriving: Any) -> tuple[Usage | None, list[Any]]:
        shared = SharedState()
        shared.worker = 5
        shared.beat()
        dispatcher, jobs = Dispatcher(shared, Metrics(shared)), queue.SimpleQueue[Any]()
        dispatcher.connect(jobs, {}, 0)
        watching = asyncio.create_task(dispatcher.watch())
        with ExitStack() as cleanup:
            job = dispatcher.send(GenerationTask((), Sampling(), None), 9, cleanup)
            jobs.get()
            for one in arriving:
                job.item.response_queue.append((one, LitAPIStatus.OK))
            usage = await job.stop(0.01)
        watching.cancel()
        return usage, [jobs.get()[3] for _ in range(jobs.qsize())]

    cancelled = Chunk(finish_reason="cancelled", usage=Usage(3, 4, 5))
    usage, sent = asyncio.run(stop(Chunk("more "), cancelled))
    assert usage == Usage(3, 4, 5)
    assert [type(one) for one in sent] == [Cancel]
    assert asyncio.run(stop(LAST))[0] == LAST.usage  # it had ended by itself
    assert asyncio.run(stop(HttpError(503, "worker_died", "gone")))[0] is None
    assert asyncio.run(stop())[0] is None
