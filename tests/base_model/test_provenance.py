"""A fitbot.json that somebody has changed: one sentence that says what is wrong with it."""

import json
from pathlib import Path

import pytest

from fitbot.base_model.provenance import (
    NEEDED_TO_ANSWER,
    answer_settings,
    provenance_of,
    serve_settings,
)
from fitbot.errors import AdapterError

GOOD = {
    "base_model": "Qwen/Qwen3-0.6B",
    "settings": {"load_in_4bit": True},
    "data": {"system_prompt": None},
}


def write(folder: Path, text: str) -> Path:
    (folder / "fitbot.json").write_text(text)
    return folder


def read(folder: Path) -> None:
    """Read it as the commands do, one after the other."""
    answer_settings(folder)
    serve_settings(folder)
    provenance_of(folder, *NEEDED_TO_ANSWER)


def said(folder: Path) -> str:
    with pytest.raises(AdapterError) as raised:
        read(folder)
    return str(raised.value)


def test_a_good_one_is_read(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(GOOD))

    assert provenance_of(tmp_path, *NEEDED_TO_ANSWER) == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "is damaged"),
        ('{"data": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001, "is damaged"),
        ("1" * 5000, "is damaged"),
        ('{"base_model": "\\ud800"}', "is damaged"),
        ('"base_model"', "is no export's"),
        ("null", "is no export's"),
    ],
)
def test_what_is_no_metadata_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    error = said(write(tmp_path, text))

    assert error.startswith(f"{tmp_path}/fitbot.json {message}")
    assert "export the adapter anew" in error
    assert "\n" not in error
    assert len(error) < 300


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base_model": 5}, "base_model must be str, not int"),
        ({"base_model": ["a"]}, "base_model must be str, not list"),
        ({"settings": []}, "settings must be dict, not list"),
        ({"settings": None}, "settings must be dict, not NoneType"),
        ({"settings": {"load_in_4bit": "no"}}, "settings.load_in_4bit must be bool, not str"),
        ({"settings": {}}, "settings.load_in_4bit is missing"),
        ({"data": "x"}, "data must be dict, not str"),
        ({"data": {}}, "data.system_prompt is missing"),
        ({"data": {"system_prompt": {}}}, "data.system_prompt must be str or NoneType, not dict"),
        ({"sha256": ["a"]}, "sha256 must be dict, not list"),
        ({"gguf": {"sha256": 1}}, "gguf.sha256 must be dict, not int"),
        ({"serve": {"port": "8000"}}, "serve.port must be int, not str"),
        ({"serve": {"port": 80_000}}, "serve cannot be read"),
        ({"serve": {"host": ["0.0.0.0"]}}, "serve.host must be str, not list"),
        ({"serve": {"door": 1}}, "serve cannot be read"),
        ({"answers": {"temperature": "hot"}}, "answers cannot be read"),
        ({"answers": {"max_new_tokens": 1.5}}, "answers.max_new_tokens must be int, not float"),
        ({"answers": {"do_sample": "no"}}, "answers.do_sample must be bool, not str"),
    ],
)
def test_an_entry_of_another_kind_is_named(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    error = said(write(tmp_path, json.dumps(GOOD | changed)))

    assert error.startswith(f"{tmp_path}/fitbot.json: {message}")
    assert "export the adapter anew" in error


def test_one_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> str:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, json.dumps(GOOD))
    monkeypatch.setattr(Path, "read_text", refuse)  # root may read everything

    assert said(tmp_path) == f"{tmp_path}/fitbot.json cannot be read: Permission denied"
