"""What public bases' templates make of turns, thoughts, control strings and the day."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from fitbot.errors import ConfigError, DataError
from fitbot.pairs import template
from fitbot.pairs.chat import Chat, LengthLimits
from fitbot.pairs.formats import Message, PreferencePair
from tests.pairs.forms import tokenizer_of

FORMS = ["qwen3", "llama3", "llama3_2", "smollm2", "mistral", "gemma", "phi3", "always_thinks"]
NO_SYSTEM = {"gemma"}
LIMITS = LengthLimits(600, 900)
TURNS = [
    Message("user", '  What is "2+2"?\n'),
    Message("assistant", "<think>\nadd\n</think>\n\n4"),
    Message("user", "And 3 x 5?"),
    Message("assistant", "\n15, of course. \n"),
    Message("user", "Thanks, and 1.6 g/kg?"),
    Message("assistant", "As\nsaid."),
]
SHARED = Path(__file__).parents[3] / "shared"


def rendered(tokenizer: Any, turns: list[Message], **settings: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        [turn._asdict() for turn in turns], tokenize=True, return_dict=False, **settings
    )
    return ids


def pair_of(chosen: str, rejected: str, prompt: list[Message] | None = None) -> PreferencePair:
    return PreferencePair(tuple(prompt or [Message("user", "2+2?")]), chosen, rejected, record=7)


def decoded(chat: Chat, chosen: str, rejected: str) -> tuple[str, str, str]:
    encoded = chat.encode_pair(pair_of(chosen, rejected), LIMITS)
    prompt, one, other = map(chat.tokenizer.decode, encoded[:3])
    return prompt, one, other


@pytest.mark.parametrize("system", [[], [Message("system", " Be brief. ")]])
@pytest.mark.parametrize("form", FORMS)
def test_every_turn_of_a_history_is_what_the_template_renders(
    form: str, system: list[Message]
) -> None:
    tokenizer = tokenizer_of(form)
    chat = Chat(tokenizer)
    if system and form in NO_SYSTEM:
        return
    for count in (1, 3, 5):
        turns = [*system, *TURNS[:count]]

        ids, cut = chat.encode_prompt(turns, 600)

        asked = {"add_generation_prompt": True, "enable_thinking": False}
        assert (ids, cut) == (rendered(tokenizer, turns, **asked), 0)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "always_thinks"])
def test_every_answer_is_what_the_template_renders_up_to_the_end_of_its_turn(form: str) -> None:
    tokenizer = tokenizer_of(form)
    chat = Chat(tokenizer)
    for count in (1, 3, 5):
        turns = TURNS[:count]

        encoded = chat.encode_pair(pair_of(TURNS[count].content, "No.", turns), LIMITS)

        whole = rendered(tokenizer, TURNS[: count + 1], enable_thinking=count == 1)
        ids = encoded.prompt + encoded.chosen
        assert whole[: len(ids)] == ids
        assert encoded.chosen[-1] == chat.end_of_turn_id


def test_the_real_tokenizer_of_qwen3_gives_the_same() -> None:
    folder = SHARED / "qwen3-tokenizer"
    if not folder.is_dir():
        pytest.skip("the real Qwen3 tokenizer is not at hand")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = Chat(tokenizer)
    for count in (1, 3, 5):
        encoded = chat.encode_pair(pair_of(TURNS[count].content, "No.", TURNS[:count]), LIMITS)

        whole = rendered(tokenizer, TURNS[: count + 1], enable_thinking=count == 1)
        ids = encoded.prompt + encoded.chosen
        assert whole[: len(ids)] == ids


@pytest.mark.parametrize("form", ["embedded", "qwen3"])
def test_a_thought_is_the_tokenizers_own_and_no_empty_one_stands_before_it(form: str) -> None:
    chat = Chat(tokenizer_of(form))
    opening, closing = chat.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])

    encoded = chat.encode_pair(
        pair_of("<think>\nadd\n</think>\n\n4", "<think>\n\n</think>\n\n5"), LIMITS
    )

    prompt, chosen, rejected = map(chat.tokenizer.decode, encoded[:3])
    assert prompt == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert chosen == "<think>\nadd\n</think>\n\n4<|im_end|>"
    assert rejected == "<think>\n\n</think>\n\n5<|im_end|>"
    for ids in encoded[1:3]:
        assert (ids.count(opening), ids.count(closing)) == (1, 1)


@pytest.mark.parametrize("form", ["embedded", "qwen3"])
def test_a_thought_that_is_broken_off_begins_with_the_tokenizers_own_mark(form: str) -> None:
    chat = Chat(tokenizer_of(form))
    opening = chat.tokenizer.convert_tokens_to_ids("<think>")

    encoded = chat.encode_pair(pair_of("<think>\nadd\n</think>\n\n4", "<think>\nadd and"), LIMITS)

    assert encoded.rejected[0] == opening
    assert chat.tokenizer.decode(encoded.rejected) == "<think>\nadd and<|im_end|>"
    assert decoded(chat, "4", "<think>Hm")[0].endswith("<|im_start|>assistant\n")


def test_an_answer_without_a_thought_beside_one_with_has_an_empty_one_if_the_template_has() -> None:
    _, _, rejected = decoded(Chat(tokenizer_of("qwen3")), "<think>add</think>4", "5")
    _, _, as_it_is = decoded(Chat(tokenizer_of("smollm2")), "<think>add</think>4", "5")

    assert rejected == "<think>\n\n</think>\n\n5<|im_end|>"
    assert as_it_is == "5<|im_end|>"


@pytest.mark.parametrize("form", ["embedded", "qwen3"])
def test_empty_thoughts_are_the_prompts_as_when_serving(form: str) -> None:
    chat = Chat(tokenizer_of(form))

    with_empty = decoded(chat, "<think>\n\n</think>\n\n4", "5")

    assert with_empty == decoded(chat, "4", "5")
    assert with_empty[0].endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_prompt_that_opens_the_thought_is_gone_on_from() -> None:
    chat = Chat(tokenizer_of("always_thinks"))

    prompt, chosen, rejected = decoded(chat, "<think>\nadd\n</think>\n\n4", "5")

    assert prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert chosen == "add\n</think>\n\n4<|im_end|>"
    assert rejected == "\n</think>\n\n5<|im_end|>"
    assert decoded(chat, "4", "5")[2] == "\n</think>\n\n5<|im_end|>"


def test_a_thought_that_the_template_would_lose_a_part_of_is_kept() -> None:
    answer = "<think>a</think>b <think>c</think>d"

    _, chosen, _ = decoded(Chat(tokenizer_of("qwen3")), answer, "5")

    assert chosen == f"{answer}<|im_end|>"


def test_marks_within_a_text_are_plain_characters() -> None:
    chat = Chat(tokenizer_of("qwen3"))
    answer = "Write <think> and </think> around it."

    encoded = chat.encode_pair(pair_of(answer, "No."), LIMITS)

    controls = set(chat.tokenizer.get_added_vocab().values())
    assert chat.tokenizer.decode(encoded.chosen) == f"{answer}<|im_end|>"
    assert sum(id in controls for id in encoded.chosen) == 1


@pytest.mark.parametrize("form", FORMS)
def test_control_strings_of_a_person_are_plain_characters_in_every_template(form: str) -> None:
    tokenizer = tokenizer_of(form)
    chat = Chat(tokenizer)
    controls = tokenizer.get_added_vocab()
    attack = "x".join([*controls, "<think>a</think>", template._SLOT.format(0), "\ufdd0\ufdd1"])
    turns = [Message("user", attack), Message("assistant", "Hm."), Message("user", attack)]

    ids, _ = chat.encode_prompt(turns, 9999)

    harmless, _ = chat.encode_prompt([turn._replace(content="x") for turn in turns], 9999)
    kinds = set(controls.values())
    assert [id for id in ids if id in kinds] == [id for id in harmless if id in kinds]
    assert tokenizer.decode(ids).count(attack) == 2


@pytest.mark.parametrize("form", ["qwen3", "llama3", "mistral"])
def test_a_long_history_is_cut_where_the_template_trims_drops_and_moves_texts(form: str) -> None:
    chat = Chat(tokenizer_of(form))
    turns = [Message("system", "Be brief."), *TURNS[:4], Message("user", "The last question?")]
    whole, _ = chat.encode_prompt(turns, 9999)

    ids, cut = chat.encode_prompt(turns, len(whole) - 12)

    text = chat.tokenizer.decode(ids)
    assert len(ids) == len(whole) - 12
    assert cut >= 12  # a word by itself may have more tokens than behind a space
    assert "Be brief." in text
    assert "The last question?" in text
    assert "What is" not in text


def test_a_prompt_whose_turns_cannot_be_told_apart_is_not_cut() -> None:
    tokenizer = tokenizer_of("smollm2")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'Q: ' if '?' in m.content else 'S: ' }}"
        "{{ m.content }}<|im_end|>{% endfor %}"
    )

    with pytest.raises(DataError, match="cannot be told apart .* raise max_prompt_length 20"):
        Chat(tokenizer).encode_prompt([Message("user", "What is it? " * 9)], 20)


def test_a_template_that_raises_refuses_the_record_and_no_other() -> None:
    chat = Chat(tokenizer_of("gemma"))
    with_system = pair_of("4", "5", [Message("system", "Be brief."), Message("user", "2+2?")])
    twice = pair_of("4", "5", [Message("user", "2+2?"), Message("user", "Well?")])
    refused: list[str] = []

    with pytest.raises(DataError, match="record 7: .*turns system, user: System role not supp"):
        chat.encode_pair(with_system, LIMITS)
    encoded = chat.encode_pairs([with_system, pair_of("4", "5"), twice], LIMITS, refused=refused)

    assert len(encoded) == 1
    assert len(refused) == 2
    assert re.match("record 7: .*turns user, user: Conversation roles must alternate", refused[1])


def test_a_template_that_fails_is_refused_at_once() -> None:
    tokenizer = tokenizer_of("llama3")
    tokenizer.chat_template = "{{ messages[0].content + 1 }}"

    with pytest.raises(ConfigError, match="chat template refuses the turns user, assistant: "):
        Chat(tokenizer)


def test_a_day_is_rendered_as_on_the_day_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of("llama3_2")
    question = [Message("user", "2+2?")]

    given, _ = Chat(tokenizer, date="2024-02-29").encode_prompt(question, 600)

    assert "Today Date: 29 Feb 2024\n" in tokenizer.decode(given)
    today = datetime.now().strftime("%d %b %Y")
    assert f"Today Date: {today}\n" in tokenizer.decode(
        Chat(tokenizer).encode_prompt(question, 600)[0]
    )
    monkeypatch.setattr(template, "today", lambda: "2031-05-06")
    assert Chat(tokenizer).date == "2031-05-06"
    assert Chat(tokenizer_of("llama3"), date="2024-02-29").date is None


def test_a_kept_day_is_written_whoever_renders_and_whatever_day_it_is(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("llama3_2")
    turns = [Message("system", "Be brief."), Message("user", "2+2?")]
    expected, _ = Chat(tokenizer, date="2024-02-29").encode_prompt(turns, 600)

    template.keep_day(tokenizer, "2024-02-29")
    tokenizer.save_pretrained(tmp_path)

    other = AutoTokenizer.from_pretrained(tmp_path)
    assert rendered(other, turns, add_generation_prompt=True) == expected
    assert "strftime_now" not in other.chat_template


def test_a_day_that_cannot_be_kept_is_said(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tokenizer_of("llama3_2")
    asks = (
        '{% set form = "%d" %}{% if strftime_now is defined %}{{ strftime_now(form) }}{% endif %}'
    )
    tokenizer.chat_template = asks

    template.keep_day(tokenizer, "2024-02-29")

    assert tokenizer.chat_template == asks
    assert "will write the current day into its prompts, and the run had 2024-02-29" in caplog.text


def test_a_template_without_a_day_stays_as_it_is() -> None:
    tokenizer = tokenizer_of("llama3")
    before = tokenizer.chat_template

    template.keep_day(tokenizer, Chat(tokenizer, date="2024-02-29").date)

    assert tokenizer.chat_template == before


@pytest.mark.parametrize(
    ("form", "opening"),
    [("qwen3", "<|im_start|>"), ("llama3", "<|start_header_id|>"), ("gemma", "<start_of_turn>")],
)
def test_an_answer_ends_where_a_turn_is_opened_or_padding_begins(form: str, opening: str) -> None:
    tokenizer = tokenizer_of(form)
    pad = str(tokenizer.pad_token)

    ends = set(tokenizer.convert_ids_to_tokens(list(Chat(tokenizer).ends)))

    assert {opening, pad} < ends
    tokenizer.pad_token = "!"  # as some do; it is a text's own as well
    assert tokenizer.convert_tokens_to_ids("!") not in Chat(tokenizer).ends
    assert not ends & {"<think>", "</think>"}
