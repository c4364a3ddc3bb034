"""A preference pair → token ids within both length limits.

A prompt has the ids of what the chat template renders, encoded in one piece. Control strings in a
text that a person wrote are plain characters: "<|im_start|>" in a question cannot open a turn.
Training and serving render the same prompt: thinking off, generation prompt at the end. A
completion is its text and the end-of-turn token, nothing after it.

An answer may begin with a thought, between <think> and </think>. Where the tokenizer has tokens for
these marks, the thought is written with them as the template writes it. The pair's prompt then
leaves thinking on, so that no empty thought stands before it. In earlier turns some templates keep
thoughts and others drop them.
"""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from fitbot.base_model.embedded import resolve_base_model
from fitbot.errors import ConfigError, DataError
from fitbot.pairs.formats import Message, PreferencePair
from fitbot.pairs.template import DONE_THINKING, THINKING, Template, has_thought, roles_of, thinks

logger = logging.getLogger(__name__)

# Stands in a text between two characters that the tokenizer must not see as one string.
_BREAK = "\ufdd0\ufdd1"


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """Load the base model's own tokenizer, by hub id or folder.

    Raises:
        ConfigError: There is none there, or it is out of reach.
    """
    source = resolve_base_model(base_model)
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # tokenizers raises a bare one where a file is damaged
        what = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"base_model {base_model!r}: its tokenizer could not be loaded: {what} Give a folder, "
            "a hub id within reach, or embedded."
        ) from error


class LengthLimits(NamedTuple):
    """How long a prompt, and a prompt with its completion, may be."""

    max_prompt_length: int  # tokens, template included
    max_length: int  # tokens, prompt + one completion


def within(limits: LengthLimits, positions: int | None) -> LengthLimits:
    """Lower max_length to a base's positions, and say so; None where they have no end.

    Raises:
        ConfigError: A prompt may then be as long as all of it.
    """
    if positions is None or positions >= limits.max_length:
        return limits
    if positions <= limits.max_prompt_length:
        raise ConfigError(
            f"data.max_prompt_length {limits.max_prompt_length} leaves no room for an answer in "
            f"this base's {positions} positions; lower it"
        )
    logger.warning(
        "data.max_length: %d instead of %d, the base has no more positions",
        positions,
        limits.max_length,
    )
    return limits._replace(max_length=positions)


