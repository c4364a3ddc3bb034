"""Counters, gauges and histograms in Prometheus' text format; labels never hold a user's text.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

from fitbot.serving.logs import dropped_lines
from fitbot.serving.shared_state import SharedState

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Histogram:
    """How many of the values seen were at most so large."""

    def __init__(self, name: str, text: str):
        self._name = name
        self._text = text
        self._counts = [0] * (len(_SECONDS) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._total += seconds

    def lines(self) -> Iterator[str]:
        """Write it."""
        bounds = (f'_bucket{{le="{bound}"}}' for bound in (*_SECONDS, "+Inf"))
        values = dict(zip(bounds, accumulate(self._counts), strict=True))
        more = {"_sum": self._total, "_count": sum(self._counts)}
        return _family(f"{self._name}_seconds", "histogram", self._text, values | more)


class Metrics:
    """What a server counts of itself."""

    def __init__(self, shared: SharedState):
        self._shared = shared
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.rejected: Counter[str] = Counter()  # by code, of the refusals that are about room
        self.tokens_in = 0
        self.tokens_out = 0
        self.cancelled = 0
        self.interventions: Counter[tuple[str, str]] = (
            Counter()
        )  # of the health layer: what, by whom
        self.seconds = Histogram("request", "Until the last byte was sent.")
        self.queue = Histogram("queue", "From admission to a place in the engine.")
        self.first_chunk = Histogram("first_chunk", "From admission to the answer's first piece.")
        self.between_chunks = Histogram(
            "between_chunks", "From one piece of an answer to the next."
        )

    def text(self) -> str:
        """Write all of it."""
        stats = self._shared.stats
        requests = {f'{{route="{r}",code="{c}"}}': n for (r, c), n in sorted(self.requests.items())}
        rejected = {f'{{reason="{r}"}}': n for r, n in sorted(self.rejected.items())}
        interventions = sorted(self.interventions.items())
        kinds = {f'{{kind="{kind}",by="{by}"}}': n for (kind, by), n in interventions}
        ready = int(not self._shared.why_not_ready())
        used = stats.kv_tokens_used / stats.kv_tokens if stats.kv_tokens else 0.0
        families: list[tuple[str, str, Mapping[str, float] | float]] = [
            ("requests_total", "Requests answered.", requests),
            ("rejected_total", "Refused for room.", rejected),
            ("interventions_total", "By the health layer.", kinds),
            ("prompt_tokens_total", "Tokens read.", self.tokens_in),
            ("completion_tokens_total", "Tokens written.", self.tokens_out),
            ("cancelled_total", "Answers nobody waited for.", self.cancelled),
            ("worker_restarts_total", "Workers replaced.", self._shared.restarts),
            ("log_lines_dropped_total", "Log lines nobody took.", dropped_lines()),
            ("ready", "1 when requests can be answered.", ready),
            ("in_flight", "Requests being answered.", self._shared.active),
            ("engine_active", "Requests the engine is answering.", stats.active),
            ("engine_waiting", "Requests the engine has not begun.", stats.waiting),
            ("engine_slots", "Requests the engine can answer at once.", stats.slots),
            ("preemptions_total", "Requests put back, the cache being full.", stats.preempted),
            ("kv_used_ratio", "Share of the engine's cache in use.", used),
        ]
        lines: list[str] = []
        for name, text, found in families:
            kind = "counter" if name.endswith("_total") else "gauge"
            samples = found if isinstance(found, Mapping) else {"": found}
            lines += _family(name, kind, text, samples)
        for histogram in (self.seconds, self.queue, self.first_chunk, self.between_chunks):
            lines += histogram.lines()
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Mapping[str, float]) -> Iterator[str]:
    """Write a metric; a sample's key is what follows the name, such as labels in braces."""
    yield f"# HELP fitbot_{name} {text}"
    yield f"# TYPE fitbot_{name} {kind}"
    for suffix, value in samples.items():
        yield f"fitbot_{name}{suffix} {value}"
