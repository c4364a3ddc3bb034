"""What /openapi.json promises, tried with generated requests, right ones and wrong ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve_fixtures import Start

pytest.importorskip("schemathesis")

SCHEMATHESIS = Path(sys.executable).parent / "st"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paths", "excluded"),
    [
        # What no schema can say: the last message is the user's, some fields want others.
        ("chat", "positive_data_acceptance"),
        # Nor that token ids are scored only.
        ("v1/completions", "positive_data_acceptance"),
        ("(predict|livez|readyz|health|version|models|metrics)", "none"),
        ("lora", "none"),
    ],
    ids=["chat", "completions", "others", "adapters"],
)
def test_generated_requests(start: Start, tmp_path: Path, paths: str, excluded: str) -> None:
    server = start(
        "--max_new_tokens=4",
        "--rate_per_minute=1000000",
        f"--adapters={tmp_path}",
        FITBOT_TOY="0.001",
        FITBOT_ADMIN_KEYS="staple-staple-staple",
    )
    skip = [] if excluded == "none" else ["--exclude-checks", excluded]

    done = subprocess.run(
        [str(SCHEMATHESIS), "run", f"{server.url}/openapi.json", "--mode=all", "--max-examples=30"]
        + ["--seed=1", "--request-timeout=20", "--phases=coverage,fuzzing", "--no-color"]
        + [f"--include-path-regex={paths}", "--suppress-health-check=all", *skip]
        + ["--header=X-API-Key: staple-staple-staple"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert server.metric('fitbot_requests_total{route="other",code="500"') == 0
