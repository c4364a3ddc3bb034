"""Config files as people have them: what is no mapping of settings is refused, with its line."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from fitbot.__main__ import main

_NO = "No module named 'nowhere'"
_PATH = "lightning.pytorch.callbacks.EarlyStopping"
_STOPPING = f"[{{class_path: {_PATH}, init_args: {{monitor: val/loss, %s}}}}]"


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what `fitbot fit` refuses a command line with: its last line."""
    try:
        status = main(["fit", *words])
    except SystemExit as stop:
        status = int(stop.code or 0)
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert "Traceback" not in said
    assert "(a bug" not in said
    return said.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- model\n- data\n", "it holds no mapping of settings"),
        ("model\n", "it holds no mapping of settings"),
        ("", "it holds no mapping of settings"),
        ("# nothing yet\n", "it holds no mapping of settings"),
        ("model:\n\tbeta: 0.1\n", "line 2, column 1: no YAML: .*not by tabs"),
        ("model: {beta: 0.1\n", "line 2, column 1: no YAML: while parsing a flow mapping, did not"),
        ("model: *shared\n", "line 1, column 8: no YAML: found undefined alias"),
        ("model: {}\n---\ndata: {}\n", "no YAML: expected a single document"),
        ("model:\n  beta: \0\n", "no YAML: unacceptable character"),
        ("model:\n  beta: 0.1\ndata: {}\nmodel:\n  loss: ipo\n", "line 4: 'model' .* in line 1"),
        ("model:\n  beta: 0.1\n  loss: ipo\n  beta: 0.2\n", "line 4: 'beta' .* in line 2"),
        ("trainer:\n  callbacks:\n  - class_path: A\n    class_path: B\n", "line 4: 'class_path'"),
        ("model: null\n", "model"),
        ("data: [1, 2]\n", "data"),
        ("run: null\n", "run: None is no mapping of settings"),
        ("trainer: []\n", r"trainer: \[\] is no mapping of settings"),
        ("answers: null\n", "answers: None is no mapping of settings"),
        ("model: hello\n", ""),
        ("data: &a [*a]\n", "the settings cannot be read"),
        ("data: &a\n  train_path: *a\n", "data.train_path"),
        ("model: " + 3000 * "[" + 3000 * "]" + "\n", "the settings cannot be read"),
        ("serve:\n  port: " + 5000 * "9" + "\n", "the settings cannot be read: .*5000 digits"),
        ("1: 2\n", "Key must be a string"),
        ("data:\n  batch_size: null\n", "data.batch_size cannot be null; give a value, or leave"),
        ("model:\n  loss:\n", "model.loss cannot be null"),
    ],
)
def test_what_is_no_mapping_of_settings_is_refused(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)

    said = refusal(capsys, "--config", str(file))

    assert re.search(message, said), said


@pytest.mark.parametrize("content", [b"\xff\xfe\0m", "run:\n  name: caf\u00e9\n".encode("latin1")])
def test_a_config_that_is_no_utf_8_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)

    assert "mine.yaml: not UTF-8 at byte" in refusal(capsys, "-c", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("limit", ["1", "1.0", "0.5"])
@pytest.mark.parametrize("name", ["limit_train_batches", "limit_val_batches", "overfit_batches"])
def test_one_batch_is_not_all_of_them(
    name: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", "debug", f"--trainer.{name}", limit, "--print_config"])

    assert f"  {name}: {limit}\n" in capsys.readouterr().out


def test_anchors_merge_keys_and_a_byte_order_mark_are_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\ufeffanswers: &a\n  top_p: 0.5\nmodel:\n  lora: {<<: {r: 3}, <<: {alpha: 5}}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tmp_path / "mine.yaml"), "--print_config"])

    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "top_p: 0.5" in shown
    assert "alpha: 5" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.lora", "5"], "model.lora 5: must be a mapping of settings"),
        (["--model", "5"], "error: model '5': must be a mapping of settings"),
        (["--model.lora", '{"r": [1]}'], "model.lora.r [1]: must be a whole number"),
        (["--data.train_limit", '{"a": [1]}'], "data.train_limit"),
        (["--trainer.callbacks", "x"], "trainer.callbacks x: must be the import path of a class"),
        (["--trainer.callbacks", "[{class_path: nowhere.Nothing}]"], f"nowhere.Nothing: {_NO}"),
        (["--trainer.callbacks", "nowhere.Nothing"], f"callbacks: nowhere.Nothing: {_NO}"),
        (["--trainer.callbacks", "[{class_path: json.JSONDecoder}]"], "import path of a Callback"),
        (["--trainer.callbacks", _STOPPING % "patience: x"], f"{_PATH}: patience x: must be a who"),
        (["--trainer.callbacks", _STOPPING % "patienc: 1"], "did you mean 'patience'?"),
        (["--trainer.logger", "[{class_path: nowhere.Nothing}]"], f"nowhere.Nothing: {_NO}"),
        (["--model.beta", 5000 * "9"], "5000 digits"),
        (["--model.lora", '{"alpha": null}'], "model.lora.alpha cannot be null; give a value"),
        (["--seed_everything", "-3"], "seed_everything must be in [0, 4294967295], got -3"),
        (["--trainer.devices", "9" * 20], "no host runs so many processes"),
    ],
)
def test_a_wrong_type_deep_inside_and_a_class_that_is_not_there_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        main(["fit", "--config", "quickstart", *words])

    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) <= 5
    assert "Traceback" not in said
    assert "(a bug" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export x.ckpt --drift_pairs 0", "--drift_pairs must be at least 1, got 0"),
        ("evaluate --pairs x.json --max_length 0", "--max_length must be at least 1, got 0"),
        ("evaluate --pairs x.json --limit -1", "--limit must be at least 1, got -1"),
        ("ray fit --workers 0", "--workers must be at least 1, got 0"),
    ],
)
def test_a_number_that_is_too_small_is_refused_before_anything_is_loaded(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 1

    assert capsys.readouterr().err == f"fitbot: {message}\n"


def test_a_runs_folder_in_place_of_its_adapter_leads_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "fitbot.json").touch()

    assert main(["chat", "--adapter", str(tmp_path), "--ask", "Hi?"]) == 1

    assert f"no fitbot.json there; give {tmp_path / 'adapter'}" in capsys.readouterr().err
