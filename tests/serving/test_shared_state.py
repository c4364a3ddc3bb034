"""What the processes of a server know of each other."""

import multiprocessing

import pytest

from fitbot.serving.shared_state import SERVING, SharedJson, SharedState
from tests.server_process import until


def test_shared_state_says_why_nothing_can_be_answered() -> None:
    shared = SharedState()
    assert shared.phase == SERVING
    assert shared.why_not_ready() == "the engine is starting"
    shared.worker = 5
    assert shared.why_not_ready() == "the engine does not move"
    shared.beat()
    assert shared.why_not_ready() is None


VALUES = [[letter * 1000] * 60 for letter in "abcdef"]


def write_on(shared: SharedJson) -> None:
    while True:
        for value in VALUES:
            shared.write(value)


def test_shared_json_is_read_whole_while_another_process_writes_it() -> None:
    shared = SharedJson(VALUES[0])
    writer = multiprocessing.get_context("spawn").Process(target=write_on, args=(shared,))
    writer.start()

    read: list[list[str]] = []

    def has_changed() -> bool:
        read.append(shared.read())
        return len(read) > 20 and read[-1] != VALUES[0]

    until(has_changed, 20)
    read += [shared.read() for _ in range(3000)]
    writer.kill()
    writer.join()

    assert all(value in VALUES for value in [*read, shared.read()])
    assert len({value[0][0] for value in read}) > 1
    with pytest.raises(ValueError, match="too long"):
        shared.write("x" * 70_000)
