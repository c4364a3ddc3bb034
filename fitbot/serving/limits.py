"""How many requests a client may make, a minute and at once, and whose turn it is."""

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from fitbot.serving.http_errors import HttpError
from fitbot.serving.settings import RequestLimits
from fitbot.serving.shared_state import SharedState


class RateLimiter:
    """A bucket of requests for each client, filled anew at a steady rate."""

    MAX_CLIENTS = 10_000  # the longest quiet is forgotten first; its bucket is the fullest

    def __init__(self, per_minute: int):
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, when

    def acquire(self, client: str) -> None:
        """Count one request.

        Raises:
            HttpError: 429; the bucket is empty.
        """
        now = time.monotonic()
        left, when = self._buckets.pop(client, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - when) * self.per_minute / 60)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self.MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise HttpError(
                429,
                "rate_limit_exceeded",
                f"more than {self.per_minute} requests a minute",
                retry_after=math.ceil((1 - left) * 60 / self.per_minute),
            )


class Turn:
    """A request that was admitted, and its place in the engine once it has one."""

    def __init__(self, client: str):
        self.client = client
        self.has_place = False
        self.waits: asyncio.Future[None] | None = None


class Admission:
    """Which requests are admitted, and in which order the engine gets them.

    The engine gets little more than it answers at once. The others wait here: whenever a place
    is free, the client with the fewest places has it, and equal ones take turns.
    """

    def __init__(self, limits: RequestLimits, shared: SharedState):
        """Begin with no requests.

        Args:
            limits: Requests at once, of one client and of all.
            shared: Says how many the engine answers at once, and is told how many there are.
        """
        self._limits = limits
        self._shared = shared
        self._of_client: Counter[str] = Counter()  # admitted
        self._placed: Counter[str] = Counter()
        self._waiting: dict[str, deque[Turn]] = {}  # whose turn is next comes first

    @contextmanager
    def admit(self, client: str) -> Iterator[Turn]:
        """Admit a request as long as the context is open.

        Raises:
            HttpError: 429; the client has as many as it may, or all together have and nobody
                who has more of them is waiting.
        """
        if self._of_client[client] >= self._limits.max_in_flight_per_key:
            raise HttpError(429, "too_many_requests", "too many requests at once", retry_after=1)
        if self._of_client.total() >= self._most and not self._displace(client):
            raise _overloaded()
        turn = Turn(client)
        self._count(self._of_client, client, 1)
        try:
            yield turn
        finally:
            self._count(self._of_client, client, -1)
            if turn.has_place:
                self._count(self._placed, client, -1)
                self._give_places()
            elif turn.waits:
                self._forget(turn)

    async def wait(self, turn: Turn) -> None:
        """Wait for a place in the engine, which is held until `admit` ends.

        Raises:
            HttpError: 429; somebody who had fewer requests needed this one's room.
        """
        turn.waits = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(turn.client, deque()).append(turn)
        self._give_places()
        await turn.waits

    @property
    def _most(self) -> int:
        return self._limits.most_in_flight(self._shared.stats.slots)

    def _places(self) -> int:
        """Return how many requests the engine gets at once.

        Some more than it answers, so that it need not wait for the next; never all, so that
        somebody waits who can make room for a client that has none.
        """
        most = self._most
        slots = self._shared.stats.slots or most
        return max(1, min(slots + max(1, slots // 8), most - max(1, most // 32)))

    def _give_places(self) -> None:
        places = self._places()
        while self._waiting and self._placed.total() < places:
            client = min(self._waiting, key=lambda one: self._placed[one])  # of equals the first
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind the others
            assert turn.waits
            if not turn.waits.done():  # or it was cancelled, and is about to be forgotten
                turn.has_place = True
                self._count(self._placed, client, 1)
                turn.waits.set_result(None)

    def _displace(self, newcomer: str) -> bool:
        """Refuse the last request that waits of who has most; False if that is the newcomer."""
        if not self._waiting:
            return False
        client = max(self._waiting, key=lambda one: self._of_client[one])
        if self._of_client[client] <= self._of_client[newcomer] + 1:
            return False
        turn = self._waiting[client][-1]
        self._forget(turn)
        if turn.waits and not turn.waits.done():  # or its client has left, which is as good
            turn.waits.set_exception(_overloaded())
        return True

    def _forget(self, turn: Turn) -> None:
        turns = self._waiting.get(turn.client, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[turn.client]

    def _count(self, counter: Counter[str], client: str, change: int) -> None:
        counter[client] += change
        if not counter[client]:
            del counter[client]
        self._shared.active = self._of_client.total()


def _overloaded() -> HttpError:
    return HttpError(429, "overloaded", "the server is full", retry_after=2)
