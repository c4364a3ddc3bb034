"""Model cards: metadata that the hub reads, code that runs, and nothing that no file says."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from fitbot.errors import AdapterError
from fitbot.export.card import run_findings, write_card
from tests.conftest import SYSTEM
from tests.generation.test_engines import write_adapter

SHA = 64 * "a"
PROVENANCE: dict[str, Any] = {
    "base_model": "owner/base",
    "settings": {"load_in_4bit": True, "loss": "ipo", "beta": 0.1, "nll_weight": 0.0},
    "data": {
        "system_prompt": "Be brief.",
        "train": {"path": "/home/me/pairs.csv", "pairs": 3200, "sha256": SHA},
    },
    "versions": {"fitbot": "0.1.0"},
    "metrics": {"verdict": "learned: a lot", "val_accuracy": 0.811927, "val_loss": None},
    "evaluation": {"pairs": "test.json", "found": ["it is good"]},
    "merge_drift": {"completions": 64, "mean_nats": 0.0123, "effect_kept": 0.98},
    "gguf": {"kind": "q8_0", "drift": None},
}


def card_of(folder: Path, kind: Any, **changed: Any) -> Any:
    write_card(folder, PROVENANCE | changed, kind)
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize(
    ("kind", "library", "tag", "loads"),
    [
        ("adapter", "peft", "lora", "PeftModel.from_pretrained"),
        ("merged", "transformers", "dpo", "vllm serve"),
        ("gguf", "gguf", "gguf", "llama-server -m base.gguf --jinja"),
        ("ollama", "gguf", "ollama", "ollama create"),
    ],
)
def test_the_hub_reads_base_library_and_tags(
    kind: str, library: str, tag: str, loads: str, tmp_path: Path
) -> None:
    card = card_of(tmp_path, kind)

    assert card.data.base_model == "owner/base"
    assert card.data.library_name == library
    assert {"fitbot", "dpo", tag} <= set(card.data.tags)
    assert card.data.license is None  # nobody knows it here
    assert loads in card.text


def test_a_card_says_what_the_files_say_and_no_more(base: str, tmp_path: Path) -> None:
    text = card_of(tmp_path, "adapter").text

    assert "Verdict: learned: a lot." in text
    assert "| val accuracy | 0.811927 |" in text
    assert "val loss" not in text  # None
    assert "- train: `pairs.csv`, 3,200 pairs" in text  # whose folder is nobody's business
    assert "- it is good" in text
    assert "(ipo)" in text
    assert "held in 4 bits (NF4)" in text
    assert "quantization_config=nf4" in text
    bare = card_of(tmp_path, "adapter", metrics={}, evaluation=None).text
    assert "Verdict" not in bare
    assert "Reward accuracy" not in bare
    whole = {"load_in_4bit": False, "loss": "sft"}
    other = card_of(tmp_path, "adapter", settings=whole, base_model=base)
    assert other.data.base_model is None  # no name of the hub's
    assert "sft" in other.data.tags
    assert "supervised fine-tuning" in other.text
    assert "nf4" not in other.text


def test_the_licence_is_the_bases_where_its_card_is_here(base: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(base, tmp_path / "own"))

    assert card_of(tmp_path, "merged", base_model=str(own)).data.license is None
    (own / "README.md").write_text("---\nlicense: mit\n---\n# Base\n")
    assert card_of(tmp_path, "merged", base_model=str(own)).data.license == "mit"
    assert card_of(tmp_path, "merged", base_model="embedded").data.license == "apache-2.0"


@pytest.mark.parametrize("kind", ["adapter", "merged"])
@pytest.mark.parametrize("in_4bit", [False, True])
def test_the_code_of_a_card_runs(
    kind: Any,
    in_4bit: bool,
    base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "out"))
    if kind == "adapter":
        (folder / "config.json").unlink()
        write_adapter(folder, base)
    data = {"system_prompt": SYSTEM}
    card = card_of(*(folder, kind), base_model=base, data=data, settings={"load_in_4bit": in_4bit})
    (code,) = re.findall("```python\n(.*?)```", card.text, re.S)
    monkeypatch.chdir(folder)

    exec(code.replace("max_new_tokens=200", "max_new_tokens=3"), {})

    assert capsys.readouterr().out


def test_a_runs_figures_are_those_of_its_last_step(tmp_path: Path) -> None:
    assert run_findings(tmp_path, 200) == {}
    summary = {"steps": 200, "verdict": "learned"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "evaluation").mkdir()
    told = {
        "pairs": {"path": "check.csv"},
        "models": [
            {"model": {"name": "base", "adapter": None}},
            {"model": {"name": "run", "adapter": str(tmp_path / "adapter")}},
        ],
        "verdicts": {"base": ["no"], "run": ["yes"]},
    }
    file = tmp_path / "evaluation" / "evaluation.json"
    file.write_text("{")
    with pytest.raises(AdapterError, match=r"evaluation\.json cannot be read.*take it away"):
        run_findings(tmp_path, 200)
    file.write_text(json.dumps(told))

    assert run_findings(tmp_path, 150) == {}  # another checkpoint's
    assert run_findings(tmp_path, 200) == {
        "metrics": summary,
        "evaluation": {"pairs": "check.csv", "found": ["yes"]},
    }
    told["models"][1]["model"]["adapter"] = str(tmp_path / "other")  # type: ignore[index]
    file.write_text(json.dumps(told))
    assert run_findings(tmp_path, 200) == {"metrics": summary}
