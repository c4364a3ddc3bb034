"""A conversation → a verdict before the model is asked; its answer → the text that may be shown.

    layer = open_layer()
    verdict = layer.check(messages)
    if not verdict.model_answers:  # emergency, refuse, support
        return verdict.message
    answer = AnswerFilter(layer, verdict)
    for chunk in chunks:
        show(answer.feed(chunk))
    show(answer.finish())  # answer.intervened says what was cut, or None

Under `refer` the filter puts the verdict's sentence of care in front by itself. Rules and
classifiers read every message, and the graver of their findings counts. The fixed texts are data:
texts.json. None of them understands anything, see docs/health.md for how far that goes.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fitbot.health.classifier import LANGUAGES, about, conversation, harmful
from fitbot.health.encoder import Encoder, find_encoder
from fitbot.health.languages import language_of
from fitbot.health.rules import Found, Kind, Rule, findings, load_rules
from fitbot.health.texts import Texts, load_texts
from fitbot.pairs.formats import Message

DISCLAIMER = "General fitness information, not medical advice."
ENCODER_HELP = "folder or hub id of all-MiniLM-L6-v2; auto: if it is on this machine; none"

_GRAVITY: tuple[Kind, ...] = ("ok", "refer", "refuse", "support", "emergency")  # the gravest wins
_SHORT_FOLLOW_UP = 14  # words of a last turn that may lean on the one before it
_SEGMENT = 400  # characters held back at most while a sentence has not ended
_CONTEXT = 60  # tokens of text already shown that a sentence is read together with
_SENTENCE_END = re.compile(r"(?:[.!?\u2026\u0964][)\"'\u201d*]{0,3}(?=\s))|(?=\n)")

# What the classifier's finding means, by what a message is about.
_MEANS: dict[str, Kind] = {
    "self-harm": "support",
    "eating disorder": "support",
    "emergency": "emergency",
    "drugs": "refuse",
}
_IN_DOUBT = {"support": "eating disorder", "emergency": "emergency"}  # whose line is for it


class Levels(NamedTuple):
    """How likely something must be; chosen on the messages of two authors that were not learned."""

    sure: float  # that a message is about a risk, for the fixed text instead of an answer
    unsure: float  # that it is about any, for a line of care in front of the answer
    calm: float = 0.0  # it is less likely than that: then a rule that fires is in doubt


class AnswerLevels(NamedTuple):
    """How likely it must be that a sentence of an answer must not be shown."""

    alone: float  # the first one
    later: float  # another, with those before it


_BY_WORDS = Levels(sure=0.99, unsure=0.97)
_BY_MEANING = Levels(sure=0.93, unsure=0.6, calm=0.03)  # and words
_OTHER_THAN_ENGLISH = Levels(sure=0.9, unsure=0.8)
_ANSWER_BY_WORDS, _ANSWER_BY_MEANING = AnswerLevels(0.98, 0.95), AnswerLevels(0.8, 0.3)
_FEW_WORDS = 4  # have little meaning: words alone judge fewer
_DOUBT = 0.1  # of a sentence by its words, for which the encoder is asked


class HealthVerdict(NamedTuple):
    """What is to happen with a question.

    `kind` is "ok": the model answers. "refer": it answers, `message` goes in front. "refuse",
    "support" (eating disorder, self-harm) and "emergency": `message` is the whole answer.
    """

    kind: Kind
    sign: str | None = None  # what was found, such as "chest pain"; None when ok
    message: str = ""  # for the user; empty when ok
    by: str | None = None  # who found it: "rules", "classifier" or "language"; None when ok
    language: str = "en"  # of the question

    @property
    def model_answers(self) -> bool:
        """Whether the model may be asked at all."""
        return self.kind in ("ok", "refer")


class _Finding(NamedTuple):
    """What was found in a conversation so far."""

    kind: Kind
    sign: str | None = None
    by: str | None = None
    texts: tuple[str, ...] = ()  # names of its text, the best one first

    @property
    def gravity(self) -> int:
        return _GRAVITY.index(self.kind)


class HealthLayer:
    """Rules, classifier and texts; safe to use from several threads."""

    def __init__(self, texts: Texts, encoder: Encoder | None = None):
        """Take the texts, and load all else, so that the first question does not wait for it.

        Args:
            texts: That are shown.
            encoder: Reads English, too; None where there is none.
        """
        self.texts, self.rules, self._encoder = texts, load_rules(), encoder
        self.check([Message("user", "hello")])
        self.is_harmful("hello")

    @property
    def described(self) -> str:
        """Who judges, and with whose texts."""
        meaning = " and meaning" if self._encoder else ""
        own = f"; texts of {self.texts.source}" if self.texts.source else ""
        return f"rules, a classifier of words{meaning}{own}"

    def check(self, messages: Sequence[Message]) -> HealthVerdict:
        """Say what is to happen with the last user turn, all that was said before in mind.

        Emergencies, support and what rules refer stay for the conversation, until the user says in
        words that a doctor has looked at it, or that it is not so. A refused wish is refused again
        when the next turn is short and presses on ("how many mg then?").

        Args:
            messages: The conversation. None at all is ok.
        """
        finding, said, languages = _Finding("ok"), list[tuple[str, str]](), list[str]()
        for message in messages:
            text = message.content.encode("utf-8", "replace").decode()  # half a character is none
            if message.role in ("user", "assistant"):
                said.append((message.role, text))
            if message.role == "user":
                finding = self._after(finding, said)
                languages.append(language_of(text))
        if not languages:
            return HealthVerdict("ok")
        return self._worded(finding, languages)

    def _worded(self, finding: _Finding, languages: Sequence[str]) -> HealthVerdict:
        """Put a finding into the last turn's language; to a new one we do not know, say so."""
        *earlier, language = languages
        line = ""
        if language not in LANGUAGES and language not in earlier:
            lines = self.texts.first_lines
            line = lines.get(language, lines["en"])
        if finding.kind == "ok":
            if not line:
                return HealthVerdict("ok", language=language)
            return HealthVerdict("refer", "other language", line, "language", language)
        text = self.texts.get(language, *finding.texts)
        message = f"{line}\n\n{text}" if line else text
        return HealthVerdict(finding.kind, finding.sign, message, finding.by, language)

    def _after(self, before: _Finding, said: Sequence[tuple[str, str]]) -> _Finding:
        """Return what is found once one user turn more was said, the last of `said`."""
        tokens = self.rules.vocabulary.tokens(said[-1][1])
        found = self.rules.vocabulary.find(tokens)
        likely, levels = self._about(said[-1][1])
        own = max(
            self._by_rules(tokens, found, calm=1 - likely["harmless"] < levels.calm),
            self._judge(said[-1][1]),
            self._judge(conversation(said)),  # a sign may be spread over turns
            key=lambda one: one.gravity,
        )
        if own.gravity < before.gravity:
            if before.kind == "emergency" and "cleared" in found:
                return _Finding("refer", before.sign, "rules", ("cleared",))
            if before.kind == "support" and "takes it back" in found:
                return _Finding("refer", before.sign, "rules", ("taken back",))
        presses_on = "presses on" in found and "food" not in found
        if before.kind == "refuse" and not (presses_on and len(tokens) <= _SHORT_FOLLOW_UP):
            return own
        if before.kind == "refer" and before.by == "classifier":
            return own  # it has read the conversation, too
        return max(own, before, key=lambda one: one.gravity)

    def _by_rules(self, tokens: Sequence[str], found: Found, *, calm: bool) -> _Finding:
        fired = findings(tokens, found, self.rules.questions)
        return max(
            (_finding_of(rule, mentioned, calm) for rule, mentioned in fired),
            key=lambda one: one.gravity,
            default=_Finding("ok"),
        )

    def _judge(self, text: str) -> _Finding:
        """Say what the classifiers find in a text."""
        likely, levels = self._about(text)
        sign = max(_MEANS, key=lambda name: likely[name])
        risk = 1 - likely["harmless"]
        if risk >= levels.sure and likely[sign] >= levels.unsure:
            return _Finding(_MEANS[sign], sign, "classifier", (sign,))
        if risk >= levels.unsure:
            return _Finding("refer", sign, "classifier", (f"{sign}?",))
        return _Finding("ok")

    def _about(self, text: str) -> tuple[dict[str, float], Levels]:
        """Return how likely a text is about what: by words, and if it is English by meaning."""
        by_words = about(text)
        if language_of(text) != "en":
            return by_words, _OTHER_THAN_ENGLISH
        if self._encoder is None or text.count(" ") < _FEW_WORDS - 1:
            return by_words, _BY_WORDS
        by_meaning, _ = self._encoder.read(text)
        both = [math.sqrt(a * b) for a, b in zip(by_words.values(), by_meaning, strict=True)]
        likely = {name: one / sum(both) for name, one in zip(by_words, both, strict=True)}
        return likely, _BY_MEANING

    def is_harmful(self, text: str, *, alone: bool = False) -> bool:
        """Say whether a sentence of an answer must not be shown.

        The encoder takes ten milliseconds, so it is asked only where words leave a doubt.

        Args:
            text: The sentence, with those before it.
            alone: Whether there are none: it may mean anything then.
        """
        likely, levels = harmful(text), _ANSWER_BY_WORDS
        if self._encoder is not None and likely > _DOUBT and language_of(text) == "en":
            likely, levels = self._encoder.read(text)[1][1], _ANSWER_BY_MEANING
        return likely >= (levels.alone if alone else levels.later)


