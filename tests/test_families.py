"""Eighteen families of networks, from pairs to an answer: nothing on the way knows one of them."""

import io
import json
import logging
import math
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import PeftModel
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from fitbot.__main__ import main
from fitbot.base_model.settings import LoraSettings
from fitbot.base_model.targets import linear_layers
from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import LastCheckpoint
from fitbot.generation.loading import open_engine
from fitbot.generation.messages import Sampling
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.formats import Message
from tests.conftest import adapter_of, make_data, make_module, make_trainer
from tests.export.test_adapter import plain_logps
from tests.families import FAMILIES, write_family

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set"),  # PEFT's, of GPT-2
]

OWN = ("Qwen2.5", "Qwen3", "Llama", "Mistral")  # that fitbot's decoder computes
# With layers that are not attention, or attention that takes no such mask.
ROWS = ("Qwen3.5", "LFM2", "Bloom", "Falcon-H1")
PARTLY = {  # which have linear layers that take no adapter, and how those are called
    "DeepSeek-V3": {"gate_proj", "up_proj", "down_proj"},
    "Falcon-H1": {"out_proj"},
}
PROMPT = [*range(40, 70)]
NO_DROPOUT = LoraSettings(r=4, alpha=8, dropout=0.0)


class Fit(NamedTuple):
    """Three steps of a family."""

    base: str
    module: DPOModule
    data: PreferenceDataModule
    checkpoint: Path
    said: str


def fit(base: str, pairs_file: str, folder: Path, steps: int, resume: Path | None = None) -> Any:
    module = make_module(base, folder, lora=LoraSettings(**vars(NO_DROPOUT)))
    data = make_data(base, pairs_file, batch_size=2, accumulate_batches=1)
    trainer = make_trainer(
        folder, max_steps=steps, limit_val_batches=0, callbacks=[LastCheckpoint(folder, 99)]
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return module, data


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(
    request: pytest.FixtureRequest, base: str, tmp_path_factory: pytest.TempPathFactory
) -> Fit:
    folder = tmp_path_factory.mktemp("family")
    own_base = str(write_family(folder / "base", request.param, base))
    pairs = [
        {"question": f"Is {n} sets enough?", "chosen": f"Yes, {n} sets.", "rejected": f"No, {n}!!"}
        for n in range(8)
    ]
    file = folder / "pairs.json"
    file.write_text(json.dumps(pairs), encoding="utf-8")
    said = io.StringIO()
    logger, handler = logging.getLogger("fitbot"), logging.StreamHandler(said)
    logger.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logger, "level", logging.INFO)
        module, data = fit(own_base, str(file), folder, 3)
    logger.removeHandler(handler)
    return Fit(own_base, module, data, folder / "last.ckpt", said.getvalue())


@pytest.fixture
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.node.callspec.params["fitted"]
    return name


def test_three_steps_begin_at_ln_2_and_move_every_layer(fitted: Fit, family: str) -> None:
    assert f"first loss {math.log(2):.6f}" in fitted.said
    assert fitted.data.layout == ("rows" if family in ROWS else "shared")
    assert ("rows instead of shared" in fitted.said) == (family in ROWS)
    network = AutoModelForCausalLM.from_pretrained(fitted.base)
    linears = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear | Conv1D)]
    left_out = PARTLY.get(family, set())
    adapted = [name for name in linears if name.rpartition(".")[2] not in left_out | {"lm_head"}]
    moved = [weight.any() for name, weight in adapter_of(fitted.module).items() if "lora_B" in name]
    assert len(moved) == len(adapted) < len(linears)  # not the head
    assert [*linear_layers(network)] == adapted
    assert ("take no adapter stay as they are" in fitted.said) == bool(left_out)
    assert all(moved)


def test_it_resumes_bit_for_bit(fitted: Fit, tmp_path: Path) -> None:
    file = str(fitted.data.paths["train"])
    fit(fitted.base, file, tmp_path, 2)
    half = shutil.copy(tmp_path / "last.ckpt", tmp_path / "half.ckpt")

    module, _ = fit(fitted.base, file, tmp_path, 3, resume=Path(half))

    expected = adapter_of(fitted.module)
    for name, weight in adapter_of(module).items():
        assert torch.equal(weight, expected[name]), name


