"""A network's own modules answer as fitbot's decoder does, one request after the other."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fitbot.errors import ConfigError
from fitbot.generation.decoders import choice
from fitbot.generation.decoders.plain_decoder import PlainDecoder
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from fitbot.generation.messages import Chunk, Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat
from tests.families import write_family

WANTED = {
    "greedy": Sampling(temperature=0, max_new_tokens=20),
    "sampled": Sampling(temperature=0.8, top_p=0.9, seed=3, max_new_tokens=20),
    "scored": Sampling(temperature=0, max_new_tokens=5, logprobs=2, echo=True),
    "penalised": Sampling(seed=1, repetition_penalty=1.3, presence_penalty=1.0, max_new_tokens=20),
    "not ended early": Sampling(temperature=2, seed=5, min_tokens=15, max_new_tokens=40),
}


def network_of(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def engine_of(decoder: Any, chat: Chat) -> LocalEngine:
    engine = LocalEngine(decoder, chat, rank=4)
    generator = torch.Generator().manual_seed(0)
    noise = [0.3 * torch.randn(size, generator=generator) for size in ((4, 128), (128, 4))]
    engine.add("tuned", {"1.q_proj": (noise[0], noise[1]), "0.o_proj": (noise[0], noise[1])})
    return engine


@pytest.fixture(scope="module")
def engines(base: str, chat: Chat) -> Any:
    fast = TorchDecoder(network_of(base), slots=1, context=256, precision="float32", ranks=4)
    plain = PlainDecoder(network_of(base), context=256, precision="float32", ranks=4)
    plain.warm_up()
    both = engine_of(fast, chat), engine_of(plain, chat)
    yield both
    for engine in both:
        engine.close()


def ask(engine: LocalEngine, sampling: Sampling, model: str) -> list[Chunk]:
    return list(engine.submit("How many sets", sampling, model=model))


@pytest.mark.parametrize("model", ["base", "tuned"])
@pytest.mark.parametrize("name", WANTED)
def test_it_answers_as_fitbots_decoder_does(engines: Any, name: str, model: str) -> None:
    fast, plain = (ask(engine, WANTED[name], model) for engine in engines)

    assert "".join(one.text for one in plain) == "".join(one.text for one in fast)
    assert (plain[-1].finish_reason, plain[-1].usage) == (fast[-1].finish_reason, fast[-1].usage)
    scores = [
        [
            score.logprob
            for chunk in chunks
            for score in [*(chunk.echo.logprobs if chunk.echo else ()), *chunk.logprobs]
        ]
        for chunks in (fast, plain)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert bool(scores[1]) == (name == "scored")


def test_an_adapter_changes_its_own_answers_only(engines: Any) -> None:
    texts = ["".join(one.text for one in ask(engines[1], WANTED["greedy"], name))
             for name in ("base", "tuned", "base")]  # fmt: skip

    assert texts[0] == texts[2] != texts[1]


def test_it_streams_and_stops_where_it_is_told(engines: Any) -> None:
    _, plain = engines
    whole = ask(plain, WANTED["sampled"], "base")
    assert len(whole) > 5
    text = "".join(one.text for one in whole)
    stop = Sampling(temperature=0.8, top_p=0.9, seed=3, max_new_tokens=20, stop=(text[6:9],))
    cut = ask(plain, stop, "base")
    assert "".join(one.text for one in cut) == text[: text.index(text[6:9])]
    assert cut[-1].finish_reason == "stop"

    late = plain.submit("How", WANTED["greedy"], deadline=time.monotonic() - 1)
    assert list(late)[-1].finish_reason == "deadline"
    long = plain.submit("How", Sampling(temperature=2, seed=1, min_tokens=200, max_new_tokens=200))
    next(iter(long))
    long.cancel()
    assert list(long)[-1].finish_reason == "cancelled"


def test_it_is_said_at_the_start(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(write_family(tmp_path, "GPT-2", base))
    cpu = torch.device("cpu")

    decoder = choice.open_decoder(lambda: network_of(folder), cpu, slots=9)

    assert (type(decoder), decoder.slots, decoder.context) == (PlainDecoder, 1, 1024)
    assert "by transformers' own modules, one request at a time" in caplog.text
    assert "this is 'gpt2'" in caplog.text


def test_a_window_of_attention_limits_the_context_unless_more_is_asked_for(
    base: str, tmp_path: Path
) -> None:
    folder = str(write_family(tmp_path, "Mistral", base, sliding_window=100))
    cpu = torch.device("cpu")

    fast = choice.open_decoder(lambda: network_of(folder), cpu, slots=1)
    plain = choice.open_decoder(lambda: network_of(folder), cpu, context=200)

    assert (type(fast), fast.context) == (TorchDecoder, 100)
    assert (type(plain), plain.context) == (PlainDecoder, 200)


def test_without_a_cache_that_works_each_token_reads_the_whole_text(
    engines: Any, base: str, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of(base)

    def forget(module: Any, args: Any, out: Any) -> None:
        out.past_key_values = None

    network.register_forward_hook(forget)
    decoder = PlainDecoder(network, context=256, precision="float32", ranks=4)
    decoder.warm_up()
    engine = engine_of(decoder, chat)

    for name in ("greedy", "scored"):
        for _ in range(2):  # nothing is left of the request before
            one, other = (ask(each, WANTED[name], "tuned") for each in (engine, engines[1]))
            assert [chunk.text for chunk in one] == [chunk.text for chunk in other]
    engine.close()
    assert "each token reads the whole text anew" in caplog.text
    assert "'qwen3' does not work here: its tokens one by one give other logits" in caplog.text


def test_a_network_that_no_cache_explains_is_refused(base: str) -> None:
    network = network_of(base)
    network.get_decoder().layers[0].register_forward_hook(
        lambda module, args, out: out + out.mean(1, keepdim=True)  # of all tokens of a pass
    )

    with pytest.raises(ConfigError, match="one by one give other logits than all at once"):
        PlainDecoder(network, context=64, precision="float32").warm_up()