def _finding_of(rule: Rule, mentioned: bool, calm: bool) -> _Finding:
    """Say what a rule's finding means, and which text is for it.

    Args:
        rule: That has fired.
        mentioned: Whether the message only speaks of it.
        calm: Whether the classifier takes the message for harmless.
    """
    if calm and mentioned:
        return _Finding("ok")
    if mentioned and rule.kind == "emergency":
        return _Finding("refer", rule.sign, "rules", ("mentioned",))
    if calm and rule.kind in _IN_DOUBT:
        sign = "self-harm" if rule.sign == "self-harm" else _IN_DOUBT[rule.kind]
        return _Finding("refer", rule.sign, "rules", (f"{sign}?",))
    default = {"refer": "default", "support": "eating disorder"}.get(rule.kind, rule.kind)
    return _Finding(rule.kind, rule.sign, "rules", (rule.sign, default))


@cache
def open_layer(own_texts: Path | None = None, encoder: str = "auto") -> HealthLayer:
    """Make the layer; every later call with the same arguments returns the same one.

    Args:
        own_texts: An operator's file, see `texts`.
        encoder: Hub id or folder of all-MiniLM-L6-v2; "auto": if it is on this machine; "none".

    Raises:
        ConfigError: The operator's file is wrong, or the encoder is not there.
    """
    source = find_encoder() if encoder == "auto" else encoder
    found = None if source in (None, "none") else Encoder(str(source))
    return HealthLayer(load_texts(own_texts), found)


