"""The health layer stands between client and engine."""

import json
from typing import Any

import httpx
import pytest

from fitbot.health.layer import DISCLAIMER
from tests.server_process import ServerProcess

EMERGENCY = "I have crushing chest pain and pain in my left arm right now"


def chat(client: httpx.Client, text: Any, **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return client.post("/v1/chat/completions", json={"messages": messages, **fields})


def test_every_predict_answer_has_the_disclaimer(client: httpx.Client) -> None:
    answer = client.post("/predict/", json={"user_query": "say hello"}).json()

    assert answer == {"response": "hello ", "disclaimer": DISCLAIMER}


def test_an_emergency_gets_the_fixed_message_and_no_engine(
    server: ServerProcess, client: httpx.Client
) -> None:
    before = server.metric("fitbot_completion_tokens_total")

    response = client.post("/predict/", json={"user_query": EMERGENCY})

    assert "emergency" in response.json()["response"].lower()
    assert response.headers["x-health-verdict"] == "emergency"
    assert server.metric("fitbot_completion_tokens_total") == before
    assert server.metric('fitbot_interventions_total{kind="emergency",by="rules"}') >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_emergency_in_a_chat(client: httpx.Client, stream: Any) -> None:
    response = chat(client, EMERGENCY, stream=stream)

    assert response.status_code == 200
    assert response.headers["x-health-verdict"] == "emergency"
    assert "emergency" in response.text.lower()
    assert "toy0" not in response.text


def test_an_ordinary_question_has_no_verdict(client: httpx.Client) -> None:
    assert "x-health-verdict" not in chat(client, "say hello").headers


def test_an_answer_that_must_not_be_shown_is_cut(client: httpx.Client) -> None:
    response = chat(client, "advise badly")

    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"].startswith("Rest well.")
    assert "trenbolone" not in choice["message"]["content"]


def test_log_probabilities_tell_nothing_of_what_is_cut(client: httpx.Client) -> None:
    for stream in (False, True):
        response = chat(client, "advise badly", logprobs=True, top_logprobs=1, stream=stream)

        assert "content_filter" in response.text
        assert "trenbolone" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_is_shown_up_to_what_must_not_be_and_the_answer_goes_on(
    server: ServerProcess, client: httpx.Client, stream: Any
) -> None:
    before = server.metric('fitbot_interventions_total{kind="reasoning",by="rules"}')

    response = chat(client, "think badly", stream=stream, include_reasoning=True)

    assert "trenbolone" not in response.text
    assert "rather not" not in response.text
    assert "reasoning" in response.text
    assert '"stop"' in response.text
    assert "Rest well." in "".join(contents(response, stream))
    assert server.metric('fitbot_interventions_total{kind="reasoning",by="rules"}') == before + 1


def test_a_thought_that_nobody_asked_for_cuts_nothing(
    server: ServerProcess, client: httpx.Client
) -> None:
    before = server.metric('fitbot_interventions_total{kind="reasoning",by="rules"}')

    answer = chat(client, "think badly").json()

    assert answer["choices"][0]["message"]["content"] == "Rest well. "
    assert server.metric('fitbot_interventions_total{kind="reasoning",by="rules"}') == before


def test_where_the_answer_is_a_fixed_text_there_is_no_thought(client: httpx.Client) -> None:
    message = chat(client, EMERGENCY, include_reasoning=True).json()["choices"][0]["message"]

    assert "emergency" in message["content"].lower()
    assert message["reasoning"] is None


@pytest.mark.slow
def test_what_was_found_is_kept_when_the_message_is_left_out(client: httpx.Client) -> None:
    first = chat(client, "I'm 20 weeks pregnant. Hi")
    finding = first.headers["x-health-finding"]

    forgotten = chat(client, "say hello")
    kept = client.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "say hello"}]},
        headers={"X-Health-Finding": finding},
    )

    assert "x-health-verdict" not in forgotten.headers
    assert kept.headers["x-health-verdict"] == first.headers["x-health-verdict"] == "refer"
    assert kept.headers["x-health-finding"] == finding
    assert kept.json()["choices"][0]["message"]["content"].endswith("hello ")


def test_a_finding_that_is_none_is_refused(client: httpx.Client) -> None:
    response = client.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "say hello"}]},
        headers={"X-Health-Finding": "all is well"},
    )

    assert response.status_code == 422
    assert response.json()["error"]["param"] == "X-Health-Finding"


def contents(response: Any, stream: Any) -> list[str]:
    if not stream:
        return [response.json()["choices"][0]["message"]["content"]]
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line[6:7] == "{"]
    return [event["choices"][0]["delta"].get("content", "") for event in events]
