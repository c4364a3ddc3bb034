"""A pair → what every token of its two answers adds to the margin, as coloured text.

A chosen token adds beta · (log-prob under the policy − under the reference), a rejected one takes
the same away; all of them together are the margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fitbot.audit.records import prompt_text
from fitbot.evaluation.margins.margins import Margins, Subject
from fitbot.pairs.chat import Chat
from fitbot.report.page import render
from fitbot.report.plots import BLUE, ORANGE

_STRONGEST = 0.6  # opacity; with more, text is hard to read on a light page or on a dark one
_NUM_STRONGEST = 3  # tokens whose contributions are listed below the text


@dataclass(frozen=True)
class Fragment:
    """A piece of HTML, which a notebook shows as it is, and the same in plain text.

    A notebook's page may be light or dark: HTML takes its text colour and only tints the ground.
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


class Piece(NamedTuple):
    """A token's text, or that of several that only together are characters."""

    text: str
    contribution: float  # to the margin


@dataclass(frozen=True)
class Contributions:
    """One pair's margin, token by token."""

    question: str
    record: int  # index in the file
    chosen: list[Piece]
    rejected: list[Piece]

    @property
    def margin(self) -> float:
        """The sum of all contributions."""
        return sum(piece.contribution for piece in (*self.chosen, *self.rejected))


def contributions_of(subject: Subject, found: Margins, where: Sequence[int]) -> list[Contributions]:
    """Take the margins of some pairs apart.

    Args:
        subject: The adapter.
        found: Its margins.
        where: Indices of the pairs.
    """
    objective, chat = subject.objective.with_reference(), subject.chat
    encoded = [found.encoded[i] for i in where]
    scores = subject.scorer.token_logps(encoded)
    parts = []
    for i, pair, logps in zip(where, encoded, scores, strict=True):
        chosen, rejected = (
            objective.beta * (ours - theirs) / (len(ours) if objective.per_token else 1)
            for ours, theirs in logps
        )
        added = pieces_of(chat, pair.chosen, chosen.tolist())
        taken = pieces_of(chat, pair.rejected, (-rejected).tolist())
        case = found.cases[i].pair
        parts.append(Contributions(prompt_text(case), case.record, added, taken))
    return parts


def pieces_of(chat: Chat, ids: Sequence[int], contributions: Sequence[float]) -> list[Piece]:
    """Decode tokens one by one; those that are parts of one character become one piece.

    Args:
        chat: Whose tokenizer decodes.
        ids: Token ids.
        contributions: One a token.
    """
    pieces: list[Piece] = []
    held: list[int] = []
    total = 0.0
    for number, (token, contribution) in enumerate(zip(ids, contributions, strict=True), start=1):
        held.append(token)
        total += contribution
        text = chat.tokenizer.decode(held, clean_up_tokenization_spaces=False)
        if not text.endswith("\ufffd") or number == len(ids):
            pieces.append(Piece(text, total))
            held, total = [], 0.0
    return pieces


def show_contributions(parts: Sequence[Contributions]) -> Fragment:
    """Write pairs with every token's ground tinted: blue raises the margin, orange lowers it.

    The tint of a pair's strongest token is full, that of the others in proportion.
    """
    prepared = []
    for part in parts:
        answers = {"chosen": part.chosen, "rejected": part.rejected}
        pieces = [(piece, side) for side, answer in answers.items() for piece in answer]
        pieces.sort(key=lambda item: -abs(item[0].contribution))
        scale = abs(pieces[0][0].contribution)
        sides = {}
        for side, answer in answers.items():
            total = sum(piece.contribution for piece in answer)
            sides[f"{side} {total:+.2f}"] = [(piece, _tint(piece, scale)) for piece in answer]
        strongest = ", ".join(
            f"{piece.text!r} in {side} {piece.contribution:+.2f}"
            for piece, side in pieces[:_NUM_STRONGEST]
        )
        prepared.append((part, sides, strongest))
    html = render("evaluation/margins/contributions.html.j2", parts=prepared)
    text = "\n".join(f"record {part.record}: margin {part.margin:+.2f}" for part in parts)
    return Fragment(html, text)


def _tint(piece: Piece, scale: float) -> str:
    """Choose the ground behind a piece, a CSS colour."""
    opacity = _STRONGEST * abs(piece.contribution) / scale if scale else 0.0
    colour = BLUE if piece.contribution > 0 else ORANGE
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgba({red},{green},{blue},{opacity:.2f})"
