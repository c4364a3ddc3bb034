"""The cache on disk: hit by what is the same, missed by what is not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fitbot.base_model.settings import BaseSettings
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.policy import Policy
from fitbot.policy.reference import ReferenceCache, cached_reference_logps, open_reference_cache
from tests.conftest import make_policy, store_of
from tests.tiny_model import write_tiny_model


def open_cache(base: str, folder: Path, **changed: Any) -> ReferenceCache:
    same: dict[str, Any] = {
        "engine": "eager",
        "expanded": False,
        "compute_dtype": torch.float32,
        "device": torch.device("cpu"),
        "layout": "shared",
        "adapter": None,
    }
    settings = BaseSettings(base_model=base, load_in_4bit=changed.pop("load_in_4bit", False))
    return open_reference_cache(folder, settings, **(same | changed))


def compute(policy: Policy, pairs: list[EncodedPair], cache: ReferenceCache) -> torch.Tensor:
    settings: dict[str, Any] = {"layout": "shared", "pad_id": 0, "smaller": lambda tokens: 450}
    return cached_reference_logps(policy, store_of(pairs), cache, max_tokens=900, **settings)


def test_cached_is_online_in_the_order_asked_for(
    base: str, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    policy = make_policy(base)
    online = policy.reference_logps(collate_pairs(pairs, layout="shared", pad_id=0))

    first = compute(policy, pairs, open_cache(base, tmp_path))
    again = compute(policy, pairs[::-1], open_cache(base, tmp_path))

    torch.testing.assert_close(first, online, atol=1e-3, rtol=1e-5)
    assert torch.equal(again, first.flip(0))


def test_only_pairs_that_are_not_known_are_computed(
    base: str, pairs: list[EncodedPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, cache = make_policy(base), open_cache(base, tmp_path)
    compute(policy, pairs[:5], cache)
    seen = []
    original = Policy.reference_logps

    def counting(policy: Policy, batch: PairBatch) -> Tensor:
        seen.append(batch.num_pairs)
        return original(policy, batch)

    monkeypatch.setattr(Policy, "reference_logps", counting)

    compute(policy, pairs, cache)
    compute(policy, pairs, cache)

    assert sum(seen) == 3


def test_a_pair_cut_otherwise_is_another_pair(
    base: str, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    policy, cache = make_policy(base), open_cache(base, tmp_path)
    compute(policy, pairs, cache)
    cut = pairs[0]._replace(chosen=pairs[0].chosen[:-3])

    assert cache.lookup(store_of([cut]).keys()).isnan().all()
    assert not cache.lookup(store_of(pairs).keys()).isnan().any()


def test_the_key_changes_with_everything_that_changes_a_log_prob(base: str, tmp_path: Path) -> None:
    other = str(write_tiny_model(tmp_path / "other", seed=1))
    policy = make_policy(base)
    policy.network.save_pretrained(tmp_path / "adapter")

    names = [
        open_cache(base, tmp_path).file,
        open_cache(other, tmp_path).file,
        open_cache(base, tmp_path, load_in_4bit=True).file,
        open_cache(base, tmp_path, load_in_4bit=True, expanded=True).file,
        open_cache(base, tmp_path, compute_dtype=torch.bfloat16).file,
        open_cache(base, tmp_path, device=torch.device("cuda")).file,
        open_cache(base, tmp_path, layout="rows").file,
        open_cache(base, tmp_path, adapter=str(tmp_path / "adapter")).file,
    ]

    assert len(set(names)) == len(names)
    assert open_cache(base, tmp_path).file == names[0]


def test_the_key_is_the_contents_of_the_base_and_not_its_place(base: str, tmp_path: Path) -> None:
    copy = str(write_tiny_model(tmp_path / "copy"))

    assert open_cache(copy, tmp_path).file == open_cache(base, tmp_path).file
