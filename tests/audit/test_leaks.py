"""Leaks between files: exact, near and by template, each counted once."""

from fitbot.audit.findings import leak_findings
from fitbot.audit.leaks import audit_leaks
from tests.audit.planted import Record, clean_records, pairs_of


def kinds(train: list[Record], val: list[Record]) -> set[str]:
    findings = leak_findings(audit_leaks(pairs_of(train), pairs_of(val), "val"))
    return {finding.kind for finding in findings}


def test_files_without_a_shared_text_have_no_leak() -> None:
    report = audit_leaks(pairs_of(clean_records()), pairs_of(clean_records(seed=1)), "val")

    assert list(leak_findings(report)) == []
    assert report.pairs == 0


def test_prompts_leak_exactly_nearly_and_by_template() -> None:
    train, val = clean_records(), clean_records(20, seed=1)
    train[0]["question"] = "How many sets of squats should I ask Anna to do in 3 weeks?"
    val[0]["question"] = train[1]["question"].upper()
    val[1]["question"] = f"so {train[2]['question']}"
    val[2]["question"] = "How many sets of squats should I ask Bob to do in 40 weeks?"

    report = audit_leaks(pairs_of(train), pairs_of(val), "val")
    findings = {finding.kind: finding for finding in leak_findings(report)}

    prompts = report.prompts
    assert (prompts.texts, prompts.exact, prompts.near, prompts.template) == (20, 1, 1, 1)
    assert prompts.examples["near"][0].record == 1
    assert prompts.examples["near"][0].seen == train[2]["question"]
    assert {kind: finding.pairs for kind, finding in findings.items()} == {
        "leak": 1,
        "near-leak": 1,
        "template": 1,
    }


def test_answers_leak_whatever_their_question_and_side() -> None:
    train, val = clean_records(), clean_records(20, seed=1)
    val[0]["chosen"] = train[0]["rejected"]
    val[1]["rejected"] = train[1]["rejected"]
    val[2] = dict(train[2])

    report = audit_leaks(pairs_of(train), pairs_of(val), "val")

    assert report.chosen.exact == 2
    assert report.rejected.exact == 2
    assert report.chosen_as_rejected == 1
    assert report.pairs == 1
    assert (report.shared.answers, report.shared.exact) == (38, 2)  # of pairs with new prompts


def test_shared_answers_are_a_leak_only_where_their_side_tells_the_label() -> None:
    train, val = clean_records(), clean_records(20, seed=1)
    for one, other in zip(train[:6], val, strict=False):
        other["chosen"] = one["chosen"]

    assert kinds(train, val) == {"leak"}

    turned = [one | {"chosen": one["rejected"], "rejected": one["chosen"]} for one in train[3:6]]
    assert kinds(train[:3] + turned + train[6:], val) == {"shared"}


def test_a_pair_the_other_way_round_is_reversed_and_one_that_differs_in_case_is_not() -> None:
    train, val = clean_records(), clean_records(20, seed=1)
    val[3] = train[5] | {"chosen": train[5]["rejected"], "rejected": train[5]["chosen"]}
    train[0] |= {"chosen": "Sleep well.", "rejected": "sleep well."}
    val[4] = train[0] | {"chosen": "sleep well.", "rejected": "Sleep well."}

    findings = leak_findings(audit_leaks(pairs_of(train), pairs_of(val), "val"))
    found = {one.kind: [example.record for example in one.examples] for one in findings}

    assert found == {"reversed": [3], "leak": [3, 4]}
