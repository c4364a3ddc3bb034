"""Tokens of an answer → text to send out, as soon as it is certain.

Held back is what may still change: a character of several tokens, or the beginning of a stop
string. Thoughts are kept apart from the text.
"""

import codecs
from collections.abc import Sequence
from typing import Any

from fitbot.errors import ConfigError

THINKING, DONE_THINKING = "<think>", "</think>"


class TokenBytes:
    """The bytes of every token, so that decoding a token is one look-up.

    Raises:
        ConfigError: The tokenizer is not byte-level.
    """

    def __init__(self, tokenizer: Any):
        """Read a byte-level tokenizer's vocabulary; its special tokens have no bytes."""
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
        """Look a token up; those beyond the vocabulary, which only pad it, have no bytes."""
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
    """The text of one answer while its tokens come, and its thoughts apart from it.

    Args:
        token_bytes: The bytes of every token.
        stop: Strings that end the answer; inside a thought they do not.
        prompt: Its tokens; some templates begin a thought there, which the answer continues.
        reasoning: Keep thoughts for `take_reasoning`; otherwise they are dropped.
    """

    def __init__(
        self,
        token_bytes: TokenBytes,
        stop: tuple[str, ...],
        *,
        prompt: Sequence[int] = (),
        reasoning: bool = False,
    ):
        """Begin an answer."""
        self.stopped = False
        self.in_thought = False  # whether the newest token is part of a thought, or of its marks
        self.reasoning = ""
        self._keeps_reasoning = reasoning
        self._bytes = token_bytes
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        end = b"".join(token_bytes[token] for token in prompt[-2 * len(THINKING) :])
        self._thoughts = Thoughts(inside=end.rstrip().endswith(THINKING.encode()))
        self._stop = stop
        self._held = ""  # what may become a stop string

    def add(self, token: int) -> str:
        """Add a token; returns the text that is certain now and was not before."""
        was_in_thought = self._thoughts.inside
        shown = self._show(*self._thoughts.feed(self._characters.decode(self._bytes[token])))
        self.in_thought = was_in_thought or self._thoughts.inside
        return shown

    def finish(self) -> str:
        """Return the text that was held back; no more tokens follow."""
        shown = self._show(*self._thoughts.feed(self._characters.decode(b"", final=True)))
        shown += self._show(*self._thoughts.finish())
        if not self.stopped:
            shown, self._held = shown + self._held, ""
        return shown

    def take_reasoning(self) -> str:
        """Return the thoughts since the last call."""
        reasoning, self.reasoning = self.reasoning, ""
        return reasoning

    def _show(self, text: str, thought: str) -> str:
        if self.stopped:
            return ""
        if self._keeps_reasoning:
            self.reasoning += thought
        text = self._held + text
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = max((_begins(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


class Thoughts:
    """Separates thoughts, between <think> and </think>, from the text around them.

    Blank lines at the beginning of a thought, and after it, belong to neither.
    """

    def __init__(self, *, inside: bool = False) -> None:
        """Begin outside of a thought, or inside one."""
        self.inside = inside
        self._fresh = inside  # whether there was no text since the last mark
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Add a piece of text; returns its parts outside and inside of thoughts."""
        text, parts = self._held + text, {False: "", True: ""}
        while True:
            mark = DONE_THINKING if self.inside else THINKING
            before, found, after = text.partition(mark)
            if not found:
                break
            parts[self.inside] += self._begun(before)
            self.inside, self._fresh, text = not self.inside, True, after
        held = _begins(text, mark)
        self._held = text[len(text) - held :]
        parts[self.inside] += self._begun(text[: len(text) - held])
        return parts[False], parts[True]

    def finish(self) -> tuple[str, str]:
        """Return what was held back, as `feed` does."""
        text, self._held = self._begun(self._held), ""
        return ("", text) if self.inside else (text, "")

    def _begun(self, text: str) -> str:
        text = text.lstrip("\n") if self._fresh else text
        self._fresh = self._fresh and not text
        return text


def _begins(text: str, mark: str) -> int:
    """Count the characters at the end of a text that are the beginning of a mark.

    >>> _begins("so far. <thi", THINKING)
    4
    """
    if mark[0] not in text[1 - len(mark) :]:  # nearly always
        return 0
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
