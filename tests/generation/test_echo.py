"""Prompts that are scored, beside transformers, and texts that are gone on with as they are."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.errors import RequestError
from fitbot.generation.engine import Prompt
from fitbot.generation.loading import open_engine
from fitbot.generation.messages import Chunk, Echo, Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.formats import Message

TEXT = "How much protein is in 100 g of tofu? Überraschend viel: 12 g. " * 10


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    opened = open_engine(None, slots=3, context=512)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def by_transformers() -> Any:
    """The weights as training sees them: put into 4 bits, then expanded."""
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    folder = resolve_base_model(EMBEDDED)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=quantised
    )
    return model.dequantize(torch.float32).eval()


def scored(engine: LocalEngine, prompt: Prompt, **more: Any) -> list[Chunk]:
    settings = {"max_new_tokens": 1, "temperature": 0, "logprobs": 3, "echo": True}
    return list(engine.submit(prompt, Sampling(**{**settings, **more})))


def echo_of(chunks: list[Chunk]) -> Echo:
    (echo,) = [chunk.echo for chunk in chunks if chunk.echo]
    assert chunks[0].echo is echo
    return echo


@pytest.mark.parametrize("as_ids", [False, True], ids=["text", "ids"])
def test_a_prompts_scores_are_transformers_own(
    engine: LocalEngine, by_transformers: Any, as_ids: bool
) -> None:
    ids = engine.chat.tokenizer.encode(TEXT)
    assert len(ids) > 2 * engine.decoder.pass_tokens  # it is read in parts
    with torch.inference_mode():
        expected = by_transformers(torch.tensor([ids])).logits[0].log_softmax(-1)

    chunks = scored(engine, ids if as_ids else TEXT)

    echo = echo_of(chunks)
    own = expected[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    assert echo.text == TEXT
    torch.testing.assert_close(
        torch.tensor([one.logprob for one in echo.logprobs]), own, rtol=0, atol=1e-3
    )
    top = torch.tensor([[logprob for _, logprob in one.top] for one in echo.logprobs])
    torch.testing.assert_close(top, expected[:-1].topk(3).values, rtol=0, atol=1e-3)
    (drawn,) = chunks[-1].logprobs
    assert drawn.logprob == pytest.approx(float(expected[-1].max()), abs=1e-3)


def test_a_prompt_that_was_read_before_is_scored_anew_and_beside_others(
    engine: LocalEngine,
) -> None:
    alone = echo_of(scored(engine, TEXT))

    streams = [
        engine.submit(TEXT, Sampling(max_new_tokens=1, temperature=0, logprobs=3, echo=True)),
        engine.submit([Message("user", "Hi!")], Sampling(max_new_tokens=9)),
        engine.submit(TEXT + "So?", Sampling(max_new_tokens=1, logprobs=3, echo=True)),
    ]
    together, _, longer = [list(stream) for stream in streams]

    assert len(alone.logprobs) == len(engine.chat.tokenizer.encode(TEXT)) - 1
    pairs = zip(alone.logprobs, echo_of(together).logprobs, strict=True)
    assert all(one.logprob == pytest.approx(other.logprob, abs=1e-4) for one, other in pairs)
    assert len(echo_of(longer).logprobs) > len(alone.logprobs)


def test_an_echo_without_log_probabilities_reads_only_what_is_new(engine: LocalEngine) -> None:
    list(engine.submit(TEXT, Sampling(max_new_tokens=1)))

    chunks = scored(engine, TEXT, logprobs=None)

    assert echo_of(chunks) == Echo(TEXT, "How", ())
    assert chunks[-1].logprobs == ()


def test_one_token_has_no_score(engine: LocalEngine) -> None:
    first, *_ = engine.chat.tokenizer.encode("How")

    assert echo_of(scored(engine, [first])) == Echo("How", "How", ())


def test_a_text_is_gone_on_with_as_it_is(engine: LocalEngine) -> None:
    greedy = Sampling(max_new_tokens=30, temperature=0)
    question = [Message("user", "Is tofu vegan?")]
    ids, _ = engine.chat.encode_prompt(question, 400)
    rendered = engine.chat.tokenizer.decode(ids)

    by_text, by_turns = (
        "".join(chunk.text for chunk in engine.submit(prompt, greedy))
        for prompt in (rendered, question)
    )

    assert by_turns
    assert by_text.removeprefix("<think>").lstrip() == by_turns.lstrip()


def test_an_engine_that_cannot_score_says_so(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.decoder, "scores_prompts", False)

    with pytest.raises(RequestError, match="does not score prompts"):
        scored(engine, TEXT)
    assert echo_of(scored(engine, TEXT, logprobs=None)).text == TEXT
    with pytest.raises(RequestError, match="the prompt is empty"):
        engine.submit("", Sampling())


def test_a_record_has_every_token_that_was_drawn_and_its_log_probability(
    engine: LocalEngine,
) -> None:
    question = [Message("user", "How long should I rest between heavy sets?")]

    chunks = scored(engine, question, max_new_tokens=40, echo=False, logprobs=0, record=True)

    record, usage = chunks[-1].record, chunks[-1].usage
    assert record is not None
    assert usage is not None
    assert len(record.token_ids) == usage.completion
    assert record.logprobs == tuple(one.logprob for chunk in chunks for one in chunk.logprobs)
    tokenizer = engine.chat.tokenizer
    text = tokenizer.decode(record.token_ids, skip_special_tokens=True)
    assert text.strip() == "".join(chunk.text for chunk in chunks)
    assert chunks[-1].finish_reason != "stop" or record.token_ids[-1] in engine.chat.ends
    assert not any(chunk.record for chunk in chunks[:-1])
    assert scored(engine, question, echo=False)[-1].record is None  # nobody asked for it
