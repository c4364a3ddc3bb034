"""Weights in 4 bits, and what happens without bitsandbytes, which holds them."""

import sys

import pytest
import torch
from torch import nn

from fitbot.base_model import nf4
from fitbot.base_model.loading import load_base
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import ConfigError

CPU = torch.device("cpu")


def test_without_bitsandbytes_a_4_bit_base_is_refused_in_one_line(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nf4, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"bitsandbytes.* is not installed; run pip install"):
        load_base(BaseSettings(base), device=CPU, compute_dtype=torch.float32)
    plain = BaseSettings(base, load_in_4bit=False)
    assert load_base(plain, device=CPU, compute_dtype=torch.float32).num_parameters()


def test_without_bitsandbytes_no_layer_is_in_4_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)

    assert nf4.count_4bit(nn.Sequential(nn.Linear(2, 2), nf4.ExpandedLinear(2, 2))) == (0, 1)


def test_without_bitsandbytes_its_optimizer_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.delitem(sys.modules, "fitbot.dpo.optimizer", raising=False)

    with pytest.raises(ConfigError, match="run pip install bitsandbytes, or set it to adamw"):
        import fitbot.dpo.optimizer  # noqa: F401