def test_plain_peft_scores_its_export_alike_and_answers_are_generates(
    fitted: Fit, family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(fitted.checkpoint), "--out", str(out)]) == 0
    plain = AutoModelForCausalLM.from_pretrained(fitted.base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(plain, str(out)).eval()
    pairs, policy = fitted.data.pairs["train"], fitted.module.policy
    assert policy is not None

    logps = policy.logps_without_gradient(
        collate_pairs(pairs, layout=fitted.data.layout, pad_id=0)
    ).detach()

    reference = policy.reference_logps(collate_pairs(pairs, layout="rows", pad_id=0))
    torch.testing.assert_close(plain_logps(peft, list(pairs)), logps, atol=2e-3, rtol=1e-4)
    with peft.disable_adapter():
        torch.testing.assert_close(plain_logps(peft, list(pairs)), reference, atol=2e-3, rtol=1e-4)
    assert (logps - reference).abs().max() > 0.1

    with caplog.at_level(logging.WARNING, logger="fitbot"):
        engine = open_engine(out, slots=1, context=256)
    assert ("one request at a time" in caplog.text) == (family not in OWN)
    tokens = listen(engine.decoder)
    prompt, _ = engine.chat.encode_prompt([Message("user", "Is 3 sets enough?")], 200)
    greedy = Sampling(temperature=0.0, max_new_tokens=12)
    try:
        (*_, last) = engine.submit(prompt, greedy, model="fitbot")
        assert (last.error, tokens) == (None, generate(peft, prompt, engine.chat.ends))
        tokens.clear()
        (*_, last) = engine.submit(prompt, greedy, model="base")
        with peft.disable_adapter():
            assert (last.error, tokens) == (None, generate(peft, prompt, engine.chat.ends))
    finally:
        engine.close()


def test_it_is_merged_and_evaluated(
    fitted: Fit,
    family: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    merged, adapter = tmp_path / "merged", tmp_path / "adapter"
    file = str(fitted.data.paths["train"])
    assert main(["export", str(fitted.checkpoint), "--merge", "--out", str(merged)]) == 0
    assert main(["export", str(fitted.checkpoint), "--out", str(adapter)]) == 0

    asked = ["--questions", "2", "--max_new_tokens", "8", "--out", str(tmp_path / "report")]
    assert main(["evaluate", str(adapter), "--pairs", file, *asked]) == 0

    if family not in OWN:  # refused before it is loaded
        monkeypatch.setattr("fitbot.export.gguf.load_trained", lambda *_: pytest.fail("loaded"))
        for target in (["--gguf", "f16"], ["--target", "ollama", "--out", str(tmp_path / "o")]):
            assert main(["export", str(adapter), *target]) == 1
            assert "cannot be written as GGUF, only qwen3, llama" in capsys.readouterr().err

    drift = json.loads((merged / "fitbot.json").read_text())["merge_drift"]
    assert drift["effect_kept"] > 0.9
    plain = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    pairs, policy = list(fitted.data.pairs["train"]), fitted.module.policy
    assert policy is not None
    with torch.no_grad():
        ours = policy.logps_without_gradient(collate_pairs(pairs, layout="rows", pad_id=0))
    torch.testing.assert_close(plain_logps(plain, pairs), ours, atol=0.5, rtol=0.02)


def test_a_base_that_reads_images_too_is_adapted_in_its_decoder(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    folder, config = write_family(tmp_path / "text", "Gemma 3", base), CONFIG_MAPPING["gemma3"]
    text = json.loads((folder / "config.json").read_text())
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    network = AutoModelForCausalLM.from_config(config(text_config=text, vision_config=vision))
    network.save_pretrained(folder)

    module, data = fit(str(folder), pairs_file, tmp_path, 3)

    targets = module.hparams["lora"]["target_modules"]
    assert len(targets) == 14
    assert all(".language_model." in name for name in targets)
    assert main(["export", str(tmp_path / "last.ckpt"), "--out", str(tmp_path / "out")]) == 0
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    peft = PeftModel.from_pretrained(network, str(tmp_path / "out")).eval()
    engine = open_engine(tmp_path / "out", slots=1, context=256)
    tokens = listen(engine.decoder)
    list(engine.submit(PROMPT, Sampling(temperature=0.0, max_new_tokens=12)))
    engine.close()
    assert tokens == generate(peft, PROMPT)


def listen(decoder: Any) -> list[int]:
    """Collect what a decoder draws from now on."""
    run, tokens = decoder.run, list[int]()

    def heard(*args: Any) -> Any:
        drawing = run(*args)

        def drawn() -> Any:
            found = drawing()
            tokens.extend(one.token for one in found)
            return found

        return drawn

    decoder.run = heard
    return tokens


def generate(network: Any, prompt: list[int], ends: Collection[int] = ()) -> list[int]:
    ids = torch.tensor([prompt])
    found = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
        eos_token_id=[*ends] or None,
    )  # fmt: skip
    tokens: list[int] = found[0, len(prompt) :].tolist()
    return tokens
