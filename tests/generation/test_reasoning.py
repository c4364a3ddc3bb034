"""What a model thinks never gets into its answer, and comes apart from it when asked for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from fitbot.generation.detokenize import AnswerText, Thoughts, TokenBytes
from fitbot.generation.engine import Engine
from fitbot.generation.loading import open_engine
from fitbot.generation.messages import Chunk, Sampling
from fitbot.generation.remote import RemoteEngine
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.formats import Message
from tests.generation import openai_stub
from tests.generation.openai_stub import serving
from tests.generation.test_engines import write_adapter

SAYS = ["\n", "<think>", "\t", "h", "m", ".", "</think>", "Y", "o", "!", "<|im_end|>"]


@pytest.fixture(scope="module")
def thinker(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that thinks "\thm." and says "Yo!": each token of SAYS is followed by the next."""
    folder = tmp_path_factory.mktemp("thinker")
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    embedding = model.model.embed_tokens.weight.data
    model.config.tie_word_embeddings = False
    head = torch.zeros_like(embedding)
    ids = [tokenizer(token, add_special_tokens=False).input_ids for token in SAYS]
    for (before,), (after,) in zip(ids, ids[1:], strict=False):
        head[after] = embedding[before] / embedding[before].norm()
    model.lm_head.weight = torch.nn.Parameter(head)
    for layer in model.model.layers:  # they leave a token's embedding as it is
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return folder


