"""A pair → what every token of its two answers adds to the margin, as coloured text.

A chosen token adds beta · (log-prob under the policy − under the reference), a rejected one takes
the same away; all of them together are the margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from fitbot.audit.records import prompt_text
from fitbot.evaluation.margins.display import Markup
from fitbot.evaluation.margins.margins import Margins, Subject
from fitbot.pairs.chat import Chat

# Of the ground behind a token, for and against the margin: the pictures' blue and orange.
_FOR, _AGAINST = (74, 144, 217), (224, 138, 60)
_STRONGEST = 0.6  # opacity; more, and neither a light nor a dark page's ink is read on it
_TOLD = 3  # tokens whose figures stand below the text


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
        """Add everything up."""
        return sum(piece.contribution for piece in (*self.chosen, *self.rejected))


def contributions_of(subject: Subject, found: Margins, where: Sequence[int]) -> list[Contributions]:
    """Take the margins of some pairs apart.

    Args:
        subject: The adapter.
        found: Its margins.
        where: Indices of the pairs.
    """
    beta, chat = subject.objective.beta, subject.chat
    encoded = [found.encoded[i] for i in where]
    scores = subject.scorer.token_logps(encoded)
    parts = []
    for i, pair, logps in zip(where, encoded, scores, strict=True):
        chosen, rejected = (beta * (ours - theirs) for ours, theirs in logps)
        case = found.cases[i].pair
        parts.append(
            Contributions(
                prompt_text(case),
                case.record,
                pieces_of(chat, pair.chosen, chosen.tolist()),
                pieces_of(chat, pair.rejected, (-rejected).tolist()),
            )
        )
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


def show_contributions(parts: Sequence[Contributions]) -> Markup:
    """Write pairs with every token's ground tinted: blue raises the margin, orange lowers it.

    The tint of a pair's strongest token is full, that of the others in proportion.
    """
    html = "".join(_pair_markup(one) for one in parts)
    text = "\n".join(f"record {one.record}: margin {one.margin:+.2f}" for one in parts)
    return Markup(html, text)


def _pair_markup(one: Contributions) -> str:
    sides = {"chosen": one.chosen, "rejected": one.rejected}
    pieces = [(piece, side) for side, answer in sides.items() for piece in answer]
    pieces.sort(key=lambda item: -abs(item[0].contribution))
    scale = abs(pieces[0][0].contribution)
    strongest = ", ".join(
        f"{escape(repr(piece.text))} in {side} {piece.contribution:+.2f}"
        for piece, side in pieces[:_TOLD]
    )
    lines = [
        f"<b>margin {one.margin:+.2f}</b> · record {one.record} · {escape(one.question)}",
        *(
            f'<span style="opacity:.7">{side} {_sum(answer):+.2f}</span> '
            + "".join(_piece_markup(piece, scale) for piece in answer)
            for side, answer in sides.items()
        ),
        f'<small style="opacity:.7">strongest: {strongest}</small>',
    ]
    body = "".join(f'<div style="margin:.25em 0">{line}</div>' for line in lines)
    style = "margin:1em 0;max-width:50em;line-height:1.7;overflow-wrap:anywhere"
    return f'<div style="{style}">{body}</div>'


def _piece_markup(piece: Piece, scale: float) -> str:
    opacity = _STRONGEST * abs(piece.contribution) / scale if scale else 0.0
    red, green, blue = _FOR if piece.contribution > 0 else _AGAINST
    style = f"background-color:rgba({red},{green},{blue},{opacity:.2f});white-space:pre-wrap"
    return f'<span style="{style}" title="{piece.contribution:+.4f}">{escape(piece.text)}</span>'


def _sum(pieces: Sequence[Piece]) -> float:
    return sum(piece.contribution for piece in pieces)