class EncodedPair(NamedTuple):
    """One pair as token ids, within the limits."""

    prompt: list[int]  # everything up to and including the tokens that hand the turn over
    chosen: list[int]  # completion; its last id ends the turn unless it was cut
    rejected: list[int]  # likewise
    prompt_cut: int  # tokens of the conversation that did not fit
    chosen_cut: int  # tokens of the completion that did not fit, the end-of-turn token included
    rejected_cut: int  # likewise
    record: int  # index in the file

    @property
    def num_tokens(self) -> int:
        """Tokens of the pair with its prompt counted once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer of its two completions."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def is_equal(self) -> bool:
        """Whether both completions are the same tokens: such a pair prefers nothing."""
        return self.chosen == self.rejected


class CutReport(NamedTuple):
    """What the length limits took away, over a list of pairs."""

    num_pairs: int
    prompts_cut: int  # pairs whose prompt was shortened
    prompt_tokens_cut: int
    completions_cut: int  # completions, two a pair
    completion_tokens_cut: int
    equal: int  # pairs whose completions are the same tokens after it

    def __str__(self) -> str:
        equal = f"; {self.equal:,} with the same tokens in both answers" if self.equal else ""
        if not self.prompts_cut and not self.completions_cut:
            return f"nothing cut in {self.num_pairs:,} pairs{equal}"
        return (
            f"cut {self.prompts_cut:,} of {self.num_pairs:,} prompts "
            f"(-{self.prompt_tokens_cut:,} tokens) and {self.completions_cut:,} of "
            f"{2 * self.num_pairs:,} completions (-{self.completion_tokens_cut:,} tokens){equal}"
        )


class _Rendered(NamedTuple):
    """One pair as text, control strings of its own broken."""

    pair: PreferencePair
    turns: tuple[Message, ...]  # of the prompt, before rendering
    thinking: bool  # whether the prompt leaves thinking on
    texts: tuple[str, str, str]  # prompt, chosen, rejected; without the end-of-turn token


class Chat:
    """Renders conversations: the template's parts with control tokens, the rest as plain text."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system_prompt: str | None = None,
        date: str | None = None,
        ends: Collection[int] = (),
    ):
        """Find out how the tokenizer's template opens, separates and ends turns.

        Args:
            tokenizer: A tokenizer with a chat template.
            system_prompt: First turn of every conversation that brings none of its own.
            date: Day that a template which writes one is given, as 2026-11-30; today by default.
            ends: Tokens that end an answer, besides the template's own and the tokenizer's.

        Raises:
            ConfigError: The tokenizer has no chat template, its template fails, loses or doubles
                turns, or nothing marks the end of an assistant turn; or the system prompt cannot
                be encoded.
        """
        if not tokenizer.chat_template:
            raise ConfigError(
                f"tokenizer of {tokenizer.name_or_path!r} has no chat template; use an instruction-"
                "tuned base model, or put a chat_template into its tokenizer_config.json"
            )
        try:
            (system_prompt or "").encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the system prompt is no Unicode text: {error.reason} at character {error.start}; "
                "type it anew"
            ) from error
        self.tokenizer = tokenizer
        self.system_prompt = system_prompt
        self._template = Template(tokenizer, date)
        self.date = self._template.date  # None: the template writes none
        self.end_of_turn_id = self._template.end_of_turn_id
        # A model that pads, or opens a turn, has ended its answer: none has these within one.
        ends = {*ends, *self._template.control_ids(bool(system_prompt))}
        self.ends = {self.end_of_turn_id, tokenizer.eos_token_id, *ends} - {None}
        controls, marks = {*tokenizer.get_added_vocab(), _BREAK}, {THINKING, DONE_THINKING}
        self._has_marks = marks <= controls
        self._control_ids = tokenizer.get_added_vocab() if _cuts_at_controls(tokenizer) else {}
        self._at_controls = re.compile(f"({_any_of(self._control_ids).pattern})")
        self._controls, self._controls_of_thoughts = _any_of(controls), _any_of(controls - marks)

    def encode_text(self, text: str) -> list[int]:
        """Encode a person's text as plain characters: it never yields a control token."""
        return self._encode_texts([self._break(text)])[0]

    def encode_prompt(
        self, messages: Sequence[Message], max_prompt_length: int
    ) -> tuple[list[int], int]:
        """Render a conversation up to the point where the assistant is to answer.

        Args:
            messages: Turns, the last one a user's.
            max_prompt_length: Tokens the result may have. What is too long is cut from the start of
                the oldest turn that is not the system's; template and system prompt stay whole.

        Returns:
            The token ids and the number of tokens that were cut.

        Raises:
            DataError: The template refuses the turns, or template and system prompt alone exceed
                the limit.
        """
        turns = self._turns(messages)
        prompt = self._render_prompt(turns, thinking=False)
        (ids,) = self._encode_texts([prompt])
        return self._shorten(ids, turns, prompt, max_prompt_length, thinking=False)

    def encode_pairs(
        self,
        pairs: Sequence[PreferencePair],
        limits: LengthLimits,
        *,
        refused: list[str] | None = None,
    ) -> list[EncodedPair]:
        """Encode many pairs at once; see `encode_pair`.

        Args:
            pairs: The pairs.
            limits: On prompts and completions.
            refused: Takes a message for each pair that cannot be encoded, and the pair is left out;
                by default the first such pair raises.
        """
        rendered: list[_Rendered] = []
        for pair in pairs:
            with _of_record(pair.record, refused):
                rendered.append(self._render_pair(pair))
        ids = iter(self._encode_texts([text for one in rendered for text in one.texts]))
        encoded: list[EncodedPair] = []
        for one in rendered:
            own = islice(ids, len(one.texts))
            with _of_record(one.pair.record, refused):
                encoded.append(self._fit(one, *own, limits=limits))
        return encoded

    def encode_pair(self, pair: PreferencePair, limits: LengthLimits) -> EncodedPair:
        """Encode one pair within both limits.

        The prompt is shortened first; then each completion loses its end if prompt + completion is
        too long, and a completion that lost its end gets no end-of-turn token, so that the model is
        never taught to stop in mid-sentence.

        Raises:
            DataError: The template refuses the turns, or the limits leave no room for the template,
                or none for a completion.
        """
        return self.encode_pairs([pair], limits)[0]

    def _fit(
        self,
        rendered: _Rendered,
        prompt: list[int],
        chosen: list[int],
        rejected: list[int],
        *,
        limits: LengthLimits,
    ) -> EncodedPair:
        _, turns, thinking, texts = rendered
        prompt, prompt_cut = self._shorten(
            prompt, turns, texts[0], limits.max_prompt_length, thinking=thinking
        )
        room = limits.max_length - len(prompt)
        if room < 1:
            raise DataError(
                f"a prompt of {len(prompt)} tokens leaves no room for a completion in max_length "
                f"{limits.max_length}; lower max_prompt_length or raise max_length"
            )
        chosen, rejected = [*chosen, self.end_of_turn_id], [*rejected, self.end_of_turn_id]
        return EncodedPair(
            prompt=prompt,
            chosen=chosen[:room],
            rejected=rejected[:room],
            prompt_cut=prompt_cut,
            chosen_cut=max(0, len(chosen) - room),
            rejected_cut=max(0, len(rejected) - room),
            record=rendered.pair.record,
        )

    def _shorten(
        self,
        ids: list[int],
        turns: tuple[Message, ...],
        prompt: str,
        max_prompt_length: int,
        *,
        thinking: bool,
    ) -> tuple[list[int], int]:
        """Cut a prompt that is too long; `ids` are those of all of it. See `encode_prompt`."""
        if len(ids) <= max_prompt_length:
            return ids, 0
        parts, order = self._template.parts(roles_of(turns), thinking)
        contents = _between(prompt, parts)
        if contents is None:
            raise DataError(
                f"the prompt has {len(ids)} tokens, and its turns cannot be told apart in what the "
                f"chat template makes of them; raise max_prompt_length {max_prompt_length}"
            )
        encoded = self._encode_texts([*parts, *contents])
        excess, cut = sum(map(len, encoded)) - max_prompt_length, 0
        # The oldest turn first, wherever the template writes it.
        for turn, place in sorted(zip(order, range(len(parts), len(encoded)), strict=True)):
            if cut < excess and turns[turn].role != "system":
                dropped = min(len(encoded[place]), excess - cut)
                encoded[place] = encoded[place][dropped:]
                cut += dropped
        if cut < excess:
            raise DataError(
                f"chat template and system prompt alone take {excess - cut} tokens more than "
                f"max_prompt_length {max_prompt_length}; raise it or shorten the system prompt"
            )
        ids = list(encoded[0])
        for content, part in zip(encoded[len(parts) :], encoded[1 : len(parts)], strict=True):
            ids += content + part
        return ids, cut

    def _turns(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Add the system prompt, and break the control strings in all texts."""
        if self.system_prompt and messages[0].role != "system":
            messages = (Message("system", self.system_prompt), *messages)
        return tuple(
            Message(role, self._break(text, of_assistant=role == "assistant"))
            for role, text in messages
        )

    def _break(self, text: str, *, of_assistant: bool = False) -> str:
        """Break control strings after their first character, so that the tokenizer sees none.

        The marks of an assistant's thought are the tokenizer's own.
        """
        thinks = of_assistant and has_thought(text)
        controls = self._controls_of_thoughts if thinks else self._controls
        return controls.sub(lambda found: found[0][:1] + _BREAK + found[0][1:], text)

    def _render_pair(self, pair: PreferencePair) -> _Rendered:
        turns = self._turns(pair.prompt)
        answers = [self._break(text, of_assistant=True) for text in (pair.chosen, pair.rejected)]
        with_thought = self._has_marks and any(map(has_thought, answers))
        # An empty thought is what thinking off is: then the prompt has it, as when serving.
        thinking = with_thought and any(map(thinks, answers))
        prompt = self._render_prompt(turns, thinking=thinking)
        if with_thought or any(text != text.strip() for text in answers):
            chosen, rejected = (
                self._template.completion(turns, prompt, answer, thinking=thinking)
                for answer in answers
            )
        else:  # nothing that a template would change
            chosen, rejected = (self._template.lead(roles_of(turns)) + text for text in answers)
        return _Rendered(pair, turns, thinking, (prompt, chosen, rejected))

    def _render_prompt(self, turns: tuple[Message, ...], *, thinking: bool) -> str:
        prompt = self._template.render(turns, thinking=thinking)
        self._template.parts(roles_of(turns), thinking)  # refuses a template that loses turns
        return prompt

    def _encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        """Encode texts, control strings that are not broken as the tokens that they name."""
        # Many pairs have one prompt, and all one system prompt: each is encoded once.
        texts = list(texts)
        pieces_of = {text: self._pieces(text) for text in dict.fromkeys(texts)}
        ids = {name: [number] for name, number in self._control_ids.items()}
        new = [*({piece for own in pieces_of.values() for piece in own} - ids.keys())]
        ids |= zip(new, self._encode_pieces(new), strict=True)
        return [[i for piece in pieces_of[text] for i in ids[piece]] for text in texts]

    def _pieces(self, text: str) -> list[str]:
        """Cut a text where the tokenizer does, so that what the template repeats comes out once."""
        parts = text.split(_BREAK)
        if self._control_ids:
            parts = [piece for part in parts for piece in self._at_controls.split(part)]
        return [piece for piece in parts if piece]

    def _encode_pieces(self, pieces: list[str]) -> list[list[int]]:
        # The library underneath, where there is one: twice as fast as all that lies above it.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # Some tokenizer files bring a limit of their own, which would cut in silence.
            backend.no_truncation()
            backend.no_padding()
            encoded = backend.encode_batch_fast(pieces, add_special_tokens=False)
            return [piece.ids for piece in encoded]
        ids: list[list[int]] = self.tokenizer(pieces, add_special_tokens=False)["input_ids"]
        return ids


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True))))


def _cuts_at_controls(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether texts between control tokens are encoded as if each stood alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {}
    places = json.dumps([rules.get("normalizer"), rules.get("pre_tokenizer")])
    # These treat the first piece otherwise than the following.
    alone = bool(rules) and not any(kind in places for kind in ("Metaspace", "Prepend"))
    kinds = ("lstrip", "rstrip", "single_word", "normalized")
    return alone and not any(token[kind] for token in rules["added_tokens"] for kind in kinds)


def _between(text: str, parts: list[str]) -> list[str] | None:
    """Return what stands between parts of a text, which begins and ends with one; None if not.

    >>> _between("<u>Hi<a>Ho<u>", ["<u>", "<a>", "<u>"])
    ['Hi', 'Ho']
    """
    contents: list[str] = []
    start = len(parts[0]) if text.startswith(parts[0]) else -1
    for number, part in enumerate(parts[1:], start=1):
        # The last part ends the text, wherever else it may stand.
        is_last = number == len(parts) - 1
        end = len(text) - len(part) if is_last and text.endswith(part) else text.find(part, start)
        if start < 0 or end < start:
            return None
        contents.append(text[start:end])
        start = end + len(part)
    return contents if start == len(text) else None


@contextmanager
def _of_record(record: int, refused: list[str] | None) -> Iterator[None]:
    """Say of which record an error is; with `refused` collect it there."""
    try:
        yield
    except DataError as error:
        message = f"record {record}: {error}"
        if refused is None:
            raise DataError(message) from error
        refused.append(message)


def report_cuts(pairs: Sequence[EncodedPair]) -> CutReport:
    """Count what the limits took away."""
    completions = [cut for pair in pairs for cut in (pair.chosen_cut, pair.rejected_cut)]
    return CutReport(
        num_pairs=len(pairs),
        prompts_cut=sum(pair.prompt_cut > 0 for pair in pairs),
        prompt_tokens_cut=sum(pair.prompt_cut for pair in pairs),
        completions_cut=sum(cut > 0 for cut in completions),
        completion_tokens_cut=sum(completions),
        equal=sum(pair.is_equal for pair in pairs),
    )
