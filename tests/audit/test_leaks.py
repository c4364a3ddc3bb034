"""Leaks between files: exact, near and by template, each counted once."""

from fitbot.audit.findings import leak_findings
from fitbot.audit.leaks import audit_leaks
from tests.audit.planted import clean_records, pairs_of


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
    assert set(findings) == {"leak", "template"}
    assert findings["leak"].pairs == 2


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
