"""`fitbot serve` as it is typed; tests/serving has the server itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fitbot.base_model.provenance import latest_adapter
from fitbot.commands.serve import _sampling, main
from fitbot.errors import AdapterError, ConfigError
from fitbot.generation.messages import Sampling
from fitbot.learning.origin import Origin, keep_origin, recorded_origin
from fitbot.serving.settings import RequestLimits


def test_answers_are_drawn_as_the_run_says(tmp_path: Path) -> None:
    answers = {"temperature": 0.3, "top_p": 0.5, "do_sample": True, "max_new_tokens": 77}
    (tmp_path / "fitbot.json").write_text(json.dumps({"answers": answers}))

    assert _sampling(tmp_path, RequestLimits()) == Sampling(77, temperature=0.3, top_p=0.5)
    assert _sampling(tmp_path, RequestLimits(max_new_tokens=9)).max_new_tokens == 9


@pytest.mark.parametrize("content", ["", "[]", '{"answers": {"heat": 1}}'])
def test_an_adapter_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(AdapterError, match="fitbot.json"):
        _sampling(tmp_path, RequestLimits())
    (tmp_path / "fitbot.json").write_text(content)
    with pytest.raises(AdapterError, match="export the adapter anew"):
        _sampling(tmp_path, RequestLimits())


def test_a_run_may_name_only_an_address_that_can_be_bound(tmp_path: Path) -> None:
    (tmp_path / "fitbot.json").write_text(json.dumps({"serve": {"host": "localhost"}}))

    with pytest.raises(ConfigError, match=r"serve\.host 'localhost': must be 0\.0\.0\.0, "):
        main(["serve", f"--adapter={tmp_path}"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_in_flight=0"], "--max_in_flight 0: must be above 0"),
        (["--keys_file=/nonexistent"], "--keys_file /nonexistent"),
        (["--remote=http://x/v1", "--remote_fields=[]"], r"--remote_fields \[\]: it must be"),
    ],
)
def test_options_that_cannot_be_are_errors(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(["serve", *options])


@pytest.mark.parametrize("option", ["--prot=8000", "--host=evil", "--port=x"])
def test_options_that_are_not_known_are_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["serve", option])

    assert raised.value.code == 2
    assert "usage: fitbot serve" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_help_loads_nothing_heavy(command: str) -> None:
    heavy = ("torch", "lightning", "transformers", "litserve", "fastapi")
    code = (
        "import sys; from fitbot.__main__ import main\n"
        f"try: main(['{command}', '--help'])\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "--adapter" in out.stdout
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--remote=http://127.0.0.1:9/v1"], "--remote: not with --learn: that server's weights"),
        (["--backend=llama"], "--backend llama: not with --learn: what answers, by PyTorch, and"),
        (["--quantize=q8_0"], "--quantize: not with --learn: what answers"),
    ],
)
def test_what_cannot_learn_is_said_before_anything_is_loaded(
    options: list[str], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "learning"
    with pytest.raises(ConfigError, match=re.escape(said)):
        main(["serve", "--learn", f"--learning_folder={folder}", "--health_encoder=none", *options])
    assert not folder.exists()


def test_a_folder_of_another_base_is_refused(tmp_path: Path) -> None:
    keep_origin(tmp_path, Origin("somebody/else", load_in_4bit=True, system_prompt=None))

    with pytest.raises(ConfigError, match="began from somebody/else, and this is embedded; name"):
        keep_origin(tmp_path, Origin.of(None))
    assert recorded_origin(tmp_path / "new") is None


def test_a_version_is_not_the_latest_run(tmp_path: Path) -> None:
    for name in ("run/adapter", "learning/versions/7/adapter"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "fitbot.json").write_text("{}")

    assert latest_adapter(tmp_path) == tmp_path / "run/adapter"
