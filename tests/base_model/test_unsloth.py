"""The Unsloth backend, where Unsloth is installed: the same log-probs as stock transformers.

Unsloth patches transformers and PEFT for the whole process, so it runs in one of its own.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fitbot.errors import ConfigError
from tests.conftest import ROOT, make_policy

HERE = importlib.util.find_spec("unsloth") is not None

SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from tests.conftest import LIMITS, SYSTEM, make_policy
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.pairs.preferences import load_pairs
from fitbot.policy.policy import to_device

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32
chat = Chat(load_tokenizer({base!r}), system_prompt=SYSTEM)
pairs = chat.encode_pairs(load_pairs({data!r}, limit=4).pairs, LIMITS)
batch = to_device(collate_pairs(pairs, layout="rows", pad_id=0), torch.device(device))
policy = make_policy({base!r}, device=device, dtype=dtype, backend={backend!r}, load_in_4bit=True,
                     expand_4bit=False)
logps = policy.logps(batch)
logps.sum().backward()
norm = policy.adapter.grad.norm()
reference = policy.reference_logps(batch)
print("RESULT", *logps.flatten().tolist(), *reference.flatten().tolist(), norm.item())
"""


def results(base: str, backend: str) -> list[float]:
    script = SCRIPT.format(
        tests=str(ROOT / "tests"),
        base=base,
        data=str(ROOT / "data" / "fitness_train.json"),
        backend=backend,
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if "cannot run on this machine" in run.stderr:
        pytest.skip("this Unsloth needs a GPU")
    line = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
    assert line, run.stderr[-3000:]
    return [float(word) for word in line[0].split()[1:]]


@pytest.mark.skipif(not HERE, reason="unsloth is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="Unsloth's platform")
def test_unsloth_scores_as_transformers_does(base: str) -> None:
    ours, theirs = results(base, "transformers"), results(base, "unsloth")

    assert len(ours) == 17
    assert theirs == pytest.approx(ours, rel=2e-2)
    assert abs(ours[0] - ours[8]) > 0.5  # the adapter was on in one and off in the other


@pytest.mark.skipif(HERE, reason="unsloth is installed")
def test_a_missing_unsloth_is_an_error_that_says_how_to_get_it(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'fitbot\[unsloth\]'"):
        make_policy(base, backend="unsloth")
