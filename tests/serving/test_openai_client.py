"""The real `openai` package as a client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server_process import ServerProcess

ASK = [{"role": "user", "content": "say one two three"}]


@pytest.fixture
def api(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_an_answer(api: Any) -> None:
    completion = api.chat.completions.create(model="toy", messages=ASK)

    assert completion.choices[0].message.content == "one two three "
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 4,
        "completion_tokens": 3,
        "total_tokens": 7,
        "granted_tokens": 1024,
    }


def test_a_stream_has_one_id_one_role_one_finish_reason_and_usage_last(api: Any) -> None:
    options = {"include_usage": True}
    stream = api.chat.completions.create(
        model="toy", messages=ASK, stream=True, stream_options=options
    )
    *chunks, usage = list(stream)

    assert len({chunk.id for chunk in [*chunks, usage]}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three "
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert usage.choices == []
    assert usage.usage.total_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
def test_old_turns_are_left_out_where_a_request_says_so_and_the_usage_says_how_many(
    api: Any, stream: Any
) -> None:
    old = [{"role": "user", "content": "w " * 3000}, {"role": "assistant", "content": "w " * 3000}]
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    answer = api.chat.completions.create(
        model="toy", messages=[*old, *ASK], extra_body={"truncation": "auto"}, **options
    )

    usage = list(answer)[-1].usage if stream else answer.usage
    assert usage.prompt_tokens == 4
    assert usage.messages_left_out == 2


def test_a_stream_without_the_option_has_no_usage(api: Any) -> None:
    chunks = list(api.chat.completions.create(model="toy", messages=ASK, stream=True))

    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_length_is_a_finish_reason(api: Any, field: Any) -> None:
    limit = {field: 2}
    completion = api.chat.completions.create(model="toy", messages=ASK, **limit)

    assert completion.choices[0].message.content == "one two "
    assert completion.choices[0].finish_reason == "length"


def test_stop_strings(api: Any) -> None:
    completion = api.chat.completions.create(model="toy", messages=ASK, stop=["x", "three"])

    assert completion.choices[0].message.content == "one two "


def test_a_seed_repeats_an_answer(api: Any) -> None:
    question = [{"role": "user", "content": "random"}]
    answers = [
        api.chat.completions.create(model="toy", messages=question, seed=seed, max_tokens=9)
        for seed in (5, 5, 6)
    ]

    texts = [answer.choices[0].message.content for answer in answers]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(api: Any, stream: Any) -> None:
    answer = api.chat.completions.create(
        model="toy", messages=ASK, logprobs=True, top_logprobs=2, stream=stream
    )
    choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]

    assert [token.token for token in tokens] == ["one ", "two ", "three "]
    assert [len(token.top_logprobs) for token in tokens] == [2, 2, 2]
    assert bytes(tokens[0].bytes) == b"one "


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_has_a_field_of_its_own_when_asked_for(api: Any, stream: Any) -> None:
    thinking = [{"role": "user", "content": "think hm hm so three sets"}]

    def ask(**fields: Any) -> list[Any]:
        answer = api.chat.completions.create(
            model="toy", messages=thinking, stream=stream, extra_body=fields
        )
        return [c.choices[0].delta for c in answer] if stream else [answer.choices[0].message]

    asked, plain = ask(include_reasoning=True), ask()

    assert "".join(part.content or "" for part in asked) == "three sets "
    assert "".join(part.content or "" for part in plain) == "three sets "
    assert "".join(getattr(part, "reasoning", "") or "" for part in asked) == "hm hm "
    assert not any(hasattr(part, "reasoning") for part in plain)
    if stream:
        kinds = ["reasoning" if hasattr(part, "reasoning") else "content" for part in asked[1:-1]]
        assert kinds == sorted(kinds, reverse=True)  # the thought first


def test_who_asks_for_a_thought_where_there_is_none_gets_none(api: Any) -> None:
    fields = {"include_reasoning": True}
    completion = api.chat.completions.create(model="toy", messages=ASK, extra_body=fields)

    assert completion.choices[0].message.reasoning is None


def test_both_models_are_listed_and_answer(api: Any) -> None:
    names = [model.id for model in api.models.list()]
    assert names == ["toy", "base"]

    completion = api.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "hi"}], max_tokens=1
    )
    assert completion.model == "base"
    assert completion.choices[0].message.content == "base0. "


def test_parts_of_a_message_are_joined(api: Any) -> None:
    parts = [{"type": "text", "text": "say"}, {"type": "text", "text": "hello"}]
    completion = api.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": parts}], max_tokens=1
    )

    assert completion.usage.prompt_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "error", "status"),
    [
        ("busy", openai.RateLimitError, 429),
        ("memory", openai.InternalServerError, 500),
        ("unpicklable", openai.InternalServerError, 500),
        ("bug", openai.InternalServerError, 500),
    ],
)
def test_a_failure_before_the_first_token_keeps_its_status(
    api: Any, text: Any, error: Any, status: Any, stream: Any
) -> None:
    with pytest.raises(error) as raised:
        api.chat.completions.create(
            model="toy", messages=[{"role": "user", "content": text}], stream=stream
        )

    assert raised.value.status_code == status
    assert "secret" not in raised.value.message
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


def test_a_failure_in_a_stream_is_an_error_event(api: Any) -> None:
    stream = api.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": "fail later"}], stream=True
    )

    with pytest.raises(openai.APIError, match="could not be generated"):
        list(stream)


def test_an_unknown_model_is_not_found(api: Any) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        api.chat.completions.create(model="gpt-9", messages=ASK)

    assert raised.value.code == "model_not_found"


def test_a_prompt_without_room_is_a_bad_request(api: Any) -> None:
    messages = [{"role": "user", "content": "a " * 2500}, {"role": "assistant", "content": "b"}]
    with pytest.raises(openai.BadRequestError, match="room"):
        api.chat.completions.create(model="toy", messages=[*messages * 2, *ASK])
