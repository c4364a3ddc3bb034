"""A model's answer → the text that may be shown, sentence by sentence."""

import re
from collections.abc import Iterator

from fitbot.health.layer import HealthLayer, HealthVerdict
from fitbot.health.rules import Rule, findings

_SEGMENT = 400  # characters held back at most while a sentence has not ended
_BEFORE = 240  # characters already shown that the classifiers read a sentence together with
_CONTEXT = 60  # tokens of them that the rules do
_SENTENCE_END = re.compile(r"(?:[.!?\u2026\u0964][)\"'\u201d*]{0,3}(?=\s))|(?=\n)")


class Sentences:
    """Cut a text that arrives in pieces into sentences; how it arrives makes no difference."""

    def __init__(self) -> None:
        """Begin a text."""
        self._held = ""

    def feed(self, text: str) -> Iterator[str]:
        """Take the next piece, yield complete sentences, or 400 characters of a longer one."""
        self._held += text
        while end := self._end(self._held):
            sentence, self._held = self._held[:end], self._held[end:]
            yield sentence

    def finish(self) -> str:
        """Return what is left, nothing more will come."""
        rest, self._held = self._held, ""
        return rest

    def would_end(self, text: str) -> bool:
        """Say whether the next piece makes a sentence complete."""
        return self._end(self._held + text) > 0

    @staticmethod
    def _end(text: str) -> int:
        """Return how many characters of a text are a sentence; 0 if it may go on."""
        for match in _SENTENCE_END.finditer(text[:_SEGMENT]):
            if match.end():
                return match.end()
        if len(text) <= _SEGMENT:
            return 0
        return text.rfind(" ", 1, _SEGMENT) if " " in text[1:_SEGMENT] else _SEGMENT


def windows(answer: str) -> list[str]:
    """Return what the classifiers read of an answer: each sentence with what led to it."""
    sentences, before, found = Sentences(), "", []
    for sentence in (*sentences.feed(answer), sentences.finish()):
        if sentence.strip():
            found.append(_window(before, sentence))
        before += sentence
    return found


def _window(before: str, sentence: str) -> str:
    return f"{before[-_BEFORE:]}{sentence}".strip()


class AnswerFilter:
    """Let a model's answer through sentence by sentence, up to the first that must not be shown.

    A sentence is held back until the next one begins.

    Args:
        layer: Judges.
        verdict: Of the question. If it leaves nothing to the model, its message is the output.
    """

    def __init__(self, layer: HealthLayer, verdict: HealthVerdict) -> None:
        """Begin an answer."""
        # Why the answer was cut, such as "drug dose", and by whom.
        self.intervened: str | None = None if verdict.model_answers else verdict.kind
        self.by = "rules"
        self._layer, self._language, self._message = layer, verdict.language, verdict.message
        self._after_care = verdict.kind == "refer" and verdict.by != "language"
        self._sentences = Sentences()
        self._shown = ""  # the end of what was let through
        self._context: list[str] = []  # its last tokens

    def feed(self, text: str) -> str:
        """Take the next piece of the answer, of any length; return what may be shown by now."""
        released = ""
        if not self.intervened:
            for sentence in self._sentences.feed(text):
                if not self.intervened:
                    released += self._pass(sentence)
        return self._with_message(released)

    def would_judge(self, text: str) -> bool:
        """Say whether `feed` has something to judge, which may take milliseconds."""
        return not self.intervened and self._sentences.would_end(text)

    def finish(self) -> str:
        """Say that the answer is complete; return what is still to be shown."""
        return self._with_message("" if self.intervened else self._pass(self._sentences.finish()))

    def _with_message(self, released: str) -> str:
        # Not before the first text: a stream that fails at once shows no half an answer.
        if self._message and (released or self.intervened):
            separator = "\n\n" if released else ""
            released, self._message = self._message + separator + released, ""
        return released

    def _pass(self, sentence: str) -> str:
        """Return a sentence, or what is shown in its place."""
        rules = self._layer.rules
        tokens = self._context + rules.vocabulary.tokens(sentence)
        found = rules.vocabulary.find(tokens)
        fired = findings(tokens, found, rules.answers, len(self._context))
        meant = [rule for rule, mentioned in fired if not mentioned]
        rule = min(meant, key=lambda one: not one.always, default=None)
        if self._is_harmful(sentence, rule):
            self.intervened, self.by = (rule.sign, "rules") if rule else ("harmful", "classifier")
            message = self._layer.texts.get(self._language, self.intervened, "answer")
            return ("\n\n" if self._shown.strip() else "") + message
        self._context = tokens[-_CONTEXT:]
        self._shown = (self._shown + sentence)[-_BEFORE:]
        return sentence

    def _is_harmful(self, sentence: str, rule: Rule | None) -> bool:
        window = _window(self._shown, sentence)
        return bool(sentence.strip()) and self._layer.is_harmful(
            window, rule, after_care=self._after_care
        )