@pytest.fixture(scope="module")
def local(thinker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    adapter = tmp_path_factory.mktemp("adapter")
    write_adapter(adapter, str(thinker))
    engine = open_engine(adapter, slots=2, context=256)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def remote(local: LocalEngine) -> Iterator[RemoteEngine]:
    with serving(local) as url:
        engine = RemoteEngine(url)
        yield engine
        engine.close()


@pytest.fixture(params=["local", "remote"])
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def ask(engine: Engine, **sampling: Any) -> list[Chunk]:
    wanted = Sampling(**({"temperature": 0, "max_new_tokens": 20} | sampling))
    return list(engine.submit([Message("user", "Well?")], wanted, model="base"))


def text_of(chunks: list[Chunk]) -> tuple[str, str]:
    """What was said, and what was thought."""
    return "".join(c.text for c in chunks), "".join(c.reasoning for c in chunks)


def test_a_thought_comes_apart_when_asked_for_and_else_not_at_all(engine: Engine) -> None:
    asked, plain = ask(engine, reasoning=True), ask(engine)

    assert text_of(asked) == ("Yo!", "\thm.")
    assert text_of(plain) == ("Yo!", "")
    assert [c.finish_reason for c in (asked[-1], plain[-1])] == ["stop", "stop"]
    assert asked[-1].usage == plain[-1].usage  # a thought costs what it costs
    thinking = [bool(c.reasoning) for c in asked if c.text or c.reasoning]
    assert thinking == sorted(thinking, reverse=True)  # piece by piece, and before the answer
    assert thinking.count(True) > 1


def test_a_thought_that_never_ends_is_told_as_far_as_it_goes(engine: Engine) -> None:
    chunks = ask(engine, reasoning=True, max_new_tokens=3)

    assert text_of(chunks) == ("", "\th")
    assert chunks[-1].finish_reason == "length"


@pytest.mark.parametrize("reasoning", [True, False])
def test_log_probabilities_and_stop_strings_are_the_answers_alone(
    engine: Engine, reasoning: bool
) -> None:
    chunks = ask(engine, reasoning=reasoning, logprobs=0, stop=("m", "!"))

    tokens = [one.token for chunk in chunks for one in chunk.logprobs]
    assert text_of(chunks)[0] == "Yo"
    assert tokens == ["Y", "o", "!"]


def test_a_prompt_that_begins_a_thought_is_gone_on_with(local: LocalEngine) -> None:
    ids, _ = local.chat.encode_prompt([Message("user", "Well?")], 200)
    begun = [*ids, *local.chat.tokenizer("<think>\n", add_special_tokens=False).input_ids]
    sampling = Sampling(temperature=0, max_new_tokens=20, reasoning=True)

    chunks = list(local.submit(begun, sampling, model="base"))

    assert text_of(chunks) == ("Yo!", "\thm.")  # it writes the mark again, which says nothing


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_what_a_server_sets_apart_by_either_name_stays_apart(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def renamed(chunk: Chunk) -> Iterator[dict[str, Any]]:
        for event in events_of(chunk):
            yield json.loads(json.dumps(event).replace('"reasoning"', f'"{name}"'))

    events_of = openai_stub.events_of
    monkeypatch.setattr(openai_stub, "events_of", renamed)
    with serving(local) as url:
        engine = RemoteEngine(url)
        chunks = ask(engine, reasoning=True)
        engine.close()

    assert text_of(chunks) == ("Yo!", "\thm.")


def test_what_a_server_leaves_in_the_text_is_taken_out(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixed(chunk: Chunk) -> Iterator[dict[str, Any]]:
        text = "<thi" if chunk.reasoning == "\t" else chunk.reasoning + chunk.text
        text = {"h": "nk>h", "Y": "</think>\n\nY"}.get(text, text)
        yield from events_of(Chunk(text, chunk.logprobs, chunk.finish_reason, chunk.usage))

    events_of = openai_stub.events_of
    monkeypatch.setattr(openai_stub, "events_of", mixed)
    with serving(local) as url:
        engine = RemoteEngine(url)
        asked = ask(engine, reasoning=True)
        # This server would not think if it were not asked to: what is asked of it is left out.
        monkeypatch.setattr(engine, "extra_fields", {"include_reasoning": True})
        plain = ask(engine)
        engine.close()

    assert text_of(asked) == ("Yo!", "hm.")
    assert text_of(plain) == ("Yo!", "")


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("<think>\n\na\n\nb\n</think>\n\nYes.", "Yes.", "a\n\nb\n"),
        ("Yes. <think>no", "Yes. ", "no"),
        ("a <thin b", "a <thin b", ""),
        ("<think>a</thin</think>b", "b", "a</thin"),
        ("<think></think><think>a</think>b", "b", "a"),
        ("<think>a</think>b<think>c</think>d", "bd", "ac"),
        ("</think>x", "x", ""),
        ("a <think>b <think>c</think></think> d", "a  d", "b c"),
        ("Yes. </thi", "Yes. ", ""),
        ("3 <", "3 <", ""),
    ],
)
def test_thoughts_and_what_is_said(text: str, said: str, thought: str) -> None:
    for size in (1, 3, 100):
        thoughts, parts = Thoughts(), [("", "")]
        parts += [thoughts.feed(text[at : at + size]) for at in range(0, len(text), size)]
        parts.append(thoughts.finish())

        assert "".join(part for part, _ in parts) == said
        assert "".join(part for _, part in parts) == thought


@given(st.lists(st.sampled_from(["<think>", "</think>", "<th", "a", "\n", ">"]), max_size=12))
def test_however_it_is_cut_the_same_is_said_and_thought(pieces: list[str]) -> None:
    whole, cut = Thoughts(), Thoughts()

    at_once = [whole.feed("".join(pieces)), whole.finish()]
    by_characters = [*map(cut.feed, "".join(pieces)), cut.finish()]

    for kind in (0, 1):
        assert "".join(p[kind] for p in at_once) == "".join(p[kind] for p in by_characters)


def test_an_answers_reasoning_is_kept_only_when_asked_for(base: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    for reasoning, expected in [(True, "ab"), (False, "")]:
        answer = AnswerText(TokenBytes(tokenizer), Sampling(reasoning=reasoning))
        for token in tokenizer("<think>ab", add_special_tokens=False).input_ids:
            assert answer.add(token) == ""
            assert answer.in_thought

        assert answer.take_reasoning() == expected
        assert answer.take_reasoning() == ""
