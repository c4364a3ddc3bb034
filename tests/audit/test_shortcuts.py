"""Rules that do not read the question: 1 where the rule holds, near one half where it cannot.

Those that read it are in test_question_rules.
"""

import random
from collections.abc import Sequence

import pytest

from fitbot.audit.rules import score_rule, wilson_interval
from fitbot.audit.shortcuts import (
    ShortcutReport,
    audit_shortcuts,
    connected_groups,
    linked_groups,
    quick_audit,
)
from tests.audit.planted import Record, clean_records, pairs_of


def mirrored(count: int = 200) -> list[Record]:
    """Each two answers stand both ways over different questions: no rule on answers can win."""
    records = clean_records(count, seed=3)
    questions = [record["question"] for record in clean_records(count, seed=4)]
    both = [
        [r, {"question": q, "chosen": r["rejected"], "rejected": r["chosen"]}]
        for r, q in zip(records, questions, strict=True)
    ]
    return [record for two in both for record in two]


def scores(report: ShortcutReport) -> dict[str, float]:
    return {score.rule: score.accuracy for score in report.rules}


def merged_groups(keys: Sequence[Sequence[int]]) -> list[int]:
    """The same groups the slow way: what shares a key gets one label, until nothing changes."""
    labels = list(range(len(keys)))
    for _ in keys:
        for i, own in enumerate(keys):
            alike = [j for j, other in enumerate(keys) if j == i or set(own) & set(other)]
            least = min(labels[j] for j in alike)
            for j in alike:
                labels[j] = least
    order = list(dict.fromkeys(labels))
    return [order.index(label) for label in labels]


def test_groups_are_the_connected_components_numbered_by_first_appearance() -> None:
    draw = random.Random(0)
    for count in [0, 1, 2, *range(3, 40)]:
        keys = [draw.choices(range(count), k=draw.randrange(3)) for _ in range(count)]

        assert connected_groups(keys) == merged_groups(keys)


def test_wilsons_interval_by_hand() -> None:
    # 10 of 10: the centre is (1 + z²/20) / (1 + z²/10), and low = 1 / (1 + z²/10)
    assert wilson_interval(1.0, 10) == pytest.approx((1 / (1 + 0.384146), 1.0), abs=1e-5)


def test_ties_count_one_half_and_questions_make_the_interval() -> None:
    pairs = pairs_of(clean_records(4))

    score = score_rule("rule", [1, 0, 0, -1], pairs)
    repeated = score_rule("rule", [1, 0, 0, -1] * 5, pairs * 5)

    assert (score.accuracy, score.ties) == (0.5, 2)
    assert (repeated.low, repeated.high) == (score.low, score.high)


def test_every_rule_scores_one_half_on_a_mirrored_file() -> None:
    train, val = pairs_of(mirrored()), pairs_of(mirrored()[:200])

    report = audit_shortcuts(train, val, "val")

    # Each pair stands beside its mirror, so whatever wins one loses the other.
    for rule, accuracy in scores(report).items():
        assert accuracy == pytest.approx(0.5, abs=0.1 if "question" in rule else 1e-9), rule
    assert report.shortcuts == []
    assert "no rule's interval" in report.summary


def test_cross_validation_is_one_half_on_a_mirrored_file() -> None:
    report = audit_shortcuts(None, pairs_of(mirrored()), "train")

    assert report.shortcuts == []
    assert scores(report)["bag of words"] == pytest.approx(0.5)
    assert set(report.unmeasured) == {"answer seen as chosen"}


@pytest.mark.parametrize(
    ("rule", "chosen", "rejected"),
    [
        ("longer, characters", "{} and some more words", "{}"),
        ("shorter, words", "{}", "{} and some more words"),
        ("punctuation and format", "{}!", "{}."),
        ("bag of words", "{} gladly", "{} sadly"),
        ("character n-grams", "{} gladly", "{} sadly"),
    ],
)
def test_a_rule_that_holds_scores_one(rule: str, chosen: str, rejected: str) -> None:
    records = [
        r | {"chosen": chosen.format(r["chosen"][:-1]), "rejected": rejected.format(r["rejected"])}
        for r in clean_records(200)
    ]
    train, val = pairs_of(records[:100]), pairs_of(records[100:])

    with_val, alone = audit_shortcuts(train, val, "val"), audit_shortcuts(None, train, "train")

    assert scores(with_val)[rule] > 0.98
    assert scores(alone)[rule] > 0.98
    assert rule in {score.rule for score in with_val.shortcuts}
    assert "measures nothing beyond it" in with_val.summary


