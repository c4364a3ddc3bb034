"""The command as a person types it: a table, JSON and a page; the same figures as `fitbot test`."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from fitbot.audit.shortcuts import best_question_rule
from fitbot.evaluation.cases import INDEPENDENT, questions_file
from fitbot.export.adapter import export_adapter
from tests.conftest import ROOT, make_data, make_module, make_trainer
from tests.evaluation.exported import records, write_adapter

FEW = ("--questions", "4", "--max_new_tokens", "6")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module", autouse=True)
def on_a_cpu() -> Iterator[None]:
    """In float32, whatever there is, so that figures may be compared to the last digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def runs(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two adapters, and beside them the pairs that they are evaluated on."""
    root = tmp_path_factory.mktemp("runs")
    (root / "pairs.json").write_text(json.dumps(records()), encoding="utf-8")
    names = ("one", "<i>other")
    return [str(write_adapter(root / name, base, seed=i)) for i, name in enumerate(names)]


@pytest.fixture(scope="module")
def pairs_path(runs: list[str]) -> str:
    return str(Path(runs[0]).parents[1] / "pairs.json")


@pytest.fixture(scope="module")
def done(runs: list[str], pairs_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reports of both adapters, and what the terminal showed."""
    out = tmp_path_factory.mktemp("out")
    shown, progress = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitbot.report.progress._LINE_SECONDS", 0.0)
        patch.setattr("fitbot.report.progress._LINE_SHARE", 0.0)
        with redirect_stdout(shown), redirect_stderr(progress):
            assert main(["evaluate", *runs, "--pairs", pairs_path, "--out", str(out), *FEW]) == 0
    (out / "terminal.txt").write_text(shown.getvalue(), encoding="utf-8")
    (out / "progress.txt").write_text(progress.getvalue(), encoding="utf-8")
    return out


def test_every_stage_is_said_and_how_far_it_is(done: Path) -> None:
    lines = (done / "progress.txt").read_text(encoding="utf-8").splitlines()

    stages = [
        "fitbot evaluate: loading PyTorch",
        "reading pairs of ",
        "rules that know no language learn from 12 pairs",
        "loading ",
        "base answers 4 questions, in 3 ways",
        "base, greedy answers: 1 of 4",
        "base, plain answers: 4 of 4",
        "one answers 4 questions",
        "base: log-probs of ",
        "base, log-probs of pairs: ",
        "one, drift in answers: ",
        "intervals and tests",
    ]
    places = [next(i for i, line in enumerate(lines) if line.startswith(x)) for x in stages]
    assert places == sorted(places)


def told_by(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_the_json_holds_every_model_figure_and_answer(done: Path) -> None:
    told = told_by(done)
    whole = told["groups"][0]

    assert [report["model"]["name"] for report in told["models"]] == ["base", "one", "<i>other"]
    assert [len(report["logps"]) for report in told["models"]] == [12, 12, 12]
    assert whole["pairs"] == 12
    assert whole["independent"] == 6  # a pair and its mirror are one
    assert {(g["label"], g["value"]) for g in told["groups"]} == {
        *(("all", "all"), ("category", "sets"), ("category", "<b>rest</b> $\\x$")),
        *(("flaw", "less"), ("flaw", "more"), ("split", "seen")),
    }
    assert set(whole["figures"]["one"]) > {"loss", "rewards/accuracies", "logratios/chosen"}
    assert len(told["exchanges"]) == told["pairs"]["asked"] == 4
    assert set(told["exchanges"][0]["answers"]["one"]) == {"greedy", "sampled"}
    measures = {(c["measure"], c["one"], c["other"]) for c in told["comparisons"]}
    assert ("rewards/accuracies", "one", "<i>other") in measures
    assert ("greedy: passes", "base", "one") in measures
    drift = told["models"][1]["drift"]
    assert drift["divergence"]["value"] > 0.01
    assert drift["perplexity"] != told["models"][0]["drift"]["perplexity"]


def test_rules_that_are_right_in_a_group_are_shown_there_beside_the_model(done: Path) -> None:
    told = told_by(done)
    whole, flaw = told["groups"][0], next(g for g in told["groups"] if g["label"] == "flaw")

    # Over all pairs the longer answer is right in half of them, with one flaw in all or none.
    shares = {rule["rule"]: rule["accuracy"] for rule in whole["rules"]}
    assert shares["longer, characters"] == 0.5
    assert flaw["rules"][0]["accuracy"] == 1.0
    # A rule reaches only what is above chance; in a few pairs nothing is.
    for name, reached in flaw["reached_by"].items():
        main = flaw["figures"][name].get(
            "rewards/accuracies", flaw["figures"][name]["logps/accuracies"]
        )
        assert reached == [] if main["low"] <= 0.5 else flaw["rules"][0]["rule"] in reached


def test_rules_that_read_the_question_are_shown_beside_the_models(done: Path) -> None:
    told, page = told_by(done), (done / "report.html").read_text(encoding="utf-8")
    text = " ".join((done / "terminal.txt").read_text(encoding="utf-8").split())

    for group in told["groups"]:
        rules = {rule["rule"] for rule in group["question_rules"]}
        assert rules == {"nearest questions", "question x answer words"}
        assert all(set(own) == rules for own in group["beyond"].values())
    sentences = told["verdicts"]["one"]
    assert any("what a bag of words learns" in sentence for sentence in sentences)
    assert not any("bag of words" in sentence for sentence in told["verdicts"]["base"])
    assert "does not say which file it was trained on" in told["pairs"]["training_file_missing"]
    assert "points against the better one" in text
    assert "--train names a file" in text
    assert ">Beyond what a bag of words learns</h2>" in page


def test_evaluating_twice_gives_the_same_json_but_for_the_seconds(
    runs: list[str], pairs_path: str, done: Path, tmp_path: Path
) -> None:
    args = ["evaluate", *runs, "--pairs", pairs_path, "--out", str(tmp_path), *FEW]
    assert main(args) == 0

    one, other = (told_by(folder) | {"seconds": None} for folder in (done, tmp_path))
    assert one == other
    assert (done / "report.html").read_text() == (tmp_path / "report.html").read_text()


def test_the_terminal_shows_all_models_in_a_hundred_columns(done: Path) -> None:
    *lines, json_file, page = (done / "terminal.txt").read_text(encoding="utf-8").splitlines()
    text = " ".join(" ".join(lines).split())  # wherever a line was folded

    assert max(map(len, lines)) <= 100
    assert json_file == f"wrote {done / 'evaluation.json'}"
    assert page == f"wrote {done / 'report.html'}"
    assert "12 pairs in 6 independent groups" in text
    assert any(line.split() == ["base", "one", "<i>other"] for line in lines)
    assert "! worse than chance, ~ not clearly better in 30 groups or more" in text
    assert "greedy answers pass" in text
    assert "p of a sign-flip test" in text


def test_the_page_stands_alone_and_escapes_what_models_and_files_say(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")

    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;other" in page
    assert "<b>" not in page
    assert page.count("&lt;b&gt;rest&lt;/b&gt; $\\x$") >= 3  # in a table and three plots
    assert "src=" not in page
    assert 'href="http' not in page
    assert "url(http" not in page
    assert page.count("<svg") == 2 + 2 + 2 * 2  # by category and split; changes; answers likewise
    assert "prefers-color-scheme: dark" in page
    # It begins with the result, and a list that leads to every part.
    before, _, after = page.partition("</nav>")
    assert "Of 2 adapters on 12 pairs one is " in before
    assert ">reward accuracy</td>" in page
    assert re.findall('<a href="#([^"]*)">', before) == re.findall('<h2 id="([^"]*)">', after)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
def test_the_page_opens_in_a_browser(done: Path, tmp_path: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]

    page = subprocess.run(
        [*command, f"file://{done / 'report.html'}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout

    assert "Evaluation of one, &lt;i&gt;other" in page
    assert page.count("</table>") == (done / "report.html").read_text().count("</table>")


AGAINST_THE_BASE = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        ({"label_smoothing": 0.1, "nll_weight": 0.05}, set()),
        # there in nats a token
        ({"loss": "hinge", "length_normalised": True}, {"logratios/chosen"}),
        ({"loss": "simpo", "gamma": 0.2}, AGAINST_THE_BASE),
    ],
    ids=["sigmoid", "hinge", "simpo"],
)
def test_its_figures_are_those_of_fitbot_test(
    settings: dict[str, Any], others: set[str], base: str, pairs_path: str, tmp_path: Path
) -> None:
    module = make_module(base, tmp_path, beta=0.3, **settings)
    data = make_data(base, pairs_path, test_path=pairs_path, batch_size=4, accumulate_batches=1)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, data)
    (shown,) = trainer.test(module, data, verbose=False)
    adapter = export_adapter(
        tmp_path / "adapter",
        module.state_dict(),
        dict(module.hparams),
        training={"data": data.provenance()},
    )

    args = ["evaluate", str(adapter), "--pairs", pairs_path, "--questions", "0"]
    assert main([*args, "--out", str(tmp_path)]) == 0

    told = told_by(tmp_path)
    assert told["exchanges"] == []  # nothing was asked
    assert told["models"][1]["drift"]["divergence"] is None
    found = told["groups"][0]["figures"][tmp_path.name]
    compared = {name.removeprefix("test/"): value for name, value in shown.items()}
    assert abs(compared["rewards/margins"]) > 1e-3  # it has learned something
    if others == AGAINST_THE_BASE:
        change = (found[f"logratios/{name}"]["value"] for name in ("chosen", "rejected"))
        expected = 0.3 * (next(change) - next(change))
        assert found["rewards/margins"]["value"] == pytest.approx(expected)
    for name in compared.keys() - {"step"} - others:
        assert found[name]["value"] == pytest.approx(compared[name], rel=1e-4, abs=1e-5), name


def test_rules_learn_from_the_records_that_the_run_read_as_its_own_verdict_has_them(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = tmp_path / "train.json", tmp_path / "val.json"
    pairs = records(60)
    # The first teach the contrary of the rest.
    first = [{**r, "chosen": r["rejected"], "rejected": r["chosen"]} for r in pairs[:24]]
    train.write_text(json.dumps([*first, *pairs[24:]]), encoding="utf-8")
    val.write_text(json.dumps(pairs[24:]), encoding="utf-8")
    data = make_data(base, str(train), val_path=str(val), train_limit=24)
    data.setup("fit")
    adapter = write_adapter(tmp_path / "run", base, data=data.provenance())

    args = ["evaluate", str(adapter), "--pairs", str(val), "--questions", "0"]
    assert main([*args, "--out", str(tmp_path / "own")]) == 0
    said = "".join(capsys.readouterr().out.split())  # a long path is wrapped
    assert f"learnedfromthefirst24recordsof{train}" in said
    assert main([*args, "--train", str(train), "--out", str(tmp_path / "whole")]) == 0

    own, whole = (told_by(tmp_path / name) for name in ("own", "whole"))
    assert [told["pairs"]["rules_limit"] for told in (own, whole)] == [24, None]
    best, of_all = (told["groups"][0]["question_rules"][0] for told in (own, whole))
    verdicts = best_question_rule(data.some_texts("train"), data.some_texts("val"))
    assert verdicts is not None
    assert (best["rule"], best["accuracy"]) == (verdicts.rule, verdicts.accuracy)
    assert best["accuracy"] < 0.5 < of_all["accuracy"]


def test_the_embedded_base_is_evaluated_alone_and_is_fluent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(ROOT / "data" / "fitness_test.json")
    limits = ("--limit", "12", "--questions", "6", "--max_new_tokens", "96")

    assert main(["evaluate", "--pairs", path, "--out", str(tmp_path), *limits]) == 0

    told = told_by(tmp_path)
    (report,) = told["models"]
    assert report["displacement"] is None
    assert set(told["groups"][0]["figures"]["base"]) >= {"logps/accuracies", "logps/chosen"}
    assert told["comparisons"] == []
    assert report["answers"]["greedy"]["faults"]["unfinished"]["value"] == 0
    assert report["answers"]["greedy"]["faults"]["empty"]["value"] == 0
    assert "Greedy answers that pass: " in (tmp_path / "report.html").read_text()
    assert "reward accuracy" not in capsys.readouterr().out


def test_pairs_of_any_format_are_evaluated_and_what_they_lack_is_said(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"from": "human", "value": "Rest?"}]
    answers = {
        "chosen": {"from": "gpt", "value": "Yes."},
        "rejected": {"from": "gpt", "value": "N"},
    }
    records = [{"conversations": turns, **answers}, {"conversations": turns, **answers}]
    path = tmp_path / "sharegpt.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")

    assert main(["evaluate", runs[0], "--pairs", str(path), "--out", str(tmp_path), *FEW]) == 0

    out = capsys.readouterr().out
    assert "no category, flaw or split in its records: no figures by group" in out
    assert "no checks in its records: answers are judged for faults only" in out
    told = told_by(tmp_path)
    assert told["pairs"]["asked"] == 1  # one question, asked once
    assert told["models"][1]["answers"]["greedy"]["passes"] is None
    assert told["models"][1]["answers"]["greedy"]["faults"]["unfinished"]["value"] in (0, 1)
    assert "Questions without a check" in (tmp_path / "report.html").read_text()


def test_questions_of_a_file_are_all_asked_beside_the_pairs(
    runs: list[str], pairs_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = json.loads(Path(questions_file(INDEPENDENT)).read_text(encoding="utf-8"))
    few = [record for record in judge if record["category"] in ("pace", "triage")][::20]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(few), encoding="utf-8")
    asked = ("--questions", str(path), "--max_new_tokens", "6", "--out", str(tmp_path))

    assert main(["evaluate", runs[0], "--pairs", pairs_path, *asked]) == 0

    told = told_by(tmp_path)
    assert (told["pairs"]["path"], told["asked"]["path"]) == (pairs_path, str(path))
    assert told["pairs"]["asked"] == len(told["exchanges"]) == len(few)
    assert [group["value"] for group in told["answered"]] == ["all", "triage", "pace"]
    for group in told["answered"]:
        assert set(group["passes"]) == {"base", "one"}
        assert [(x["one"], x["other"]) for x in group["changes"]] == [("base", "one")]
    assert told["answered"][1]["trivial"]['"Call an ambulance."'] > 0
    out = capsys.readouterr().out
    # A long path is folded, too.
    assert f"{len(few)}questionsof{path}answered" in "".join(out.split())
    assert max(map(len, out.splitlines())) <= 100
    assert "Right answers by category" in (tmp_path / "report.html").read_text()


def test_without_pairs_and_a_file_of_questions_there_is_nothing_to_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate"]) == 1

    assert (
        "name pairs by --pairs, or questions by --questions independent" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "nowhere: no such folder; give one that fit exported"),
        (["ONE", "--pairs", "nowhere.json"], "nowhere.json: there is no such file"),
        (["ONE", "--pairs", "EMPTY"], "there are no records in it"),
        (["ONE", "--base_model", "embedded"], "only models of one base can be compared"),
        (["ONE", "--questions", "-1"], "--questions must be at least 0, got -1"),
        (["ONE", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["ONE", "--max_length", "200"], "max_length 200 must exceed max_prompt_length 300"),
        (["ONE", "--temperature", "3"], "temperature is 3.0; it must be from 0 to 2"),
        (["ONE", "--out", "EMPTY/x"], "cannot be written"),
        (["ONE", "--train", "nowhere.json"], "nowhere.json: there is no such file"),
        (["--base_model", "./none"], "no config.json there"),
        (["--base_model", "no/such"], "base_model 'no/such': its tokenizer could not be loaded"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_model_is_loaded(
    args: list[str],
    message: str,
    runs: list[str],
    pairs_path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_late(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("fitbot.evaluation.run.measure", too_late)
    (tmp_path / "empty.json").write_text("[]")
    names = {"ONE": runs[0], "EMPTY": str(tmp_path / "empty.json")}
    names |= {"EMPTY/x": names["EMPTY"] + "/x"}
    given = [names.get(word, word) for word in args]
    given += [] if "--pairs" in args else ["--pairs", pairs_path]
    given += [] if "--out" in args else ["--out", str(tmp_path / "out")]

    assert main(["evaluate", *given]) == 1

    assert message in capsys.readouterr().err
