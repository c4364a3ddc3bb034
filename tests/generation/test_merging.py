"""A merged engine says what the unmerged one says, or does not start."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fitbot.base_model.adapter_files import read_adapter
from fitbot.errors import AdapterError, ConfigError, RequestError
from fitbot.generation.loading import open_engine
from fitbot.generation.merging import compare, merge
from fitbot.generation.scheduler import LocalEngine
from tests.generation.test_engines import QUESTIONS, ask, text_of, write_adapter


@pytest.fixture(scope="module")
def adapter(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, base)
    return folder


@pytest.fixture(scope="module")
def unmerged(adapter: Path) -> Iterator[LocalEngine]:
    engine = open_engine(adapter, slots=1, context=512)
    yield engine
    engine.close()


def times(adapter: Path, factor: float, folder: Path) -> Path:
    """Write the same adapter with so much of its effect."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n: t * factor if "lora_B" in n else t for n, t in tensors.items()}, file)
    return folder


def test_a_merged_engine_answers_as_the_unmerged_one_and_by_one_name(
    adapter: Path, unmerged: LocalEngine
) -> None:
    engine = open_engine(adapter, slots=1, context=512, merged=True)
    merged = [text_of(ask(engine, question)) for question in QUESTIONS]

    assert engine.models == ("fitbot",)
    assert engine.decoder.ranks == 0
    assert merged == [text_of(ask(unmerged, question)) for question in QUESTIONS]
    assert merged != [text_of(ask(unmerged, question, "base")) for question in QUESTIONS]
    with pytest.raises(RequestError, match="no model 'base'; there are fitbot"):
        ask(engine, "Hi!", "base")
    with pytest.raises(RequestError, match="'fitbot' cannot be removed"):
        engine.remove("fitbot")
    engine.close()


def test_weights_are_merged_in_float32_as_peft_merges_them(base: str, adapter: Path) -> None:
    from peft import PeftModel

    def load(dtype: torch.dtype) -> Any:
        return AutoModelForCausalLM.from_pretrained(base, dtype=dtype)

    expected = PeftModel.from_pretrained(load(torch.float32), str(adapter)).merge_and_unload()
    coarse = load(torch.bfloat16)
    started = {name: w.clone() for name, w in coarse.state_dict().items()}
    for model in (fine := load(torch.float32)), coarse:
        merge(model, read_adapter(adapter))

    torch.testing.assert_close(dict(fine.state_dict()), dict(expected.state_dict()))
    for name, weight in coarse.state_dict().items():
        moved = name.endswith("proj.weight")
        assert weight.dtype == (torch.float32 if moved else torch.bfloat16)
        change = weight.float() - started[name].float()
        whole = expected.state_dict()[name] - load(torch.float32).state_dict()[name]
        torch.testing.assert_close(change, whole, atol=1e-6, rtol=1e-4)


def test_what_rounding_loses_is_refused_with_figures_and_what_to_do(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    young = times(adapter, 1e-3, tmp_path / "young")

    with pytest.raises(ConfigError, match=r"--merged: weights in bfloat16 keep \d+% .* leave"):
        open_engine(young, slots=1, context=512, precision="bfloat16", merged=True)
    open_engine(young, slots=1, context=512, precision="float32", merged=True).close()
    open_engine(adapter, slots=1, context=512, precision="bfloat16", merged=True).close()

    said = [record.getMessage() for record in caplog.records if "merged in" in record.getMessage()]
    assert [message.split(":")[0] for message in said] == [
        "merged in bfloat16",
        "merged in float32",
        "merged in bfloat16",
    ]
    assert "100.0 % of what the adapter changes is kept" in said[1]


def test_an_adapter_that_changes_nothing_loses_nothing(adapter: Path, tmp_path: Path) -> None:
    folder = times(adapter, 0.0, tmp_path / "untrained")

    open_engine(folder, slots=1, context=512, precision="bfloat16", merged=True).close()


def test_what_is_kept_is_a_share_of_divergence() -> None:
    # One token of two words. Tuned 1/2 : 1/2, base 1/4 : 3/4, merged 2/5 : 3/5.
    base, tuned, merged = (
        torch.tensor([[share, 1 - share]], dtype=torch.double).log() for share in (0.25, 0.5, 0.4)
    )
    # KL(tuned, other) = 1/2 ln (1/2) / p + 1/2 ln (1/2) / (1 - p) = -1/2 ln (4 p (1 - p))
    effect, divergence = -math.log(4 * 0.1875) / 2, -math.log(4 * 0.24) / 2

    found = compare(base, tuned, merged)

    assert found.effect == pytest.approx(effect)
    assert found.divergence == pytest.approx(divergence)
    assert found.kept == pytest.approx(1 - divergence / effect)
    assert (found.tokens, found.same_token) == (1, 0.0)
    assert compare(base, tuned, tuned).kept == pytest.approx(1)
    assert compare(base, tuned, base).kept == pytest.approx(0)


def test_merging_needs_an_adapter_that_fits_and_takes_no_others(
    adapter: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    file = other / "adapter_model.safetensors"
    deeper = {n.replace("layers.1.", "layers.9."): t for n, t in load_file(file).items()}
    save_file(deeper, file)

    with pytest.raises(AdapterError, match=r"other does not fit: adapter on 9\."):
        open_engine(other, merged=True)
    for folder, more in [(None, 0), (adapter, 1)]:
        with pytest.raises(ConfigError, match="--merged: needs an adapter, and takes no others"):
            open_engine(folder, merged=True, more_adapters=more)


@pytest.mark.gpu
def test_a_gpus_merged_engine_answers_as_its_unmerged_one(adapter: Path, tmp_path: Path) -> None:
    said = []
    for merged in (False, True):
        engine = open_engine(adapter, slots=2, context=512, precision="float32", merged=merged)
        assert engine.decoder.device.type == "cuda"
        said.append([text_of(ask(engine, question)) for question in QUESTIONS])
        engine.close()

    assert said[0] == said[1]
    with pytest.raises(ConfigError, match="weights in bfloat16 keep"):
        open_engine(times(adapter, 1e-3, tmp_path / "young"), slots=2, context=512, merged=True)
