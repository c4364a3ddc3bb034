"""GGUF files hold the network, its tokenizer and its adapter, as llama.cpp and gguf read them."""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from fitbot.__main__ import main
from fitbot.base_model import gguf_file
from fitbot.errors import AdapterError, ConfigError
from fitbot.export.gguf import export_gguf
from fitbot.generation.decoders.llama_decoder import LARGEST_RANK, LlamaDecoder, score_forced
from fitbot.generation.loading import open_engine, open_llama_engine
from fitbot.generation.merging import merge
from fitbot.generation.messages import Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.pairs.formats import Message
from tests.conftest import ROOT, SYSTEM
from tests.families import FAMILIES, write_family
from tests.generation.test_engines import write_adapter
from tests.tiny_model import MAX_LENGTH, chat_tokenizer

gguf = pytest.importorskip("gguf")
needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs llama.cpp"
)

STRINGS = [
    "How much protein do I need a day, at 70.5 kg?",
    "It's   1234567 steps\n\n\nin 3 days\t\t— isn't THAT fine?!  ",
    "  leading,trailing   \r\n x\u00a0y",
    "naïve café — 東京タワー 🏋️‍♀️ ½ ²³ ٣٤٥ हिन्दी",
    "I'LL he'd we'Re don’t",
    "<think>hm</think>",
    "",
]


@pytest.fixture(scope="module")
def folder(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter's folder; nobody changes it."""
    folder = tmp_path_factory.mktemp("exported")
    write_adapter(folder, base)
    return folder


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


@pytest.fixture(scope="module")
def network(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def small_llama(tokenizer: PreTrainedTokenizerBase, **more: Any) -> Any:
    """A random Llama whose heads are grouped, whose head is its own, whose positions are scaled."""
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.125,
        eos_token_id=tokenizer.eos_token_id,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
        **(size | more),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def write(file: Path, network: Any, chat: Chat, kind: Any) -> None:
    gguf_file.write_base(file, network, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)


def noise(*sizes: int) -> torch.Tensor:
    return 0.2 * torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes)))


