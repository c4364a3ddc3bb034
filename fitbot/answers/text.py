"""Tokens of an answer → text that is safe to show, as early as it is.

What could still change is held back: a character of several tokens, a stop string that has only
begun, a thought that the user is not to see.
"""

from typing import Any

THINKING, DONE_THINKING = "<think>", "</think>"


class AnswerText:
    """The text of one answer while its tokens come."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]):
        """Take the tokenizer and the strings that end the answer.

        Args:
            tokenizer: A transformers tokenizer.
            stop: Strings; the answer ends before the first of them.
        """
        self.tokenizer = tokenizer
        self.stopped = False
        self._tokens: list[int] = []
        self._decoded, self._known = 0, 0  # tokens: decoded before; of which the text is known
        self._thoughts = _Thoughts()
        self._stop = stop
        self._held = ""  # what may become a stop string

    def add(self, token: int) -> str:
        """Take a token; returns the text that it makes sure."""
        self._tokens.append(token)
        return self._show(self._thoughts.feed(self._new_text(final=False)))

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        text = self._new_text(final=True)
        shown = self._show(self._thoughts.feed(text) + self._thoughts.finish())
        if not self.stopped:
            shown, self._held = shown + self._held, ""
        return shown

    def _new_text(self, *, final: bool) -> str:
        """Decode from a little earlier on: a token's text depends on what stands before it."""
        before = self._decode(self._tokens[self._decoded : self._known])
        text = self._decode(self._tokens[self._decoded :])
        if text.endswith("\ufffd") and not final:  # a character that is not complete
            return ""
        self._decoded, self._known = self._known, len(self._tokens)
        return text[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(
            self.tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _show(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = max((_begins(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


class _Thoughts:
    """Leaves out what stands between <think> and </think>, and the blank lines after it."""

    def __init__(self) -> None:
        self.inside = False
        self._after = False  # a thought has ended and nothing was said since
        self._held = ""

    def feed(self, text: str) -> str:
        """Take text; returns what of it is no thought."""
        text, shown = self._held + text, ""
        while True:
            mark = DONE_THINKING if self.inside else THINKING
            before, found, after = text.partition(mark)
            if not found:
                break
            shown += self._said(before)
            self.inside, self._after = not self.inside, self.inside
            text = after
        held = _begins(text, mark)
        self._held = text[len(text) - held :]
        return shown + self._said(text[: len(text) - held])

    def finish(self) -> str:
        """Return what was held back."""
        return self._said(self._held)

    def _said(self, text: str) -> str:
        if self.inside:
            return ""
        text = text.lstrip("\n") if self._after else text
        self._after = self._after and not text
        return text


def _begins(text: str, mark: str) -> int:
    """Count the characters at the end of text that `mark` begins with."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
