"""The contract of a chat request: what is sent, and what must come of it.

The requests of clients are those that their libraries send with default settings, read from their
sources; where a library is installed, test_openai_client.py runs it.
"""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess

CHAT = "/v1/chat/completions"
ASK = {"role": "user", "content": "random"}  # the toy draws numbers by the seed
SYSTEM = {"role": "system", "content": "You are a coach."}
ANSWER = {"role": "assistant", "content": "Yes."}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "toy", "messages": [ASK], "seed": 5, "max_tokens": 6, **fields}


def post(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(CHAT, json=chat(**fields))


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == "application/json":
        return str(response.json()["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    choices = [choice for line in lines[:-1] for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.fixture(scope="module")
def plain_text(server: ServerProcess) -> str:
    """What the toy says to `chat()`."""
    text = text_of(httpx.post(server.url + CHAT, json=chat(), timeout=20))
    assert len(text.split()) == 6
    return text


NEUTRAL = [
    # What changes nothing, as the field is absent.
    *({name: None} for name in ("temperature", "top_p", "stop", "tools", "tool_choice", "user")),
    *({name: None} for name in ("response_format", "functions", "function_call", "logit_bias")),
    *({name: None} for name in ("frequency_penalty", "presence_penalty", "logprobs", "store")),
    *({name: None} for name in ("stream", "stream_options", "audio", "prediction", "n", "top_k")),
    *({name: None} for name in ("max_completion_tokens", "reasoning_effort", "verbosity")),
    # What changes nothing by its value.
    {"frequency_penalty": 0},
    {"presence_penalty": 0.0},
    {"repetition_penalty": 1},
    {"tools": []},
    {"tools": [], "tool_choice": "auto"},
    {"tool_choice": "none"},
    {"functions": [], "function_call": "none"},
    {"logit_bias": {}},
    {"response_format": {"type": "text"}},
    {"modalities": ["text"]},
    {"top_k": -1},
    {"top_k": 0},
    {"min_p": 0},
    {"n": 1},
    {"best_of": 1},
    {"stop": []},
    {"logprobs": False, "top_logprobs": 0},
    {"stream": False, "stream_options": {"include_usage": True}},
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    {"max_completion_tokens": 6},
    {"min_tokens": 0, "ignore_eos": False},
    {"include_reasoning": False, "reasoning_effort": "none", "verbosity": "medium"},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"length_penalty": 1.0, "use_beam_search": False, "skip_special_tokens": True},
    {"stop_token_ids": [], "bad_words": [], "echo": False, "typical_p": 1},
    # What cannot change a text, whatever it is.
    {"user": "u-1", "safety_identifier": "u-1", "prompt_cache_key": "k"},
    {"metadata": {"trace": "1"}, "store": True, "service_tier": "auto"},
    {"parallel_tool_calls": True},
    {"prompt_cache_retention": "24h", "request_id": "r", "cache_prompt": True},
    {"messages": [{**ASK, "name": "user"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "random"}]}]},
    {"messages": [{"role": "system", "content": ""}, ASK]},
]


@pytest.mark.parametrize("fields", NEUTRAL, ids=repr)
def test_what_changes_nothing_is_accepted(
    client: httpx.Client, plain_text: str, fields: dict[str, Any]
) -> None:
    assert text_of(post(client, **fields)) == plain_text


CLIENTS: dict[str, dict[str, Any]] = {
    "LibreChat": {
        "user": "6650f2",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
    },
    "Dify": {
        "stream": True,
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 512,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "response_format": {"type": "text"},
        "user": "abc-123",
    },
    "garak": {
        "n": 1,
        "max_tokens": 150,
        "temperature": 0.7,
        "top_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "stop": ["#", ";"],
    },
    "AutoGen": {
        "messages": [SYSTEM, {"content": "random", "role": "user", "name": "user"}],
        "stream": False,
    },
    "guidellm": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "random"}]}],
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "max_completion_tokens": 6,
        "stop": None,
        "ignore_eos": True,
    },
    "guidellm 0.3": {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 6,
        "stop": None,
        "ignore_eos": True,
    },
    "pydantic-ai with two system prompts": {
        "messages": [SYSTEM, {"role": "system", "content": "Be brief."}, ASK],
        "stream": False,
    },
    "langchain with names": {
        "messages": [
            {"role": "system", "content": "Be brief.", "name": "coach"},
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "assistant", "content": "", "name": "coach"},
            {**ASK, "name": "ann"},
        ],
        "temperature": 0.7,
    },
    "Vercel's AI SDK": {"frequency_penalty": 0, "presence_penalty": 0, "temperature": 0},
    "openai with a developer's message": {
        "messages": [{"role": "developer", "content": "Be brief."}, ASK]
    },
}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_get_answers_with_default_settings(client: httpx.Client, name: str) -> None:
    assert text_of(post(client, **CLIENTS[name]))


