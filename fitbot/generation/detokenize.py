"""Tokens of an answer → text that is safe to show, as early as it is.

What could still change is held back: a character of several tokens, a stop string that has only
begun, a thought that the user is not to see.
"""

import codecs
from collections.abc import Sequence
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
    """The text of one answer while its tokens come; what it thinks by itself is kept apart.

    Args:
        token_bytes: What tokens stand for.
        stop: Strings that end the answer; a thought may hold them.
        prompt: Its tokens; some templates begin a thought that the answer goes on with.
        reasoning: Keep thoughts, to be taken by `take_reasoning`; else they are lost.
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
        self.in_thought = False  # whether the newest token belongs to a thought, or is its mark
        self.reasoning = ""
        self._keeps_reasoning = reasoning
        self._bytes = token_bytes
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        end = b"".join(token_bytes[token] for token in prompt[-2 * len(THINKING) :])
        self._thoughts = Thoughts(inside=end.rstrip().endswith(THINKING.encode()))
        self._stop = stop
        self._held = ""  # what may become a stop string

    def add(self, token: int) -> str:
        """Take a token; returns the text that it makes sure."""
        was_in_thought = self._thoughts.inside
        shown = self._show(*self._thoughts.feed(self._characters.decode(self._bytes[token])))
        self.in_thought = was_in_thought or self._thoughts.inside
        return shown

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        shown = self._show(*self._thoughts.feed(self._characters.decode(b"", final=True)))
        shown += self._show(*self._thoughts.finish())
        if not self.stopped:
            shown, self._held = shown + self._held, ""
        return shown

    def take_reasoning(self) -> str:
        """Return what of its thoughts is new."""
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
    """Tells what stands between <think> and </think> from what is said.

    Blank lines at the beginning of a thought, and after it, belong to neither.
    """

    def __init__(self, *, inside: bool = False) -> None:
        """Begin with what is said, or within a thought."""
        self.inside = inside
        self._fresh = inside  # there was a mark and no text since
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Take text; returns what of it is said and what is thought."""
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
        """Return what was held back."""
        text, self._held = self._begun(self._held), ""
        return ("", text) if self.inside else (text, "")

    def _begun(self, text: str) -> str:
        text = text.lstrip("\n") if self._fresh else text
        self._fresh = self._fresh and not text
        return text


def _begins(text: str, mark: str) -> int:
    """Count the characters at the end of text that `mark` begins with."""
    if mark[0] not in text[1 - len(mark) :]:  # as nearly always
        return 0
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
