"""The block can be pasted anywhere: 80 columns of ASCII, nothing of the user's own."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitbot.doctor.block import Fact, draw_section, redact
from fitbot.errors import ConfigError


def test_long_facts_are_wrapped_below_themselves_in_80_columns_of_ascii() -> None:
    text, has_failed = draw_section("machine", lambda: [("CPU", "fast " * 30), ("name", "Ünïcode")])

    lines = text.splitlines()
    assert lines[0] == "machine"
    assert lines[1].startswith("  CPU        fast fast")
    assert lines[2].startswith("             fast")
    assert lines[-1] == "  name       ?n?code"
    assert max(map(len, lines)) <= 80
    assert not has_failed


def test_what_fails_is_one_line_below_what_was_found_before() -> None:
    def broken() -> Iterator[Fact]:
        yield "first", "is there"
        raise RuntimeError("the GPU is gone\nCUDA kernel errors might be asynchronously reported")

    def refused() -> Iterator[Fact]:
        raise ConfigError("base_model 'x': no such folder;\nname another")

    assert draw_section("training", broken) == (
        "training\n  first      is there\n  FAILED: RuntimeError: the GPU is gone",
        True,
    )
    assert draw_section("training", refused) == (
        "training\n  FAILED: base_model 'x': no such folder; name another",
        True,
    )


def test_a_fact_may_say_itself_that_it_failed() -> None:
    assert draw_section("a", lambda: [("loss", "FAILED: it rose"), ("memory", "1 GiB")])[1]
    assert not draw_section("a", lambda: [("loss", "it did not fail: it FAILED once")])[1]


def test_secrets_home_and_user_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct horse battery")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")

    for text, shown in {
        "key correct horse battery.": "key ***.",
        "token hf_abcdefGHIJKL0123 refused": "token *** refused",
        "sk-proj-abcdef012345": "***",
        "https://bob:pass@mirror.example/x": "https://***@mirror.example/x",
        "/home/alice/models/x": "~/models/x",
        "/home/alice": "~",
        "/home/alice2/x": "/home/alice2/x",
        "/scratch/alice/hub": "/scratch/***/hub",
        "alice in chains, false alarm": "alice in chains, false alarm",
    }.items():
        assert redact(text) == shown


def test_a_user_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)

    assert redact("/scratch/x") == "/scratch/x"