# What servers and libraries put into an answer, which clients append to the conversation.
HISTORY = [
    {"role": "assistant", "content": "Yes.", "refusal": None},
    {"role": "assistant", "content": "", "refusal": None},
    {"role": "assistant", "content": " \n", "refusal": None},
    {"role": "assistant", "content": None, "refusal": None},
    {"role": "assistant"},
    {"role": "assistant", "content": "a\0b"},
    {"role": "assistant", "content": None, "refusal": "No."},
    {"role": "assistant", "content": [{"type": "text", "text": ""}]},
    {"role": "assistant", "content": "Yes.", "reasoning": "hm", "reasoning_content": "hm"},
    {  # vLLM's and OpenAI's, in full
        "role": "assistant",
        "content": "Yes.",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning": None,
        "reasoning_content": None,
    },
    {  # litellm's
        "content": "Yes.",
        "role": "assistant",
        "tool_calls": None,
        "function_call": None,
        "provider_specific_fields": {"refusal": None},
        "annotations": [],
    },
    {"role": "assistant", "content": "Yes.", "parsed": None, "tool_calls": None},  # parse()
]


@pytest.mark.parametrize("answer", HISTORY, ids=repr)
def test_an_answer_is_accepted_as_history(
    client: httpx.Client, plain_text: str, answer: dict[str, Any]
) -> None:
    assert text_of(post(client, messages=[ASK, answer, ASK])) == plain_text


@pytest.mark.parametrize("fields", [{}, {"include_reasoning": True}], ids=repr)
@pytest.mark.parametrize("question", ["say yes", "think hm so yes", "advise badly", "say so"])
def test_the_server_takes_back_what_it_gave(
    client: httpx.Client, question: str, fields: dict[str, Any]
) -> None:
    asked = {"role": "user", "content": question}
    answer = post(client, messages=[asked], max_tokens=50, **fields).json()["choices"][0]["message"]

    assert text_of(post(client, messages=[asked, answer, asked], max_tokens=50, **fields))


