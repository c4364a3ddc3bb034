"""What every engine promises, and that the embedded one says what transformers' generate says."""

import asyncio
import importlib.util
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fitbot.base_model.adapter_files import read_adapter
from fitbot.errors import (
    AdapterError,
    BusyError,
    ConfigError,
    ContextLengthError,
    EngineError,
    RequestError,
    RoomError,
)
from fitbot.export.gguf import export_gguf
from fitbot.generation.decoders.decoder import Drawing, Part
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from fitbot.generation.engine import Engine, Stream, submit_what_fits
from fitbot.generation.loading import add_adapter, ends_of, open_engine, open_llama_engine
from fitbot.generation.messages import Chunk, Sampling
from fitbot.generation.pages import PAGE
from fitbot.generation.remote import RemoteEngine
from fitbot.generation.sampling import Draw
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.pairs.formats import Message
from tests.conftest import DEVICES, SYSTEM, make_policy
from tests.families import write_family
from tests.generation.openai_stub import serving

needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs llama.cpp"
)
OPENERS = [
    pytest.param(open_engine, id="local"),
    pytest.param(open_llama_engine, id="llama", marks=needs_llama),
]


@pytest.fixture(scope="session")
def adapter(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as export writes it; its adapter changes what the tiny model says."""
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, base)
    return folder


def write_adapter(folder: Path, base: str) -> None:
    torch.manual_seed(0)
    policy = make_policy(base)
    with torch.no_grad():
        for name, weight in policy.network.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    state = policy.network.state_dict()
    weights = {
        name.replace(".default.", "."): value.clone().contiguous()
        for name, value in state.items()
        if "lora_" in name
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "r": 4,
        "lora_alpha": 8,
        "bias": "none",
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "target_modules": sorted({name.split(".")[-3] for name in weights}),
        "base_model_name_or_path": base,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    metadata = {
        "base_model": base,
        "settings": {"load_in_4bit": False},
        "data": {"system_prompt": SYSTEM},
    }
    (folder / "fitbot.json").write_text(json.dumps(metadata))


@pytest.fixture(scope="module")
def local(adapter: Path) -> Iterator[LocalEngine]:
    engine = open_engine(adapter, slots=4, context=512, max_waiting=3)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def with_gguf(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, that llama.cpp can answer with too."""
    folder = Path(shutil.copytree(adapter, tmp_path_factory.mktemp("llama") / "adapter"))
    if importlib.util.find_spec("xllamacpp") is not None:
        export_gguf(folder, "f32")
    return folder


@pytest.fixture(scope="module")
def llama(with_gguf: Path) -> Iterator[LocalEngine]:
    engine = open_llama_engine(with_gguf, slots=4, context=512, max_waiting=3)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def remote(local: LocalEngine) -> Iterator[RemoteEngine]:
    with serving(local) as url:
        engine = RemoteEngine(url, max_active=7)
        yield engine
        engine.close()


@pytest.fixture(params=["local", "remote", pytest.param("llama", marks=needs_llama)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Whatever answers."""
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture
def behind(engine: Engine, request: pytest.FixtureRequest) -> LocalEngine:
    """The engine that computes what `engine` answers."""
    if isinstance(engine, LocalEngine):
        return engine
    local: LocalEngine = request.getfixturevalue("local")
    return local


@pytest.fixture(params=["local", pytest.param("llama", marks=needs_llama)])
def embedded(request: pytest.FixtureRequest) -> LocalEngine:
    """Whatever answers in this process."""
    engine: LocalEngine = request.getfixturevalue(request.param)
    return engine


def replace_computing(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]
) -> None:
    """Have an engine call something each time before it computes."""

    def calling(compute: Callable[..., Any]) -> Callable[..., Any]:
        def computing(*args: Any) -> Any:
            before()
            return compute(*args)

        return computing

    monkeypatch.setattr(engine.decoder, "run", calling(engine.decoder.run))


QUESTIONS = ["Is tofu vegan?", "How much protein do I need a day, at 70 kg?", "Hi!", "Sets? " * 20]


def ask(engine: Engine, question: str, model: str | None = None, **sampling: Any) -> list[Chunk]:
    return list(submit(engine, question, model, **sampling))


def submit(engine: Engine, question: str, model: str | None = None, **sampling: Any) -> Stream:
    wanted = Sampling(**({"max_new_tokens": 24, "temperature": 0.0} | sampling))
    return engine.submit([Message("user", question)], wanted, model=model)


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


# -- the contract ---------------------------------------------------------------------------------


def test_only_the_last_chunk_says_why_it_ended_and_what_it_cost(
    engine: Engine, local: LocalEngine
) -> None:
    *others, last = ask(engine, QUESTIONS[0], max_new_tokens=5)

    assert all(chunk.finish_reason is None and chunk.usage is None for chunk in others)
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert (last.usage.completion, last.usage.budget) == (5, 5)
    assert last.usage.prompt == len(
        local.chat.encode_prompt([Message("user", QUESTIONS[0])], 512)[0]
    )


def test_many_at_once_answer_as_each_alone(engine: Engine) -> None:
    alone = [text_of(ask(engine, q, temperature=0.9, seed=i)) for i, q in enumerate(QUESTIONS)]

    streams = [submit(engine, q, temperature=0.9, seed=i) for i, q in enumerate(QUESTIONS)]
    together = [text_of(list(stream)) for stream in streams]

    assert together == alone
    assert len(set(alone)) == len(alone)


def test_the_seed_decides(engine: Engine) -> None:
    answers = [text_of(ask(engine, "Hi!", temperature=1.0, seed=seed)) for seed in (1, 1, 2)]
    unseeded = {text_of(ask(engine, "Hi!", temperature=1.0)) for _ in range(3)}

    assert answers[0] == answers[1] != answers[2]
    assert len(unseeded) == 3


def test_cancelled_late_and_refused_requests_say_so_and_leave_room(engine: Engine) -> None:
    stream = submit(engine, QUESTIONS[1], max_new_tokens=400)
    chunks = iter(stream)
    next(chunks)
    stream.cancel()
    assert list(chunks)[-1].finish_reason == "cancelled"

    prompt, sampling = [Message("user", QUESTIONS[1])], Sampling(max_new_tokens=400)
    for seconds in (0, 0.01):  # a server may not even have begun to answer
        late = list(engine.submit(prompt, sampling, deadline=time.monotonic() + seconds))
        assert late[-1].finish_reason == "deadline"
        assert late[-1].usage is not None
        assert late[-1].usage.completion < 400

    with pytest.raises(RequestError, match="no model 'gpt'; there are fitbot, base"):
        submit(engine, "Hi!", "gpt")
    with pytest.raises(ContextLengthError, match="maximum context length is 512 tokens"):
        submit(engine, "long " * 200)
    with pytest.raises(RequestError):
        engine.submit([], sampling)
    with pytest.raises(RequestError, match="token ids"):
        engine.submit([1, 10**9], sampling)
    assert engine.stats().active == engine.stats().waiting == 0


def test_of_a_conversation_that_is_too_long_the_oldest_turns_are_left_out(
    local: LocalEngine,
) -> None:
    turn = [Message("user", "Old. " * 10), Message("assistant", "Long ago. " * 10)]
    system, last = Message("system", "Be brief."), Message("user", "Hi!")
    sampling = Sampling(max_new_tokens=400, temperature=0)

    with pytest.raises(RequestError, match="tokens"):
        local.submit([system, *turn * 9, last], sampling)
    stream, left_out = submit_what_fits(local, [system, *turn * 9, last], sampling)
    expected = local.submit([system, *(turn * 9)[left_out:], last], sampling)
    _, all_fit = submit_what_fits(local, [system, *turn, last], sampling)

    assert 0 < left_out < 18
    assert left_out % 2 == 0  # a question goes with its answer
    answer = list(stream)
    assert text_of(answer) == text_of(list(expected))
    assert answer[-1].usage is not None
    assert 512 - answer[-1].usage.prompt >= 128  # a quarter of the context is the answer's
    assert all_fit == 0


def test_a_last_turn_that_is_too_long_is_refused_whatever_is_left_out(local: LocalEngine) -> None:
    old = [Message("user", "Hi!"), Message("assistant", "Hello.")]
    sampling = Sampling(max_new_tokens=4)

    _, left_out = submit_what_fits(local, [*old, Message("user", "long " * 80)], sampling)
    with pytest.raises(RequestError, match="tokens"):
        submit_what_fits(local, [*old, Message("user", "long " * 200)], sampling)

    assert left_out == 2  # it fits by itself, with less room for its answer


def test_too_many_are_turned_away_and_everybody_else_is_answered(
    engine: Engine, behind: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    while behind.stats().active:  # whom a client has left, before the server noticed
        time.sleep(0.01)

    replace_computing(behind, monkeypatch, lambda: go_on.wait(30))
    streams = [submit(engine, question) for question in (QUESTIONS * 2)[:7]]
    with pytest.raises(BusyError) as refused:
        submit(engine, "Hi!")
    go_on.set()

    assert refused.value.retry_after > 0
    assert all(list(stream)[-1].finish_reason in ("stop", "length") for stream in streams)
    assert ask(engine, "Hi!")


def test_chunks_come_without_holding_up_an_event_loop(engine: Engine) -> None:
    async def read(stream: Stream) -> str:
        return "".join([chunk.text async for chunk in stream])

    async def both() -> list[str]:
        return await asyncio.gather(*(read(submit(engine, q)) for q in QUESTIONS[:2]))

    assert asyncio.run(both()) == [text_of(ask(engine, q)) for q in QUESTIONS[:2]]


def test_stop_strings_end_the_answer_and_are_not_shown(engine: Engine) -> None:
    whole = text_of(ask(engine, QUESTIONS[1], temperature=1.0, seed=5))
    stop = whole[10:12]

    chunks = ask(engine, QUESTIONS[1], temperature=1.0, seed=5, stop=(stop,))

    assert text_of(chunks) == whole[: whole.index(stop)]
    assert chunks[-1].finish_reason == "stop"


def test_penalties_make_an_answer_repeat_itself_less(engine: Engine) -> None:
    def repeats(**sampling: Any) -> int:
        chunks = ask(engine, QUESTIONS[0], max_new_tokens=60, logprobs=0, **sampling)
        tokens = [one.token for chunk in chunks for one in chunk.logprobs]
        return len(tokens) - len(set(tokens))

    plain = repeats()
    assert repeats(frequency_penalty=2) < plain
    assert repeats(presence_penalty=2) < plain
    assert repeats(presence_penalty=-2, frequency_penalty=-2) > plain


def test_logprobs_are_the_models_own(engine: Engine, local: LocalEngine, base: str) -> None:
    chunks = ask(engine, "Hi!", "base", max_new_tokens=4, logprobs=3)

    logprobs = [logprob for chunk in chunks for logprob in chunk.logprobs]
    ids, _ = local.chat.encode_prompt([Message("user", "Hi!")], 512)
    expected = generate(base, None, ids, 4, output_logits=True, return_dict_in_generate=True)
    for found, logits in zip(logprobs, expected.logits, strict=True):
        top = logits[0].log_softmax(-1).topk(3).values
        assert found.logprob == pytest.approx(top[0].item(), abs=1e-4)
        assert [value for _, value in found.top] == pytest.approx(top.tolist(), abs=1e-4)


def test_log_probs_come_without_the_likeliest_ones_if_none_are_asked_for(
    embedded: LocalEngine,
) -> None:
    chunks = ask(embedded, "Hi!", "base", max_new_tokens=4, logprobs=0)

    logprobs = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert logprobs
    assert all(one.top == () for one in logprobs)


@pytest.mark.parametrize("open_it", OPENERS)
def test_a_closed_engine_ends_what_it_began_and_takes_no_more(
    open_it: Callable[..., LocalEngine], with_gguf: Path
) -> None:
    engine = open_it(with_gguf, slots=1, context=512)
    streams = [submit(engine, QUESTIONS[1], max_new_tokens=400) for _ in range(3)]
    next(iter(streams[0]))

    engine.close()

    last = [list(stream)[-1] for stream in streams]
    assert [chunk.finish_reason for chunk in last] == ["cancelled"] * 3
    assert engine.health() == "the engine is closed"
    assert all(chunk.usage is not None for chunk in last)
    with pytest.raises(EngineError, match="closed"):
        submit(engine, "Hi!")


@pytest.mark.parametrize("open_it", OPENERS)
def test_when_the_engine_fails_everybody_hears_why(
    open_it: Callable[..., LocalEngine], with_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_it(with_gguf, slots=1, context=512)
    assert engine.health() is None

    go_on = threading.Event()

    def broken() -> None:
        go_on.wait(30)
        raise ZeroDivisionError("the sun went out")

    replace_computing(engine, monkeypatch, broken)
    streams = [submit(engine, "Hi!"), submit(engine, "Hi!")]
    go_on.set()
    last = [list(stream)[-1] for stream in streams]

    assert {chunk.finish_reason for chunk in last} == {"error"}
    assert "the sun went out" in (last[0].error or "")
    assert "the sun went out" in (engine.health() or "")
    with pytest.raises(EngineError, match="the sun went out"):
        submit(engine, "Hi!")


# -- the same as transformers ---------------------------------------------------------------------


def generate(base: str, adapter: Path | None, ids: list[int], tokens: int, **more: Any) -> Any:
    """Let transformers and PEFT answer, greedily."""
    from peft import PeftModel

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    prompt = torch.tensor([ids])
    return model.eval().generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=tokens,
        **more,
    )


@pytest.mark.parametrize("model", ["fitbot", "base"])
def test_greedy_answers_are_those_of_generate_token_for_token(
    embedded: LocalEngine, base: str, adapter: Path, model: str
) -> None:
    expected = []
    for question in QUESTIONS:
        ids, _ = embedded.chat.encode_prompt([Message("user", question)], 512)
        found = generate(base, adapter if model == "fitbot" else None, ids, 24)
        new = found[0, len(ids) :].tolist()
        expected.append(embedded.chat.tokenizer.decode(new, skip_special_tokens=True))

    alone = [text_of(ask(embedded, question, model)) for question in QUESTIONS]
    first = submit(embedded, QUESTIONS[0], model)
    chunks = iter(first)
    begun = next(chunks)
    streams = [submit(embedded, question, model) for question in QUESTIONS[1:]]  # join on the way
    joined = [text_of([begun, *chunks]), *(text_of(list(stream)) for stream in streams)]

    assert alone == expected
    assert joined == expected


def test_base_and_tuned_requests_are_answered_at_once(embedded: LocalEngine) -> None:
    models = ["fitbot", "base", "fitbot", "base"]
    alone = [text_of(ask(embedded, QUESTIONS[0], model)) for model in models]

    streams = [submit(embedded, QUESTIONS[0], model) for model in models]

    assert [text_of(list(stream)) for stream in streams] == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("open_it", OPENERS)
def test_adapters_come_and_go_while_others_are_answered(
    open_it: Callable[..., LocalEngine], with_gguf: Path, adapter: Path, tmp_path: Path
) -> None:
    engine = open_it(with_gguf, slots=2, context=512, more_adapters=1)
    before = text_of(ask(engine, QUESTIONS[1]))
    under_way = submit(engine, QUESTIONS[1], max_new_tokens=350)
    begun = iter(under_way)
    next(begun)

    add_adapter(engine, "second", adapter)
    assert engine.models == ("fitbot", "base", "second")
    assert text_of(ask(engine, QUESTIONS[1], "second")) == before
    with pytest.raises(RequestError, match="there is a model 'second' already"):
        add_adapter(engine, "second", adapter)
    stranger = Path(shutil.copytree(adapter, tmp_path / "stranger"))
    metadata = json.loads((stranger / "fitbot.json").read_text())
    (stranger / "fitbot.json").write_text(json.dumps(metadata | {"base_model": "embedded"}))
    with pytest.raises(AdapterError, match="was trained on embedded, this engine holds"):
        add_adapter(engine, "third", stranger)
    (stranger / "fitbot.json").write_text(json.dumps(metadata | {"base_model": "/not/here"}))
    with pytest.raises(AdapterError, match="was trained on /not/here, this engine holds"):
        add_adapter(engine, "third", stranger)
    with pytest.raises(RoomError, match="no room for more than 2 adapters"):
        add_adapter(engine, "third", adapter)
    with pytest.raises(RequestError, match="is no name for a model"):
        add_adapter(engine, "../second", adapter)
    leaving = submit(engine, QUESTIONS[1], "second")
    engine.remove("second")
    assert text_of(list(leaving)) == before  # it had begun
    add_adapter(engine, "third", adapter)

    for name, said in [("second", "no model"), ("base", "cannot"), ("fitbot", "cannot")]:
        with pytest.raises(RequestError, match=said):
            engine.remove(name)
    assert list(begun)[-1].finish_reason in ("stop", "length")
    engine.close()


# -- the decoder ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_logits_are_the_networks_in_any_slot(
    network: Any, precision: Any, tolerance: float, device: str
) -> None:
    network = network.to(device)
    ids = torch.randint(0, 250, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([ids], device=device)).logits[0].float().cpu()
    decoder = TorchDecoder(network, slots=3, context=64, precision=precision)

    first = decoder.prefill(2, ids[:30], None).cpu()
    decoder.prefill(0, ids[:10], None)
    torch.testing.assert_close(first, expected[29], atol=tolerance, rtol=0)
    for n in range(10):
        new, lengths = torch.tensor([ids[30 + n], ids[10 + n]]), [30 + n, 10 + n]
        both = decoder.step(new, [2, 0])
        torch.testing.assert_close(both.cpu(), expected[lengths], atol=tolerance, rtol=0)
    network.to("cpu")


def graph_decoder(network: Any, **options: Any) -> Any:
    """Return the decoder with graphs, where there is Triton."""
    module = pytest.importorskip("fitbot.generation.decoders.cuda_graph_decoder")
    return module.CudaGraphDecoder(network, **options)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_graphed_decoder_is_the_plain_one(network: Any, adapter: Path, device: str) -> None:
    network = network.to(device)
    size: dict[str, Any] = {"slots": 5, "context": 300, "precision": "float32", "ranks": 8}
    plain = TorchDecoder(network, **size)
    graphed = graph_decoder(network, **size, capture=device == "cuda")
    if device == "cuda":
        graphed.warm_up()
    for decoder in (plain, graphed):
        decoder.adapt(slice(4, 8), read_adapter(adapter))
    ranks = [slice(4, 8), None, slice(4, 8)]
    lengths, slots = [7, 290, 20], [3, 0, 4]

    for slot, length, one in zip(slots, lengths, ranks, strict=True):
        ids = [(slot + 7 * n) % 250 for n in range(length)]
        if device == "cpu" and length > 32:  # Triton's interpreter takes a minute for it
            plain.prefill(slot, ids, one)
            graphed.admit(slot, ids, one, Draw(Sampling(), 0))
            with torch.inference_mode():
                for place in range(length):
                    here, there = (d.held[slot].place(place) for d in (graphed, plain))
                    graphed.cache.keys[:, here] = plain.cache.keys[:, there]
                    graphed.cache.values[:, here] = plain.cache.values[:, there]
            continue
        first, second = (decoder.prefill(slot, ids, one) for decoder in (plain, graphed))
        torch.testing.assert_close(second, first, atol=2e-4, rtol=0)
    for n in range(3):
        tokens = torch.tensor([3, 4, 5]) + n
        first, second = (decoder.step(tokens, slots) for decoder in (plain, graphed))
        torch.testing.assert_close(second, first, atol=2e-4, rtol=0)
    network.to("cpu")


@pytest.mark.parametrize("family", ["Qwen2.5", "Mistral"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_of_other_families_are_the_networks(
    base: str, tmp_path: Path, family: str, precision: Any
) -> None:
    network = AutoModelForCausalLM.from_pretrained(write_family(tmp_path, family, base)).eval()
    ids = [(7 * n) % 250 for n in range(30)]
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([ids])).logits[0, [28, 29]].float()
    tolerance = {"float32": 1e-4, "bfloat16": 0.2}[precision]

    decoder = TorchDecoder(network, slots=1, context=64, precision=precision)

    found = decoder.prefill(0, ids[:29], None), decoder.step(torch.tensor(ids[29:]), [0])[0]
    torch.testing.assert_close(torch.stack(found), expected, atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["Qwen2.5", "Mistral"])
def test_the_graphed_decoder_knows_other_families(
    base: str, tmp_path: Path, family: str, device: str
) -> None:
    folder = write_family(tmp_path, family, base)
    network = AutoModelForCausalLM.from_pretrained(folder).eval().to(device)
    ids = [(7 * n) % 250 for n in range(9)]
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([ids], device=device)).logits[0, [7, 8]].float()
    size: dict[str, Any] = {"slots": 2, "context": 64, "precision": "float32", "ranks": 4}

    decoder = graph_decoder(network, **size, capture=device == "cuda")
    if device == "cuda":
        decoder.warm_up()

    found = decoder.prefill(1, ids[:8], None), decoder.step(torch.tensor(ids[8:]), [1])[0]
    torch.testing.assert_close(torch.stack(found), expected, atol=2e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_graphed_decoder_draws_what_the_plain_one_draws(
    network: Any, adapter: Path, device: str
) -> None:
    network = network.to(device)
    size: dict[str, Any] = {"slots": 4, "context": 64, "precision": "float32", "ranks": 4}
    plain = TorchDecoder(network, **size)
    graphed = graph_decoder(network, **size, capture=device == "cuda")
    ranks = slice(0, 4)
    sampled = Sampling(temperature=0.8, top_p=0.9, seed=0)
    wanted = [
        (Sampling(temperature=0), ranks),
        (sampled, None),
        (replace(sampled, repetition_penalty=1.3, top_k=30), ranks),
        (replace(sampled, logprobs=2, min_p=0.1, presence_penalty=1.0, min_tokens=2), ranks),
    ]

    def tokens(decoder: TorchDecoder) -> list[list[int]]:
        decoder.adapt(ranks, read_adapter(adapter))
        ids = [list(range(100, 106 + slot)) for slot in range(4)]
        for slot, (sampling, own) in enumerate(wanted):
            assert decoder.admit(slot, ids[slot], own, Draw(sampling, slot)) == 0
        # Prompts in one pass, in parts, and beside tokens of others; passes of several sizes.
        passes = [
            decoder.run([Part(1, ids[1], 0, True), Part(2, ids[2][:3], 0, False)], []),
            decoder.run([Part(2, ids[2][3:], 3, True), Part(0, ids[0], 0, True)], [1]),
            decoder.run([Part(3, ids[3], 0, True)], [0, 2]),
            *(decoder.run([], slots) for slots in ([2], [3, 2, 1], [0, 1, 2, 3], [1, 0])),
        ]
        return [[one.token for one in step()] for step in passes]

    assert tokens(graphed) == tokens(plain)
    network.to("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_graphed_decoder_scores_prompts_as_the_plain_one_does(
    network: Any, adapter: Path, device: str
) -> None:
    network = network.to(device)
    size: dict[str, Any] = {"slots": 3, "context": 64, "precision": "float32", "ranks": 4}
    plain = TorchDecoder(network, **size)
    graphed = graph_decoder(network, **size, capture=device == "cuda")
    ranks = slice(0, 4)
    scored = Sampling(temperature=0, echo=True, logprobs=2)
    wanted = [(scored, ranks), (scored, None), (Sampling(temperature=0), ranks)]

    def scores(decoder: TorchDecoder) -> list[list[tuple[float, list[tuple[int, float]]]]]:
        decoder.adapt(ranks, read_adapter(adapter))
        ids = [list(range(100, 107 + slot)) for slot in range(3)]
        draws = [Draw(sampling, 0) for sampling, _ in wanted]
        for slot, (_, own) in enumerate(wanted):
            assert decoder.admit(slot, ids[slot], own, draws[slot]) == 0
        for parts, slots in (
            ([Part(2, ids[2], 0, True), Part(0, ids[0][:5], 0, False)], []),
            ([Part(0, ids[0][5:], 5, True), Part(1, ids[1], 0, True)], [2]),
            ([], [0, 1, 2]),
        ):
            decoder.run(parts, slots)()
        return [[one for part in draw.scores for one in part.listed()] for draw in draws]

    found, expected = scores(graphed), scores(plain)

    assert [len(one) for one in found] == [6, 7, 0]
    for own, other in zip(found, expected, strict=True):
        for (score, top), (plain_score, plain_top) in zip(own, other, strict=True):
            assert score == pytest.approx(plain_score, abs=2e-4)
            assert dict(top) == pytest.approx(dict(plain_top), abs=2e-4)
    network.to("cpu")


@pytest.mark.parametrize("opener", OPENERS)
def test_every_end_that_a_base_lists_ends_an_answer_but_not_before_min_tokens(
    base: str, tmp_path: Path, opener: Any
) -> None:
    own = shutil.copytree(base, tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_adapter(folder, str(own))
    if opener is open_llama_engine:
        export_gguf(folder, "f32")
    engine = open_engine(folder, slots=1, context=256)
    ids, _ = engine.chat.encode_prompt([Message("user", QUESTIONS[0])], 256)
    likeliest = int(engine.decoder.prefill(0, ids, slice(0, 4)).argmax())  # type: ignore[attr-defined]
    engine.close()
    assert likeliest not in engine.chat.ends
    listed = {"eos_token_id": [engine.chat.end_of_turn_id, likeliest]}
    (own / "generation_config.json").write_text(json.dumps(listed))

    engine = opener(folder, slots=2, context=256)
    at_once = ask(engine, QUESTIONS[0])[-1]
    some = ask(engine, QUESTIONS[0], min_tokens=6, stop=("\n",), logprobs=0)
    all_of_them = ask(engine, QUESTIONS[0], min_tokens=24)[-1]
    engine.close()

    assert (at_once.finish_reason, at_once.text) == ("stop", "")
    assert at_once.usage is not None
    assert at_once.usage.completion == 1
    assert some[-1].usage is not None
    assert some[-1].usage.completion >= 6
    assert all_of_them.finish_reason == "length"


def test_a_list_of_ends_that_cannot_be_read_is_not_passed_over(base: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(base, tmp_path / "base"))
    file = own / "generation_config.json"
    file.unlink(missing_ok=True)
    assert ends_of(str(own)) == set()

    file.write_text("{")

    with pytest.raises(ConfigError, match=r"generation_config.json cannot be read; mend it"):
        ends_of(str(own))


def test_an_engine_that_emits_while_it_computes_says_the_same(
    adapter: Path, local: LocalEngine
) -> None:
    engine = open_engine(adapter, slots=2, context=512, max_waiting=9)
    engine.decoder.overlaps = True
    sampled: dict[str, Any] = {"temperature": 0.9, "max_new_tokens": 30}
    wanted = [
        sampled | {"seed": 1, "stop": ("e", "a")},
        sampled | {"seed": 2, "max_new_tokens": 1},
        sampled | {"seed": 3, "repetition_penalty": 1.3},
        sampled | {"seed": 3, "frequency_penalty": 1.0, "presence_penalty": 0.5, "min_tokens": 9},
        sampled | {"seed": 4, "logprobs": 1, "model": "base"},
        {},
    ]

    streams = [submit(engine, QUESTIONS[1], **one) for one in wanted]
    leaving = submit(engine, QUESTIONS[1], max_new_tokens=400)
    leaving.cancel()

    for stream, one in zip(streams, wanted, strict=True):
        found, expected = list(stream), ask(local, QUESTIONS[1], **one)
        assert text_of(found) == text_of(expected)
        assert found[-1].usage == expected[-1].usage
        assert [len(c.logprobs) for c in found] == [len(c.logprobs) for c in expected]
    assert list(leaving)[-1].finish_reason == "cancelled"
    assert engine.stats().active == engine.stats().waiting == 0
    engine.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_on_a_gpu_a_row_does_not_depend_on_its_neighbours(
    network: Any, adapter: Path, precision: Any
) -> None:
    size: dict[str, Any] = {"slots": 40, "context": 512, "ranks": 4}
    decoder = graph_decoder(network.to("cuda"), **size, precision=precision)
    decoder.adapt(slice(0, 4), read_adapter(adapter))

    def logits(slots: list[int]) -> torch.Tensor:
        ranks = [slice(0, 4) if slot % 2 else None for slot in slots]
        for slot, own in zip(slots, ranks, strict=True):
            decoder.prefill(slot, [(3 * n + slot) % 250 for n in range(20 + 9 * slot)], own)
        found: torch.Tensor = decoder.step(torch.tensor([7 + slot for slot in slots]), slots)
        return found

    among_all = logits(list(range(40)))
    for slots in ([3], [38], [2, 3, 39], list(range(5, 22))):
        assert torch.equal(logits(slots), among_all[slots])

    # Nor does what it is read with: other prompts, in parts, and other requests' tokens.
    ids = [[(3 * n + slot) % 250 for n in range(100 + 9 * slot)] for slot in range(3)]
    alone = [decoder.prefill(slot, ids[slot], slice(0, 4)) for slot in range(3)]
    for slot in range(3):
        decoder.release(slot)
        decoder.admit(slot, ids[slot], slice(0, 4), Draw(Sampling(), 0))
    with torch.inference_mode():
        decoder._logits([Part(0, ids[0], 0, True), Part(1, ids[1][:50], 0, False)], [])
        parts = [Part(1, ids[1][50:], 50, True), Part(2, ids[2], 0, True)]
        among = decoder._logits(parts, [10, 30])
    assert torch.equal(among[:2], torch.stack(alone[1:]))
    network.to("cpu")


@pytest.fixture
def small(network: Any, base: str) -> Iterator[LocalEngine]:
    """An engine whose cache holds ten pages, of three requests."""
    decoder = TorchDecoder(
        network, slots=3, context=128, precision="float32", ranks=4, tokens=10 * PAGE
    )
    engine = LocalEngine(decoder, Chat(load_tokenizer(base)), rank=4)
    yield engine
    engine.close()


def test_a_full_cache_makes_a_request_wait_and_loses_nothing(small: LocalEngine) -> None:
    prompts = [list(range(100 + 30 * n, 140 + 30 * n)) for n in range(4)]
    penalised = Sampling(max_new_tokens=70, temperature=0.8, seed=5, repetition_penalty=1.3)
    wanted = [
        Sampling(max_new_tokens=70, temperature=0),
        Sampling(max_new_tokens=70, temperature=0.8, seed=4, logprobs=1),
        replace(penalised, frequency_penalty=1.0, presence_penalty=0.5),
        Sampling(max_new_tokens=70, temperature=0.8, seed=6, logprobs=1, echo=True),
    ]
    alone = [list(small.submit(ids, one)) for ids, one in zip(prompts, wanted, strict=True)]

    streams = [small.submit(ids, one) for ids, one in zip(prompts, wanted, strict=True)]
    together = [list(stream) for stream in streams]

    assert small.stats().preempted > 0
    assert [text_of(one) for one in together] == [text_of(one) for one in alone]
    assert [one[-1].usage for one in together] == [one[-1].usage for one in alone]
    counts = [
        [sum(len(chunk.logprobs) for chunk in one) for one in ones] for ones in (together, alone)
    ]
    assert counts[0] == counts[1]
    echoes = [chunk.echo for chunk in together[-1] if chunk.echo]
    assert [len(echo.logprobs) for echo in echoes] == [39]  # once, although it was read twice
    assert small.decoder.cache.pages.available == 10  # type: ignore[attr-defined]


def test_a_beginning_is_read_once_for_each_version_of_an_adapter(
    small: LocalEngine, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    run = small.decoder.run

    def counting(parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        read.extend(len(part.ids) for part in parts)
        return run(parts, slots)

    monkeypatch.setattr(small.decoder, "run", counting)
    small.add("mine", read_adapter(adapter))
    system = list(range(50, 50 + 2 * PAGE + 3))

    def tokens_read(ids: list[int], model: str) -> int:
        read.clear()
        assert (
            list(small.submit(ids, Sampling(max_new_tokens=1, temperature=0), model=model))[
                -1
            ].error
            is None
        )
        return sum(read)

    assert tokens_read([*system, 1, 2], "mine") == 2 * PAGE + 5
    assert tokens_read([*system, 7], "mine") == 4
    assert tokens_read([*system, 7], "base") == 2 * PAGE + 4
    small.remove("mine")
    small.add("mine", read_adapter(adapter))
    assert tokens_read([*system, 7], "mine") == 2 * PAGE + 4


def test_a_long_prompt_is_read_beside_the_tokens_of_others(
    small: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, int]] = []
    run = small.decoder.run

    def watching(parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        passes.append((sum(len(part.ids) for part in parts), len(slots)))
        return run(parts, slots)

    monkeypatch.setattr(small.decoder, "run", watching)
    monkeypatch.setattr(small.decoder, "pass_tokens", 8)
    first = small.submit([1, 2, 3], Sampling(max_new_tokens=30, temperature=0))
    chunks = iter(first)
    next(chunks)
    long = list(range(100, 150))
    second = list(small.submit(long, Sampling(max_new_tokens=3, temperature=0)))
    list(chunks)

    assert (8, 1) in passes
    assert max(tokens for tokens, _ in passes) == 8
    monkeypatch.setattr(small.decoder, "pass_tokens", 128)
    assert text_of(second) == text_of(
        list(small.submit(long[:], Sampling(max_new_tokens=3, temperature=0)))
    )


def test_an_adapter_can_be_replaced_and_one_of_other_layers_is_refused(
    network: Any, adapter: Path
) -> None:
    decoder = TorchDecoder(network, slots=1, context=64, precision="float32", ranks=8)
    plain = decoder.prefill(0, [1, 2, 3], None)

    decoder.adapt(slice(4, 8), read_adapter(adapter))
    adapted = decoder.prefill(0, [1, 2, 3], slice(4, 8))
    decoder.adapt(slice(0, 4), read_adapter(adapter))

    torch.testing.assert_close(decoder.prefill(0, [1, 2, 3], slice(0, 4)), adapted)
    torch.testing.assert_close(decoder.prefill(0, [1, 2, 3], None), plain)
    assert not torch.allclose(adapted, plain, atol=0.1)
    decoder.adapt(slice(4, 8), {})
    torch.testing.assert_close(decoder.prefill(0, [1, 2, 3], slice(4, 8)), plain)
    with pytest.raises(ConfigError, match=r"adapter on 9\.q_proj: no such layer"):
        decoder.adapt(slice(0, 4), {"9.q_proj": (torch.zeros(4, 128), torch.zeros(128, 4))})


def test_adapter_files_that_are_damaged_or_of_another_kind_are_refused(
    adapter: Path, tmp_path: Path
) -> None:
    def changed(name: str) -> Path:
        return Path(shutil.copytree(adapter, tmp_path / name))

    truncated = changed("truncated")
    weights = truncated / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    pickled = changed("pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    dora = changed("dora")
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))

    patterned = changed("patterned")
    pattern = {"alpha_pattern": {"q_proj": 4}}
    (patterned / "adapter_config.json").write_text(json.dumps(config | pattern))
    empty = changed("empty")
    save_file({}, empty / "adapter_model.safetensors")
    changed_since = changed("changed_since")
    metadata = json.loads((changed_since / "fitbot.json").read_text())
    sha256 = {"adapter_model.safetensors": "0" * 64}
    (changed_since / "fitbot.json").write_text(json.dumps(metadata | {"sha256": sha256}))
    endless = changed("endless")
    tensors = load_file(endless / "adapter_model.safetensors")
    first = next(name for name in tensors if "lora_A" in name)
    save_file(
        tensors | {first: tensors[first] * float("inf")}, endless / "adapter_model.safetensors"
    )
    narrow = changed("narrow")
    save_file(tensors | {first: tensors[first][:1].clone()}, narrow / "adapter_model.safetensors")
    ranked = {}
    for rank in ("none", 0, "four"):
        ranked[rank] = changed(f"rank_{rank}")
        other = {key: value for key, value in config.items() if key != "r"}
        other |= {} if rank == "none" else {"r": rank}
        (ranked[rank] / "adapter_config.json").write_text(json.dumps(other))

    for folder, message in [
        (changed_since, "not the file that was exported"),
        (truncated, "cannot be read"),
        (pickled, "only adapter_model.safetensors is read, and adapter_model.bin is there"),
        (dora, "only plain LoRA"),
        (patterned, "only plain LoRA of one rank"),
        (empty, "does not hold LoRA's A and B"),
        (endless, "holds what is no finite number"),
        (narrow, "is not of rank 4, as its config says"),
        (ranked["none"], "cannot be read: adapter_config.json lacks r"),
        (ranked[0], "only plain LoRA of one rank"),
        (ranked["four"], 'only plain LoRA of one rank .* says r "four"'),
        (tmp_path, r"no fitbot\.json there"),
    ]:
        with pytest.raises(AdapterError, match=message):
            open_engine(folder)


def test_a_servers_adapter_is_asked_unless_its_base_is_named() -> None:
    vllm: Any = SimpleNamespace(models=("base", "other", "fitbot"))  # in vLLM's order
    with serving(vllm) as url:
        engine, base = RemoteEngine(url), RemoteEngine(url, models=["base"])
        engine.close()
        base.close()

    assert engine.models == ("fitbot", "base", "other")
    assert base.models == ("base",)
