"""What tokens add to a margin: their sum, their text, their colours; answers side by side."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.errors import AdapterError
from fitbot.evaluation.answering import ModelAnswer
from fitbot.evaluation.cases import Case, load_cases
from fitbot.evaluation.margins.comparisons import (
    BothAnswers,
    ask_both,
    show_answers,
    spread_questions,
)
from fitbot.evaluation.margins.contributions import (
    Contributions,
    Piece,
    contributions_of,
    pieces_of,
    show_contributions,
)
from fitbot.evaluation.margins.margins import Margins, Subject
from fitbot.pairs.chat import Chat, EncodedPair
from fitbot.policy.policy import Policy
from tests.evaluation.exported import records, write_adapter

EVIL = "<script>alert('&')</script> \"<b>"


@pytest.fixture(scope="module")
def subject(base: str, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(write_adapter(tmp_path_factory.mktemp("run"), base))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    file = tmp_path_factory.mktemp("pairs") / "pairs.json"
    file.write_text(json.dumps(records()), encoding="utf-8")
    return load_cases(str(file))


@pytest.fixture(scope="module")
def found(subject: Subject, cases: list[Case]) -> Margins:
    return subject.margins(cases)


class Texts(HTMLParser):
    """Collects what a reader sees, and the tags that made it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_token_log_probs_add_up_to_the_completions_to_the_last_digit(
    subject: Subject, found: Margins, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.scorer, "layout", layout)

    logps, reference = subject.scorer.logps(found.encoded)
    tokens = subject.scorer.token_logps(found.encoded)

    for i, (pair, parts) in enumerate(zip(found.encoded, tokens, strict=True)):
        for side, (answer, part) in enumerate(
            zip((pair.chosen, pair.rejected), parts, strict=True)
        ):
            assert part.shape == (2, len(answer))
            # A completion's log-prob is the sum in float64, rounded once.
            both = [torch.tensor(sum(row.tolist())).float().item() for row in part]
            assert both == [logps[i, side].item(), reference[i, side].item()]


def test_token_log_probs_have_no_dropout_and_leave_the_policy_training(
    subject: Subject, pairs: list[EncodedPair]
) -> None:
    policy: Policy = subject.scorer.policy
    (before,) = subject.scorer.token_logps(pairs[:1])
    policy.train()
    try:
        (after,) = subject.scorer.token_logps(pairs[:1])
        assert policy.training
    finally:
        policy.eval()

    assert torch.equal(before[0], after[0])
    assert policy.network.active_adapter == POLICY_ADAPTER


def test_contributions_add_up_to_the_margins_of_dpos_metrics(
    subject: Subject, found: Margins
) -> None:
    where = [3, 0, 11]

    parts = contributions_of(subject, found, where)

    # The metrics round each of four log-probs of some 100 nats to float32.
    assert [one.margin for one in parts] == pytest.approx(found.values[where], abs=1e-5)
    chosen = [sum(piece.contribution for piece in one.chosen) for one in parts]
    assert chosen == pytest.approx(found.chosen[where], abs=1e-5)
    rejected = [-sum(piece.contribution for piece in one.rejected) for one in parts]
    assert rejected == pytest.approx(found.rejected[where], abs=1e-5)
    for i, one in zip(where, parts, strict=True):
        pair = found.cases[i].pair
        assert one.record == pair.record
        assert "".join(piece.text for piece in one.chosen).startswith(pair.chosen)
        assert "".join(piece.text for piece in one.rejected).startswith(pair.rejected)


def test_tokens_that_only_together_are_a_character_are_one_piece(chat: Chat) -> None:
    ids = chat.encode_text("a\u00e9!")  # of bytes: a, two of é, !
    assert len(ids) == 4

    assert pieces_of(chat, ids, [1.0, 2.0, 3.0, 4.0]) == [
        Piece("a", 1.0),
        Piece("\u00e9", 5.0),
        Piece("!", 4.0),
    ]
    assert pieces_of(chat, ids[:2], [1.0, 2.0]) == [Piece("a", 1.0), Piece("\ufffd", 2.0)]


def test_coloured_text_is_escaped_and_all_there() -> None:
    one = Contributions(EVIL, 7, [Piece(EVIL, 2.0), Piece("<|im_end|>", 0.5)], [Piece("a\nb", -1)])

    seen = Texts(show_contributions([one]).html)

    assert set(seen.tags) <= {"div", "b", "span", "small"}
    assert seen.tags.count("b") == 1  # ours, around the margin
    assert "margin +1.50" in seen.text
    assert seen.text.count(EVIL) == 2  # the question and the token
    assert "<|im_end|>" in seen.text


def test_colours_say_for_and_against_in_proportion_to_the_strongest() -> None:
    one = Contributions("q", 0, [Piece("x", 2.0), Piece("y", 1.0)], [Piece("z", -2.0)])

    html = show_contributions([one]).html

    assert 'rgba(74,144,217,0.60);white-space:pre-wrap" title="+2.0000">x<' in html
    assert 'rgba(74,144,217,0.30);white-space:pre-wrap" title="+1.0000">y<' in html
    assert 'rgba(204,122,42,0.60);white-space:pre-wrap" title="-2.0000">z<' in html


def test_a_pair_that_nothing_moved_has_no_colour() -> None:
    one = Contributions("q", 0, [Piece("x", 0.0)], [Piece("z", 0.0)])

    assert "0.00);white-space" in show_contributions([one]).html
    assert show_contributions([]).html == ""


def test_questions_are_spread_over_a_file_each_once(cases: list[Case]) -> None:
    twice = [*cases[:4], *cases[:4], *cases[4:8]]

    assert spread_questions(twice, 4) == [0, 2, 8, 10]
    assert spread_questions(twice, 99) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_base_and_adapter_are_asked_the_same(subject: Subject, found: Margins) -> None:
    said = ask_both(subject, found, [2, 5], max_new_tokens=6)

    assert [one.case for one in said] == [found.cases[2], found.cases[5]]
    assert [one.base.text for one in said] != [one.tuned.text for one in said]
    assert all(one.tuned.tokens <= 6 for one in said)


def test_answers_stand_escaped_beside_the_right_one_and_are_judged(cases: list[Case]) -> None:
    right = ModelAnswer("Do more sets.", "", 4, finished=True)
    wrong = ModelAnswer(EVIL, "", 4, finished=True)
    unchecked = cases[0]._replace(check=None)
    odd = cases[0]._replace(pair=cases[0].pair._replace(chosen=EVIL))

    shown = show_answers(
        [BothAnswers(cases[0], wrong, right), BothAnswers(odd, right, right)]
        + [BothAnswers(unchecked, wrong, replace(right, finished=False))]
    )

    seen = Texts(shown.html)
    assert set(seen.tags) <= {"table", "tr", "th", "td", "div", "i"}
    assert seen.text.count(EVIL) == 3
    assert (seen.text.count("\u2713"), seen.text.count("\u2717")) == (3, 1)
    assert "unfinished" in seen.text
    assert repr(shown) == "answers that pass their check, of 2: base 1, tuned 2"


def test_a_folder_of_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no such folder"):
        Subject(tmp_path / "nothing")
