"""What a record must not hold for this base: rendered texts, and fields that its template renders.

A text that went through a chat template would go through it twice. A text that only speaks of
control strings stays: in a prompt, what opens a turn at its start or end is refused; in an answer,
what opens or ends a turn.
"""

import re
from collections.abc import Callable, Iterable

from transformers import PreTrainedTokenizerBase

from fitbot.errors import DataError
from fitbot.pairs.formats import PreferencePair, shorten
from fitbot.pairs.keys import unused_keys

# Of well-known templates; a text that was rendered for another base is no better.
_FAMILIES = (
    *("<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|end|>"),
)
_ROLE = r"(?:system|user|assistant|model|developer|tool)\b"
_READ_FIELD = r"\b(?:m|msg|message|messages\[[^\]]*\])(?:\.|\[['\"]|\.get\(['\"]){}\b"
_TAG = r"<[|｜](?i:system|user|assistant)[|｜]>"  # role and control string in one


def rendered_check(tokenizer: PreTrainedTokenizerBase) -> Callable[[PreferencePair, object], None]:
    """Return what raises a DataError for a pair and its record.

    It does for a text that a template was applied to, and for a field of a message that fitbot
    makes no use of and the tokenizer's template does.

    Args:
        tokenizer: The base model's, whose special tokens count besides well-known ones.
    """
    own = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    own |= set(map(str, tokenizer.all_special_tokens))
    # A thought, or a call of a tool, is not the template's doing.
    names = {name for name in (*own, *_FAMILIES) if not re.match("</?(?:think|tool)", name)}
    control = _any_of(names)
    end = _any_of(name for name in names if not re.search("start|begin|bos|<s>", name))
    opens = rf"(?:(?:{control}){_ROLE}|{_TAG})"
    at_start = rf"\A\s*(?:<s>|{control})?\s*(?:{opens}|\[INST\])"
    prompt = re.compile(
        rf"{at_start}|{opens}(?:<\|end_header_id\|>)?\s*\Z|\[/INST\]\s*\Z", re.IGNORECASE
    )
    answer = re.compile(rf"{at_start}|{opens}|(?:{end})\s*\Z")
    template = str(tokenizer.chat_template)

    def check(pair: PreferencePair, record: object) -> None:
        for key in unused_keys(record):
            field = key.partition(".")[2]
            if field and re.search(_READ_FIELD.format(re.escape(field)), template):
                raise DataError(
                    f"{key!r} is rendered by the base's chat template, and fitbot renders role and "
                    "content alone. Remove the field if the answers do not depend on it."
                )
        texts = [(turn.role == "assistant", "the prompt", turn.content) for turn in pair.prompt]
        texts += [(True, "'chosen'", pair.chosen), (True, "'rejected'", pair.rejected)]
        for is_answer, name, text in texts:
            if found := (answer if is_answer else prompt).search(text):
                raise DataError(
                    f"{name} holds control strings of a chat template, {shorten(found[0])} at "
                    f"character {found.start()} of {shorten(text)}: the template would be applied "
                    "twice. Give texts without them, or the conversation as messages."
                )

    return check


def _any_of(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
