"""The fixed texts: an operator's own over fitbot's, and what is refused of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fitbot.errors import ConfigError
from fitbot.health.classifier import ABOUT, LANGUAGES
from fitbot.health.rules import load_rules
from fitbot.health.texts import load_texts


def write(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "texts.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_every_verdict_has_its_text_in_every_language_that_is_known() -> None:
    texts = load_texts()
    names = [name for about in ABOUT[1:] for name in (about, f"{about}?")]

    assert set(texts.by_language) == set(LANGUAGES)
    for language in LANGUAGES:
        assert set(names) <= set(texts.by_language[language]), language
    english = texts.by_language["en"]
    defaults = {"refer": "default", "support": "eating disorder"}
    for rule in load_rules().questions:
        assert {rule.sign, defaults.get(rule.kind, rule.kind)} & set(english), rule.sign
    for name in ("mentioned", "cleared", "taken back", "answer", "harmful"):
        assert english[name]


def test_no_number_is_left_out_and_no_place_is_left_open() -> None:
    texts = load_texts()

    for language, by_name in texts.by_language.items():
        assert re.search(r"\d{3}", by_name["emergency"]), language
        assert "findahelpline" in by_name["self-harm"] or re.search(r"\d{3}", by_name["self-harm"])
        for text in by_name.values():
            assert not set("{}") & set(text)
    for code, line in texts.first_lines.items():
        assert "112" in line, code
        assert not set("{}") & set(line)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_for_an_eating_disorder_holds_no_amounts(language: str) -> None:
    text = load_texts().by_language[language]["eating disorder"].lower()

    words = ("kcal", "calor", "kalor", "कैलोरी", " kg", "bmi", "kilo")
    assert not [word for word in words if word in text]


def test_an_operators_file_replaces_what_it_names(tmp_path: Path) -> None:
    own = write(
        tmp_path,
        {
            "numbers": {"en": {"emergency": "999"}},
            "texts": {"en": {"drugs": "Ask our pharmacy, or call {emergency}."}},
            "other languages": {"it": "Chiama il {emergency}."},
        },
    )

    texts = load_texts(own)

    assert texts.by_language["en"]["drugs"] == "Ask our pharmacy, or call 999."
    assert "999" in texts.by_language["en"]["emergency"]
    assert texts.by_language["de"] == load_texts().by_language["de"]
    assert texts.first_lines["it"].startswith("Chiama il 112")
    assert texts.source == own


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "are no JSON"),
        ("[]", "are no JSON object"),
        ({"text": {}}, "'text' is no section; there are numbers, texts, other languages"),
        ({"texts": {"xx": {}}}, "'xx' is no language of texts; there are en"),
        ({"texts": {"en": {"hello": "Hi"}}}, "'hello' is no text of texts.en"),
        ({"texts": {"en": {"drugs": ""}}}, "texts.en.drugs must be a text"),
        ({"texts": {"en": {"drugs": "Call {emergancy}"}}}, "braces stand for numbers only"),
        ({"texts": {"en": {"drugs": "Call {emergency"}}}, "braces stand for numbers only"),
        ({"texts": {"en": "Call"}}, "texts.en must be an object of texts"),
        ({"texts": []}, "texts must be an object by language"),
        ({"numbers": {"en": {"fire": "112"}}}, "'fire' is no text of numbers.en"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_the_start(tmp_path: Path, data: Any, said: str) -> None:
    path = write(tmp_path, data)

    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load_texts(path)

    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json cannot be read: No such file"):
        load_texts(tmp_path / "nowhere.json")