# -- the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "largest"), [("f32", 0.0), ("f16", 2**-11), ("q8_0", 1 / 254), ("q4_0", 1 / 8)]
)
def test_a_file_holds_the_networks_weights_within_the_steps_of_its_kind(
    network: Any, chat: Chat, tmp_path: Path, kind: Any, largest: float
) -> None:
    write(tmp_path / "base.gguf", network, chat, kind)

    reader = gguf.GGUFReader(tmp_path / "base.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors.keys() == {
        *("token_embd.weight", "output_norm.weight"),  # the head is the embedding
        *(
            f"blk.{number}.{name}.weight"
            for number in range(2)
            for name in (
                *("attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm"),
                *("attn_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
            )
        ),
    }
    for name, weight in {
        "token_embd.weight": network.model.embed_tokens.weight,
        "blk.1.attn_k.weight": network.model.layers[1].self_attn.k_proj.weight,
        "blk.0.ffn_down.weight": network.model.layers[0].mlp.down_proj.weight,
    }.items():
        found = torch.from_numpy(
            gguf.dequantize(tensors[name].data, tensors[name].tensor_type).copy()
        )
        expected = weight.detach().unflatten(1, (-1, 32))  # blocks with a scale each
        steps = expected.abs().amax(-1, keepdim=True) * (1.001 if largest else 0)
        of_embedding = kind == "q4_0" and name.startswith("token")
        allowed = (1 / 254 if of_embedding else largest) * steps
        # The scale itself is rounded to 16 bits.
        assert ((found.unflatten(1, (-1, 32)) - expected).abs() <= allowed + 2e-3 * steps).all()


@needs_llama
def test_q4_k_m_has_more_bits_where_they_matter_and_other_kinds_where_it_must(
    network: Any, chat: Chat, tmp_path: Path
) -> None:
    eight = {"num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 512}
    wide = small_llama(chat.tokenizer, **eight)
    for name, one in (("wide", wide), ("narrow", network)):
        write(tmp_path / f"{name}.gguf", one, chat, "q4_k_m")
    tensors = {one.name: one for one in gguf.GGUFReader(tmp_path / "wide.gguf").tensors}
    narrow = {one.name: one for one in gguf.GGUFReader(tmp_path / "narrow.gguf").tensors}

    has_more = {
        int(name.split(".")[1])
        for name, one in tensors.items()
        if name.endswith("ffn_down.weight") and one.tensor_type.name == "Q6_K"
    }
    assert has_more == {0, 3, 6, 7}  # as llama-quantize has them
    kinds = {name: one.tensor_type.name for name, one in tensors.items()}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q4_K", "Q6_K")
    assert (kinds["blk.3.attn_v.weight"], kinds["blk.3.attn_q.weight"]) == ("Q6_K", "Q4_K")
    assert narrow["token_embd.weight"].tensor_type.name == "Q8_0"  # it is the head
    assert narrow["blk.0.attn_q.weight"].tensor_type.name == "Q5_0"
    for name, weight, largest in (
        ("blk.3.ffn_down.weight", wide.model.layers[3].mlp.down_proj.weight, 0.03),
        ("blk.4.ffn_down.weight", wide.model.layers[4].mlp.down_proj.weight, 0.1),
    ):
        found = gguf.dequantize(tensors[name].data, tensors[name].tensor_type)
        expected = weight.detach()
        assert (torch.from_numpy(found.copy()) - expected).norm() < largest * expected.norm()


def test_q4_k_m_is_refused_where_its_function_is_hidden(
    network: Any, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp.xllamacpp", None)
    wide = small_llama(chat.tokenizer, hidden_size=256, intermediate_size=512)

    with pytest.raises(ConfigError, match="q4_k_m cannot be written here, as xllamacpp is missing"):
        write(tmp_path / "base.gguf", wide, chat, "q4_k_m")


def test_an_adapter_is_a_file_of_its_own_in_float32(own: Path, capsys: Any) -> None:
    assert main(["export", str(own), "--gguf", "q8_0"]) == 0

    reader = gguf.GGUFReader(own / "adapter.gguf")
    told = json.loads((own / "fitbot.json").read_text())["gguf"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 * 2 * 7
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F32"}
    assert tensors["blk.0.ffn_up.weight.lora_a"].data.shape == (4, 128)
    assert reader.get_field("adapter.type").contents() == "lora"
    assert reader.get_field("adapter.lora.alpha").contents() == 4  # the rank: B is scaled already
    assert told["kind"] == "q8_0"
    assert set(told["sha256"]) == {"base.gguf", "adapter.gguf"}


@needs_llama
def test_an_export_tells_how_far_llama_cpp_is_from_transformers(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        exact = export_gguf(own, "f32")["drift"]
        coarse = export_gguf(own, "q4_0")["drift"]

    assert exact["tokens"] == coarse["tokens"] > 50
    assert exact["mean_nats"] <= exact["max_nats"] < 1e-3
    assert exact["same_token"] == 1
    assert 0.01 < coarse["mean_nats"] < 1
    assert json.loads((own / "fitbot.json").read_text())["gguf"]["drift"] == coarse
    assert f"{coarse['mean_nats']:.5f} nats from those of transformers" in caplog.text
    assert [
        record.levelname for record in caplog.records if "q4_0 is coarse" in record.message
    ] == ["WARNING"]


def test_without_llama_cpp_an_export_says_that_it_was_not_checked(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else find(name)
    )

    told = export_gguf(own, "f16")

    assert told["drift"] is None
    assert "were not checked" in caplog.text


def test_a_network_or_a_tokenizer_that_gguf_cannot_hold_is_refused(
    network: Any, chat: Chat, tmp_path: Path
) -> None:
    file = tmp_path / "base.gguf"
    biased = small_llama(chat.tokenizer, attention_bias=True)
    narrow = Qwen3ForCausalLM(
        Qwen3Config(**(network.config.to_dict() | {"intermediate_size": 40, "dtype": None}))
    )
    scaled = Qwen3ForCausalLM(network.config)
    scaled.model.rotary_emb.inv_freq = scaled.model.rotary_emb.inv_freq / 2
    sliding = Qwen3ForCausalLM(deepcopy(network.config))
    sliding.config.use_sliding_window = True

    for model, kind, message in [
        (biased, "f16", r"self_attn\.q_proj\.bias cannot be written"),
        (narrow, "q8_0", r"has rows of 40, q8_0 wants multiples of 32"),
        (scaled, "f16", "positions scaled by 'default'"),
        (sliding, "f16", "only qwen3, llama, qwen2 and mistral without sliding windows"),
    ]:
        with pytest.raises(ConfigError, match=message):
            write(file, model, chat, kind)
    strange = trained_tokenizer(pre_tokenizers.Punctuation())
    with pytest.raises(ConfigError, match="splits words by rules"):
        write(file, network, Chat(strange), "f16")


# -- the tokenizer --------------------------------------------------------------------------------


def trained_tokenizer(words: Any) -> Any:
    """A tokenizer with merges, so that it matters where words end."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tokenizer.train_from_iterator([text, *STRINGS * 3], trainer)
    return chat_tokenizer(tokenizer, MAX_LENGTH)


def split(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), PLAIN])


def tokens_of_llama(server: Any, text: str, *, special: bool) -> list[int]:
    wanted = {"content": text, "add_special": False, "parse_special": special}
    found: list[int] = httpx.post(f"{server.listening_address}/tokenize", json=wanted).json()[
        "tokens"
    ]
    return found


@needs_llama
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(None, id="fitbot-tiny"),
        pytest.param(PLAIN, id="gpt-2"),
        pytest.param(DIGITS, id="smollm"),
        pytest.param(split(gguf_file.QWEN2), id="qwen2"),
        pytest.param(split(gguf_file.LLAMA3), id="llama-bpe"),
    ],
)
def test_llama_cpp_makes_the_same_tokens_of_a_text(words: Any, tmp_path: Path) -> None:
    tokenizer: Any = load_tokenizer("embedded") if words is None else trained_tokenizer(words)
    chat = Chat(tokenizer, system_prompt=SYSTEM)
    network = small_llama(tokenizer)
    write(tmp_path / "base.gguf", network, chat, "f16")
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = str(tmp_path / "base.gguf")
    options.verbosity, options.n_ctx, options.fit_params = 0, 256, False
    server = xllamacpp.Server(options)

    for text in STRINGS:
        found = tokens_of_llama(server, text, special=False)
        assert found == tokenizer(text, add_special_tokens=False)["input_ids"]
    turns = [{"role": "user", "content": STRINGS[0]}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    expected = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert chat.end_of_turn_id in expected
    assert tokens_of_llama(server, rendered, special=True) == expected


# -- llama.cpp's answers --------------------------------------------------------------------------


def scores(network: Any, ids: list[int], prompt: int) -> tuple[torch.Tensor, list[int]]:
    """The log-prob of each token after the prompt, and the likeliest ones, as transformers says."""
    with torch.no_grad():
        logps = network(input_ids=torch.tensor([ids])).logits[0, prompt - 1 : -1].log_softmax(-1)
    own = logps.gather(-1, torch.tensor(ids[prompt:])[:, None])[:, 0]
    return own, logps.argmax(-1).tolist()


def open_file(file: Path, network: Any, chat: Chat, kind: Any, **size: Any) -> LocalEngine:
    """Start answering with a base that was written."""
    decoder = LlamaDecoder(file, network.config, chat, kind, **size)
    decoder.warm_up()
    return LocalEngine(decoder, chat, rank=LARGEST_RANK)


@needs_llama
@pytest.mark.parametrize("architecture", ["qwen3", "llama", "Qwen2.5", "Mistral"])
def test_log_probs_are_the_networks_with_adapters_and_without(
    network: Any, base: str, chat: Chat, tmp_path: Path, architecture: str
) -> None:
    plain = network if architecture == "qwen3" else small_llama(chat.tokenizer)
    if architecture in FAMILIES:
        folder = write_family(tmp_path / "base", architecture, base)
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tuned = deepcopy(plain)
    attention = plain.model.layers[0].self_attn
    weights = {
        f"1.{name}": (noise(4, layer.in_features), noise(layer.out_features, 4))
        for name in ("q_proj", "k_proj", "o_proj")
        for layer in [getattr(attention, name)]
    }
    merge(tuned, weights)
    ids = torch.randint(0, 250, (640,), generator=torch.Generator().manual_seed(0)).tolist()
    write(tmp_path / "base.gguf", plain, chat, "f32")
    decoder = LlamaDecoder(tmp_path / "base.gguf", plain.config, chat, "f32", slots=3, context=700)
    servers = decoder.open(), decoder.open(weights)
    decoder.close()

    # A prompt longer than llama.cpp takes at once, and a short one; in turns by both servers.
    for length in (600, 10):
        told = []
        for server, net in zip(servers, (plain, tuned), strict=True):
            expected, likeliest = scores(net, ids[: length + 10], length)
            found = score_forced(server, ids[:length], ids[length : length + 10])
            told.append(torch.tensor([own for own, _ in found]))
            torch.testing.assert_close(told[-1], expected, atol=1e-3, rtol=0)
            assert [token for _, token in found] == likeliest
        assert (told[0] - told[1]).abs().max() > 0.5


@needs_llama
@pytest.mark.parametrize(("kind", "within"), [("q8_0", 0.0), ("q4_k_m", 1e-4), ("q4_0", 0.0)])
def test_quantised_answers_do_not_depend_on_who_else_asks(
    network: Any, chat: Chat, tmp_path: Path, kind: Any, within: float
) -> None:
    if kind == "q4_k_m":
        network = small_llama(chat.tokenizer, hidden_size=256, intermediate_size=512)
    write(tmp_path / "base.gguf", network, chat, kind)
    engine = open_file(tmp_path / "base.gguf", network, chat, kind, slots=6, context=64)

    def logprobs(numbers: list[int]) -> list[list[float]]:
        streams = [
            engine.submit(
                list(range(10 * number, 10 * number + 12)),
                Sampling(max_new_tokens=20, temperature=0.9, seed=number, logprobs=0),
            )
            for number in numbers
        ]
        return [[one.logprob for chunk in stream for one in chunk.logprobs] for stream in streams]

    alone = logprobs([2])[0]
    assert len(alone) > 1
    for others, place in (([5, 2, 0], 1), ([0, 1, 2, 3, 4, 5], 2)):
        assert logprobs(others)[place] == pytest.approx(alone, abs=within, rel=0)
    engine.close()


@needs_llama
def test_an_answer_may_fill_its_context(network: Any, chat: Chat, tmp_path: Path) -> None:
    write(tmp_path / "base.gguf", network, chat, "f32")
    engine = open_file(tmp_path / "base.gguf", network, chat, "f32", slots=2, context=256)
    for length in (220, 254, 255):
        streams = [
            engine.submit(list(range(length)), Sampling(temperature=1, seed=seed))
            for seed in range(4)
        ]
        for last in [list(stream)[-1] for stream in streams]:
            assert last.usage is not None
            assert last.usage.budget == 256 - length
            if last.finish_reason != "stop":
                assert last.finish_reason == "length", last.error
                assert last.usage.completion == last.usage.budget
    assert engine.health() is None
    engine.close()


@needs_llama
@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (None, "the sun went out"),
        ({"error": {"message": "no room"}}, "llama.cpp: no room"),
        (
            {"choices": [{"text": "5,", "logprobs": None, "finish_reason": "length"}]},
            "before it was complete",
        ),
    ],
)
def test_when_llama_cpp_fails_the_answer_says_why(
    network: Any, chat: Chat, tmp_path: Path, sent: Any, why: str
) -> None:
    def fail(wanted: dict[str, Any], read: Any) -> None:
        if sent is None:
            raise ZeroDivisionError("the sun went out")
        assert read(sent)

    write(tmp_path / "base.gguf", network, chat, "f32")
    engine = open_file(tmp_path / "base.gguf", network, chat, "f32", slots=1, context=64)
    assert isinstance(engine.decoder, LlamaDecoder)
    engine.decoder.servers[None] = SimpleNamespace(handle_completions=fail)

    last = list(engine.submit([1, 2, 3], Sampling()))[-1]

    assert last.finish_reason == "error"
    assert why in (last.error or "")
    assert why in (engine.health() or "")
    engine.close()


@needs_llama
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(
    network: Any, chat: Chat, tmp_path: Path
) -> None:
    write(tmp_path / "base.gguf", network, chat, "f32")
    file, size = tmp_path / "base.gguf", {"slots": 1, "context": 64, "adapters": 2}
    engine = open_file(file, network, chat, "f32", **size)
    engine.add("good", {"0.q_proj": (noise(4, 128), noise(128, 4))})

    def answer() -> str:
        stream = engine.submit([1, 2, 3], Sampling(max_new_tokens=9, temperature=0), model="good")
        return "".join(chunk.text for chunk in stream)

    before = answer()

    for weights in (
        {"9.q_proj": (noise(4, 128), noise(128, 4))},
        {"0.q_proj": (noise(4, 64), noise(128, 4))},
    ):
        with pytest.raises(ConfigError, match=r"llama\.cpp refuses the adapter: .*attn_q"):
            engine.add("bad", weights)

    assert engine.models == ("base", "good")
    assert answer() == before
    engine.close()


@needs_llama
@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_llama_cpp_answers_in_silence_and_leaves_nothing_behind(
    network: Any, chat: Chat, tmp_path: Path, kind: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "base.gguf", network, chat, kind)
    file, size = tmp_path / "base.gguf", {"slots": 2, "context": 512, "adapters": 1}
    engine = open_file(file, network, chat, kind, **size)
    assert isinstance(engine.decoder, LlamaDecoder)
    folder = Path(engine.decoder.servers[None].listening_address.removeprefix("unix://")).parent
    engine.add("second", {"0.q_proj": (noise(4, 128), noise(128, 4))})
    assert folder.stat().st_mode & 0o077 == 0  # nobody else on the machine can ask there

    answers = [
        engine.submit([1, 2, 3], Sampling(max_new_tokens=400, seed=1), model=model)
        for model in ("base", "second", "base")
    ]
    engine.remove("second")
    next(iter(answers[0]))
    answers[0].cancel()
    reasons = [list(answer)[-1].finish_reason for answer in answers]
    engine.close()

    assert reasons[0] == "cancelled"
    assert set(reasons[1:]) <= {"stop", "length"}
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


@needs_llama
def test_tokens_seen_before_are_penalised_as_by_the_embedded_engine(own: Path) -> None:
    export_gguf(own, "f32")
    sampling = Sampling(max_new_tokens=30, temperature=0, repetition_penalty=1.5)
    told = []
    for open_it in (open_engine, open_llama_engine):
        engine: Any = open_it(own, slots=1, context=256)
        stream = engine.submit([Message("user", "Is tofu vegan?")], sampling)
        told.append("".join(chunk.text for chunk in stream))
        engine.close()

    assert told[0] == told[1] != ""


@pytest.mark.slow
@needs_llama
def test_llama_cpp_may_come_before_torch_and_be_left_in_the_middle(own: Path) -> None:
    export_gguf(own, "f32")
    code = f"""
import xllamacpp, torch
from pathlib import Path
from fitbot.generation.loading import open_engine, open_llama_engine
from fitbot.generation.messages import Sampling
torch.randn(512, 512) @ torch.randn(512, 512)
engine = open_llama_engine(Path({str(own)!r}), slots=2, context=256)
stream = engine.submit([1, 2, 3], Sampling(max_new_tokens=9, temperature=0))
print("".join(chunk.text for chunk in stream).encode())
torch.randn(512, 512) @ torch.randn(512, 512)
engine.submit([1, 2, 3], Sampling(max_new_tokens=200))  # nobody waits for it: the process ends
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("b'")


@needs_llama
def test_files_that_are_missing_changed_or_damaged_are_refused(
    own: Path, network: Any, chat: Chat
) -> None:
    export_gguf(own, "q8_0")
    file = own / "base.gguf"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(AdapterError, match=r"base\.gguf is not the file that was exported"):
        open_llama_engine(own)
    file.unlink()
    with pytest.raises(AdapterError, match=r"base\.gguf is not the file that was exported"):
        open_llama_engine(own)
    size: dict[str, Any] = {"slots": 1, "context": 64}
    file.write_bytes(whole[:5000])
    with pytest.raises(ConfigError, match=r"base\.gguf cannot be opened by llama\.cpp: ."):
        LlamaDecoder(file, network.config, chat, "q8_0", **size).open()
    file.write_bytes(whole.replace(b"split.no", b"split.of"))
    with pytest.raises(ConfigError, match=r"by an earlier fitbot; write it again with fitbot"):
        LlamaDecoder(file, network.config, chat, "q8_0", **size)


# -- the commands ---------------------------------------------------------------------------------


@needs_llama
def test_the_embedded_model_answers_at_the_terminal_from_its_gguf_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where no run has left an adapter
    ask = ["chat", "--ask", "Is tofu vegan?", "--temperature", "0", "--max_new_tokens", "40"]

    assert main(["export", "embedded", "--gguf", "f32", "--out", "out"]) == 0
    assert main([*ask, "--backend", "llama", "--adapter", "out"]) == 0
    by_llama = capsys.readouterr().out
    assert main([*ask, "--backend", "torch"]) == 0

    assert {file.name for file in Path("out").iterdir()} == {
        *("base.gguf", "fitbot.json", "README.md"),
    }
    assert by_llama.splitlines()[-1] == capsys.readouterr().out.splitlines()[-1] != ""


def test_contradicting_options_are_refused_in_one_line(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(own), "--merge", "--gguf", "f16"]) == 1
    merged = ["serve", "--adapter", str(own), "--backend", "llama", "--merged"]
    assert main([*merged, "--host", "127.0.0.1"]) == 1
    remote = ["serve", "--adapter", str(own), "--backend", "llama", "--remote", "http://127.0.0.1"]
    assert main([*remote, "--host", "127.0.0.1"]) == 1

    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("fitbot: ")]
    assert "--merge: --target and --gguf want the adapter unmerged" in lines[0]
    assert "--merged: not with --backend llama" in lines[1]
    assert "--backend: not with --remote" in lines[2]
