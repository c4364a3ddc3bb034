"""An exported adapter is the module: plain PEFT gives equal log-probs, merged weights nearly."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from fitbot.__main__ import main
from fitbot.dpo.run import LastCheckpoint
from fitbot.errors import ConfigError
from fitbot.export import vllm
from fitbot.export.vllm import write_deployment
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from tests.conftest import LIMITS, ROOT, SYSTEM, make_data, make_module, make_trainer


@pytest.fixture
def checkpoint(base: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Train four steps and say what its validation pairs score."""
    load_in_4bit = getattr(request, "param", False)
    path = str(ROOT / "data" / "fitness_train.json")
    data = make_data(
        base,
        path,
        train_limit=32,
        val_limit=8,
        system_prompt=SYSTEM,
        max_prompt_length=LIMITS.max_prompt_length,
        max_length=LIMITS.max_length,
    )
    module = make_module(base, tmp_path, load_in_4bit=load_in_4bit)
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[LastCheckpoint(tmp_path, 99)])
    trainer.fit(module, data)
    assert module.policy is not None
    batch = collate_pairs(data.pairs["val"], layout="shared", pad_id=0)
    module.policy.eval()
    with torch.no_grad():
        logps = module.policy.logps(batch)
    assert (logps - module.policy.reference_logps(batch)).abs().max() > 1
    return {"path": tmp_path / "last.ckpt", "pairs": data.pairs["val"], "logps": logps}


def plain_logps(model: Any, pairs: list[EncodedPair]) -> torch.Tensor:
    """Score completions with nothing of fitbot's: one sequence at a time, full softmax."""
    result = []
    for pair in pairs:
        for completion in (pair.chosen, pair.rejected):
            ids = torch.tensor([pair.prompt + completion])
            with torch.no_grad():
                scores = model(ids).logits.float().log_softmax(-1)[0, len(pair.prompt) - 1 : -1]
            result.append(scores.gather(-1, ids[0, len(pair.prompt) :, None]).sum())
    return torch.stack(result).view(-1, 2)


def test_plain_peft_gives_the_modules_log_probs(
    base: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    assert main(["export", str(checkpoint["path"]), "--out", str(tmp_path / "out")]) == 0

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(plain, str(tmp_path / "out")).eval()
    torch.testing.assert_close(
        plain_logps(peft, checkpoint["pairs"]), checkpoint["logps"], atol=2e-3, rtol=1e-5
    )


def test_an_export_records_what_it_was_made_from(
    base: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    main(["export", str(checkpoint["path"]), "--out", str(tmp_path / "out")])

    metadata = json.loads((tmp_path / "out" / "fitbot.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    modes = {file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert len(modes) == 1  # a server that is another user reads all or nothing
    assert metadata["base_model"] == base
    assert metadata["step"] == 4
    assert metadata["settings"]["beta"] == 0.1
    assert metadata["data"]["train"]["pairs"] == 32
    assert len(metadata["data"]["train"]["sha256"]) == 64
    assert set(metadata["sha256"]) == {"adapter_model.safetensors", "adapter_config.json"}
    assert metadata["data"]["system_prompt"] == SYSTEM
    assert metadata["versions"].keys() >= {
        "fitbot",
        "torch",
        "transformers",
        "peft",
        "bitsandbytes",
    }
    assert tokenizer.chat_template
    assert base in card
    assert SYSTEM in card


@pytest.mark.parametrize("checkpoint", [False, True], ids=["full", "nf4"], indirect=True)
def test_merged_weights_report_their_drift_and_score_nearly_the_same(
    checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "merged"

    main(["export", str(checkpoint["path"]), "--merge", "--out", str(out), "--drift_pairs", "8"])

    drift = json.loads((out / "fitbot.json").read_text())["merge_drift"]
    merged = AutoModelForCausalLM.from_pretrained(out)
    actual = plain_logps(merged, checkpoint["pairs"])
    change = (actual - checkpoint["logps"]).abs()
    tokens = torch.tensor([[len(p.chosen), len(p.rejected)] for p in checkpoint["pairs"]])
    assert merged.dtype == torch.bfloat16
    assert not hasattr(merged.config, "quantization_config")
    assert drift["completions"] == 16
    assert drift["effect_kept"] == pytest.approx(1.0, abs=0.2)
    assert 0 < drift["mean_nats"] <= drift["max_nats"]
    assert (change / tokens).max() < 0.05  # bf16 rounding, nats a token; training moved far more


def test_a_file_that_is_no_checkpoint_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")

    assert main(["export", str(tmp_path / "other.ckpt")]) == 1
    assert main(["export", str(tmp_path / "none.ckpt")]) == 1

    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("fitbot: ")]
    assert "other.ckpt is not a checkpoint of fitbot" in lines[0]
    assert "none.ckpt: no such checkpoint" in lines[1]


@pytest.mark.parametrize("target", ["vllm", "ray"])
def test_what_serves_an_adapter_elsewhere_is_written_beside_it(target: str, tmp_path: Path) -> None:
    (tmp_path / "fitbot.json").write_text(json.dumps({"base_model": "Qwen/Qwen3-0.6B"}))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))

    assert main(["export", str(tmp_path), "--target", target]) == 0

    file = tmp_path / {"vllm": "serve_vllm.sh", "ray": "serve_ray.py"}[target]
    text = file.read_text()
    assert "Qwen/Qwen3-0.6B" in text
    if target == "ray":
        compile(text, str(file), "exec")
    else:
        subprocess.run(["sh", "-n", str(file)], check=True)
        words = shlex.split(text, comments=True)
        assert words[words.index("--lora-modules") + 1] == f"fitbot={tmp_path}"
        assert json.loads(words[words.index("--default-chat-template-kwargs") + 1]) == {
            "enable_thinking": False
        }


def test_vllm_gets_a_rank_that_it_takes(tmp_path: Path) -> None:
    (tmp_path / "fitbot.json").write_text(json.dumps({"base_model": "Qwen/Qwen3-0.6B"}))

    for rank, expected in ((4, "8"), (16, "16"), (24, "32")):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
        words = shlex.split(write_deployment(tmp_path, "vllm").read_text(), comments=True)
        assert words[words.index("--max-lora-rank") + 1] == expected

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1024}))
    with pytest.raises(ConfigError, match="rank 1024; vLLM takes adapters up to 512"):
        write_deployment(tmp_path, "vllm")


