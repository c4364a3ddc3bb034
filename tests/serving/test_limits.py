"""How much one client, and all of them, get."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from fitbot.errors import ConfigError
from fitbot.generation.messages import Stats
from fitbot.serving.http_errors import HttpError
from fitbot.serving.limits import Admission, RateLimiter
from fitbot.serving.settings import RequestLimits
from fitbot.serving.shared_state import SharedState
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, until


def test_a_limit_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="--rate_per_minute 0: must be above 0"):
        RequestLimits(rate_per_minute=0)


def test_a_bucket_refills_at_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rates = RateLimiter(60)
    for _ in range(60):
        rates.acquire("a")

    with pytest.raises(HttpError) as raised:
        rates.acquire("a")
    assert raised.value.headers == {"Retry-After": "1"}
    rates.acquire("b")  # has a bucket of its own
    now[0] += 1.0
    rates.acquire("a")


def test_clients_beyond_a_number_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimiter, "MAX_CLIENTS", 10)
    rates = RateLimiter(60)

    for client in range(100):
        rates.acquire(str(client))

    assert len(rates._buckets) == 10


def test_places_are_given_back_whatever_happens() -> None:
    admission = Admission(RequestLimits(max_in_flight=1), SharedState())

    with pytest.raises(ZeroDivisionError), admission.admit("a"):
        raise ZeroDivisionError

    assert not admission._of_client
    with admission.admit("a"), pytest.raises(HttpError, match="full"), admission.admit("b"):
        pass


def engine_of(slots: int) -> SharedState:
    """What the API process knows of a worker whose engine answers so many at once."""
    shared = SharedState()
    shared.beat(Stats(0, 0, slots, 0, 0, 0))
    return shared


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests that are answered in the order in which they get a place."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.order: list[str] = []
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.placed: list[asyncio.Task[Any] | None] = []

    async def come(self, *clients: str) -> None:
        """Have one request come after the other."""
        for client in clients:
            self.tasks.append(asyncio.create_task(self._ask(client)))
            await settle()

    async def finish(self) -> None:
        """Have the one that has had its place for longest be answered."""
        task = self.placed.pop(0)
        assert task
        task.cancel()
        await settle()

    async def leave(self, *numbers: int) -> None:
        """Have those that came first, second and so on go away."""
        for number in numbers:
            self.tasks[number].cancel()
            await settle()

    async def _ask(self, client: str) -> None:
        try:
            with self.admission.admit(client) as turn:
                await self.admission.wait(turn)
                self.order.append(client)
                self.placed.append(asyncio.current_task())
                await asyncio.Event().wait()
        except HttpError as error:
            self.refused.append(f"{client} {error.status}")


def test_requests_are_taken_round_by_round_over_clients() -> None:
    async def go() -> None:
        crowd = Crowd(Admission(RequestLimits(), engine_of(1)))  # one, and one more ahead of time
        await crowd.come(*"aaaaaabbbcd")
        assert crowd.order == ["a", "a"]
        while crowd.placed:
            await crowd.finish()
        assert "".join(crowd.order) == "aa" + "bacd" + "baba" + "a"

    asyncio.run(go())


def test_a_client_with_fewer_places_goes_first() -> None:
    async def go() -> None:
        crowd = Crowd(Admission(RequestLimits(), engine_of(3)))
        await crowd.come(*"aaaaaaab")
        await crowd.leave(0)
        assert "".join(crowd.order) == "aaaab"
        await crowd.come("b")
        await crowd.leave(1)
        assert "".join(crowd.order) == "aaaabb"  # b had one, a two
        await crowd.leave(2)
        assert "".join(crowd.order) == "aaaabba"

    asyncio.run(go())


def test_those_who_leave_while_they_wait_leave_nothing_behind() -> None:
    async def go() -> None:
        shared = engine_of(1)
        admission = Admission(RequestLimits(), shared)
        crowd = Crowd(admission)
        await crowd.come(*"aabbb")
        assert shared.active == 5
        await crowd.leave(3, 0, 1, 2, 4)
        assert crowd.order == ["a", "a", "b", "b"]
        assert shared.active == 0
        assert [*admission._waiting, *admission._of_client, *admission._placed] == []

    asyncio.run(go())


def test_who_waits_with_most_makes_room_for_who_has_none() -> None:
    async def go() -> None:
        limits = RequestLimits(max_in_flight=8, max_in_flight_per_key=8)
        crowd = Crowd(Admission(limits, engine_of(2)))
        await crowd.come(*"aaaaaabb")
        await crowd.come("c")
        assert crowd.refused == ["a 429"]
        await crowd.come("a")
        assert crowd.refused == ["a 429"] * 2
        await crowd.come(*"ccd")  # until nobody has two more than the newcomer
        assert crowd.refused == ["a 429"] * 4 + ["c 429"]
        await crowd.leave(0)
        assert crowd.order == ["a", "a", "a", "b"]

    asyncio.run(go())


def test_a_full_engine_leaves_room_for_a_client_without_a_place() -> None:
    async def go() -> None:
        limits = RequestLimits(max_in_flight=8, max_in_flight_per_key=8)
        crowd = Crowd(Admission(limits, engine_of(100)))
        await crowd.come(*"aaaaaaaa")
        assert len(crowd.order) == 7
        await crowd.come("b")
        assert crowd.refused == ["a 429"]
        await crowd.leave(0)
        assert crowd.order[-1] == "b"

    asyncio.run(go())


def predict_all(server: ServerProcess, number: int, **fields: Any) -> list[httpx.Response]:
    with ThreadPoolExecutor(number) as pool:
        texts = [f"question {n}" for n in range(number)]
        return list(pool.map(lambda text: server.predict(text, **fields), texts))


@pytest.mark.parametrize(
    ("limits", "slots", "most"),
    [
        (RequestLimits(), 0, 64),
        (RequestLimits(), 16, 64),
        (RequestLimits(), 128, 256),
        (RequestLimits(max_connections=100), 128, 99),
        (RequestLimits(max_in_flight=8), 128, 8),
    ],
)
def test_how_many_fit_follows_the_engine_unless_it_is_said(
    limits: RequestLimits, slots: int, most: int
) -> None:
    assert limits.most_in_flight(slots) == most


@pytest.mark.slow
def test_more_than_fit_are_told_to_come_back(start: Start) -> None:
    server = start("--max_in_flight=8", "--max_in_flight_per_key=40")

    responses = predict_all(server, 40, max_new_tokens=400)

    statuses = [response.status_code for response in responses]
    assert statuses.count(200) == 8
    assert statuses.count(429) == 32
    assert all(int(r.headers["retry-after"]) >= 1 for r in responses if r.status_code == 429)
    assert server.metric('fitbot_rejected_total{reason="overloaded"}') == 32
    assert server.metric("fitbot_in_flight") == 0
    assert server.predict("say yes").status_code == 200


@pytest.mark.slow
def test_who_does_not_wait_as_told_is_refused_late_and_answered_as_soon_as_before(
    start: Start,
) -> None:
    options = ("--max_in_flight=1", "--rate_per_minute=1000")
    server = start(*options, FITBOT_TOY="0.05")

    def seconds() -> float:
        begun = time.monotonic()
        assert server.predict("say yes").status_code == 429
        return time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(server.predict, "long", max_new_tokens=240)
        until(lambda: server.metric("fitbot_in_flight") == 1, 10)
        at_once = [seconds() for _ in range(50)]
        late = next(waited for waited in iter(seconds, None) if waited > 0.9)
        assert long.result().status_code == 200
    begun = time.monotonic()

    assert server.predict("say yes").status_code == 200
    assert late < 2.5
    assert time.monotonic() - begun < 0.9
    assert sorted(at_once)[25] < 0.5


def test_one_client_gets_no_more_than_its_share(start: Start) -> None:
    server = start("--max_in_flight_per_key=2")

    statuses = [response.status_code for response in predict_all(server, 6, max_new_tokens=200)]

    assert sorted(statuses) == [200] * 2 + [429] * 4


def test_whoever_has_read_an_end_may_ask_again_at_once(start: Start) -> None:
    server = start("--max_in_flight=1", FITBOT_TOY="0.001")
    statuses, streams = [], 100
    with socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
        for number in range(2 * streams):
            fields = {"stream": number < streams, "max_tokens": 2}
            question = [{"role": "user", "content": "hi"}]
            body = json.dumps({"messages": question, **fields}).encode()
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            received = b""
            while not received.endswith((b"\r\n0\r\n\r\n", b"}")):
                received += connection.recv(65536)
            statuses.append(received[9:12])

    assert set(statuses) == {b"200"}


@pytest.mark.slow
def test_a_polite_key_beside_four_greedy_ones(start: Start) -> None:
    names = ["polite", "greed1", "greed2", "greed3", "greed4"]
    keys = {name: f"{name}-correct-horse" for name in names}
    options = ("--rate_per_minute=100000", "--max_in_flight_per_key=64")
    server = start(*options, FITBOT_API_KEYS=",".join(keys.values()), FITBOT_TOY_SLOTS="4")
    ends = threading.Event()

    def ask(client: httpx.Client, name: str) -> int:
        body = {"user_query": "hi", "max_new_tokens": 50}
        headers = {"X-API-Key": keys[name]}
        return client.post(f"{server.url}/predict/", json=body, headers=headers).status_code

    def ask_on(name: str) -> None:
        with httpx.Client(timeout=60) as client:
            while not ends.is_set():
                if ask(client, name) == 429:
                    time.sleep(0.2)

    def wait_of_the_polite_one() -> float:
        waits = []
        with httpx.Client(timeout=60) as client:
            for _ in range(9):
                begun = time.monotonic()
                assert ask(client, "polite") == 200
                waits.append(time.monotonic() - begun)
        return sorted(waits)[4]

    alone = wait_of_the_polite_one()
    threads = [threading.Thread(target=ask_on, args=(name,)) for name in names[1:] * 20]
    for thread in threads:
        thread.start()
    try:
        until(lambda: '"status": 429' in server.log_file.read_text(), 20)
        beside = wait_of_the_polite_one()
    finally:
        ends.set()
        for thread in threads:
            thread.join()

    assert beside < 2 * alone


def test_a_client_that_asks_too_often(start: Start) -> None:
    server = start("--rate_per_minute=3")

    statuses = [server.predict("say yes").status_code for _ in range(5)]

    assert statuses == [200, 200, 200, 429, 429]
    assert server.status("/livez") == server.status("/readyz") == 200


@pytest.mark.parametrize("text", ["long", "hang"])
def test_an_answer_that_takes_too_long(start: Start, text: Any) -> None:
    server = start("--request_seconds=1", "--max_new_tokens=2000", FITBOT_TOY="0.05")
    begun = time.monotonic()

    response = server.predict(text, max_new_tokens=2000)

    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline"
    assert time.monotonic() - begun < 4
    assert server.predict("say yes").status_code == 200


def test_a_stream_that_takes_too_long_ends_with_an_error_event(start: Start) -> None:
    server = start("--request_seconds=1", FITBOT_TOY="0.05")
    messages = [{"role": "user", "content": "hi"}]
    body = {"messages": messages, "stream": True}

    text = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=10).text

    assert '"code": "deadline"' in text
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.slow
def test_headers_that_never_end_and_bodies_that_never_come(start: Start) -> None:
    server = start("--receive_seconds=1")
    head = b"POST /predict/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    for sent, expected in [
        (b"", b""),
        (b"GET /livez HT", b""),
        (head, b""),
        (head + b"Content-Length: 50\r\n\r\n{", b"HTTP/1.1 408 "),
    ]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
            connection.sendall(sent)
            received = connection.recv(100)
        assert received.startswith(expected)
        assert received or not expected


@pytest.mark.slow
def test_a_client_that_does_not_read_holds_up_nobody(start: Start) -> None:
    server = start("--send_seconds=1", "--max_new_tokens=200000", FITBOT_TOY="0.0001")
    fields = {"stream": True, "max_tokens": 200_000}
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        until(lambda: server.metric("fitbot_in_flight") == 1, 5)

        assert server.predict("say yes").status_code == 200
        until(lambda: server.metric("fitbot_in_flight") == 0, 30)


def test_streams_do_not_hold_up_the_health_check(server: ServerProcess) -> None:
    ends = threading.Event()

    def stream() -> None:
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=20) as response:
            for _ in response.iter_lines():
                if ends.is_set():
                    return

    threads = [threading.Thread(target=stream) for _ in range(32)]
    for thread in threads:
        thread.start()
    until(lambda: server.metric("fitbot_in_flight") == 32, 10)
    with httpx.Client() as client:
        waits = []
        for _ in range(50):
            begun = time.monotonic()
            assert client.get(f"{server.url}/livez").status_code == 200
            waits.append(time.monotonic() - begun)
    ends.set()
    for thread in threads:
        thread.join()

    assert sorted(waits)[-3] < 1.0  # on two busy cores; the load itself is in this process
    until(lambda: server.metric("fitbot_in_flight") == 0, 5)
