"""How many requests a client may make, a minute and at once."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from fitbot.serving.http_errors import HttpError
from fitbot.serving.settings import RequestLimits


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


class Admission:
    """Counts the requests being answered, in all and for each client."""

    def __init__(self, limits: RequestLimits):
        self._limits = limits
        self._of_client: Counter[str] = Counter()

    @contextmanager
    def admit(self, client: str) -> Iterator[None]:
        """Hold a place as long as the context is open.

        Raises:
            HttpError: 429; the client has, or all clients together have, as many as they may.
        """
        if self._of_client[client] >= self._limits.max_in_flight_per_key:
            raise HttpError(429, "too_many_requests", "too many requests at once", retry_after=1)
        if self._of_client.total() >= self._limits.max_in_flight:
            raise HttpError(429, "overloaded", "the server is full", retry_after=2)
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            self._of_client += Counter()  # forgets clients without requests
