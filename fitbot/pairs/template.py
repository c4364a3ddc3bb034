"""Messages → text, as the tokenizer's chat template renders them; alone in calling it.

An answer may begin with a thought, between <think> and </think>. `Template.completion` writes it as
the template does; in an earlier turn the template keeps or drops it. Nothing here encodes the texts
of a pair.
"""

import json
import logging
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from fitbot.errors import ConfigError, DataError
from fitbot.pairs.formats import Message

if TYPE_CHECKING:  # what reads an answer's thoughts from a server must not wait for it
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

THINKING, DONE_THINKING = "<think>", "</think>"

# Two private-use characters that no template and no font gives a meaning to, around a number.
_SLOT = "\ue0f0{}\ue0f1"
_SLOT_PATTERN = re.compile("\ue0f0([0-9]+)\ue0f1")
_CLOCK = "strftime_now"  # the function by which templates ask for the day
_ASKS_FOR_DAY = re.compile(rf"""{_CLOCK}\(\s*(["'])([^"'\\]*)\1\s*\)""")
_DOUBLED = re.compile(rf"{THINKING}\s*{DONE_THINKING}\s*(?={THINKING})")
_BLANK = re.compile(rf"\s|{THINKING}|{DONE_THINKING}")
_NO_THOUGHT = f"\n{DONE_THINKING}\n\n"  # after a prompt that has opened a thought


class Template:
    """A tokenizer's chat template, rendering on one day."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", date: str | None):
        """Find out how the template ends an assistant turn.

        Args:
            tokenizer: A tokenizer with a chat template.
            date: Day that a template which writes one is given, as 2026-11-30; today by default.

        Raises:
            ConfigError: The template fails, or nothing marks the end of an assistant turn.
        """
        self.tokenizer = tokenizer
        writes_day = _CLOCK in str(tokenizer.chat_template)
        self.date = (date or today()) if writes_day else None  # None: the template writes none
        self._parts_of_roles: dict[tuple[tuple[str, ...], bool], tuple[list[str], list[int]]] = {}
        self._lead_of_roles: dict[tuple[str, ...], str] = {}
        self.end_of_turn_id = self._find_end_of_turn()
        self._end_of_turn = str(tokenizer.convert_ids_to_tokens(self.end_of_turn_id))

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        thinking: bool = False,
    ) -> str:
        """Have the template render messages.

        Raises:
            DataError: It refuses them, or fails.
        """
        clock = {_CLOCK: datetime.fromisoformat(self.date).strftime} if self.date else {}
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                [message._asdict() for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=thinking,
                **clock,
            )
        except Exception as error:  # a template may raise whatever Python can
            roles = ", ".join(roles_of(messages))
            raise DataError(
                f"the base's chat template refuses the turns {roles}: {error}; change the turns, "
                "or leave out the system prompt if it is that"
            ) from error
        return str(rendered)

    def control_ids(self, has_system: bool) -> set[int]:
        """Return the special tokens that open turns or pad, but for those of thoughts."""
        turns = [Message("system", "")] * has_system + [Message("user", "")]
        try:
            opened = self.render(turns)
        except DataError:  # the first conversation says why
            return set()
        tokenizer = self.tokenizer
        ids = {*tokenizer(opened, add_special_tokens=False).input_ids, tokenizer.pad_token_id}
        added = tokenizer.get_added_vocab()
        # Some tokenizers pad with "!".
        special = {added[name] for name in added.keys() - {THINKING, DONE_THINKING}}
        return ids & special.intersection(tokenizer.all_special_ids)

    def completion(
        self, turns: tuple[Message, ...], prompt: str, answer: str, *, thinking: bool
    ) -> str:
        """Return what the template writes of an answer after the prompt, the end of turn left out.

        Where the template would lose a part of the answer, it is the answer's own text.
        """
        whole = self.render(
            (*turns, Message("assistant", answer)), add_generation_prompt=False, thinking=thinking
        )
        # Some templates put an empty thought before every answer.
        whole = _DOUBLED.sub("", whole)
        written = whole.removeprefix(prompt).split(self._end_of_turn)[0]
        if whole.startswith(prompt) and _BLANK.sub("", answer) in _BLANK.sub("", written):
            return written
        if not _opens_thought(prompt):
            return self.lead(roles_of(turns)) + answer
        if has_thought(answer):
            return answer.lstrip().removeprefix(THINKING).lstrip("\n")
        return _NO_THOUGHT + answer

    def lead(self, roles: tuple[str, ...]) -> str:
        """Return what the template writes between a prompt of these turns and a plain answer."""
        if roles not in self._lead_of_roles:
            whole = self.render(_slots((*roles, "assistant")), add_generation_prompt=False)
            # Some templates write the system prompt elsewhere once there is an answer.
            *_, before, _ = _SLOT_PATTERN.split(whole)[::2]
            after = _SLOT_PATTERN.split(self.render(_slots(roles)))[-1]
            lead = _NO_THOUGHT if _opens_thought(after) else ""
            self._lead_of_roles[roles] = (
                before.removeprefix(after) if before.startswith(after) else lead
            )
        return self._lead_of_roles[roles]

    def parts(self, roles: tuple[str, ...], thinking: bool) -> tuple[list[str], list[int]]:
        """What the template writes around these turns' texts, and the turns in its order."""
        if (roles, thinking) not in self._parts_of_roles:
            text = self.render(_slots(roles), thinking=thinking)
            order = [int(number) for number in _SLOT_PATTERN.findall(text)]
            if sorted(order) != list(range(len(roles))):
                raise ConfigError(
                    f"chat template of {self.tokenizer.name_or_path!r} does not write the turns "
                    f"{', '.join(roles)} once each; leave out the system prompt or use another "
                    "template"
                )
            self._parts_of_roles[roles, thinking] = _SLOT_PATTERN.split(text)[::2], order
        return self._parts_of_roles[roles, thinking]

    def _find_end_of_turn(self) -> int:
        try:
            text = self.render(_slots(("user", "assistant")), add_generation_prompt=False)
        except DataError as error:
            raise ConfigError(f"tokenizer of {self.tokenizer.name_or_path!r}: {error}") from error
        after = self.tokenizer(_SLOT_PATTERN.split(text)[-1], add_special_tokens=False)["input_ids"]
        # The template decides, not eos_token: some tokenizers name another token there than the one
        # that ends a turn.
        controls = {*self.tokenizer.get_added_vocab().values(), *self.tokenizer.all_special_ids}
        if after and after[0] in controls:
            return int(after[0])
        raise ConfigError(
            f"chat template of {self.tokenizer.name_or_path!r} does not end an assistant turn with "
            "a control token, so a model trained on it could not learn to stop"
        )


