"""/v1/completions: texts gone on with, and prompts scored; read by OpenAI's client where it can."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.serve_fixtures import Start
from tests.server_process import ServerProcess

PATH = "/v1/completions"
SAY = "say one two three"


@pytest.fixture
def api(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_a_text_is_gone_on_with(api: Any) -> None:
    completion = api.completions.create(model="toy", prompt=SAY)

    assert completion.object == "text_completion"
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason, choice.index) == ("one two three ", "stop", 0)
    assert choice.logprobs is None
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 3, 7)


def test_several_texts_have_an_answer_each(api: Any) -> None:
    completion = api.completions.create(model="toy", prompt=["say a b", "say c"], max_tokens=1)

    found = [(one.index, one.text, one.finish_reason) for one in completion.choices]
    assert found == [(0, "a ", "length"), (1, "c ", "length")]
    assert completion.usage.completion_tokens == 2


def test_a_stream_says_what_the_whole_does(api: Any) -> None:
    options = {"include_usage": True}
    fields = {"model": "toy", "prompt": [SAY, "say four"], "logprobs": 1, "echo": True}
    whole = api.completions.create(**fields)
    *pieces, usage = api.completions.create(**fields, stream=True, stream_options=options)

    assert {piece.id for piece in pieces} == {usage.id}
    for choice in whole.choices:
        own = [piece.choices[0] for piece in pieces if piece.choices[0].index == choice.index]
        assert "".join(piece.text for piece in own) == choice.text
        assert [piece.finish_reason for piece in own] == [None] * (len(own) - 1) + ["stop"]
        for name in ("tokens", "token_logprobs", "text_offset"):
            found = [value for piece in own for value in getattr(piece.logprobs, name)]
            assert found == getattr(choice.logprobs, name)
    assert usage.choices == []
    assert usage.usage.total_tokens == whole.usage.total_tokens == 10


def test_an_echo_begins_with_a_token_without_log_probability(api: Any) -> None:
    completion = api.completions.create(
        model="toy", prompt=SAY, echo=True, logprobs=2, max_tokens=1, temperature=0
    )

    (choice,) = completion.choices
    assert choice.text == "say one two threeone "
    assert choice.logprobs.tokens == ["say", " one", " two", " three", "one "]
    assert choice.logprobs.token_logprobs == [None, -0.25, -0.25, -0.25, -0.5]
    assert choice.logprobs.text_offset == [0, 3, 7, 11, 17]
    assert choice.logprobs.top_logprobs[0] is None
    assert choice.logprobs.top_logprobs[1] == {" one": -0.25}
    assert choice.logprobs.top_logprobs[-1] == {"t0": -1.0, "t1": -2.0, "one ": -0.5}


@pytest.mark.parametrize("prompt", [[5, 6, 7], [[5, 6, 7], [8, 9]]], ids=["one", "several"])
def test_token_ids_are_scored(api: Any, prompt: Any) -> None:
    # As lm-evaluation-harness asks for a log-likelihood.
    completion = api.completions.create(
        model="toy", prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234
    )

    texts = [choice.logprobs.tokens[:-1] for choice in completion.choices]
    assert texts == [["5", " 6", " 7"], ["8", " 9"]][: len(texts)]
    assert len(texts) == (1 if prompt[0] == 5 else 2)


def test_nothing_is_drawn_where_no_new_token_is_asked_for(api: Any) -> None:
    completion = api.completions.create(
        model="toy", prompt=SAY, echo=True, logprobs=0, max_tokens=0
    )

    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == (SAY, "length")
    assert choice.logprobs.tokens == ["say", " one", " two", " three"]
    assert completion.usage.completion_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_must_not_be_said_is_cut(client: httpx.Client, stream: bool) -> None:
    body = {"prompt": "advise badly", "stream": stream, "logprobs": 0}
    answer = client.post(PATH, json=body)

    assert "Rest well." in answer.text
    assert "trenbolone" not in answer.text
    assert '"content_filter"' in answer.text


def test_a_text_is_read_as_a_question_unless_it_is_only_scored(client: httpx.Client) -> None:
    emergency = "I have crushing chest pain and my left arm is numb"
    asked = client.post(PATH, json={"prompt": emergency})
    echo = {"prompt": emergency, "echo": True, "max_tokens": 1, "logprobs": 1}
    scored = client.post(PATH, json=echo)

    assert asked.headers["X-Health-Verdict"] == "emergency"
    assert "toy0" not in asked.text
    assert "X-Health-Verdict" not in scored.headers
    assert scored.json()["choices"][0]["logprobs"]["tokens"][-1] == "toy0. "


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 422, "prompt: it is missing"),
        ({"prompt": ""}, 422, "prompt"),
        ({"prompt": []}, 422, "prompt"),
        ({"prompt": ["a", 1]}, 422, "prompt"),
        ({"prompt": [-1], "echo": True, "max_tokens": 1}, 422, "prompt"),
        ({"prompt": [1, 2]}, 422, "token ids are scored only"),
        ({"prompt": [1, 2], "echo": True, "max_tokens": 2}, 422, "token ids are scored only"),
        ({"prompt": "a", "max_tokens": 0}, 422, "max_tokens: 0 only with echo"),
        ({"prompt": "a" * 32_769}, 400, "prompt: 32769 characters in all, at most 32768"),
        (
            {"prompt": "a", "max_tokens": 2, "min_tokens": 3},
            422,
            "min_tokens: more than max_tokens",
        ),
        ({"prompt": "a", "logprobs": 21}, 422, "logprobs"),
        ({"prompt": "a", "n": 2}, 422, "n: "),
        ({"prompt": "a", "suffix": "b"}, 422, "suffix"),
        ({"prompt": "a", "frequency_penalty": 2.5}, 422, "frequency_penalty"),
        ({"prompt": "a", "response_format": {"type": "json_object"}}, 422, "only {type: text}"),
        ({"prompt": "a", "logit_bias": {"5": 1}}, 422, "logit_bias"),
        ({"prompt": "a", "stop": ["b"] * 5}, 422, "stop: 5 strings, at most 4"),
        ({"prompt": "a", "model": "gpt"}, 404, "no such model"),
        ({"prompt": ["say a"] * 65}, 422, "prompt"),
    ],
)
def test_what_is_wrong_is_said(
    client: httpx.Client, fields: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(PATH, json=fields)

    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_a_prompt_that_is_too_long_is_the_field_at_fault(client: httpx.Client) -> None:
    answer = client.post(PATH, json={"prompt": "w " * 4096})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


def test_more_tokens_than_the_server_gives_are_clamped_and_told(client: httpx.Client) -> None:
    answer = client.post(PATH, json={"prompt": SAY, "max_tokens": 2049})

    assert answer.status_code == 200
    assert answer.headers["X-Max-Tokens"] == "2048"


def test_what_changes_nothing_is_taken(client: httpx.Client) -> None:
    neutral = {
        **{"n": 1, "best_of": 1, "suffix": "", "user": "me", "stop": None, "echo": False},
        **{"frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": None, "stream": False},
    }
    answers = [
        client.post(PATH, json={"prompt": "random", "seed": 4, "max_tokens": 5, **more}).json()
        for more in ({}, neutral)
    ]

    assert answers[0]["choices"] == answers[1]["choices"]


@pytest.mark.parametrize("prompt", ["bug", ["say a", "bug"]])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_is_an_error(client: httpx.Client, prompt: Any, stream: bool) -> None:
    answer = client.post(PATH, json={"prompt": prompt, "stream": stream})

    assert '"code": "internal_error"' in answer.text
    has_begun = stream and isinstance(prompt, list)
    assert answer.status_code == (200 if has_begun else 500)
    assert answer.text.endswith("data: [DONE]\n\n") == has_begun


def test_all_prompts_of_a_request_have_one_deadline_and_one_place(start: Start) -> None:
    server = start("--request_seconds=1", "--max_in_flight_per_key=1", FITBOT_TOY="0.02")

    for _ in range(2):  # its place is free as soon as the answer has come
        answer = httpx.post(server.url + PATH, json={"prompt": ["long"] * 3, "max_tokens": 20})
        assert answer.status_code == 504
