"""What is easier to see without a server."""

import asyncio
import itertools
import json
import pickle
import queue
from contextlib import ExitStack
from dataclasses import replace

import pytest
from litserve.utils import LitAPIStatus

from fitbot.commands.serve import _sampling, main
from fitbot.errors import AdapterError, ConfigError
from fitbot.generation.messages import Chunk, Sampling, Usage
from fitbot.serving import openai_format as chat
from fitbot.serving.http_errors import Failure
from fitbot.serving.jobs import Piece, Request, Switchboard
from fitbot.serving.limits import Limits
from fitbot.serving.metrics import Metrics
from fitbot.serving.shared_state import SERVING, Board
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
        failure = Failure(500, "code", "message")
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
            [("a", replace(LAST, text="and the end")), ("b", Chunk("and the ")), ("b", failure)]
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


def test_who_waits_for_a_chunk_is_told_that_none_has_come() -> None:
    async def go() -> None:
        board = Board()
        board.worker = 5
        board.beat()
        switchboard = Switchboard(board, Metrics(board))
        switchboard.connect(queue.SimpleQueue(), {}, 0)
        watching = asyncio.create_task(switchboard.watch())
        with ExitStack() as exits:
            relay = switchboard.send(Request((), Sampling(), None, seconds=9), exits)

            assert await relay.next(0.01) is None
            for chunk in (Chunk("one "), Chunk("two "), LAST):
                relay.item.response_queue.append((chunk, LitAPIStatus.OK))
            assert await relay.next(5) == replace(LAST, text="one two end")
        watching.cancel()

    asyncio.run(go())


def test_a_silent_stream_is_kept_open_by_pings() -> None:
    class Answer:
        coming = [None, None, Piece("hi", finish_reason="stop")]

        async def next(self, patience: float) -> Piece | None:
            assert patience == 15
            return self.coming.pop(0)

    async def collect() -> list[str]:
        completion = chat.Completion("id", "toy", with_logprobs=False)
        events = completion.events(Piece(""), Answer(), include_usage=False)
        return [event async for event in events]

    role, ping, other_ping, text, finish, done = asyncio.run(collect())
    assert ping == other_ping == ": ping\n\n"
    assert '"content": "hi"' in text
    assert json.loads(finish.removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"
    assert done == "data: [DONE]\n\n"


def test_a_board_says_why_nothing_can_be_answered() -> None:
    board = Board()
    assert board.state == SERVING
    assert board.trouble() == "the engine is starting"
    board.worker = 5
    assert board.trouble() == "the engine does not move"
    board.beat()
    assert board.trouble() is None


def test_metrics_are_in_prometheus_format() -> None:
    metrics = Metrics(Board())
    metrics.requests["/predict/", 200] += 2
    metrics.first_chunk.observe(0.3)

    lines = metrics.text().splitlines()

    assert 'fitbot_requests_total{route="/predict/",code="200"} 2' in lines
    assert 'fitbot_first_chunk_seconds_bucket{le="0.25"} 0' in lines
    assert 'fitbot_first_chunk_seconds_bucket{le="0.5"} 1' in lines
    assert 'fitbot_first_chunk_seconds_bucket{le="+Inf"} 1' in lines
    samples = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(samples) == len(set(samples))
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert all(count == 1 for _, group in itertools.groupby(families) for count in [len([*group])])


def test_answers_are_drawn_as_the_run_says(tmp_path) -> None:
    answers = {"temperature": 0.3, "top_p": 0.5, "do_sample": True, "max_new_tokens": 77}
    (tmp_path / "fitbot.json").write_text(json.dumps({"answers": answers}))

    assert _sampling(tmp_path, Limits()) == Sampling(77, temperature=0.3, top_p=0.5)
    assert _sampling(tmp_path, Limits(max_new_tokens=9)).max_new_tokens == 9


@pytest.mark.parametrize("content", ["", "[]", '{"answers": {"heat": 1}}'])
def test_an_adapter_that_is_none_is_an_error(tmp_path, content) -> None:
    with pytest.raises(AdapterError, match="fitbot.json"):
        _sampling(tmp_path, Limits())
    (tmp_path / "fitbot.json").write_text(content)
    with pytest.raises(AdapterError, match="export the adapter anew"):
        _sampling(tmp_path, Limits())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_in_flight=0"], "--max_in_flight 0: must be above 0"),
        (["--keys_file=/nonexistent"], "--keys_file /nonexistent"),
        (["--remote=http://x/v1", "--remote_fields=[]"], r"--remote_fields \[\]: it must be"),
    ],
)
def test_options_that_cannot_be_are_errors(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        main(["serve", *options])


@pytest.mark.parametrize("option", ["--prot=8000", "--host=evil", "--port=x"])
def test_options_that_are_not_known_are_refused(option, capsys) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["serve", option])

    assert raised.value.code == 2
    assert "usage: fitbot serve" in capsys.readouterr().err
