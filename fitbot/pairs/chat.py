"""A preference pair → token ids within both length limits; alone in knowing chat templates.

The template's own parts are encoded with their control tokens; every text written by a person is
encoded apart, as plain characters, so that "<|im_start|>" in a question cannot open a turn.
Training and serving render the same prompt: thinking off, generation prompt at the end. A
completion is its text and the end-of-turn token, nothing after it.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from fitbot.base_model.embedded import resolve_base_model
from fitbot.errors import ConfigError, DataError
from fitbot.pairs.formats import Message, PreferencePair

# Two private-use characters that no template and no font gives a meaning to, around a number.
_SLOT = "\ue0f0{}\ue0f1"
_SLOT_PATTERN = re.compile("\ue0f0([0-9]+)\ue0f1")


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


class CutReport(NamedTuple):
    """What the length limits took away, over a list of pairs."""

    num_pairs: int
    prompts_cut: int  # pairs whose prompt was shortened
    prompt_tokens_cut: int
    completions_cut: int  # completions, two a pair
    completion_tokens_cut: int

    def __str__(self) -> str:
        if not self.prompts_cut and not self.completions_cut:
            return f"nothing cut in {self.num_pairs:,} pairs"
        return (
            f"cut {self.prompts_cut:,} of {self.num_pairs:,} prompts "
            f"(-{self.prompt_tokens_cut:,} tokens) and {self.completions_cut:,} of "
            f"{2 * self.num_pairs:,} completions (-{self.completion_tokens_cut:,} tokens)"
        )


class Chat:
    """Renders conversations: the template's parts with control tokens, the rest as plain text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, system_prompt: str | None = None):
        """Find out how the tokenizer's template opens, separates and ends turns.

        Args:
            tokenizer: A tokenizer with a chat template.
            system_prompt: First turn of every conversation that brings none of its own.

        Raises:
            ConfigError: The tokenizer has no chat template, its template loses or reorders turns,
                or nothing marks the end of an assistant turn.
        """
        if not tokenizer.chat_template:
            raise ConfigError(
                f"tokenizer of {tokenizer.name_or_path!r} has no chat template; use an instruction-"
                "tuned base model, or put a chat_template into its tokenizer_config.json"
            )
        self.tokenizer = tokenizer
        self.system_prompt = system_prompt
        controls = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, controls)) or "(?!)")
        self._parts_of_roles: dict[tuple[str, ...], list[list[int]]] = {}
        self.end_of_turn_id = self._find_end_of_turn()

    def encode_text(self, text: str) -> list[int]:
        """Encode a person's text as plain characters: it never yields a control token."""
        return self._encode_texts([text])[0]

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
            DataError: Template and system prompt alone exceed the limit.
        """
        messages = self._with_system(messages)
        contents = self._encode_texts([message.content for message in messages])
        return self._assemble(messages, contents, max_prompt_length)

    def encode_pairs(
        self, pairs: Sequence[PreferencePair], limits: LengthLimits
    ) -> list[EncodedPair]:
        """Encode many pairs at once; see `encode_pair`."""
        conversations = [self._with_system(pair.prompt) for pair in pairs]
        texts: list[str] = []
        for conversation, pair in zip(conversations, pairs, strict=True):
            texts += [message.content for message in conversation]
            texts += [pair.chosen, pair.rejected]
        encoded = iter(self._encode_texts(texts))
        return [
            self._fit(pair, conversation, list(islice(encoded, len(conversation) + 2)), limits)
            for conversation, pair in zip(conversations, pairs, strict=True)
        ]

    def encode_pair(self, pair: PreferencePair, limits: LengthLimits) -> EncodedPair:
        """Encode one pair within both limits.

        The prompt is shortened first; then each completion loses its end if prompt + completion is
        too long, and a completion that lost its end gets no end-of-turn token, so that the model is
        never taught to stop in mid-sentence.

        Raises:
            DataError: The limits leave no room for the template, or none for a completion.
        """
        return self.encode_pairs([pair], limits)[0]

    def _fit(
        self,
        pair: PreferencePair,
        conversation: tuple[Message, ...],
        contents: list[list[int]],
        limits: LengthLimits,
    ) -> EncodedPair:
        *turns, chosen, rejected = contents
        try:
            prompt, prompt_cut = self._assemble(conversation, turns, limits.max_prompt_length)
        except DataError as error:
            raise DataError(f"record {pair.record}: {error}") from error
        room = limits.max_length - len(prompt)
        if room < 1:
            raise DataError(
                f"record {pair.record}: a prompt of {len(prompt)} tokens leaves no room for a "
                f"completion in max_length {limits.max_length}; lower max_prompt_length or raise "
                "max_length"
            )
        chosen, rejected = [*chosen, self.end_of_turn_id], [*rejected, self.end_of_turn_id]
        return EncodedPair(
            prompt=prompt,
            chosen=chosen[:room],
            rejected=rejected[:room],
            prompt_cut=prompt_cut,
            chosen_cut=max(0, len(chosen) - room),
            rejected_cut=max(0, len(rejected) - room),
            record=pair.record,
        )

    def _assemble(
        self, messages: Sequence[Message], contents: list[list[int]], max_prompt_length: int
    ) -> tuple[list[int], int]:
        parts = self._template_parts(tuple(message.role for message in messages))
        excess = sum(map(len, parts)) + sum(map(len, contents)) - max_prompt_length
        cut = 0
        for i, message in enumerate(messages):
            if cut < excess and message.role != "system":
                dropped = min(len(contents[i]), excess - cut)
                contents[i] = contents[i][dropped:]
                cut += dropped
        if cut < excess:
            raise DataError(
                f"chat template and system prompt alone take {excess - cut} tokens more than "
                f"max_prompt_length {max_prompt_length}; raise it or shorten the system prompt"
            )
        ids = list(parts[0])
        for content, part in zip(contents, parts[1:], strict=True):
            ids += content
            ids += part
        return ids, cut

    def _with_system(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        if self.system_prompt and messages[0].role != "system":
            return (Message("system", self.system_prompt), *messages)
        return tuple(messages)

    def _encode_texts(self, texts: list[str]) -> list[list[int]]:
        # Many conversations begin with one system prompt: a text that comes again is encoded once.
        ids: dict[str, list[int]] = {text: [] for text in texts}
        pieces = [(text, piece) for text in ids for piece in self._broken(text)]
        encoded = self._encode_pieces([piece for _, piece in pieces]) if pieces else []
        for (text, _), piece_ids in zip(pieces, encoded, strict=True):
            ids[text] += piece_ids
        return [list(ids[text]) for text in texts]

    def _broken(self, text: str) -> Iterator[str]:
        """Break control strings after their first character, so that the tokenizer sees none."""
        starts = [match.start() + 1 for match in self._controls.finditer(text)]
        return (text[start:end] for start, end in pairwise([0, *starts, len(text)]))

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

    def _template_parts(self, roles: tuple[str, ...]) -> list[list[int]]:
        """Token ids of what the template writes before, between and after these turns' texts."""
        if roles not in self._parts_of_roles:
            text = self._render(roles, add_generation_prompt=True)
            found = [int(number) for number in _SLOT_PATTERN.findall(text)]
            if found != list(range(len(roles))):
                raise ConfigError(
                    f"chat template of {self.tokenizer.name_or_path!r} does not write the turns "
                    f"{', '.join(roles)} once each and in order; leave out the system prompt or "
                    "use another template"
                )
            self._parts_of_roles[roles] = [
                self._encode_template(part) for part in _SLOT_PATTERN.split(text)[::2]
            ]
        return self._parts_of_roles[roles]

    def _find_end_of_turn(self) -> int:
        text = self._render(("user", "assistant"), add_generation_prompt=False)
        after = self._encode_template(_SLOT_PATTERN.split(text)[-1])
        # The template decides, not eos_token: some tokenizers name another token there than the one
        # that ends a turn.
        controls = {*self.tokenizer.get_added_vocab().values(), *self.tokenizer.all_special_ids}
        if after and after[0] in controls:
            return int(after[0])
        raise ConfigError(
            f"chat template of {self.tokenizer.name_or_path!r} does not end an assistant turn with "
            "a control token, so a model trained on it could not learn to stop"
        )

    def _render(self, roles: tuple[str, ...], *, add_generation_prompt: bool) -> str:
        """Render turns of these roles, whose texts are slots."""
        rendered: Any = self.tokenizer.apply_chat_template(
            [{"role": role, "content": _SLOT.format(i)} for i, role in enumerate(roles)],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
        )
        return str(rendered)

    def _encode_template(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def report_cuts(pairs: Sequence[EncodedPair]) -> CutReport:
    """Count what the limits took away."""
    completions = [cut for pair in pairs for cut in (pair.chosen_cut, pair.rejected_cut)]
    return CutReport(
        num_pairs=len(pairs),
        prompts_cut=sum(pair.prompt_cut > 0 for pair in pairs),
        prompt_tokens_cut=sum(pair.prompt_cut for pair in pairs),
        completions_cut=sum(cut > 0 for cut in completions),
        completion_tokens_cut=sum(completions),
    )
