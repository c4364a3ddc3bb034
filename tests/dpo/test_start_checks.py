"""What a run is refused for before its first step, and what `precision: auto` means on a device."""

from contextlib import nullcontext

import pytest
import torch

from fitbot.dpo.start_checks import check_checkpoint, compute_dtype_of, precision_for
from fitbot.errors import ConfigError


@pytest.mark.parametrize(
    ("device", "has_it", "precision"),
    [
        ("cuda", True, "bf16-mixed"),
        ("cuda", False, "16-mixed"),
        ("cpu", True, "bf16-mixed"),
        ("cpu", False, "32-true"),
        ("mps", True, "32-true"),
    ],
)
def test_auto_is_bfloat16_where_the_device_has_it(
    device: str, has_it: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_it)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)

    assert precision_for(torch.device(device)) == precision


def test_bfloat16_that_a_gpu_has_not_is_refused_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)

    assert compute_dtype_of("16-mixed", torch.device("cuda")) == torch.float16
    with pytest.raises(ConfigError, match=r"no bfloat16; set trainer\.precision: auto"):
        compute_dtype_of("bf16-mixed", torch.device("cuda"))


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ("bf16-mixed", "bf16-mixed", 0),
        ("bf16-mixed", "16-mixed", 1),
        ("bf16-mixed", None, 0),  # it is not trained on
        (None, "16-mixed", 0),  # of a time when checkpoints did not know
    ],
)
def test_going_on_in_another_precision_is_said(
    theirs: str | None,
    ours: str | None,
    said: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    same = {
        "base_model": "x",
        "load_in_4bit": True,
        "adapter": None,
        "lora": {"r": 16, "alpha": 16, "use_rslora": False},
    }
    checkpoint = {"state_dict": {}, "hyper_parameters": same}
    checkpoint |= {} if theirs is None else {"precision": theirs}  # type: ignore[dict-item]

    check_checkpoint(checkpoint, set(), same, ours)

    assert len(caplog.messages) == said
    assert all("trained with trainer.precision bf16-mixed" in text for text in caplog.messages)
