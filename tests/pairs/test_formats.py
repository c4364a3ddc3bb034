"""Records as other tools write them: read, or refused by name with the way out."""

import csv
import json
import logging
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fitbot.errors import DataError
from fitbot.pairs.formats import Message, PreferencePair, parse_pair, parse_question
from fitbot.pairs.preferences import load_pairs

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Oats?"}
YES = {"role": "assistant", "content": "Yes."}
NO = {"role": "assistant", "content": "No."}
GOOD = {"prompt": "Oats?", "chosen": "Yes.", "rejected": "No."}
OATS = PreferencePair((Message("user", "Oats?"),), "Yes.", "No.", 0)
BRIEF_OATS = OATS._replace(prompt=(Message("system", "Be brief."), *OATS.prompt))
RICE_OATS = OATS._replace(
    prompt=(Message("user", "Rice?"), Message("assistant", "Fine."), *OATS.prompt)
)
HH = "\n\nHuman: Rice?\n\nAssistant: Fine.\n\nHuman: Oats?\n\nAssistant:"


def write(path: Path, records: list[Any]) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def write_csv(path: Path, record: dict[str, Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(record)
        writer.writerow(record.values())
    return path


READ: dict[str, tuple[dict[str, Any], PreferencePair]] = {
    "OpenAI's preferences": (
        {
            "input": {"messages": [SYSTEM, USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [YES],
            "non_preferred_output": [NO],
        },
        BRIEF_OATS,
    ),
    "ms-swift's rejected_messages": (
        {"messages": [SYSTEM, USER, YES], "rejected_messages": [SYSTEM, USER, NO]},
        BRIEF_OATS,
    ),
    "ms-swift's rejected_response": (
        {"messages": [SYSTEM, USER, YES], "rejected_response": "No."},
        BRIEF_OATS,
    ),
    "ms-swift's query": (
        {"query": "Oats?", "response": "Yes.", "rejected_response": "No.", "history": []},
        OATS,
    ),
    "messages as the prompt": (
        {"messages": [SYSTEM, USER], "chosen": YES, "rejected": NO},
        BRIEF_OATS,
    ),
    "messages with the chosen answer, as in UltraFeedback": (
        {
            "prompt": "Oats?",
            "messages": [USER, YES],
            "chosen": [USER, YES],
            "rejected": [USER, NO],
        },
        OATS,
    ),
    "ShareGPT with the chosen answer": (
        {
            "conversations": [
                {"from": "human", "value": "Oats?"},
                {"from": "gpt", "value": "Yes."},
            ],
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        OATS,
    ),
    "Alpaca without input": (
        {"instruction": "Oats?", "input": "", "chosen": "Yes.", "rejected": "No."},
        OATS,
    ),
    "Alpaca's ranking": ({"instruction": "Oats?", "input": "", "output": ["Yes.", "No."]}, OATS),
    "Alpaca's ranking with a score of the whole": (
        {"instruction": "Oats?", "output": ["Yes.", "No."], "score": 3},
        OATS,
    ),
    "Alpaca's ranking in a cell": (
        {"instruction": "Oats?", "output": "['Yes.', 'No.']"},
        OATS,
    ),
    "Alpaca's history": (
        {"instruction": "Oats?", "history": [["Rice?", "Fine."]], "output": ["Yes.", "No."]},
        RICE_OATS,
    ),
    "a history in a cell": ({**GOOD, "history": "[['Rice?', 'Fine.']]"}, RICE_OATS),
    "an input alone": ({"input": "Oats?", "chosen": "Yes.", "rejected": "No."}, OATS),
    "a system prompt by its other name": ({**GOOD, "system_prompt": "Be brief."}, BRIEF_OATS),
    "hh-rlhf": ({"chosen": f"{HH} Yes.", "rejected": f"{HH} No."}, RICE_OATS),
    "a transcript as the prompt": ({**GOOD, "prompt": HH}, RICE_OATS),
    "a transcript of Windows": ({**GOOD, "prompt": HH.replace("\n", "\r\n")}, RICE_OATS),
    "a transcript after a system prompt": (
        {**GOOD, "prompt": "Be brief.\n\nHuman: Oats?\n\nAssistant:"},
        BRIEF_OATS,
    ),
    "one part of text": (
        {**GOOD, "prompt": [{"role": "user", "content": [{"type": "text", "text": "Oats?"}]}]},
        OATS,
    ),
    "fields that say what fitbot does": (
        {
            **GOOD,
            "tools": [],
            "images": None,
            "chosen": [{**YES, "weight": 1, "tool_calls": None, "name": ""}],
        },
        OATS,
    ),
    "a table of both kinds of messages": (
        {**GOOD, "prompt": [{**USER, "from": None, "value": None}]},
        OATS,
    ),
}


@pytest.mark.parametrize(("record", "pair"), READ.values(), ids=READ)
def test_records_of_other_tools_give_the_pair(record: Any, pair: Any, tmp_path: Path) -> None:
    assert parse_pair(record, 0) == pair
    assert load_pairs(write(tmp_path / "pairs.json", [record])).pairs == [pair]


def test_an_alpaca_instruction_and_its_input_are_one_prompt() -> None:
    record = {"instruction": "How much fibre?", "input": "Peas", "chosen": "5 g", "rejected": "0"}

    assert parse_pair(record, 0).prompt == (Message("user", "How much fibre?\nPeas"),)


TOOL_CALL = {"type": "function", "function": {"name": "look_up", "arguments": {}}}
IMAGE = {"type": "image_url", "image_url": {"url": "x.png"}}
REFUSED = {
    "tools": ({**GOOD, "tools": [TOOL_CALL]}, "'tools' would change"),
    "tools in a cell": ({**GOOD, "tools": '[{"type": "function"}]'}, "'tools' would change"),
    "functions": ({**GOOD, "functions": [{"name": "f"}]}, "'functions' would change"),
    "tools beside OpenAI's messages": (
        {"input": {"messages": [USER], "tools": [TOOL_CALL]}}
        | {"preferred_output": [YES], "non_preferred_output": [NO]},
        "'tools' would change",
    ),
    "images": ({**GOOD, "images": ["x.png"]}, "'images' would change"),
    "template arguments": (
        {**GOOD, "chat_template_kwargs": {"enable_thinking": True}},
        "'chat_template_kwargs' would change",
    ),
    "thinking on": ({**GOOD, "enable_thinking": True}, "'enable_thinking' would change"),
    "a weight of the record": ({**GOOD, "weight": 0.5}, "'weight' would change"),
    "tool calls": (
        {**GOOD, "chosen": [{**YES, "tool_calls": [TOOL_CALL]}]},
        "'chosen' message 0: 'tool_calls' would change",
    ),
    "a call without text": (
        {**GOOD, "chosen": [{"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}]},
        "'chosen' message 0: 'tool_calls' would change",
    ),
    "an old call": (
        {**GOOD, "rejected": [{**NO, "function_call": {"name": "f"}}]},
        "'rejected' message 0: 'function_call' would change",
    ),
    "a name": ({**GOOD, "prompt": [{**USER, "name": "ann"}]}, "'prompt' message 0: 'name' would"),
    "a masked answer": ({**GOOD, "chosen": {**YES, "weight": 0}}, "message 0: 'weight' would"),
    "a thought": (
        {**GOOD, "chosen": {**YES, "reasoning_content": "Hm."}},
        "'reasoning_content' would change .* Write the thought into the content, as <think>",
    ),
    "an image part": (
        {**GOOD, "prompt": [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]},
        "'content' must be one text, got parts of type text, image_url",
    ),
    "an image in a part of text": (
        {
            **GOOD,
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "?", "image": "x"}]}],
        },
        "'prompt' message 0: 'content': 'image' would change",
    ),
    "a list of answers": (
        {"messages": [USER, YES], "rejected_response": ["No.", "Never."]},
        "'rejected_response' must be one text, got a list of 2",
    ),
    "a system prompt that is messages as text": (
        {**GOOD, "system": "[{'role': 'system', 'content': 'Be brief.'}]"},
        "'system' is messages written as text",
    ),
    "answers by other names": (
        {"prompt": "Oats?", "win": "Yes.", "lose": "No."},
        r"Found the keys 'prompt', 'win', 'lose'\. Name the better answer 'chosen'",
    ),
    "an answer that is no text in messages": (
        {**GOOD, "messages": [USER, NO]},
        "'messages' must end in the user's turn or in the chosen answer, got 'No.'",
    ),
    "another prompt in input": ({**GOOD, "input": "Rice?"}, "'prompt' and 'input' must be"),
    "two rejected answers": (
        {**GOOD, "rejected_response": "Never."},
        "'rejected' and 'rejected_response' must be the same",
    ),
    "another system prompt": (
        {**GOOD, "system": "Be brief.", "system_prompt": "Be long."},
        "'system_prompt' and the system message must be the same",
    ),
    "a history that is a text": ({**GOOD, "history": "Rice?"}, "'history' must be a list of"),
    "a history twice": (
        {**GOOD, "prompt": [USER, YES, USER], "history": [["Rice?", "Fine."]]},
        "'history' and a prompt of several turns exclude each other",
    ),
    "both kinds of message in one": (
        {**GOOD, "prompt": [{**USER, "from": "human", "value": "Rice?"}]},
        "has both 'content' and 'value'",
    ),
}


@pytest.mark.parametrize(("record", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_change_the_meaning_is_refused_by_its_name(
    record: Any, message: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "pairs.json", [GOOD, record])

    with pytest.raises(DataError, match=rf"pairs\.json: record 1: .*{message}"):
        load_pairs(path)
    assert load_pairs(path, skip_bad_records=True).pairs == [OATS]


def test_a_question_with_a_name_is_refused_when_it_is_asked() -> None:
    with pytest.raises(DataError, match="'name' would change"):
        parse_question([{**USER, "name": "ann"}])


# -- messages written as text ----------------------------------------------------------------------

WHOLE: dict[str, Any] = {"chosen": [USER, YES], "rejected": [USER, NO]}


def as_numpy(messages: list[Any]) -> str:
    return str(np.array(messages))


def as_short_numpy(messages: list[Any]) -> str:
    """As numpy writes them where they fit into a line."""
    return f"[{' '.join(map(repr, messages))}]"


@pytest.mark.parametrize("write_text", [str, json.dumps, as_numpy, as_short_numpy])
@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Oats?", **WHOLE},
        WHOLE,
        {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
        {"prompt": [USER], "chosen": "Yes.", "rejected": "No."},
        {"messages": [{"id": 1, **USER}, YES], "rejected_messages": [USER, NO]},
        {
            "conversations": [{"from": "human", "value": "Oats?"}],
            "chosen": [{"from": "gpt", "value": "Yes."}],
            "rejected": [{"from": "gpt", "value": "No."}],
        },
    ],
)
def test_messages_that_a_table_holds_as_text_are_messages(
    tmp_path: Path, record: dict[str, Any], write_text: Callable[[Any], str]
) -> None:
    cells = {key: x if isinstance(x, str) else write_text(x) for key, x in record.items()}

    assert load_pairs(write_csv(tmp_path / "pairs.csv", cells)).pairs == [OATS]


def test_what_stands_in_a_message_does_not_end_it() -> None:
    texts = ["} {'role': 'user'", "it's } \n {", 'a "quote" \\']
    answers = [as_short_numpy([USER, {**YES, "content": text}]) for text in texts]

    pair = parse_pair({"chosen": answers[0], "rejected": answers[1]}, 0)

    assert (pair.chosen, pair.rejected) == (texts[0], texts[1])
    assert parse_pair({"chosen": answers[2], "rejected": answers[1]}, 0).chosen == texts[2]


def test_openai_preferences_that_a_table_holds_as_text_are_read(tmp_path: Path) -> None:
    record = {"input": {"messages": [USER]}, "preferred_output": [YES]}
    cells = {key: str(value) for key, value in record.items()} | {"non_preferred_output": str([NO])}

    assert load_pairs(write_csv(tmp_path / "pairs.csv", cells)).pairs == [OATS]


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ('{"name": "Ann", "age": 37}', '{"name": "Ann", "age": "37"}'),
        ('{"a": 1}', '{"a": 1, "a": 2}'),
        ('[{"role": "coach", "content": "x"}]', '[{"role": "cook", "content": "x"}]'),
        ("[1, 2]", "[2, 1]"),
        ("{'re': '\\d'}", "{'re': '\\w'"),
        ("Human: no transcript.", "Assistant: no transcript."),
        ("[see below]", "{}"),
    ],
)
def test_answers_that_only_look_like_messages_stay_text(chosen: str, rejected: str) -> None:
    pair = parse_pair({"prompt": "Write it.", "chosen": chosen, "rejected": rejected}, 0)

    assert (pair.chosen, pair.rejected) == (chosen, rejected)


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        (str([YES]), "No.", "'chosen' is messages written as text, and 'rejected' is not: 'No.'"),
        (str([YES])[:-3], str([NO]), "'chosen' begins as a list of messages written as text"),
        (str([USER]), str([USER]), "'chosen' must end in a turn of the assistant"),
        (
            '[{"role": "assistant", "content": "a", "content": "b"}]',
            str([NO]),
            "'chosen' has the key 'content' twice in one message",
        ),
        (str([{**YES, "name": "bob"}]), str([NO]), "'chosen' message 0: 'name' would change"),
        (
            json.dumps([{"role": "assistant", "tool_calls": [TOOL_CALL]}]),
            str([NO]),
            "'chosen' message 0: 'tool_calls' would change",
        ),
    ],
)
def test_messages_as_text_that_cannot_be_read_are_never_trained_on(
    chosen: str, rejected: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        parse_pair({"prompt": "Oats?", "chosen": chosen, "rejected": rejected}, 0)


def test_a_message_may_hold_messages_as_its_text() -> None:
    text = str([YES])
    record = {"prompt": "As Python?", "chosen": {**YES, "content": text}, "rejected": "No."}

    assert parse_pair(record, 0).chosen == text


# -- the same key twice, unused keys, long fields --------------------------------------------------


def test_a_key_that_stands_twice_in_a_record_is_refused_with_its_line(tmp_path: Path) -> None:
    twice = '{"prompt": "x", "chosen": "a",\n "rejected": "b", "chosen": "c"}'
    nested = '{"chosen": {"role": "assistant", "content": "a", "content": "b"}}'
    path = tmp_path / "pairs.json"

    for text, line in (
        (f"[{twice}]", 1),
        (f"[\n{json.dumps(GOOD, indent=1)},\n\n{twice}\n]", 8),
        (f"[{json.dumps(GOOD)},\n {nested}]", 2),
        (twice, 1),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"pairs\.json: line {line}: .*'(chosen|content)' tw"):
            load_pairs(path, skip_bad_records=True)
    lines = path.with_suffix(".jsonl")
    lines.write_text(json.dumps(GOOD) + "\n\n" + twice.replace("\n", "") + "\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl: line 3: .* the key 'chosen' twice"):
        load_pairs(lines)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    sheet = tmp_path / "pairs.csv"
    sheet.write_text("\nprompt,chosen,rejected,chosen,,\nx,a,b,c,,\n")
    table = tmp_path / "pairs.parquet"
    columns = [pa.array([text]) for text in "xabc"]
    names = ["prompt", "chosen", "rejected", "chosen"]
    pq.write_table(pa.Table.from_arrays(columns, names=names), table)

    with pytest.raises(DataError, match=r"pairs\.csv: line 2: 2 columns are named 'chosen'"):
        load_pairs(sheet)
    with pytest.raises(DataError, match=r"pairs\.parquet: 2 columns are named 'chosen'"):
        load_pairs(table)


def test_columns_without_a_name_may_be_several(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected,,\nOats?,Yes.,No.,,\n")

    assert load_pairs(path).pairs == [OATS]


def test_keys_that_mean_nothing_are_named_once_with_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [
        {**GOOD, "source": "web", "score_chosen": 4, "category": "food", "facts": ["x"]},
        {**GOOD, "source": "web", "chosen": [{**YES, "id": 3}], "output": "Yes."},
        {**GOOD, "source": None, "id": 7, "check": {"any": ["Yes"]}, "tools": []},
        {
            **GOOD,
            "prompt": [{**USER, "content": [{"type": "text", "text": "Oats?", "cited": [1]}]}],
        },
    ]
    path = write(tmp_path / "pairs.json", records)

    with caplog.at_level(logging.INFO):
        load_pairs(path)

    assert caplog.messages == [
        f"{path}: keys that fitbot makes no use of: 'source' (2), 'score_chosen' (1), "
        "'chosen.id' (1), 'output' (1), 'prompt.content.cited' (1)"
    ]


def test_fitbots_own_keys_are_not_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, (record, _) in READ.items():
        record = {key: value for key, value in record.items() if key != "score"}
        load_pairs(write(tmp_path / "pairs.json", [record]))

        assert not caplog.messages, name


def test_a_csv_field_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    long = "oats, " * 40_000

    loaded = load_pairs(write_csv(tmp_path / "pairs.csv", {**GOOD, "chosen": long}))

    assert loaded.pairs[0].chosen == long


# -- answers that are rated and not paired ---------------------------------------------------------

RATED = {
    "KTO's format": [
        {"prompt": [USER], "completion": [YES], "label": True},
        {"prompt": [USER], "completion": [NO], "label": False},
        {"prompt": [SYSTEM], "completion": [NO], "label": False},
    ],
    "KTO's format, one answer and 'kto_tag'": [
        {"messages": [USER, YES], "system": "Be brief.", "kto_tag": True},
        {"messages": [USER, NO], "system": "Be brief.", "kto_tag": False},
    ],
    "single answers with 'score'": [
        {"instruction": "Oats?", "input": "", "output": "Yes.", "score": 4.5},
        {"instruction": "Oats?", "input": "", "output": "Hm.", "score": 3},
        {"instruction": "Oats?", "input": "", "output": "No.", "score": 1},
    ],
    "UltraFeedback's format": [
        {
            "instruction": "Oats?",
            "completions": [
                {"response": "No.", "overall_score": 2.0},
                {"response": "Yes.", "overall_score": 9.0},
                {"response": "Hm.", "overall_score": 5.0},
            ],
        }
    ],
    "a list of 'responses' beside 'scores'": [
        {"prompt": "Oats?", "responses": ["No.", "Yes."], "scores": [0.1, 0.7]}
    ],
    "a list of 'generations' beside 'ranks'": [
        {"prompt": "Oats?", "generations": ["No.", "Yes."], "ranks": [2, 1]}
    ],
    "a list of 'output' beside 'scores'": [
        {"instruction": "Oats?", "output": ["No.", "Yes."], "scores": [1, 2]}
    ],
    "PKU-SafeRLHF's format": [
        {"prompt": "Oats?", "response_0": "No.", "response_1": "Yes.", "better_response_id": 1}
    ],
    "SHP's format": [
        {"history": "Oats?", "human_ref_A": "Yes.", "human_ref_B": "No.", "labels": 1}
    ],
    "Chatbot Arena's format": [
        {"conversation_a": [USER, NO], "conversation_b": [USER, YES], "winner": "model_b"}
    ],
    "the format of stack-exchange-paired": [
        {"question": "Oats?", "response_j": "Yes.", "response_k": "No."}
    ],
    "HelpSteer2's format": [
        {
            "prompt": "Oats?",
            "response_1": "Yes.",
            "response_2": "No.",
            "preference_strength": -2,
        }
    ],
    "HelpSteer3's format": [
        {"context": [USER], "response1": "No.", "response2": "Yes.", "overall_preference": 1}
    ],
}


@pytest.mark.parametrize(("name", "records"), RATED.items(), ids=RATED)
def test_rated_answers_are_refused_with_lines_that_pair_them(
    name: str, records: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "rated.json", records)

    with pytest.raises(DataError, match=r"rated\.json: record 0: ") as info:
        load_pairs(path)
    message, lines = str(info.value).split("\n", 1)
    exec(textwrap.dedent(lines.replace("FILE", str(path))), {})

    assert name in message
    assert load_pairs("pairs.json").pairs == [BRIEF_OATS if "system" in records[0] else OATS]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": [USER, YES]}, "'messages' is one answer, as for supervised fine-tuning"),
        ({"instruction": "Oats?", "output": "Yes."}, "'output' is one answer"),
        ({"prompt": "Oats?", "completion": "Yes."}, "'completion' is one answer"),
        ({"prompt": "Oats?", "responses": ["a", "b"]}, "nothing says which is better"),
        (
            {"prompt": "Oats?", "completions": [{"response": "a"}, {"response": "b"}]},
            "nothing says",
        ),
        ({"messages": [USER]}, "'chosen' is missing"),
    ],
)
def test_answers_that_nothing_rates_are_refused_by_what_they_are(record: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        parse_pair(record, 0)