def today() -> str:
    """Return the day, as 2026-11-30."""
    return date.today().isoformat()


def keep_day(tokenizer: "PreTrainedTokenizerBase", day: str | None) -> None:
    """Write a day into a tokenizer's template, for programs that would give it the current one.

    Args:
        tokenizer: Its template is changed.
        day: As 2026-11-30; None, of a template that writes none, changes nothing.
    """
    if day is None:
        return
    clock = datetime.fromisoformat(day).strftime

    def write(found: re.Match[str]) -> str:
        return json.dumps(clock(found[2]), ensure_ascii=False)

    kept = _ASKS_FOR_DAY.sub(write, str(tokenizer.chat_template))
    if f"{_CLOCK}(" in kept:
        logger.warning(
            "the template of %r asks for the day in a way that fitbot cannot replace: other "
            "programs will write the current day into its prompts, and the run had %s",
            tokenizer.name_or_path,
            day,
        )
    else:
        kept = kept.replace(f"{_CLOCK} is defined", "true")
    tokenizer.chat_template = kept


def has_thought(text: str) -> bool:
    """Say whether an answer begins with a thought, whole or broken off.

    Its first mark may be the prompt's.

    >>> [has_thought(text) for text in ("<think>Hm.</think>Yes.", "Hm.</think>Yes.", "<think>Hm.")]
    [True, True, True]
    >>> [has_thought(text) for text in ("Yes.", "Write <think> and </think>.")]
    [False, False]
    """
    thought, mark, _ = text.partition(DONE_THINKING)
    thought = thought.lstrip()
    is_one = bool(mark) or thought.startswith(THINKING)
    return is_one and THINKING not in thought.removeprefix(THINKING)


def thinks(text: str) -> bool:
    """Say whether an answer begins with a thought that is not empty."""
    thought = text.partition(DONE_THINKING)[0].lstrip().removeprefix(THINKING)
    return has_thought(text) and bool(thought.strip())


def _opens_thought(prompt: str) -> bool:
    return prompt.rstrip().endswith(THINKING)


def roles_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """Return the roles of messages, in their order."""
    return tuple(message.role for message in messages)


def _slots(roles: Sequence[str]) -> tuple[Message, ...]:
    """Make turns of these roles, whose texts are slots."""
    return tuple(Message(role, _SLOT.format(i)) for i, role in enumerate(roles))
