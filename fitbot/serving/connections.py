"""Connections: how long they may take, how many there may be, and what HTTP they may speak.

Whoever connects can have a request answered at once, however many strangers hold connections
open: where there are too many, the one that has been idle longest makes room.
"""

import asyncio
import ipaddress
import logging
import re
import socket
from collections import Counter
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fitbot.errors import ConfigError
from fitbot.platforms import allow_open_files
from fitbot.serving.http_errors import HttpError
from fitbot.serving.settings import RequestLimits

BACKLOG = 512  # connections that the kernel holds until they are accepted, all of them at once
_OTHER_FILES = 128
_IDLE_SECONDS = 0.5  # a connection that is younger, or was used since, is not closed for others
_LOG_SECONDS = 10.0  # from one line about it to the next, at least
_LINGER_SECONDS = 2.0  # for a client that is still sending to read why nobody listens
_SEND_BUFFER_BYTES = 65_536
_FOLDED = re.compile(rb"\n[ \t]")

log = logging.getLogger(__name__)


def allow_connections(limits: RequestLimits) -> None:
    """Have the kernel let this process, and those it starts, hold so many connections.

    Raises:
        ConfigError: It does not: accepting would stop for a second whenever files run out.
    """
    wanted = limits.max_connections + 2 * BACKLOG + _OTHER_FILES
    allowed = allow_open_files(wanted)
    if allowed < wanted:
        raise ConfigError(
            f"--max_connections {limits.max_connections}: takes up to {wanted} open files, and "
            f"this process may have {allowed}; raise `ulimit -Hn`, or lower --max_connections"
        )


def network_of(address: str) -> str:
    """Return what counts as one client: an address, or the /64 that a host has of IPv6."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped:
            return str(known.ipv4_mapped)
        return str(ipaddress.ip_network((known, 64), strict=False))
    return address


class Connections:
    """All open connections, the one whose last request is longest ago first.

    Those beyond the limits are closed, but not at once: of a thousand that come together, one
    has a request on it.
    """

    def __init__(self, limits: RequestLimits):
        self._limits = limits
        self._networks: dict[ClientProtocol, str] = {}
        self._of_network: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = 0
        self._log_at = 0.0

    def add(self, connection: "ClientProtocol", address: str) -> None:
        """Take a connection, for which an idle one may have to go."""
        network = network_of(address)
        self._networks[connection] = network
        self._of_network[network] += 1
        over = len(self._networks) - self._limits.max_connections
        if over >= BACKLOG:
            self._close_idle(connection.loop, 0)  # before files run out
        elif over > 0 or self._of_network[network] > self._limits.max_connections_per_address:
            self._close_idle_soon(connection.loop)

    def move_to_end(self, connection: "ClientProtocol") -> None:
        """Take note that a request was answered."""
        if network := self._networks.pop(connection, None):
            self._networks[connection] = network

    def remove(self, connection: "ClientProtocol") -> None:
        """Forget a connection that is closed; there is no harm in doing so twice."""
        if network := self._networks.pop(connection, None):
            self._of_network[network] -= 1
            if not self._of_network[network]:
                del self._of_network[network]

    def _close_idle_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not (self._timer and self._timer.when() > loop.time()):
            self._timer = loop.call_later(_IDLE_SECONDS, self._close_idle, loop, _IDLE_SECONDS)

    def _close_idle(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Close those beyond the limits, the longest idle first; none that has a place."""
        of_one, of_all = self._limits.max_connections_per_address, self._limits.max_connections
        for connection, network in list(self._networks.items()):
            if self._of_network[network] > of_one or len(self._networks) > of_all:
                if connection.idle_since > loop.time() - seconds:
                    self._close_idle_soon(loop)
                    break
                if not connection.has_place:
                    self.remove(connection)
                    connection.transport.abort()
                    self._closed += 1
        if self._closed and loop.time() >= self._log_at:
            self._log_at = loop.time() + _LOG_SECONDS
            (most_from, _), *_ = self._of_network.most_common(1)
            fields = {"closed": self._closed, "most_from": most_from}
            log.warning("too many connections; idle ones are closed", extra=fields)
            self._closed = 0