def test_answers_seen_as_chosen_and_words_of_the_question_are_rules() -> None:
    train = clean_records(100)
    other = clean_records(100, seed=8)
    seen = [r | {"chosen": t["chosen"]} for r, t in zip(other, train, strict=True)]
    echo = [r | {"chosen": f"{r['question']} {r['chosen']}"} for r in other]

    assert scores(audit_shortcuts(pairs_of(train), pairs_of(seen), "v"))[
        "answer seen as chosen"
    ] == pytest.approx(1.0)
    assert scores(audit_shortcuts(pairs_of(train), pairs_of(echo), "v"))[
        "repeats the question"
    ] == pytest.approx(1.0)


def test_learned_rules_find_nothing_in_random_answers() -> None:
    train, val = pairs_of(clean_records(300)), pairs_of(clean_records(300, seed=5))

    report = audit_shortcuts(train, val, "val")

    assert report.shortcuts == []
    assert all(0.4 < accuracy < 0.6 for accuracy in scores(report).values())


def test_folds_never_share_a_question_or_an_answer() -> None:
    draw = random.Random(2)
    answers = [r["chosen"] for r in clean_records(120)]
    records = [
        {"question": f"q{draw.randrange(120)}", "chosen": a, "rejected": b}
        for a, b in (draw.sample(answers, 2) for _ in range(25))
    ]

    groups = linked_groups(pairs_of(records))

    for i, one in enumerate(records):
        for j, other in enumerate(records):
            if set(one.values()) & set(other.values()):
                assert groups[i] == groups[j]
    assert len(set(groups)) > 1


def test_a_file_that_hangs_together_is_said_to_be_unmeasurable() -> None:
    records = [r | {"rejected": "the same."} for r in clean_records()]

    report = audit_shortcuts(None, pairs_of(records), "train")

    assert "bag of words" not in scores(report)
    assert "hang together" in report.unmeasured["bag of words"]


def test_the_quick_part_is_one_line_when_nothing_is_wrong() -> None:
    (line,) = quick_audit(pairs_of(clean_records()), pairs_of(clean_records(seed=1)))

    assert line.startswith("audit: length tells 0.5")
    assert "nothing stands out" in line


def test_the_quick_part_says_the_two_lines_that_matter() -> None:
    train = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records()]

    lines = quick_audit(pairs_of(train), pairs_of(train[:50]))

    assert "only at length scores 1.00 on validation pairs (the longer answer)" in lines[0]
    assert "100% of prompts" in lines[1]
    assert len(quick_audit(pairs_of(train), [])) == 1


def test_the_quick_part_finds_length_in_training_pairs_beside_a_clean_validation_file() -> None:
    train = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records()]

    (line,) = quick_audit(pairs_of(train), pairs_of(clean_records(seed=1)))

    assert "only at length scores 1.00 on training pairs (the longer answer)" in line
    assert "on validation pairs it is worth 0.5" in line


@pytest.mark.parametrize(
    ("chosen", "rejected", "looks"),
    [("{}!", "{}.", "only at punctuation and format"), ("gladly {}", "sadly {}", "words")],
)
def test_the_quick_part_finds_punctuation_and_words_in_training_pairs(
    chosen: str, rejected: str, looks: str
) -> None:
    draw = random.Random(0)
    train = [
        r
        | {
            "chosen": chosen.format(r["chosen"][: draw.randrange(20, 40)]),
            "rejected": rejected.format(r["rejected"][: draw.randrange(20, 40)]),
        }
        for r in clean_records(100)
    ]

    (line,) = quick_audit(pairs_of(train), pairs_of(clean_records(seed=1)))

    assert looks in line
    assert "on training pairs that it did not learn from" in line


def test_the_quick_part_names_control_strings_and_where_they_are() -> None:
    train = clean_records()
    for n in (4, 7):
        train[n]["question"] += " <|im_end|>"
    train[9]["chosen"] += " <\uff5cUser\uff5c>"

    (line,) = quick_audit(pairs_of(train), [])

    assert (
        "<|im_end|> in 2 (first in record 4), <\uff5cUser\uff5c> in 1 (first in record 9)" in line
    )


def test_answers_that_training_chose_as_often_as_not_give_nothing_away() -> None:
    def mirrored(asked: str) -> list[dict[str, str]]:
        answers = [(f"Have {n} g.", f"Have {n + 1} g.") for n in range(10, 99, 2)]
        return [
            {"question": f"{asked} {way} than {one}", "chosen": chosen, "rejected": rejected}
            for one, other in answers
            for way, chosen, rejected in (("more", other, one), ("less", one, other))
        ]

    train, val = pairs_of(mirrored("Which is")), pairs_of(mirrored("Name the one that is"))

    (line,) = quick_audit(train, val)

    assert "100% of chosen answers" in line
    assert "nothing stands out" in line
