"""Adapters as fit exports them, on the tests' random Qwen3; and records that say what they are."""

from pathlib import Path
from typing import Any

import torch

from fitbot.export.adapter import export_adapter
from tests.conftest import SYSTEM, make_module


def write_adapter(
    folder: Path, base: str, *, seed: int = 0, data: dict[str, Any] | None = None, **settings: Any
) -> Path:
    """Export an adapter whose weights are random, and large enough to change what is said.

    `data` is what it says of its pairs; None: how they were rendered, but not which file.
    """
    module = make_module(base, folder, **settings)
    module.configure_model()
    assert module.policy is not None
    generator = torch.Generator().manual_seed(seed)
    for layer in module.policy.weights.layers:
        layer.b.data.copy_(torch.randn(layer.b.shape, generator=generator) * 0.1)
    data = data or {"system_prompt": SYSTEM, "max_prompt_length": 300, "max_length": 700}
    return export_adapter(
        folder / "adapter", module.state_dict(), dict(module.hparams), training={"data": data}
    )


def records(count: int = 12) -> list[dict[str, Any]]:
    """Pairs and their mirrors, with labels and checks."""
    found = []
    for n in range(count):
        more = n % 2 == 0
        right, wrong = (f"Do {n // 2} more sets.", f"Do {n // 2} sets less, then.")[
            :: 1 if more else -1
        ]
        found.append(
            {
                "question": f"Is it {'too little' if more else 'too much'}, {n // 2}?",
                "chosen": right,
                "rejected": wrong,
                "category": "sets" if n < 8 else "<b>rest</b> $\\x$",
                "flaw": "less" if more else "more",
                "split": "seen",
                "check": {"any": ["more" if more else "less"]},
            }
        )
    return found
