"""What people are told of a model: nothing typed in, and nothing that its files do not say."""

import json
import sys
from pathlib import Path

import pytest

from fitbot.base_model.introduction import Introduction, introduce
from fitbot.health.layer import open_layer
from fitbot.pairs.formats import Message
from tests.conftest import ROOT

sys.path.append(str(ROOT / "data" / "build"))

import small_talk

VERDICT = "learned: reward accuracy 0.812 [0.780, 0.840] on 654 validation pairs; beyond rules"


def adapter_of(root: Path, base_model: str, **told: object) -> Path:
    """Write what `fitbot fit` writes of an adapter, as far as it is read here."""
    folder = root / "mine" / "adapter"
    folder.mkdir(parents=True)
    (folder / "fitbot.json").write_text(json.dumps({"base_model": base_model, **told}))
    return folder


def test_the_demonstration_says_what_the_model_says_of_itself() -> None:
    alone = introduce(None)

    foods, exercises = small_talk.FOODS_KNOWN, small_talk.EXERCISES_KNOWN
    assert alone.kind == f"A demonstration: knows {foods} foods and {exercises} exercises"
    assert alone.is_demonstration
    assert "adapter" not in alone.details.lower()


def test_an_adapter_has_name_day_and_verdict(tmp_path: Path) -> None:
    adapter = adapter_of(
        tmp_path, "embedded", trained="2026-12-01", metrics={"verdict": VERDICT, "steps": 200}
    )

    tuned, base = introduce(adapter), introduce(adapter, tuned=False)

    assert tuned.details == (
        "Adapter mine, trained on 2026-12-01. Verdict of its training: learned, reward accuracy "
        "0.812 [0.780, 0.840] on 654 validation pairs. It answers each question by itself."
    )
    assert tuned.kind == base.kind
    assert base == introduce(None)


def test_what_its_files_do_not_say_is_not_said(tmp_path: Path) -> None:
    assert introduce(adapter_of(tmp_path, "embedded")).details == (
        "Adapter mine. It answers each question by itself."
    )


def test_a_real_base_is_named_and_is_no_demonstration(tmp_path: Path) -> None:
    adapter = adapter_of(tmp_path, "HuggingFaceTB/SmolLM2-135M-Instruct", trained="2026-12-01")

    tuned, base = introduce(adapter), introduce(adapter, tuned=False)

    assert tuned.kind == "SmolLM2-135M-Instruct with the adapter mine"
    assert tuned.details == "Adapter mine, trained on 2026-12-01."
    assert (base.kind, base.details) == ("SmolLM2-135M-Instruct", "Without an adapter.")
    assert not tuned.is_demonstration
    assert tuned.questions == base.questions == Introduction().questions


@pytest.mark.parametrize("one", [introduce(None), Introduction()], ids=["embedded", "general"])
def test_six_questions_are_offered_that_a_model_may_answer(one: Introduction) -> None:
    health = open_layer(None, "none")

    assert len(set(one.questions)) == 6
    assert all(question.endswith("?") or question.endswith(".") for question in one.questions)
    assert max(map(len, one.questions)) <= 74  # a line of a terminal, its number before it
    assert {health.check([Message("user", q)]).kind for q in one.questions} == {"ok"}
