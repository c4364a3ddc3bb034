"""How much a client may send, ask and take; and the counting that enforces the last two."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from fitbot.base_model.settings import ServeSettings
from fitbot.errors import ConfigError
from fitbot.serving.http_errors import Refused


@dataclass(frozen=True)
class Limits:
    """What one request, one key and the whole server may use.

    Args:
        max_request_length: Characters of one question to /predict/.
        max_new_tokens: Tokens of one answer.
        max_messages: Messages of one conversation.
        max_message_length: Characters of one message.
        max_conversation_length: Characters of all messages.
        max_stops: Stop strings of one request.
        max_stop_length: Characters of one stop string.
        max_body_bytes: Bytes of one request's body.
        max_header_bytes: Bytes of one request's line and headers.
        request_seconds: From a request's admission to the end of its answer.
        receive_seconds: A client has to send its headers, and again its body.
        send_seconds: A client has to take each piece of its answer.
        max_in_flight: Requests being answered at once.
        max_in_flight_per_key: The same, of one key; without keys, of one address.
        rate_per_minute: Requests of one key; as many may come at once after a quiet minute.
        max_connections: Open connections.
        drain_seconds: Running answers have to finish when the server is told to end.

    Raises:
        ConfigError: One is not above 0.
    """

    max_request_length: int = ServeSettings.max_request_length
    max_new_tokens: int = 2048
    max_messages: int = 32
    max_message_length: int = 16_384
    max_conversation_length: int = 32_768
    max_stops: int = 4
    max_stop_length: int = 64
    max_body_bytes: int = 262_144
    max_header_bytes: int = 16_384
    request_seconds: float = 120.0
    receive_seconds: float = 10.0
    send_seconds: float = 30.0
    max_in_flight: int = 64
    max_in_flight_per_key: int = 16
    rate_per_minute: int = 240
    max_connections: int = 1024
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check that each leaves something."""
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"--{name} {value}: must be above 0")


class RateLimiter:
    """A bucket of requests for each client, filled anew at a steady rate."""

    MAX_CLIENTS = 10_000  # the longest quiet is forgotten first; its bucket is the fullest

    def __init__(self, per_minute: int):
        """Start with every bucket full."""
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, when

    def take(self, client: str) -> None:
        """Count one request.

        Raises:
            Refused: 429; the bucket is empty.
        """
        now = time.monotonic()
        left, when = self._buckets.pop(client, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - when) * self.per_minute / 60)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self.MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise Refused(
                429,
                "rate_limit_exceeded",
                f"more than {self.per_minute} requests a minute",
                retry_after=math.ceil((1 - left) * 60 / self.per_minute),
            )


class Admission:
    """Counts the requests being answered, in all and for each client."""

    def __init__(self, limits: Limits):
        """Start with none."""
        self._limits = limits
        self._of_client: Counter[str] = Counter()

    @property
    def active(self) -> int:
        """Requests being answered."""
        return self._of_client.total()

    @contextmanager
    def admit(self, client: str) -> Iterator[None]:
        """Hold a place as long as the context is open.

        Raises:
            Refused: 429; the client has, or all clients together have, as many as they may.
        """
        if self._of_client[client] >= self._limits.max_in_flight_per_key:
            raise Refused(429, "too_many_requests", "too many requests at once", retry_after=1)
        if self.active >= self._limits.max_in_flight:
            raise Refused(429, "overloaded", "the server is full", retry_after=2)
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            self._of_client += Counter()  # forgets clients without requests
