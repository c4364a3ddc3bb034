"""Rules that read the question as a bag of words: found where planted, nothing found in noise."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import sparse

from fitbot.audit import question_rules as rules_module
from fitbot.audit.findings import shortcut_findings
from fitbot.audit.question_rules import Texts, question_rules
from fitbot.audit.rules import BILINEAR, NEAREST, READS_THE_QUESTION, score_rule
from fitbot.audit.shortcuts import audit_shortcuts, best_question_rule, question_preferences
from tests.audit.planted import Record, clean_records, pairs_of

ENGLISH = {"knee": "swim", "back": "walk", "wrist": "squat", "ankle": "row"}
JAPANESE = {"膝": "泳", "腰": "歩", "手": "蹲", "足": "漕"}


def planted(count: int, *, seed: int, answers: dict[str, str] = ENGLISH) -> list[Record]:
    """One word of the question says which word is right; every word is as often wrong as right."""
    draw, found = random.Random(seed), []
    for n, record in enumerate(clean_records(count, seed=seed)):
        asked = list(answers)[n % len(answers)]
        right = answers[asked]
        wrong = draw.choice([word for word in answers.values() if word != right])
        said = record["chosen"][:-1]  # the same in both answers
        found.append(
            {
                "question": f"{record['question'][:-1]} {asked}?",
                "chosen": f"{said} {right}.",
                "rejected": f"{said} {wrong}.",
            }
        )
    return found


def swapped(records: Sequence[Record]) -> list[Record]:
    return [r | {"chosen": r["rejected"], "rejected": r["chosen"]} for r in records]


@pytest.mark.parametrize("answers", [ENGLISH, JAPANESE], ids=["English", "Japanese"])
def test_an_association_of_question_and_answer_is_found_and_is_no_shortcut(
    answers: dict[str, str],
) -> None:
    train = pairs_of(planted(400, seed=1, answers=answers))
    val = pairs_of(planted(200, seed=2, answers=answers))

    with_val, alone = audit_shortcuts(train, val, "val"), audit_shortcuts(None, train, "train")

    for report in (with_val, alone):
        found = {score.rule: score.accuracy for score in report.question_rules}
        assert found.keys() == READS_THE_QUESTION
        assert found[BILINEAR] > 0.98
        assert found[NEAREST] > 0.75  # most words of a question are noise
        assert all(score.reads_question for score in report.question_rules)
        assert max(score.accuracy for score in report.rules) < 0.65
        assert not list(shortcut_findings(report))
        assert "is what a bag of words learns here" in report.bar


def test_nothing_is_found_in_noise() -> None:
    train, val = pairs_of(clean_records(400)), pairs_of(clean_records(400, seed=5))

    with_val, alone = audit_shortcuts(train, val, "val"), audit_shortcuts(None, train, "train")

    for report in (with_val, alone):
        assert all(0.42 < score.accuracy < 0.58 for score in report.question_rules)
        assert "learns little or nothing here" in report.bar


def test_swapping_labels_flips_every_preference() -> None:
    train, asked = planted(60, seed=1), planted(30, seed=2)

    found = question_rules(pairs_of(train), pairs_of(asked))
    learned_swapped = question_rules(pairs_of(swapped(train)), pairs_of(asked))
    asked_swapped = question_rules(pairs_of(train), pairs_of(swapped(asked)))

    for rule, preferences in found.items():
        assert np.any(preferences)
        assert np.array_equal(learned_swapped[rule], -preferences), rule
        assert np.array_equal(asked_swapped[rule], -preferences), rule


def test_preferences_are_the_same_every_time_and_do_not_depend_on_the_other_pairs() -> None:
    train, asked = pairs_of(planted(90, seed=1)), pairs_of(planted(40, seed=2))

    once, again = question_rules(train, asked), question_rules(train, asked)
    few = question_rules(train, asked[7:9])

    for rule in READS_THE_QUESTION:
        assert np.array_equal(once[rule], again[rule])
        assert few[rule] == pytest.approx(once[rule][7:9], abs=1e-8)


def test_products_of_words_are_the_bilinear_form() -> None:
    # A product of two features sums over all pairs of words, and so is the product of two sums.
    draw = np.random.default_rng(0)
    questions = sparse.csr_array(draw.integers(0, 3, (4, 5)).astype(float))
    answers = sparse.csr_array(draw.integers(-2, 3, (4, 6)).astype(float))

    features = rules_module._products(Texts(questions, answers))

    asked, said = questions @ questions.T, answers @ answers.T
    always = rules_module._ANY_QUESTION**2
    assert (features @ features.T).toarray() == pytest.approx(
        (asked.toarray() + always) * said.toarray()
    )


def test_the_nearest_questions_prefer_by_the_square_of_their_cosine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules_module, "_NEIGHBOURS", 2)
    train = Texts(
        sparse.csr_array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]),
        sparse.csr_array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [5.0, 5.0, 5.0]]),
    )
    asked = Texts(sparse.csr_array([[1.0, 0.0]]), sparse.csr_array([[3.0, 0.5, 1.0]]))

    # 1² (3 - 1) of the first, 0.8² (0.5 x 2) of the second; the third is too far away.
    assert rules_module._nearest(train, asked) == pytest.approx([2 + 0.64])


def test_of_long_texts_the_weightiest_words_count_and_of_many_pairs_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules_module, "_QUESTION_WORDS", 3)
    monkeypatch.setattr(rules_module, "_ANSWER_WORDS", 4)
    monkeypatch.setattr(rules_module, "MAX_LEARNED", 300)
    train, val = pairs_of(planted(400, seed=1)), pairs_of(planted(200, seed=2))

    found = question_rules(train, val)

    read = rules_module.reader(train)(train)
    assert np.diff(rules_module._products(read).indptr).max() <= (3 + 1) * 4
    assert found[BILINEAR].shape == (200,)
    assert np.mean(found[NEAREST] > 0) > 0.8


def test_the_best_rule_is_told_with_and_without_a_validation_file() -> None:
    train, val = pairs_of(planted(200, seed=1)), pairs_of(planted(100, seed=2))

    measured, alone = best_question_rule(train, val), best_question_rule(train, [])

    assert measured is not None
    assert alone is not None
    assert measured.accuracy > 0.9
    assert alone.accuracy > 0.9
    assert measured.reads_question
    best = question_rules(train, val)[measured.rule]
    assert measured == score_rule(measured.rule, best.tolist(), val)


def test_too_few_pairs_have_no_such_rule_and_the_reason_is_said() -> None:
    few, val = pairs_of(clean_records(6)), pairs_of(clean_records(20, seed=1))
    one_question = pairs_of([r | {"question": "Why?"} for r in clean_records(40)])

    assert best_question_rule(few, val) is None
    assert best_question_rule(one_question, []) is None
    assert "6 pairs are too few" in question_preferences(few, val)[1]
    report = audit_shortcuts(few, val, "val")
    assert report.question_rules == []
    assert report.bar == ""
    assert set(report.unmeasured) == READS_THE_QUESTION


def test_texts_without_words_have_no_preference() -> None:
    records = [{"question": "?", "chosen": "!" * (n + 1), "rejected": "."} for n in range(30)]

    found = question_rules(pairs_of(records), pairs_of(records[:3]))

    assert all(not np.any(preferences) for preferences in found.values())