class ClientProtocol(H11Protocol):
    """uvicorn's protocol, with limits of time, number and size, and stricter about HTTP."""

    conn: "_StrictConnection"

    def __init__(self, *args: Any, limits: RequestLimits, connections: Connections, **kwargs: Any):
        """Take the limits, the other connections, and what uvicorn gives."""
        super().__init__(*args, **kwargs)
        self.conn = _StrictConnection(limits.max_header_bytes)
        self._receive_seconds = limits.receive_seconds
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_place(self) -> bool:
        """Whether its request is among those that are being answered."""
        return bool(self.cycle and self.cycle.scope["state"].get("has_place"))

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        self.idle_since = self.loop.time()
        lingering: Any = _Lingering(transport, self)
        super().connection_made(lingering)
        # The kernel would take megabytes for a client that does not read.
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES
        )
        self._connections.add(self, self.client[0] if self.client else "unknown")
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Wait no more when the headers are complete."""
        if self.transport.is_closing():
            return  # what comes after the answer is of no interest
        super().data_received(data)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._connections.remove(self)
        self._stop_timer()

    def on_response_complete(self) -> None:
        """Go on with the next request, unless this one's body has not been read."""
        self.idle_since = self.loop.time()
        self._connections.move_to_end(self)
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP as every other error is told; never with what was sent."""
        status = self.conn.refused_with
        messages = {
            431: "the request's line and headers are too large",
            501: "of transfer encodings only chunked is understood",
        }
        message = messages.get(status, "this is no valid HTTP/1.1 request")
        codes = {431: "headers_too_large", 501: "not_implemented"}
        self._refuse(HttpError(status, codes.get(status, "invalid_http"), message))

    def _refuse(self, error: HttpError) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = error.response()
            headers = [*response.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(
                    status_code=error.status,
                    headers=headers,
                    reason=HTTPStatus(error.status).phrase.encode(),
                ),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _update_timer(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self._receive_seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class _Lingering:
    """A transport that, closed while the client sends, listens on so that the client can read.

    The kernel answers what comes after a close with a reset, on which many clients throw away
    the answer that they have.
    """

    def __init__(self, transport: Any, protocol: ClientProtocol):
        self._transport = transport
        self._protocol = protocol
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._is_closed or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._is_closed = True
        if self._protocol.conn.their_state in (h11.SEND_BODY, h11.ERROR):
            self._transport.write_eof()
            self._protocol.loop.call_later(_LINGER_SECONDS, self._transport.abort)
        else:
            self._transport.close()


class _StrictConnection(h11.Connection):
    """h11's reading of requests, less what two servers in a row could read in two ways.

    h11 limits headers only until they are complete, unfolds lines, and takes Content-Length
    beside Transfer-Encoding: RFC 9112, sections 5.2 and 6.1, has a server refuse both.
    """

    refused_with = 400  # the status, once `next_event` has raised

    def __init__(self, max_header_bytes: int):
        super().__init__(h11.SERVER, max_incomplete_event_size=max_header_bytes)
        self._max_header_bytes = max_header_bytes

    def next_event(self) -> Any:
        try:
            if self.their_state is not h11.IDLE:
                return super().next_event()
            before, _ = self.trailing_data
            event = super().next_event()
            if isinstance(event, h11.Request):
                after, _ = self.trailing_data
                self._check(event, before[: len(before) - len(after)])
        except h11.RemoteProtocolError as error:
            self.refused_with = error.error_status_hint
            raise
        return event

    def _check(self, request: h11.Request, head: bytes) -> None:
        names = {name for name, _ in request.headers}
        if len(head) > self._max_header_bytes:
            raise h11.RemoteProtocolError("too large", error_status_hint=431)
        if _FOLDED.search(head):
            raise h11.RemoteProtocolError("a header of several lines")
        if b"transfer-encoding" in names and (
            b"content-length" in names or request.http_version < b"1.1"
        ):
            raise h11.RemoteProtocolError("a body of two lengths")
