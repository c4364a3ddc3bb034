"""What a server is made with. Nothing heavy is imported: `fitbot serve --help` reads it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fitbot.base_model.introduction import Introduction
from fitbot.base_model.settings import ServeSettings
from fitbot.errors import ConfigError
from fitbot.generation.engine import Engine
from fitbot.generation.messages import Sampling
from fitbot.health.layer import HealthLayer
from fitbot.serving.keys import KeyRing


@dataclass(frozen=True)
class RequestLimits:
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
        max_in_flight: Requests being answered, or waiting, at once; by default 64, or twice what
            the engine answers at once if that is more.
        max_in_flight_per_key: The same, of one key; without keys, of one address.
        rate_per_minute: Requests of one key; as many may come at once after a quiet minute.
        max_connections: Open connections; for one more, the longest idle is closed.
        max_connections_per_address: The same, from one address, or one /64 of IPv6.
        start_seconds: The engine has to open; then its process is replaced.
        drain_seconds: Running answers have to finish when the server is told to end.

    Raises:
        ConfigError: One is not above 0, or answers could take up every connection.
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
    max_in_flight: int | None = None
    max_in_flight_per_key: int = 16
    rate_per_minute: int = 240
    max_connections: int = 1024
    max_connections_per_address: int = 256
    start_seconds: float = 900.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check that each leaves something."""
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"--{name} {value}: must be above 0")
        in_flight = self.most_in_flight(0)
        if self.max_connections <= in_flight:
            raise ConfigError(
                f"--max_connections {self.max_connections}: must be above max_in_flight, "
                f"{in_flight}; when all are being answered, probes need one, too"
            )

    def most_in_flight(self, slots: int) -> int:
        """Return `max_in_flight`, or its default beside an engine that answers so many at once."""
        return self.max_in_flight or max(64, min(2 * slots, self.max_connections - 1))


AddAdapter = Callable[[Any, str, Path], None]  # takes engine, name and folder; picklable


class AdminSettings(NamedTuple):
    """Who may add adapters while the server answers, from where, and how the engine takes them."""

    keys: KeyRing
    directory: Path
    add_adapter: AddAdapter


@dataclass(frozen=True)
class ServerSettings:
    """All that a server needs to know before it starts.

    Args:
        open_engine: Opens the engine in the worker process; must be picklable.
        limits: Of requests.
        keys: Who may ask; if there are none, everybody may.
        sampling: How answers are drawn unless a request says otherwise.
        health: Checks questions and filters answers, see docs/health.md; None: nothing does.
        admin: Who may add adapters; None if nobody may.
        only_local_names: Refuse hosts other than this machine's own names: a web page that has its
            own name resolve to 127.0.0.1 cannot ask a server that needs no key.
        cors_origins: Web pages of other origins that may ask from a browser, such as
            "https://app.example.com", or "*" for all.
        introductions: What models are, by name; of others nothing is known.
    """

    open_engine: Callable[[], Engine]
    limits: RequestLimits
    keys: KeyRing
    sampling: Sampling
    health: HealthLayer | None
    admin: AdminSettings | None
    only_local_names: bool
    cors_origins: tuple[str, ...] = ()
    introductions: Mapping[str, Introduction] = field(default_factory=dict)
