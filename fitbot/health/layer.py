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

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fitbot.errors import RequestError
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

# What the classifier's finding means, by what a message is about.
_MEANS: dict[str, Kind] = {
    "self-harm": "support",
    "eating disorder": "support",
    "emergency": "emergency",
    "drugs": "refuse",
}
_CLEARED, _TAKEN_BACK = ("cleared",), ("taken back",)  # names of texts
_IN_DOUBT = {"support": "eating disorder", "emergency": "emergency"}  # whose line is for it


class Levels(NamedTuple):
    """How likely something must be; chosen on messages of authors that were not learned.

    "Some risk" is anything but harmless. A rule is in doubt below `trusted`: it brings a line of
    care, not a text in place of an answer. Below `calm` it is not obeyed, and below `illness` not
    even if it asks for a line because of an illness that no doctor has looked at.
    """

    sure: float  # some risk, for a fixed text instead of an answer
    unsure: float  # some risk, for a line of care in front of the answer
    trusted: float
    calm: float
    illness: float = 0


_BY_WORDS = Levels(sure=0.9985, unsure=0.98, trusted=0, calm=0)
_BY_FOREIGN_WORDS = Levels(sure=0.995, unsure=0.98, trusted=0, calm=0)
_BY_BOTH = Levels(sure=0.985, unsure=0.7, trusted=0.6, calm=0.04)
# The rules on illness are English, and fire on words that languages share.
_BY_BOTH_FOREIGN = Levels(sure=0.97, unsure=0.85, trusted=0.6, calm=0.1, illness=0.1)
_FEW_WORDS = 4  # have little meaning: words alone judge fewer
_OF_FEW_WORDS = Levels(sure=0.995, unsure=0.97, trusted=0, calm=0)
_MEANING = 0.7  # its weight; the rest is that of words

# Of a sentence that must not be shown.
_ANSWER_BY_WORDS, _ANSWER_BY_BOTH = 0.999, 0.9
_AFTER_CARE = 0.6  # the same by both, where the question has brought a line of care
_WITH_RULE = 0.1  # the same by both, where a rule fires: many that do are warnings of a danger
_DOUBT = 0.0003  # by words; below it the encoder is not asked
_CERTAIN = 0.9  # the most that words may be of an answer, once the encoder is asked


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
    finding: str = ""  # what stays of the conversation, for a later `check`; ASCII

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

    @property
    def written(self) -> str:
        return json.dumps(self) if self.gravity else ""


