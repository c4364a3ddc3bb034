"""The command as a person types it: reports, exit statuses, refusals."""

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from fitbot.__main__ import main
from fitbot.audit.kinds import KINDS
from fitbot.audit.tokens import audit_tokens, run_cost
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import Chat, LengthLimits
from tests.audit.planted import clean_records, pairs_of, write


@pytest.fixture
def clean(tmp_path: Path) -> list[str]:
    """Paths of two clean files."""
    return [
        write(tmp_path / "train.json", clean_records()),
        write(tmp_path / "val.json", clean_records(40, seed=1)),
    ]


def test_clean_files_pass_every_check(clean: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *clean, "--fail-on", "all"]) == 0

    out = capsys.readouterr().out
    assert "nothing found" in out
    assert "train.json: 60 pairs, 60 distinct prompts" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_finding_fails_only_where_it_is_asked_to(
    tmp_path: Path, clean: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    records = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records(40, seed=1)]
    val = write(tmp_path / "longer.json", records)

    assert main(["audit", clean[0], val]) == 0
    assert main(["audit", clean[0], val, "--fail-on", "leak,duplicate"]) == 0
    capsys.readouterr()
    assert main(["audit", clean[0], val, "--fail-on", "leak,shortcut"]) == 1

    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "failed on: shortcut"
    assert "a rule that looks only at length scores 1.00" in out


def test_an_unknown_kind_is_refused_with_the_list(
    clean: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["audit", *clean, "--fail-on", "leak,leek"])

    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert "no kind of finding 'leek'" in err
    assert all(kind in err for kind in KINDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere.json"], "nowhere.json: there is no such file"),
        (["TRAIN", "--max_length", "100"], "--max_length 100 must exceed --max_prompt_length 256"),
        (["TRAIN", "--max_epochs", "0"], "--max_epochs must be at least 1, got 0"),
        (["TRAIN", "--base_model", "./none"], "no config.json there"),
        (["TRAIN", "--base_model", "no/such"], "base_model 'no/such': its tokenizer could not"),
        (["TRAIN", "--json", "TRAIN/x.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    options: list[str], message: str, clean: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *(option.replace("TRAIN", clean[0]) for option in options)]) == 1

    assert message in capsys.readouterr().err


def test_records_that_the_reader_refuses_are_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = clean_records()
    records[3]["chosen"] = records[3]["rejected"]
    records[4]["chosen"] = "\ud800"
    path = write(tmp_path / "bad.json", records)

    assert main(["audit", path, "--json", str(tmp_path / "a.json"), "--fail-on", "refused"]) == 1

    told = json.loads((tmp_path / "a.json").read_text())
    assert [finding["kind"] for finding in told["findings"]] == ["refused"]
    assert "record 3: 'chosen' and 'rejected' are the same" in told["findings"][0]["text"]
    assert "surrogate" in told["files"][0]["records"]["refused"][1]


def test_html_stands_alone_and_escapes_every_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> $\\frac{1}$ & <|im_start|>"
    train = [r | {"rejected": evil} for r in clean_records()]
    val = [r | {"rejected": evil, "question": evil} for r in clean_records(40, seed=1)]
    paths = [write(tmp_path / "<b>.json", train), write(tmp_path / "val.json", val)]
    page = tmp_path / "new" / "page.html"

    assert main(["audit", *paths, "--html", str(page), "--system_prompt", evil]) == 0

    text = page.read_text(encoding="utf-8")
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(1)" in text
    assert "<b>" not in text
    assert "&lt;b&gt;.json" in text
    assert text.count("<svg") == 5  # lengths of two files, rules on both, leaks
    assert "src=" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_shows_what_the_json_holds(tmp_path: Path) -> None:
    train = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records()]
    paths = [write(tmp_path / "train.json", train), write(tmp_path / "val.json", train[:40])]
    html, told = tmp_path / "page.html", tmp_path / "audit.json"

    assert main(["audit", *paths, "--html", str(html), "--json", str(told)]) == 0

    page = unescape(html.read_text(encoding="utf-8"))
    audit = json.loads(told.read_text())
    headings = re.findall("<h[12]>(.*?)</h[12]>", page)
    assert headings == [
        "Audit of train.json against val.json",
        "Rules that know no language: val.json",
        "Rules that know no language: train.json",
        "What val.json shares with train.json",
        "train.json",
        "val.json",
        "What a run costs",
    ]
    assert {finding["kind"] for finding in audit["findings"]} >= {"leak", "shortcut"}
    places = [page.index(finding["text"]) for finding in audit["findings"]]
    assert places == sorted(places)
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("(?s)<tr>.*?</tr>", page)]
    for report, rule in [(x, rule) for x in audit["shortcuts"] for rule in x["rules"]]:
        interval = f"{rule['low']:.3f} to {rule['high']:.3f}"
        shown = [rule["rule"], "no", f"{rule['accuracy']:.3f}", interval, f"{rule['ties']}"]
        assert shown in rows, report["path"]
    for rule in audit["shortcuts"][0]["question_rules"]:
        assert [rule["rule"], "as a bag of words", f"{rule['accuracy']:.3f}"] in [
            row[:3] for row in rows
        ]
    assert ["prompts", "40", "0", "0", "40"] in rows  # all of them, exactly
    assert f"{audit['cost']['trained']:,} tokens trained on" in page


def test_a_training_file_whose_longer_answer_wins_is_found_beside_a_clean_validation_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records(100)]
    val = clean_records(100, seed=1)
    paths = [write(tmp_path / "train.json", train), write(tmp_path / "val.json", val)]

    assert main(["audit", *paths, "--fail-on", "shortcut", "--json", str(tmp_path / "a.json")]) == 1

    found = json.loads((tmp_path / "a.json").read_text())["findings"]
    assert [x["path"] for x in found if x["kind"] == "shortcut"] == ["train.json"]
    assert "100 pairs of train.json, by cross-validation" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_files_give_the_same_json_in_every_process(
    tmp_path: Path, clean: list[str]
) -> None:
    outs = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.json"
        subprocess.run(
            [sys.executable, "-m", "fitbot", "audit", *clean, "--json", str(out)],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "HOME": str(tmp_path)},
        )
        outs.append(out.read_text())

    assert outs[0] == outs[1]


