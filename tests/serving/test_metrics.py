"""What /metrics shows."""

import itertools

from fitbot.serving.metrics import Metrics
from fitbot.serving.shared_state import SharedState


def test_metrics_are_in_prometheus_format() -> None:
    metrics = Metrics(SharedState())
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