class AnswerFilter:
    """Let a model's answer through sentence by sentence, up to the first that must not be shown.

    How the text is cut into pieces makes no difference to the result. A sentence is held back until
    the next one begins, a longer stretch for 400 characters.

    Args:
        layer: Judges.
        verdict: Of the question. If it leaves nothing to the model, its message is the output.
    """

    def __init__(self, layer: HealthLayer, verdict: HealthVerdict) -> None:
        """Begin an answer."""
        # Why the answer was cut, such as "drug dose", and by whom.
        self.intervened: str | None = None if verdict.model_answers else verdict.kind
        self.by = "rules"
        self._layer, self._rules, self._texts = layer, layer.rules, layer.texts
        self._language = verdict.language
        self._held = ""  # not yet checked
        self._before = ""  # the end of what was let through
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
        fired = findings(tokens, found, rules.answers, len(self._context))
        self.intervened = next((rule.sign for rule, mentioned in fired if not mentioned), None)
        if not self.intervened and self._is_harmful(segment):
            self.intervened, self.by = "harmful", "classifier"
        if self.intervened:
            self._held = ""
            message = self._texts.get(self._language, self.intervened, "answer")
            return ("\n\n" if self._has_shown else "") + message
        self._context = tokens[-_CONTEXT:]
        self._before = f"{self._before} {segment}"[-_SEGMENT:]
        self._has_shown = self._has_shown or bool(segment.strip())
        return segment

    def _is_harmful(self, segment: str) -> bool:
        if not segment.strip():
            return False
        text = f"{self._before} {segment}".strip()
        return self._layer.is_harmful(text, alone=not self._before.strip())