class HealthLayer:
    """Rules, classifier and texts; safe to use from several threads."""

    def __init__(self, texts: Texts, encoder: Encoder | None = None):
        """Take the texts, and load all else, so that the first question does not wait for it.

        Args:
            texts: That are shown.
            encoder: Reads, too; None where there is none.
        """
        self.texts, self.rules, self._encoder = texts, load_rules(), encoder
        self.check([Message("user", "How many sets shall I do today?")])
        self.is_harmful("Three sets.")

    @property
    def described(self) -> str:
        """Who judges, and with whose texts."""
        meaning = " and meaning" if self._encoder else ""
        own = f"; texts of {self.texts.source}" if self.texts.source else ""
        return f"rules, a classifier of words{meaning}{own}"

    def check(self, messages: Sequence[Message], earlier: str | None = None) -> HealthVerdict:
        """Say what is to happen with the last user turn, all that was said before in mind.

        Emergencies, support and what rules refer stay for the conversation, until the user says in
        words that a doctor has looked at it, or that it is not so. A refused wish is refused again
        when the next turn is short and presses on ("how many mg then?").

        Args:
            messages: The conversation. None at all is ok.
            earlier: The `finding` of what was said before these messages, if anything was.

        Raises:
            RequestError: `earlier` is no finding.
        """
        finding, lasting = _Finding("ok"), self._read(earlier) if earlier else _Finding("ok")
        said, languages = list[tuple[str, str]](), list[str]()
        for message in messages:
            text = message.content.encode("utf-8", "replace").decode()  # half a character is none
            if message.role in ("user", "assistant"):
                said.append((message.role, text))
            if message.role == "user":
                finding, lasting = self._after(finding, lasting, said)
                if finding.texts in (_CLEARED, _TAKEN_BACK):
                    said = said[-1:]  # what was said before is not read again
                languages.append(language_of(text))
        if not languages:
            return HealthVerdict("ok")
        return self._worded(finding, languages)._replace(finding=lasting.written)

    def _read(self, written: str) -> _Finding:
        """Read a finding that a client has kept."""
        try:
            kind, sign, by, names = json.loads(written)
            finding = _Finding(kind, sign, by, tuple(names))
            self.texts.get("en", *finding.texts)
            is_one = bool(finding.gravity) and type(sign) is str and by in ("rules", "classifier")
        except (ValueError, TypeError, KeyError, RecursionError):
            is_one = False
        if not is_one:
            raise RequestError("no finding of this server's; leave it out, or begin a new chat")
        return finding

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

    def _after(
        self, before: _Finding, lasting: _Finding, said: Sequence[tuple[str, str]]
    ) -> tuple[_Finding, _Finding]:
        """Return what is found once one user turn more was said, and what of it stays.

        Args:
            before: What was found in the turn before.
            lasting: What stays of all turns before.
            said: Roles and texts; the last one is the turn's.
        """
        tokens = self.rules.vocabulary.tokens(said[-1][1])
        found = self.rules.vocabulary.find(tokens)
        likely, levels = self._about(said[-1][1])
        own = max(
            self._by_rules(tokens, found, 1 - likely["harmless"], levels),
            self._judge(said[-1][1]),
            key=lambda one: one.gravity,
        )
        if own.gravity < lasting.gravity:
            if lasting.kind == "emergency" and "cleared" in found:
                return _Finding("refer", lasting.sign, "rules", _CLEARED), _Finding("ok")
            if lasting.kind == "support" and "takes it back" in found:
                taken_back = _Finding("refer", lasting.sign, "rules", _TAKEN_BACK)
                return taken_back, taken_back
        spread = self._judge(conversation(said))  # a sign may be spread over turns
        own = max(own, spread, key=lambda one: one.gravity)
        presses_on = "presses on" in found and "food" not in found
        if before.kind == "refuse" and presses_on and len(tokens) <= _SHORT_FOLLOW_UP:
            own = max(own, before, key=lambda one: one.gravity)
        shown = max(own, lasting, key=lambda one: one.gravity)
        # What the classifier is in doubt about, it reads again with the conversation.
        stays = own.kind in ("emergency", "support") or (own.kind, own.by) == ("refer", "rules")
        return shown, own if stays and own.gravity >= lasting.gravity else lasting

    def _by_rules(
        self, tokens: Sequence[str], found: Found, risk: float, levels: Levels
    ) -> _Finding:
        """Say what the rules find, as far as the classifiers' opinion of the risk allows."""
        obeyed = []
        for rule, mentioned in findings(tokens, found, self.rules.questions):
            is_illness = rule.kind == "refer" and not mentioned and "allowed" not in found
            if risk >= (levels.illness if is_illness else levels.calm):
                obeyed.append(_finding_of(rule, mentioned, risk < levels.trusted))
        return max(obeyed, key=lambda one: one.gravity, default=_Finding("ok"))

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
        """Return how likely a text is about what, by words and meaning, and which levels count."""
        by_words, is_english = about(text), language_of(text) == "en"
        if text.count(" ") < _FEW_WORDS - 1:
            return by_words, _OF_FEW_WORDS
        if self._encoder is None:
            return by_words, _BY_WORDS if is_english else _BY_FOREIGN_WORDS
        by_meaning, _ = self._encoder.read(text)
        both = _together(list(by_words.values()), by_meaning)
        return dict(zip(by_words, both, strict=True)), _BY_BOTH if is_english else _BY_BOTH_FOREIGN

    def is_harmful(self, text: str, rule: Rule | None = None, *, after_care: bool = False) -> bool:
        """Say whether a sentence of an answer must not be shown.

        The encoder takes ten milliseconds, so it is asked only where words or rules leave a doubt.

        Args:
            text: The sentence, with those before it.
            rule: That fires on the sentence, if any does: then much less is let through.
            after_care: Whether the question has brought a line of care: then less is.
        """
        likely = harmful(text)
        if self._encoder is None:
            return bool(rule) or likely >= _ANSWER_BY_WORDS
        if likely < _DOUBT and not rule:
            return False
        if rule and rule.always:
            return True
        _, by_meaning = self._encoder.read(text)
        likely = min(max(likely, 1 - _CERTAIN), _CERTAIN)
        both = _together([1 - likely, likely], by_meaning)[1]
        level = _AFTER_CARE if after_care else _ANSWER_BY_BOTH
        return both >= (_WITH_RULE if rule else level)


def _together(by_words: Sequence[float], by_meaning: Sequence[float]) -> list[float]:
    """Weigh two opinions: the weighted mean of their logarithms, as probabilities again."""
    both = [
        words ** (1 - _MEANING) * meaning**_MEANING
        for words, meaning in zip(by_words, by_meaning, strict=True)
    ]
    return [one / sum(both) for one in both]


def _finding_of(rule: Rule, mentioned: bool, in_doubt: bool) -> _Finding:
    """Say what a rule's finding means, and which text is for it.

    Args:
        rule: That has fired.
        mentioned: Whether the message only speaks of it.
        in_doubt: Whether the classifiers see little risk.
    """
    if mentioned and rule.kind == "emergency":
        return _Finding("refer", rule.sign, "rules", ("mentioned",))
    if in_doubt and rule.kind in _IN_DOUBT:
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
