"""Tokens of an answer → text that is safe to show, as early as it is.

What could still change is held back: a character of several tokens, a stop string that has only
begun, a thought that the user is not to see.
"""

import codecs
from typing import Any

from fitbot.errors import ConfigError

THINKING, DONE_THINKING = "<think>", "</think>"


class TokenBytes:
    """What every token stands for, in bytes, so that decoding a token is looking it up.

    Raises:
        ConfigError: The tokenizer's tokens are not strings of bytes, whatever stands beside them.
    """

    def __init__(self, tokenizer: Any):
        """Read a byte-level tokenizer's vocabulary; its special tokens stand for nothing."""
        byte_of = {character: byte for byte, character in _characters_of_bytes().items()}
        added = tokenizer.get_added_vocab()
        special = set(tokenizer.all_special_ids)
        vocabulary = tokenizer.get_vocab()
        self._bytes = [b""] * (max(vocabulary.values()) + 1)
        try:
            for token, number in vocabulary.items():
                if token in added:
                    self._bytes[number] = b"" if number in special else token.encode()
                else:
                    self._bytes[number] = bytes(byte_of[character] for character in token)
        except KeyError as error:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} is not one of bytes: {token!r} holds "
                f"{error.args[0]!r}; serve this base with another engine"
            ) from error

    def __getitem__(self, token: int) -> bytes:
        """Look a token up; those beyond the vocabulary, which only pad it, stand for nothing."""
        return self._bytes[token] if token < len(self._bytes) else b""

    def text(self, token: int) -> str:
        """Decode a token by itself."""
        return self[token].decode(errors="replace")


def _characters_of_bytes() -> dict[int, str]:
    """List the characters that GPT-2's byte-level tokenizers write bytes as."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    return {
        **{byte: chr(byte) for byte in shown},
        **{byte: chr(256 + n) for n, byte in enumerate(others)},
    }


class AnswerText:
    """The text of one answer while its tokens come."""

    def __init__(self, token_bytes: TokenBytes, stop: tuple[str, ...]):
        """Take what tokens stand for, and the strings that end the answer."""
        self.stopped = False
        self._bytes = token_bytes
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._thoughts = _Thoughts()
        self._stop = stop
        self._held = ""  # what may become a stop string

    def add(self, token: int) -> str:
        """Take a token; returns the text that it makes sure."""
        return self._show(self._thoughts.feed(self._characters.decode(self._bytes[token])))

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        text = self._characters.decode(b"", final=True)
        shown = self._show(self._thoughts.feed(text) + self._thoughts.finish())
        if not self.stopped:
            shown, self._held = shown + self._held, ""
        return shown

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
    if mark[0] not in text[1 - len(mark) :]:  # as nearly always
        return 0
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
