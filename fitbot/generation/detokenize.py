"""Tokens of an answer → text to send out, as soon as it is certain.

Held back is what may still change: a character of several tokens, or the beginning of a stop
string. Thoughts are kept apart from the text. Nothing of the chat template gets into either.
"""

import codecs
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fitbot.errors import ConfigError
from fitbot.generation.messages import Echo, Sampling, TokenLogprob
from fitbot.pairs.template import DONE_THINKING, THINKING


class TokenBytes:
    """The bytes of every token, so that decoding a token is one look-up.

    Raises:
        ConfigError: The tokenizer is not byte-level.
    """

    def __init__(self, tokenizer: Any):
        """Read a byte-level tokenizer's vocabulary; its special tokens have no bytes."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        added = tokenizer.get_added_vocab()
        special = set(tokenizer.all_special_ids)
        vocabulary = tokenizer.get_vocab()
        self._bytes = [b""] * (max(vocabulary.values()) + 1)
        try:
            for token, number in vocabulary.items():
                if token not in added:
                    self._bytes[number] = bytes(byte_of[character] for character in token)
                elif number not in special:
                    self._bytes[number] = token.encode()
        except KeyError as error:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} is not one of bytes: {token!r} holds "
                f"{error.args[0]!r}; serve this base with another engine"
            ) from error

    @cached_property
    def whole(self) -> "dict[int, str | None]":
        """What each token adds to any answer; None if that depends on its neighbours."""
        return _WholeTokens(self)

    def __getitem__(self, token: int) -> bytes:
        """Look a token up; those beyond the vocabulary, which only pad it, have no bytes."""
        return self._bytes[token] if token < len(self._bytes) else b""

    def text(self, token: int) -> str:
        """Decode a token by itself."""
        return self[token].decode(errors="replace")

    def logprob(self, token: int, own: float, top: Sequence[tuple[int, float]]) -> TokenLogprob:
        """Decode a token that was scored, and the likeliest ones beside it."""
        return TokenLogprob(self.text(token), own, tuple((self.text(one), p) for one, p in top))

    def echo(
        self, prompt: Sequence[int], scores: Sequence[tuple[float, Sequence[tuple[int, float]]]]
    ) -> Echo:
        """Decode a prompt, and the scores of its tokens but the first, if there are any."""
        text = b"".join(self[token] for token in prompt).decode(errors="replace")
        scored = zip(prompt[1:], scores, strict=True) if scores else ()
        logprobs = tuple(self.logprob(token, *found) for token, found in scored)
        return Echo(text, self.text(prompt[0]), logprobs)


class _WholeTokens(dict[int, str | None]):
    """See `TokenBytes.whole`; filled as asked."""

    def __init__(self, token_bytes: TokenBytes):
        super().__init__()
        self._bytes = token_bytes

    def __missing__(self, token: int) -> str | None:
        try:
            text = self._bytes[token].decode()
        except UnicodeDecodeError:
            text = THINKING
        self[token] = None if THINKING[0] in text else text
        return self[token]


class AnswerText:
    """The text of one answer while its tokens come, and its thoughts apart from it.

    Args:
        token_bytes: The bytes of every token.
        sampling: Its stop strings end the answer, not inside a thought and not before `min_tokens`.
            With `reasoning`, thoughts are kept for `take_reasoning`; otherwise they are dropped.
        prompt: Its tokens; some templates begin a thought there, which the answer continues.
        controls: How the template's control tokens begin. A model that spells one has ended its
            answer, as by the token itself; half of that at the end is dropped.
        raw: Leave thoughts and controls in the text.
    """

    def __init__(
        self,
        token_bytes: TokenBytes,
        sampling: Sampling,
        prompt: Sequence[int] = (),
        *,
        controls: Sequence[str] = (),
        raw: bool = False,
    ):
        """Begin an answer."""
        self.stopped = False
        self.in_thought = False  # whether the newest token is part of a thought, or of its marks
        self.reasoning = ""
        self._keeps_reasoning = sampling.reasoning
        self._bytes = token_bytes
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        end = b"".join(token_bytes[token] for token in prompt[-2 * len(THINKING) :])
        inside = end.rstrip().endswith(THINKING.encode())
        self._thoughts = NoThoughts() if raw else Thoughts(inside=inside)
        self._controls = () if raw else controls
        self._starts = {mark[0] for mark in self._controls}
        self._begun = ""  # what may become a control
        self._left = sampling.min_tokens  # tokens until stop strings count
        self._later, self._stop = sampling.stop, () if self._left else sampling.stop
        self._held = ""  # what may become a stop string
        self._is_plain = False  # whether nothing is held back or looked for but marks of thoughts

    def add(self, token: int) -> str:
        """Add a token; returns the text that is certain now and was not before."""
        if self._is_plain:  # nearly always
            whole = self._bytes.whole[token]
            if whole is not None and self._starts.isdisjoint(whole):
                return whole
        text = self._add(token)
        holds = self._held or self._begun or self._characters.getstate()[0]
        self._is_plain = not (holds or self._later or self.in_thought or self.stopped)
        self._is_plain &= self._thoughts.leaves("")
        return text

    def _add(self, token: int) -> str:
        if self._left <= 0:
            self._stop = self._later
        self._left -= 1
        text = self._characters.decode(self._bytes[token])
        is_plain = not (self._stop or self._held or self._begun) and self._starts.isdisjoint(text)
        if is_plain and self._thoughts.leaves(text):
            self.in_thought = False
            return text
        was_in_thought = self._thoughts.inside
        text, control, self._begun = _before(self._begun + text, self._controls)
        shown = self._flush(text) if control else self._show(*self._thoughts.feed(text))
        self.in_thought = was_in_thought or self._thoughts.inside
        return shown

    def finish(self) -> str:
        """Return the text that was held back; no more tokens follow."""
        return self._flush(_unless_half(self._begun) + self._characters.decode(b"", final=True))

    def _flush(self, text: str) -> str:
        """End the answer with a text."""
        shown = self._show(*self._thoughts.feed(text)) + self._show(*self._thoughts.finish())
        if not self.stopped:
            shown, self.stopped = shown + self._held, True
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
        shown, stop, self._held = _before(self._held + text, self._stop)
        self.stopped = bool(stop)
        return shown


class Thoughts:
    """Separates thoughts, between <think> and </think>, from the text around them.

    Blank lines at the beginning of a thought, and after it, belong to neither. A mark that closes
    nothing, or opens a thought within a thought, is dropped.
    """

    def __init__(self, *, inside: bool = False) -> None:
        """Begin outside of a thought, or inside one."""
        self.inside = inside
        self._fresh = inside  # whether there was no text since the last mark
        self._held = ""

    def leaves(self, text: str) -> bool:
        """Say whether `feed` would return a piece of text as it is, and would change nothing."""
        return not (self.inside or self._fresh or self._held or THINKING[0] in text)

    def feed(self, text: str) -> tuple[str, str]:
        """Add a piece of text; returns its parts outside and inside of thoughts."""
        parts, mark, self._held = {False: "", True: ""}, THINKING, self._held + text
        while mark:
            before, mark, self._held = _before(self._held, (THINKING, DONE_THINKING))
            parts[self.inside] += self._begun(before)
            if mark:
                self.inside, self._fresh = mark == THINKING, True
        return parts[False], parts[True]

    def finish(self) -> tuple[str, str]:
        """Return what was held back, as `feed` does."""
        text, self._held = self._begun(_unless_half(self._held)), ""
        return ("", text) if self.inside else (text, "")

    def _begun(self, text: str) -> str:
        text = text.lstrip("\n") if self._fresh else text
        self._fresh = self._fresh and not text
        return text


class NoThoughts(Thoughts):
    """Leaves thoughts, and their marks, in the text."""

    def leaves(self, text: str) -> bool:
        """See `Thoughts`."""
        return True

    def feed(self, text: str) -> tuple[str, str]:
        """See `Thoughts`."""
        return text, ""


def _before(text: str, marks: Sequence[str]) -> tuple[str, str, str]:
    """Split a text at the first mark: what is before it, the mark, what is after it.

    Without a mark, "after" is the end of the text that may become one.

    >>> _before("so far. <thi", [THINKING])
    ('so far. ', '', '<thi')
    """
    places = [(place, mark) for mark in marks if (place := text.find(mark)) >= 0]
    if places:
        place, mark = min(places)
        return text[:place], mark, text[place + len(mark) :]
    begun = [mark for mark in marks if mark[0] in text[1 - len(mark) :]]  # nearly always none
    lengths = (size for mark in begun for size in range(1, len(mark)) if text.endswith(mark[:size]))
    end = len(text) - max(lengths, default=0)
    return text[:end], "", text[end:]


def _unless_half(begun: str) -> str:
    """Return the beginning of a mark if it may be text as well: one character."""
    return begun if len(begun) < 2 else ""
