"""Preference files in, pairs out; and every way in which a file or a record can be unusable."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fitbot.errors import ConfigError, DataError, FitbotError
from fitbot.pairs.formats import Message, PreferencePair
from fitbot.pairs.preferences import LoadedPairs, load_pairs

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"

QUESTION = "Is 1.6 g of protein per kg enough?"
CHOSEN = "Yes, for most lifters.\n\nSpread it over 3–4 meals."
REJECTED = ' Just say "no", always. '

RECORDS = [
    {"question": QUESTION, "chosen": CHOSEN, "rejected": REJECTED},
    {"question": "¿Arroz?", "chosen": "Sí.", "rejected": "No."},
]
PAIRS = [
    PreferencePair((Message("user", QUESTION),), CHOSEN, REJECTED, 0),
    PreferencePair((Message("user", "¿Arroz?"),), "Sí.", "No.", 1),
]

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Rice?"}
YES = {"role": "assistant", "content": "Yes."}
NO = {"role": "assistant", "content": "No."}
RICE_PAIR = PreferencePair((Message("user", "Rice?"),), "Yes.", "No.", 0)
BRIEF_RICE_PAIR = PreferencePair(
    (Message("system", "Be brief."), Message("user", "Rice?")), "Yes.", "No.", 0
)
GOOD = {"question": "Rice?", "chosen": "Yes.", "rejected": "No."}


def write_json(path: Path, records: object) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def write_jsonl(path: Path, records: list[dict[str, str]]) -> Path:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_csv(path: Path, records: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, records[0].keys())
        writer.writeheader()
        writer.writerows(records)
    return path


def write_parquet(path: Path, records: list[dict[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_json, "pairs.json"),
        (write_jsonl, "pairs.jsonl"),
        (write_csv, "pairs.csv"),
        (write_parquet, "pairs.parquet"),
        (write_json, "PAIRS.JSON"),
    ],
)
def test_every_file_format_gives_the_same_pairs(tmp_path: Path, write: Any, name: Any) -> None:
    path = write(tmp_path / name, RECORDS)

    assert load_pairs(path) == LoadedPairs(PAIRS, [])
    assert load_pairs(str(path)) == LoadedPairs(PAIRS, [])


@pytest.mark.parametrize(
    ("source", "name", "split"),
    [
        ("someone/fitness-qa", "someone/fitness-qa", "train"),
        ("someone/fitness-qa:test", "someone/fitness-qa", "test"),
        ("someone/v1.0:train[:10%]", "someone/v1.0", "train[:10%]"),
    ],
)
def test_a_hub_data_set_gives_the_same_pairs(
    monkeypatch: pytest.MonkeyPatch, source: Any, name: Any, split: Any
) -> None:
    asked = []

    def load_dataset(name: Any, *, split: Any) -> Any:
        asked.append((name, split))
        return datasets.Dataset.from_list(RECORDS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    assert load_pairs(source) == LoadedPairs(PAIRS, [])
    assert asked == [(name, split)]


def test_a_hub_data_set_that_fails_to_load_names_its_id_and_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failure = ConnectionError("no route")

    def load_dataset(name: Any, *, split: Any) -> None:
        raise failure

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    with pytest.raises(DataError, match=r"someone/qa: .*'test'.*ConnectionError: no route") as info:
        load_pairs("someone/qa:test")
    assert info.value.__cause__ is failure


def test_a_file_wins_over_a_hub_data_set_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("someone").mkdir()
    Path("someone/pairs").write_text("x")

    with pytest.raises(DataError, match="someone/pairs: unknown file type ''"):
        load_pairs("someone/pairs")


@pytest.mark.parametrize("source", ["data/nowhere.json", "nowhere", "/a/b/c", "nowhere/else/a.csv"])
def test_a_missing_file_is_not_sought_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))

    with pytest.raises(DataError, match=r"no such file.*\.parquet.*owner/name:split") as info:
        load_pairs(source)
    assert str(info.value).startswith(source)


def test_a_directory_and_an_unknown_suffix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("x")

    with pytest.raises(DataError, match=r"is a directory. Give a \.json"):
        load_pairs(tmp_path)
    with pytest.raises(DataError, match=r"pairs\.txt: unknown file type '\.txt'. Give a \.json"):
        load_pairs(tmp_path / "pairs.txt")


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "the file is empty"),
        ("a.json", b" \n", "the file is empty"),
        ("a.json", b"[]", "no records"),
        ("a.json", b'{"data": []}', "not a list of records"),
        ("a.json", b'[\n {"question": }\n]', "line 2, column 15: not JSON"),
        ("a.json", b'{"a": 1}\n{"a": 2}', r"line 2, column 1: not JSON: Extra data.*\.jsonl"),
        ("a.json", b"[" * 100_000, "line 1: unreadable JSON: .* nested too deeply; write them as"),
        (
            "a.json",
            b"[" + b"1" * 5000 + b"]",
            "line 1: unreadable JSON: a number of more than 4,300",
        ),
        ("a.json", LFS_POINTER, "a pointer of Git LFS, not the file itself"),
        ("a.csv", LFS_POINTER, "a pointer of Git LFS, not the file itself"),
        ("a.csv", b"question;chosen;rejected\nq;c;r\n", "line 1: the columns are separated by ';'"),
        ("a.csv", b"question\tchosen\nq\tc\n", r"line 1: the columns are separated by '\\t'"),
        ("a.json", b'["caf\xe9"]', r"not UTF-8 at byte 5 \(0xe9\)"),
        ("a.jsonl", b'\xef\xbb\xbf{"a": "\xff"}', r"not UTF-8 at byte 10 \(0xff\)"),
        ("a.jsonl", b"\n\n", "the file is empty"),
        ("a.csv", b"question,chosen,rejected\n", "no records"),
        ("a.csv", b"question,chosen,rejected\nq,c\n", "line 2: 2 fields, but the header has 3"),
        (
            "a.csv",
            b"question,chosen,rejected\n\nq,c,r,x\n",
            "line 3: 4 fields, but the header has 3",
        ),
        ("a.csv", b'question,chosen,rejected\nq,"c,r\n', "line 2: .*not valid CSV"),
        ("a.csv", b"question,chosen,rejected\nq,c\xe9,r\n", "not UTF-8 at byte 28"),
        ("a.parquet", b"question,chosen,rejected\n", "not a readable Parquet file"),
        ("a.parquet", b"", "not a readable Parquet file"),
    ],
)
@pytest.mark.parametrize("skip_bad_records", [False, True])
def test_an_unusable_file_always_raises(
    tmp_path: Path, name: Any, content: Any, message: Any, skip_bad_records: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(DataError, match=message) as info:
        load_pairs(path, skip_bad_records=skip_bad_records)
    assert str(info.value).startswith(str(path))


def test_a_jsonl_syntax_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD) + '\n\n{"question": }\n')

    with pytest.raises(DataError, match="line 3, column 14: not JSON: Expecting value"):
        load_pairs(path)


def test_an_unreadable_file_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_json(tmp_path / "pairs.json", RECORDS)

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(DataError, match=r"pairs\.json: cannot be read: Permission denied"):
        load_pairs(path)


def test_jsonl_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    # U+2028 and U+0085 are line breaks to str.splitlines, but ordinary text in a JSON string.
    record = {"question": "a\u2028b\x85c", "chosen": "x", "rejected": "y"}
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(json.dumps(record, ensure_ascii=False).encode() + b"\r\n")

    assert load_pairs(path).pairs[0].prompt == (Message("user", "a\u2028b\x85c"),)


def test_jsonl_records_are_counted_without_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(f'\n{json.dumps(GOOD)}\n\n   \n{{"question": "Q"}}\n')

    with pytest.raises(DataError, match=r"pairs\.jsonl: record 1 \(line 5\): 'chosen' is missing"):
        load_pairs(path)


def test_csv_keeps_line_breaks_and_names_the_line_where_a_row_starts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b'prompt,chosen,rejected,tag\r\n\r\nq,"a\r\nb",c,1\r\nq, ,c,2\r\n')

    loaded = load_pairs(path, skip_bad_records=True)

    assert loaded.pairs == [PreferencePair((Message("user", "q"),), "a\r\nb", "c", 0)]
    assert loaded.skipped == [
        f"{path}: record 1 (line 5): 'chosen' must be a non-empty string, got ' '."
    ]


def test_an_empty_system_cell_of_a_csv_file_is_no_system_prompt(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("system,question,chosen,rejected\n,Rice?,Yes.,No.\nBe brief.,Rice?,Yes.,No.\n")

    prompts = [pair.prompt for pair in load_pairs(path).pairs]

    assert prompts == [RICE_PAIR.prompt, BRIEF_RICE_PAIR.prompt]


def test_parquet_messages_and_missing_values_are_read(tmp_path: Path) -> None:
    # A table has every column in every row; None stands where a record lacks the key.
    rows = [
        {"question": None, "prompt": [USER], "system": None, "chosen": YES, "rejected": NO},
        {"question": "Rice?", "prompt": None, "system": None, "chosen": YES, "rejected": NO},
    ]
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)

    assert load_pairs(path).pairs == [RICE_PAIR, RICE_PAIR._replace(record=1)]


@pytest.mark.parametrize(("limit", "count"), [(None, 2), (1, 1), (2, 2), (3, 2)])
def test_limit_takes_the_first_records(tmp_path: Path, limit: Any, count: Any) -> None:
    path = write_json(tmp_path / "pairs.json", RECORDS)

    assert load_pairs(path, limit=limit).pairs == PAIRS[:count]


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_a_config_error(tmp_path: Path, limit: Any) -> None:
    path = write_json(tmp_path / "pairs.json", RECORDS)

    with pytest.raises(ConfigError, match=f"limit must be at least 1.*got {limit}"):
        load_pairs(path, limit=limit)


def test_limit_counts_records_and_not_pairs(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [{}, GOOD, GOOD])

    loaded = load_pairs(path, limit=2, skip_bad_records=True)

    assert [pair.record for pair in loaded.pairs] == [1]
    assert len(loaded.skipped) == 1


def test_bad_records_after_the_limit_do_not_matter(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [GOOD, {}])

    assert load_pairs(path, limit=1) == LoadedPairs([RICE_PAIR], [])


def test_skipped_records_leave_a_message_and_the_others_keep_their_index(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [None, GOOD, {**GOOD, "chosen": ""}])

    loaded = load_pairs(path, skip_bad_records=True)

    assert loaded.pairs == [RICE_PAIR._replace(record=1)]
    assert loaded.skipped == [
        f"{path}: record 0: must be an object with keys, got None.",
        f"{path}: record 2: 'chosen' must be a non-empty string, got ''.",
    ]


def test_only_bad_records_raise_even_when_they_may_be_skipped(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [{}, 5])

    with pytest.raises(DataError, match=r"All 2 records are bad.*record 0: 'chosen' is missing"):
        load_pairs(path, skip_bad_records=True)


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        ({"prompt": "Rice?", "chosen": "Yes.", "rejected": "No."}, RICE_PAIR),
        ({"question": "Rice?", "prompt": "Rice?", "chosen": "Yes.", "rejected": "No."}, RICE_PAIR),
        ({"question": "Rice?", "prompt": [USER], "chosen": "Yes.", "rejected": "No."}, RICE_PAIR),
        ({**GOOD, "category": "food", "id": 3, "source": None}, RICE_PAIR),
        ({**GOOD, "system": "Be brief."}, BRIEF_RICE_PAIR),
        ({**GOOD, "system": None}, RICE_PAIR),
        ({**GOOD, "system": ""}, RICE_PAIR),
        ({"prompt": [SYSTEM, USER], "chosen": "Yes.", "rejected": "No."}, BRIEF_RICE_PAIR),
        (
            {"prompt": [SYSTEM, USER], "system": "Be brief.", "chosen": "Yes.", "rejected": "No."},
            BRIEF_RICE_PAIR,
        ),
        ({"prompt": [USER], "chosen": YES, "rejected": NO}, RICE_PAIR),
        ({"prompt": [USER], "chosen": [YES], "rejected": "No."}, RICE_PAIR),
        ({"prompt": "Rice?", "chosen": [USER, YES], "rejected": [USER, NO]}, RICE_PAIR),
        (
            {"prompt": "Rice?", "chosen": [SYSTEM, USER, YES], "rejected": [SYSTEM, USER, NO]},
            BRIEF_RICE_PAIR,
        ),
        (
            {
                "prompt": "Rice?",
                "system": "Be brief.",
                "chosen": [USER, YES],
                "rejected": [USER, NO],
            },
            BRIEF_RICE_PAIR,
        ),
        ({"chosen": [USER, YES], "rejected": [USER, NO]}, RICE_PAIR),
        ({"prompt": None, "chosen": [USER, YES], "rejected": [USER, NO]}, RICE_PAIR),
        ({"system": "Be brief.", "chosen": [USER, YES], "rejected": [USER, NO]}, BRIEF_RICE_PAIR),
        (
            {
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "Rice?"},
                ],
                "chosen": {"from": "gpt", "value": "Yes."},
                "rejected": {"from": "assistant", "value": "No."},
            },
            BRIEF_RICE_PAIR,
        ),
    ],
)
def test_every_published_shape_of_a_record_gives_the_pair(
    tmp_path: Path, record: Any, pair: Any
) -> None:
    path = write_json(tmp_path / "pairs.json", [record])

    assert load_pairs(path).pairs == [pair]


def test_a_conversation_of_several_turns_is_the_prompt(tmp_path: Path) -> None:
    turns = [USER, YES, {"role": "user", "content": "Why?"}]
    record = {"prompt": turns, "chosen": "Starch.", "rejected": "Ask."}

    path = write_json(tmp_path / "pairs.json", [record])

    assert load_pairs(path).pairs[0].prompt == (
        Message("user", "Rice?"),
        Message("assistant", "Yes."),
        Message("user", "Why?"),
    )


def test_two_turns_of_one_role_in_a_row_are_allowed(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [{**GOOD, "question": [USER, USER]}])

    assert load_pairs(path).pairs[0].prompt == (Message("user", "Rice?"), Message("user", "Rice?"))


BAD_RECORDS = {
    "not an object": (["Rice?", "Yes.", "No."], "must be an object", "['Rice?', 'Yes.', 'No.']"),
    "no prompt": (
        {"chosen": "Yes.", "rejected": "No."},
        "no prompt under 'question', 'prompt' or 'conversations'",
        "Found the keys 'chosen', 'rejected'",
    ),
    "null prompt": ({**GOOD, "question": None}, "no prompt", "'question' (None)"),
    "prompt misspelt": (
        {"Question ": "Rice?", "chosen": "Yes.", "rejected": "No."},
        "no prompt under 'question'",
        "Did you mean 'question' by 'Question '?",
    ),
    "no chosen": ({"question": "Rice?", "rejected": "No."}, "'chosen' is missing", "'question'"),
    "chosen misspelt": (
        {"question": "Rice?", "choosen": "Yes.", "rejected": "No."},
        "'chosen' is missing",
        "Did you mean 'chosen' by 'choosen'?",
    ),
    "no rejected": ({"question": "Rice?", "chosen": "Yes."}, "'rejected' is missing", "'chosen'"),
    "empty object": ({}, "'chosen' is missing", "(none)"),
    "prompts differ": ({**GOOD, "prompt": "Oats?"}, "'question' and 'prompt' must be", "Oats?"),
    "prompt is a number": ({**GOOD, "question": 5}, "'question' must be a string", "5"),
    "prompt is no messages": ({**GOOD, "question": []}, "'question' must be a string", "[]"),
    "prompt of strings": (
        {**GOOD, "question": ["Rice?"]},
        "'question' must be one text",
        "['Rice?']",
    ),
    "bare conversations": (
        {"conversations": "[{'from': 'human'}]", "chosen": "Yes.", "rejected": "No."},
        "'conversations' must be messages",
        "[{'from': 'human'}]",
    ),
    "chosen is null": ({**GOOD, "chosen": None}, "'chosen' must be a string", "None"),
    "rejected is a number": ({**GOOD, "rejected": 0.5}, "'rejected' must be a string", "0.5"),
    "chosen of numbers": ({**GOOD, "chosen": [1, 2]}, "'chosen' message 0 must be an object", "1"),
    "content is null": (
        {**GOOD, "chosen": {"role": "assistant", "content": None}},
        "'chosen' message 0: 'content' must be a non-empty string",
        "None",
    ),
    "message without content": (
        {**GOOD, "chosen": {"role": "assistant", "text": "Yes."}},
        "'chosen' message 0 must have 'role' and 'content'",
        "'text': 'Yes.'",
    ),
    "empty prompt": ({**GOOD, "question": ""}, "'question' must be a non-empty string", "''"),
    "blank rejected": ({**GOOD, "rejected": " \n"}, "'rejected' must be a non-empty", r"' \n'"),
    "blank system": ({**GOOD, "system": " "}, "'system' must be a non-empty string", "' '"),
    "system is a number": ({**GOOD, "system": 1}, "'system' must be a non-empty string", "1"),
    "blank message": (
        {**GOOD, "question": [{"role": "user", "content": "\t"}]},
        "'question' message 0: 'content' must be a non-empty string",
        r"'\t'",
    ),
    "unknown role": (
        {**GOOD, "question": [{"role": "tool", "content": "x"}, USER]},
        "'question' message 0: 'role' must be one of system, user, assistant",
        "'tool'",
    ),
    "role is a list": (
        {**GOOD, "question": [{"from": ["user"], "value": "x"}]},
        "'question' message 0: 'from' must be one of",
        "['user']",
    ),
    "prompt ends in an answer": (
        {**GOOD, "question": [USER, YES]},
        "'question' must end in a turn of the user",
        "'Yes.'",
    ),
    "prompt is only a system message": (
        {**GOOD, "question": [SYSTEM]},
        "'question' must end in a turn of the user",
        "'Be brief.'",
    ),
    "system message comes later": (
        {**GOOD, "question": [USER, SYSTEM, USER]},
        "'question' message 1: system must come first",
        "'Be brief.'",
    ),
    "system messages differ": (
        {**GOOD, "question": [SYSTEM, USER], "system": "Be long."},
        "'system' and the system message must be the same",
        "'Be long.'",
    ),
    "lone surrogate": (
        {**GOOD, "chosen": "Yes\ud800."},
        r"'chosen' holds the lone surrogate '\ud800' at character 3",
        r"'Yes\ud800.'",
    ),
    "lone surrogate in the prompt": (
        {**GOOD, "question": [{"role": "user", "content": "\udfff"}]},
        r"'question' message 0: 'content' holds the lone surrogate '\udfff'",
        r"'\udfff'",
    ),
    "no preference": (
        {**GOOD, "rejected": "Yes."},
        "'chosen' and 'rejected' are the same text",
        "'Yes.'",
    ),
    "no preference between text and message": (
        {**GOOD, "rejected": [YES]},
        "'chosen' and 'rejected' are the same text",
        "'Yes.'",
    ),
    "answer ends in a question": (
        {**GOOD, "chosen": [USER, YES, USER]},
        "'chosen' must end in a turn of the assistant",
        "'Rice?'",
    ),
    "answer to a system message": (
        {**GOOD, "chosen": [SYSTEM, YES]},
        "'chosen': the turn before the answer must be the user's",
        "'Be brief.'",
    ),
    "heads differ": (
        {"chosen": [USER, YES], "rejected": [{"role": "user", "content": "Oats?"}, NO]},
        "'chosen' and 'rejected' must answer the same prompt",
        "'Oats?'",
    ),
    "only one head": (
        {**GOOD, "chosen": [USER, YES]},
        "'chosen' and 'rejected' must answer the same prompt",
        "None",
    ),
    "head is not the prompt": (
        {"prompt": "Oats?", "chosen": [USER, YES], "rejected": [USER, NO]},
        "'chosen' must begin with 'prompt'",
        "'Oats?'",
    ),
    "head lacks the prompt's system message": (
        {"prompt": [SYSTEM, USER], "chosen": [USER, YES], "rejected": [USER, NO]},
        "'chosen' must begin with 'prompt'",
        "'Be brief.'",
    ),
    "head has another system message": (
        {
            **GOOD,
            "system": "Be long.",
            "chosen": [SYSTEM, USER, YES],
            "rejected": [SYSTEM, USER, NO],
        },
        "'system' and the system message must be the same",
        "'Be long.'",
    ),
}


@pytest.mark.parametrize(("record", "problem", "found"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_is_named_with_file_index_key_and_value(
    tmp_path: Path, record: Any, problem: Any, found: Any
) -> None:
    path = write_json(tmp_path / "pairs.json", [GOOD, record, GOOD])

    with pytest.raises(DataError) as info:
        load_pairs(path)

    message = str(info.value)
    assert message.startswith(f"{path}: record 1: {problem}")
    assert found in message
    assert message.endswith(" Fix the record or remove it, or set skip_bad_records.")


@pytest.mark.parametrize("record", [case[0] for case in BAD_RECORDS.values()], ids=BAD_RECORDS)
def test_a_bad_record_can_be_skipped(tmp_path: Path, record: Any) -> None:
    path = write_json(tmp_path / "pairs.json", [GOOD, record, GOOD])

    loaded = load_pairs(path, skip_bad_records=True)

    assert loaded.pairs == [RICE_PAIR, RICE_PAIR._replace(record=2)]
    assert len(loaded.skipped) == 1


def test_a_long_value_is_shortened_in_the_message(tmp_path: Path) -> None:
    path = write_json(tmp_path / "pairs.json", [{**GOOD, "chosen": ["x" * 10_000]}])

    with pytest.raises(DataError, match=r"got a list of 1: \['x{77}…\. Write the text alone"):
        load_pairs(path)


def test_long_prompts_that_differ_at_their_end_show_their_end(tmp_path: Path) -> None:
    record = {"question": "x" * 500, "prompt": "x" * 500 + " ", "chosen": "a", "rejected": "b"}
    path = write_json(tmp_path / "pairs.json", [record])

    with pytest.raises(DataError, match=r"got …x{40}'\) and …x{40} '\)\."):
        load_pairs(path)


def test_errors_are_caught_as_fitbot_errors_and_as_value_errors(tmp_path: Path) -> None:
    for kind in (FitbotError, ValueError):
        with pytest.raises(kind):
            load_pairs(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fitness-qa-dpo/dpo_train.json", 6000),
        ("fitness-qa-dpo/dpo_val.json", 1000),
        ("dpo_en_demo.json", 299),
    ],
)
def test_the_published_files_load_without_a_bad_record(name: Any, count: Any) -> None:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")

    loaded = load_pairs(path)

    assert len(loaded.pairs) == count
    assert all(pair.prompt[-1].role == "user" for pair in loaded.pairs)


def test_importing_the_module_imports_neither_torch_nor_datasets() -> None:
    code = (
        "import sys, fitbot.pairs.preferences; "
        "print(sorted({'torch', 'datasets', 'pyarrow', 'numpy'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
