"""Counters, gauges and histograms in Prometheus' text format; labels never hold a user's text.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fitbot.serving.shared_state import SharedState

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass
class Histogram:
    """How many of the values seen were at most so large."""

    name: str
    help: str
    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self) -> Iterator[str]:
        """Write it."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        below = 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self.counts, strict=True):
            below += count
            yield f'{self.name}_bucket{{le="{bound}"}} {below}'
        yield f"{self.name}_sum {self.total}"
        yield f"{self.name}_count {below}"


class Metrics:
    """What a server counts of itself."""

    def __init__(self, shared: SharedState):
        """Start at zero."""
        self._shared = shared
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.rejected: Counter[str] = Counter()  # by code, of the refusals that are about room
        self.tokens_in = 0
        self.tokens_out = 0
        self.cancelled = 0
        self.interventions: Counter[str] = Counter()  # by the health layer's kind
        self.seconds = Histogram("fitbot_request_seconds", "Until the last byte was sent.")
        self.first_chunk = Histogram(
            "fitbot_first_chunk_seconds", "From admission to the answer's first piece."
        )
        self.between_chunks = Histogram(
            "fitbot_between_chunks_seconds", "From one piece of an answer to the next."
        )

    def text(self) -> str:
        """Write all of it."""
        lines = [*self._counters(), *self._gauges()]
        for histogram in (self.seconds, self.first_chunk, self.between_chunks):
            lines += histogram.lines()
        return "\n".join(lines) + "\n"

    def _counters(self) -> Iterator[str]:
        requests = {
            f'route="{route}",code="{code}"': count
            for (route, code), count in self.requests.items()
        }
        yield from _family("fitbot_requests_total", "counter", "Requests answered.", requests)
        rejected = {f'reason="{reason}"': count for reason, count in self.rejected.items()}
        yield from _family("fitbot_rejected_total", "counter", "Refused for room.", rejected)
        kinds = {f'kind="{kind}"': count for kind, count in self.interventions.items()}
        yield from _family("fitbot_interventions_total", "counter", "By the health layer.", kinds)
        for name, text, value in (
            ("fitbot_prompt_tokens_total", "Tokens read.", self.tokens_in),
            ("fitbot_completion_tokens_total", "Tokens written.", self.tokens_out),
            ("fitbot_cancelled_total", "Answers nobody waited for.", self.cancelled),
            ("fitbot_worker_restarts_total", "Workers replaced.", self._shared.restarts),
        ):
            yield from _family(name, "counter", text, {"": value})

    def _gauges(self) -> Iterator[str]:
        stats = self._shared.stats
        used = stats.kv_tokens_used / stats.kv_tokens if stats.kv_tokens else 0.0
        for name, text, value in (
            (
                "fitbot_ready",
                "1 when requests can be answered.",
                int(not self._shared.why_not_ready()),
            ),
            ("fitbot_in_flight", "Requests being answered.", self._shared.active),
            ("fitbot_engine_active", "Requests the engine is answering.", stats.active),
            ("fitbot_engine_waiting", "Requests the engine has not begun.", stats.waiting),
            ("fitbot_engine_slots", "Requests the engine can answer at once.", stats.slots),
            ("fitbot_kv_used_ratio", "Share of the engine's cache in use.", used),
        ):
            yield from _family(name, "gauge", text, {"": value})


def _family(
    name: str, kind: str, text: str, values: dict[str, int] | dict[str, float]
) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in sorted(values.items()):
        yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"