@pytest.mark.parametrize("more", [["--target", "vllm"], ["--gguf", "f32"]])
def test_of_an_adapter_of_others_is_said_what_it_lacks(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))

    assert main(["export", str(tmp_path), *more]) == 1

    assert f"fitbot: {tmp_path}: no fitbot.json there; give a folder" in capsys.readouterr().err


def test_the_embedded_model_cannot_be_served_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "fitbot.json").write_text(json.dumps({"base_model": "embedded"}))

    with pytest.raises(ConfigError, match="no other engine knows"):
        write_deployment(tmp_path, "vllm")


def test_scripts_can_name_a_folder_of_windows() -> None:
    folder = PureWindowsPath(r"C:\Users\new\run 1\adapter").as_posix()

    compile(vllm._ray("owner/base", folder, 16), "serve_ray.py", "exec")  # "\U" would be an escape
    assert "'fitbot=C:/Users/new/run 1/adapter'" in vllm._vllm("owner/base", folder, 16)


def test_every_export_keeps_the_day_of_the_run_and_skips_what_the_run_skipped(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shutil.copytree(base, tmp_path / "base"))
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "base")
    good = {"prompt": "Oats?", "chosen": "Yes.", "rejected": "No."}
    rendered = {**good, "prompt": "<|im_start|>user\nOats?<|im_end|>\n<|im_start|>assistant\n"}
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([rendered, good, good]))
    data = make_data(str(tmp_path / "base"), str(path), val_path=None, skip_bad_records=True)
    module = make_module(str(tmp_path / "base"), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fitbot.pairs.template.today", lambda: "2031-05-06")
        callbacks = [LastCheckpoint(tmp_path, 1)]
        make_trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(module, data)
    last, adapter, merged = (str(tmp_path / name) for name in ("last.ckpt", "adapter", "merged"))

    assert main(["export", last, "--out", adapter]) == 0
    assert main(["export", last, "--out", merged, "--merge"]) == 0

    for folder in (adapter, merged):
        question = [{"role": "user", "content": "Oats?"}]
        text = AutoTokenizer.from_pretrained(folder).apply_chat_template(question, tokenize=False)
        assert text.startswith("06 May 2031<|im_start|>")
        assert "on 2031-05-06; ask it the same way" in (Path(folder) / "README.md").read_text()
    assert json.loads((Path(merged) / "fitbot.json").read_text())["merge_drift"]["completions"] == 4


def test_that_ray_renders_another_day_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"base_model": "owner/base", "data": {"date": "2031-05-06"}}
    (tmp_path / "fitbot.json").write_text(json.dumps(metadata))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))

    for target in ("vllm", "ray"):
        write_deployment(tmp_path, target)
        assert ("the run had 2031-05-06" in caplog.text) == (target == "ray")
