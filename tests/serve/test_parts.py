"""What is easier to see without a server."""

import asyncio
import itertools
import json
import time

import pytest

from fitbot.answers.engine import Chunk, Sampling, Stream, Usage
from fitbot.errors import AdapterError, ConfigError
from fitbot.serve import chat
from fitbot.serve.app import _sampling, main
from fitbot.serve.board import SERVING, Board
from fitbot.serve.limits import Limits
from fitbot.serve.metrics import Metrics
from fitbot.serve.relay import Piece
from fitbot.serve.worker import BUNDLE_CHUNKS, bundled

LAST = Chunk("end", finish_reason="stop", usage=Usage(1, 2, 3))


def bundles_of(stream: Stream, seconds: float = 5) -> list[list[Chunk]]:
    async def collect() -> list[list[Chunk]]:
        until = time.monotonic() + seconds
        return [bundle async for bundle in bundled(stream, until=until)]

    return asyncio.run(collect())


def test_chunks_that_come_together_travel_together() -> None:
    stream = Stream()
    chunks = [*(Chunk(str(n)) for n in range(20)), LAST]
    for chunk in chunks:
        stream.put(chunk)

    bundles = bundles_of(stream)

    assert [chunk for bundle in bundles for chunk in bundle] == chunks
    assert [len(bundle) for bundle in bundles] == [1, 8, 8, 4]
    assert BUNDLE_CHUNKS == 8


def test_a_chunk_is_not_held_until_the_next_one_comes() -> None:
    stream = Stream()
    stream.put(Chunk("first"))
    stream.put(Chunk("second"))

    bundles = bundles_of(stream, seconds=0.2)  # and then silence

    assert [[chunk.text for chunk in bundle] for bundle in bundles] == [["first"], ["second"]]


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