REFUSED = [
    ({"tools": [{"type": "function"}]}, "tools", "only [], as there are no tools; supported are"),
    ({"tool_choice": "required"}, "tool_choice", "only none or auto"),
    ({"logit_bias": {"5": 100}}, "logit_bias", "only {}"),
    ({"response_format": {"type": "json_object"}}, "response_format", "only {type: text}"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format", "only"),
    ({"guided_json": {}}, "guided_json", "only null"),
    ({"structured_outputs": {"json": {}}}, "structured_outputs", "only null"),
    ({"modalities": ["text", "audio"]}, "modalities", 'only ["text"]'),
    ({"audio": {"voice": "alloy"}}, "audio", "only null"),
    ({"n": 2}, "n", "only 1"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "only none"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs", "only"),
    ({"chat_template_kwargs": {"enable_thinking": 0}}, "chat_template_kwargs", "only"),
    ({"use_beam_search": 0}, "use_beam_search", "only false"),
    ({"skip_special_tokens": 1}, "skip_special_tokens", "only true"),
    ({"length_penalty": 1.2}, "length_penalty", "only 1"),
    ({"max_tokns": 5}, "max_tokns", "no such field, perhaps max_tokens; supported are model"),
    ({"frequencyPenalty": 0}, "frequencyPenalty", "perhaps frequency_penalty"),
    ({"unknown": None}, "unknown", "no such field; supported are"),
    (
        {"messages": [ASK, {**ANSWER, "tool_calls": [{"id": "c"}]}, ASK]},
        "messages.1.tool_calls",
        "only []",
    ),
    ({"messages": [{"role": "tool", "content": "x"}, ASK]}, "messages.0.role", "'system'"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages.0.content",
        "parts of type text",
    ),
    ({"messages": ["hi"]}, "messages.0", "must be an object"),
    ({"messages": "hi"}, "messages", "must be a list"),
    ({"messages": []}, "messages", "must not be empty"),
    ({"temperature": "hot"}, "temperature", "must be a number"),
    ({"stream": "yes"}, "stream", "true or false"),
    ({"max_tokens": 0}, "max_tokens", "must be 1 or more"),
    ({"model": 7}, "model", "must be a string"),
    ({"model": "m" * 129}, "model", "at most 128 characters"),
    ({"temperature": 3}, "temperature", "must be 2.0 or less"),
    ({"top_p": 0}, "top_p", "must be above 0"),
    ({"min_p": 1}, "min_p", "must be below 1"),
    ({"max_tokens": 1.5}, "max_tokens", "a whole number"),
    ({"stop": [""]}, "stop", "none of them empty"),
    ({"stream_options": []}, "stream_options", "must be an object"),
    ({"messages": None}, "messages", "must be a list"),
    ({"messages": [{"content": "hi"}]}, "messages.0.role", "it is missing"),
]


@pytest.mark.parametrize(("fields", "param", "message"), REFUSED, ids=repr)
def test_what_cannot_be_done_is_refused_by_name(
    client: httpx.Client, fields: dict[str, Any], param: str, message: str
) -> None:
    response = post(client, **fields)

    error = response.json()["error"]
    assert response.status_code == 422
    assert (error["param"], error["code"]) == (param, "invalid_field")
    assert message in error["message"]
    assert error["message"].startswith(f"{param}: ")
    assert not any(word in error["message"] for word in ("Input", "instance", "Request", "Message"))


def test_a_body_that_is_no_object_is_named_so(client: httpx.Client) -> None:
    assert client.post(CHAT, json=[]).json()["error"]["message"] == "it must be an object"


@pytest.mark.parametrize("stream", [False, True])
def test_more_tokens_than_there_may_be_are_cut_to_those_and_said(
    client: httpx.Client, stream: bool
) -> None:
    asked = {"role": "user", "content": "say yes"}
    options = {"stream": stream, "stream_options": {"include_usage": True}}
    response = post(client, messages=[asked], max_tokens=2049, **options)
    fits = post(client, messages=[asked], max_tokens=2048, **options)

    assert text_of(response) == "yes "
    assert response.headers["x-max-tokens"] == "2048"
    assert '"granted_tokens": 2048' in response.text
    assert "x-max-tokens" not in fits.headers


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "w " * 4096}],
        [{"role": "user", "content": "a" * 16_385}],
        [{"role": "user", "content": "a" * 16_000}] * 3,
        [ASK] * 33,
    ],
    ids=["tokens", "characters of one", "characters of all", "messages"],
)
def test_what_is_too_long_has_the_code_by_which_clients_know_it(
    client: httpx.Client, messages: list[dict[str, str]]
) -> None:
    response = post(client, messages=messages)

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "leave out old turns" in error["message"]


def test_an_overflow_is_said_in_the_words_that_litellm_looks_for(client: httpx.Client) -> None:
    response = post(client, messages=[{"role": "user", "content": "w " * 4096}])

    assert "this model's maximum context length is 4096 tokens" in response.text


def test_a_compressed_body_is_refused(client: httpx.Client) -> None:
    body = gzip.compress(json.dumps(chat()).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    response = client.post(CHAT, content=body, headers=headers)

    assert response.status_code == 415
    assert "without Content-Encoding" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_has_a_usage_and_is_counted(
    server: ServerProcess, client: httpx.Client, stream: bool
) -> None:
    before = [
        server.metric(f"fitbot_{name}_total")
        for name in ("prompt_tokens", "completion_tokens", "cancelled")
    ]

    response = post(
        client,
        messages=[{"role": "user", "content": "advise badly"}],
        max_tokens=50,
        stream=stream,
        stream_options={"include_usage": True},
    )

    lines = [line for line in response.text.splitlines() if '"usage"' in line]
    usage = json.loads(lines[-1].removeprefix("data: "))["usage"]
    assert "content_filter" in response.text
    assert usage["prompt_tokens"] == 2
    assert 0 < usage["completion_tokens"] < 12  # words that the toy was told to say
    after = [
        server.metric(f"fitbot_{name}_total")
        for name in ("prompt_tokens", "completion_tokens", "cancelled")
    ]
    new = [now - then for now, then in zip(after, before, strict=True)]
    assert new == [usage["prompt_tokens"], usage["completion_tokens"], 0]