def test_padding_is_that_of_the_batches_a_run_makes(chat: Chat) -> None:
    pairs, limits = pairs_of(clean_records(20)), LengthLimits(300, 700)
    encoded = chat.encode_pairs(pairs, limits)

    report = audit_tokens(pairs, chat, limits, pairs_per_step=20)

    batch = collate_pairs(encoded, layout="shared", pad_id=0)
    longest = max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in encoded)
    assert report.shared == batch.input_ids.numel()
    assert report.tokens == sum(pair.num_tokens for pair in encoded)
    assert report.shared_padding == pytest.approx(1 - report.tokens / report.shared)
    assert report.rows == 40 * longest
    assert sum(report.chosen.counts) == 20
    assert report.chosen.longest == max(len(pair.chosen) for pair in encoded)
    cost = run_cost(report, [report], epochs=3)
    assert cost.trained == 3 * report.shared
    assert cost.forward_only == (1 + 1 + 3) * report.shared


def test_what_the_limits_cut_is_counted_and_what_they_cannot_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = clean_records()
    records[0]["chosen"] += " word" * 1200
    records[1]["system"] = "s" * 800
    path = write(tmp_path / "long.json", records)

    assert main(["audit", path, "--fail-on", "cut"]) == 1

    out = " ".join(capsys.readouterr().out.split())
    assert "the limits cut 1 chosen of 59 pairs" in out
    assert "1 pair cannot be encoded, and a run stops there; first record 1:" in out


@pytest.mark.parametrize("count", [1, 2, 6])
def test_few_pairs_and_pairs_without_words_are_audited_too(count: int, tmp_path: Path) -> None:
    emoji = [
        {"question": "\U0001f34e" * (i + 1), "chosen": "\U0001f44d" * (i + 1)} for i in range(6)
    ]
    records = [r | {"rejected": "\U0001f44e" * (i + 1)} for i, r in enumerate(emoji)][:count]
    path = write(tmp_path / "emoji.json", records)

    assert main(["audit", path, path, "--fail-on", "empty"]) == 1
    assert main(["audit", path, "--fail-on", "leak"]) == 0


def test_pairs_that_the_limits_make_equal_are_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = clean_records()
    for record in records[:20]:
        record["chosen"] = " word" * 2000
        record["rejected"] = " word" * 1999 + " end"
    path = write(tmp_path / "long.json", records)

    assert main(["audit", path, "--fail-on", "equal"]) == 1

    out = " ".join(capsys.readouterr().out.split())
    assert "20 pairs with the same tokens in both answers" in out
    assert "both answers are the same tokens in 20 pairs, which a run leaves out" in out
