"""A conversation → a verdict before the model is asked; its answer → the text that may be shown.

    verdict = check_messages(messages)
    if not verdict.model_answers:  # emergency, refuse, support
        return verdict.message
    answer = AnswerFilter(verdict)
    for chunk in chunks:
        show(answer.feed(chunk))
    show(answer.finish())  # answer.intervened says what was cut, or None

Under `refer` the filter puts the verdict's sentence of care in front by itself. The rules, concepts
and fixed texts are data: rules.json. They find words near each other; they understand nothing, see
docs/health.md for how far that goes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from fitbot.health.match import STOPS, Span, Vocabulary, covered, together, within
from fitbot.pairs.formats import Message

Kind = Literal["ok", "refer", "refuse", "support", "emergency"]
Found = Mapping[str, Sequence[Span]]  # where concepts stand in a text

DISCLAIMER = "General fitness information, not medical advice."

_GRAVITY: tuple[Kind, ...] = ("ok", "refer", "refuse", "support", "emergency")  # the gravest wins
_NEGATION_REACH = 9  # tokens after "no": no chest pain, dizziness or shortness of breath
_MENTION_REACH = 7  # tokens after "signs of"
_PAST_REACH = 10  # tokens before "two years ago"
_UNLESS_REACH = 9  # tokens around a finding in which an exception may stand
_OR = frozenset(("or", "nor", "no", "oder", "o", "ou", "ni"))  # no pain, dizziness or fainting
_SHORT_FOLLOW_UP = 14  # words of a last turn that may lean on the one before it
_SEGMENT = 400  # characters held back at most while a sentence has not ended
_CONTEXT = 60  # tokens of text already shown that a sentence is read together with
_SENTENCE_END = re.compile(r"(?:[.!?\u2026][)\"'\u201d*]{0,3}(?=\s))|(?=\n)")


class HealthVerdict(NamedTuple):
    """What is to happen with a question.

    `kind` is "ok": the model answers. "refer": it answers, `message` goes in front. "refuse",
    "support" (eating disorder, self-harm) and "emergency": `message` is the whole answer.
    """

    kind: Kind
    sign: str | None = None  # what was found, such as "chest pain"; None when ok
    message: str = ""  # for the user; empty when ok

    @property
    def model_answers(self) -> bool:
        """Whether the model may be asked at all."""
        return self.kind in ("ok", "refer")


class Rule(NamedTuple):
    """Concepts that mean something when they stand near each other."""

    kind: Kind  # of a question's verdict
    sign: str
    all: Sequence[str]
    window: int = 8  # tokens that the concepts span at most
    unless: Sequence[str] = ()  # concepts near it that make it harmless,
    but: Sequence[str] = ()  # unless one of these is near as well


class Rules(NamedTuple):
    """rules.json, ready for use."""

    vocabulary: Vocabulary
    questions: Sequence[Rule]
    answers: Sequence[Rule]
    messages: Mapping[str, str]
    care: Mapping[str, str]


def check_messages(messages: Sequence[Message]) -> HealthVerdict:
    """Say what is to happen with the last user turn, earlier user turns in mind.

    Emergencies, support and referral stay for the conversation. An emergency is lifted, to a
    referral, when the last turn says that a doctor has looked at it. A refused wish is refused
    again when the last turn is short and presses on ("how many mg then?").

    Args:
        messages: The conversation; only user turns are read. None at all is ok.
    """
    turns = [message.content for message in messages if message.role == "user"]
    if not turns:
        return HealthVerdict("ok")
    rules = load_rules()
    read = [rules.vocabulary.tokens(turn) for turn in turns]
    found = [rules.vocabulary.find(tokens) for tokens in read]
    *earlier, last = [_check_turn(*turn, rules) for turn in zip(read, found, strict=True)]
    presses_on = "presses on" in found[-1] and "food" not in found[-1]
    if earlier and not (presses_on and len(read[-1]) <= _SHORT_FOLLOW_UP):
        earlier.append(HealthVerdict("ok"))  # so that no refusal is the last one
    stays = [verdict for verdict in earlier[:-1] if verdict.kind != "refuse"] + earlier[-1:]
    gravest = max([last, *stays], key=_gravity)
    if gravest.kind == "emergency" and last.kind != "emergency" and "cleared" in found[-1]:
        return HealthVerdict("refer", gravest.sign, rules.care["cleared"])
    return gravest


def _gravity(verdict: HealthVerdict) -> int:
    return _GRAVITY.index(verdict.kind)


def _check_turn(tokens: Sequence[str], found: Found, rules: Rules) -> HealthVerdict:
    findings = _findings(tokens, found, rules.questions)
    verdicts = (_verdict_of(rule, mentioned, rules) for rule, mentioned in findings)
    return max(verdicts, key=_gravity, default=HealthVerdict("ok"))


def _verdict_of(rule: Rule, mentioned: bool, rules: Rules) -> HealthVerdict:
    if mentioned and rule.kind == "emergency":
        return HealthVerdict("refer", rule.sign, rules.care["mentioned"])
    texts, default = rules.messages, str(rule.kind)
    if rule.kind == "refer":
        texts, default = rules.care, "default"
    return HealthVerdict(rule.kind, rule.sign, texts.get(rule.sign, texts[default]))


def _findings(
    tokens: Sequence[str], found: Found, rules: Sequence[Rule], since: int = 0
) -> Iterator[tuple[Rule, bool]]:
    """Yield each rule that fires on a text's tokens, and does not end before token `since`.

    With it, whether the text only speaks about it: signs of a heart attack.
    """
    harmless = covered(found.get("harmless", ()))
    denied, spoken_of = _denied(tokens, found), _spoken_of(tokens, found)
    for rule in rules:
        if not all(concept in found for concept in rule.all):
            continue
        lists = [_meant(found[concept], tokens, harmless, denied) for concept in rule.all]
        spots = [
            spot
            for spot in together(lists, rule.window)
            if spot.end > since and _counts(spot, rule, found)
        ]
        if spots:
            yield rule, all(spot.end - 1 in spoken_of for spot in spots)


def _counts(spot: Span, rule: Rule, found: Found) -> bool:
    def near(concepts: Sequence[str]) -> bool:
        start, end = spot.start - _UNLESS_REACH, spot.end + _UNLESS_REACH
        return any(within(found.get(concept, ()), start, end) for concept in concepts)

    return not near(rule.unless) or near(rule.but)


def _meant(
    spans: Sequence[Span], tokens: Sequence[str], harmless: Set[int], denied: Set[int]
) -> list[Span]:
    """Leave out what is part of an idiom, or denied without a "not" of its own: can not breathe."""
    return [
        span
        for span in spans
        if harmless.isdisjoint(range(*span))
        and (span.start not in denied or "not" in tokens[span.start : span.end])
    ]


def _denied(tokens: Sequence[str], found: Found) -> set[int]:
    """Collect the tokens that a "no" or "without" before them denies."""
    denied: set[int] = set()
    turns = {span.start for span in found.get("new clause", ())}
    excused = covered(found.get("no denial", ()))
    for concept, reach in (("denies a list", _NEGATION_REACH), ("denies one", 2)):
        for span in found.get(concept, ()):
            # "No idea why" denies nothing, and neither does "no, my chest hurts".
            if span.start in excused or tokens[span.end : span.end + 1] == [","]:
                continue
            end = _clause_end(tokens, span.end, reach, turns)
            if not within(found.get("takes denial back", ()), span.end, end + 3):
                denied.update(range(span.end, end))
    return denied


def _spoken_of(tokens: Sequence[str], found: Found) -> set[int]:
    """Collect the tokens after "signs of" and before "two years ago"."""
    marked: set[int] = set()
    turns = {span.start for span in found.get("new clause", ())}
    for span in found.get("speaks of", ()):
        end = _clause_end(tokens, span.end, _MENTION_REACH, turns)
        if not within(found.get("happens now", ()), span.start - 3, end + _MENTION_REACH):
            marked.update(range(span.end, end))
    for span in found.get("past", ()):
        start = max(0, span.start - _PAST_REACH)
        if not within(found.get("present", ()), start, span.end + _PAST_REACH):
            marked.update(range(start, span.start))
    return marked


def _clause_end(tokens: Sequence[str], start: int, reach: int, turns: Set[int]) -> int:
    """Return where what a word governs ends: at a full stop, a "but", or a new subject."""
    for index in range(start, min(start + reach, len(tokens))):
        ends_list = tokens[index] == "," and _OR.isdisjoint(tokens[index : index + 6])
        if tokens[index] in STOPS or index in turns or ends_list:
            return index
    return min(start + reach, len(tokens))


class AnswerFilter:
    """Let a model's answer through sentence by sentence, up to the first that must not be shown.

    How the text is cut into pieces makes no difference to the result. A sentence is held back until
    the next one begins, a longer stretch for 400 characters.

    Args:
        verdict: Of the question. If it leaves nothing to the model, its message is the output.
    """

    def __init__(self, verdict: HealthVerdict) -> None:
        """Begin an answer."""
        # Why the answer was cut, such as "drug dose".
        self.intervened: str | None = None if verdict.model_answers else verdict.kind
        self._rules = load_rules()
        self._held = ""  # not yet checked
        self._context: list[str] = []  # the last tokens that were let through
        self._has_shown = False
        self._message = verdict.message

    def feed(self, text: str) -> str:
        """Take the next piece of the answer, of any length; return what may be shown by now."""
        self._held += text
        released = ""
        while not self.intervened and (end := self._segment_end()):
            segment, self._held = self._held[:end], self._held[end:]
            released += self._pass(segment)
        return self._with_message(released)

    def finish(self) -> str:
        """Say that the answer is complete; return what is still to be shown."""
        rest, self._held = self._held, ""
        return self._with_message("" if self.intervened else self._pass(rest))

    def _with_message(self, released: str) -> str:
        # Not before the first text: a stream that fails at once shows no half an answer.
        if self._message and (released or self.intervened):
            separator = "\n\n" if released else ""
            released, self._message = self._message + separator + released, ""
        return released

    def _segment_end(self) -> int:
        """Return how many characters of the held text may be checked now; 0 for none."""
        for match in _SENTENCE_END.finditer(self._held[:_SEGMENT]):
            if match.end():
                return match.end()
        if len(self._held) <= _SEGMENT:
            return 0
        return self._held.rfind(" ", 1, _SEGMENT) if " " in self._held[1:_SEGMENT] else _SEGMENT

    def _pass(self, segment: str) -> str:
        rules = self._rules
        tokens = self._context + rules.vocabulary.tokens(segment)
        found = rules.vocabulary.find(tokens)
        findings = _findings(tokens, found, rules.answers, len(self._context))
        self.intervened = next((rule.sign for rule, mentioned in findings if not mentioned), None)
        if self.intervened:
            self._held = ""
            message = rules.messages.get(self.intervened, rules.messages["answer"])
            return ("\n\n" if self._has_shown else "") + message
        self._context = tokens[-_CONTEXT:]
        self._has_shown = self._has_shown or bool(segment.strip())
        return segment


@cache
def load_rules() -> Rules:
    """Read rules.json; every later call returns the same object."""
    data = json.loads(files(__package__).joinpath("rules.json").read_text(encoding="utf-8"))
    return Rules(
        Vocabulary(data["concepts"], data["not_typing_errors"]),
        [Rule(**entry) for entry in data["questions"]],
        [Rule(**entry) for entry in data["answers"]],
        data["messages"],
        data["care"],
    )
