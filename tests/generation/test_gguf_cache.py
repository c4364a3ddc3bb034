"""On a CPU llama.cpp answers from a file that is written once, or else it is said why not."""

import errno
import importlib.util
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fitbot.base_model.gguf_file import write_base
from fitbot.errors import ConfigError
from fitbot.generation import gguf_cache, loading
from fitbot.generation.decoders.llama_decoder import LlamaDecoder
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from fitbot.generation.loading import open_engine, open_fastest, open_llama_engine
from fitbot.generation.messages import Sampling
from fitbot.serving.engines import open_local
from tests.families import write_family
from tests.generation.test_engines import text_of, write_adapter

needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs llama.cpp"
)
SIZE: dict[str, Any] = {"slots": 2, "context": 256}
PROMPT = list(range(60, 90))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FITBOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture(scope="module")
def adapter(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, base)
    return folder


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the files that are written."""
    found: list[str] = []
    write = write_base

    def writing(file: Path, model: Any, tokenizer: Any, kind: Any, **options: Any) -> None:
        found.append(kind)
        write(file, model, tokenizer, kind, **options)

    monkeypatch.setattr(gguf_cache, "write_base", writing)
    return found


def answer(engine: Any, model: str) -> str:
    wanted = Sampling(max_new_tokens=20, temperature=0)
    return text_of(list(engine.submit(PROMPT, wanted, model=model)))


@needs_llama
def test_a_base_is_written_once_for_each_kind_and_answers_as_fitbots_own_decoder(
    adapter: Path, cache: Path, writes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for opener, kind in ((open_fastest, "f32"), (open_llama_engine, "f32"), (open_engine, None)):
        options: dict[str, Any] = SIZE | ({"quantize": kind} if kind else {})
        with closing(opener(adapter, **options)) as engine:
            assert isinstance(engine.decoder, LlamaDecoder if kind else TorchDecoder)
            said.append([answer(engine, name) for name in ("fitbot", "base")])
    assert said[0] == said[1] == said[2]
    assert said[0][0] != said[0][1]
    assert writes == ["f32"]
    assert "the base is written for llama.cpp in f32, once" in caplog.text

    with closing(open_fastest(adapter, **SIZE)) as engine:
        assert engine.decoder.precision == "q8_0"  # type: ignore[attr-defined]
    assert writes == ["f32", "q8_0"]
    assert sorted(file.suffix for file in cache.iterdir()) == [*[".gguf"] * 2, *[".sha256"] * 2]


@needs_llama
@pytest.mark.parametrize("damage", ["cut", "changed", "not named"])
def test_a_damaged_file_is_found_and_written_anew(
    adapter: Path,
    cache: Path,
    writes: list[str],
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def text() -> str:
        with closing(open_llama_engine(adapter, quantize="f32", **SIZE)) as engine:
            return answer(engine, "base")

    whole = text()
    (file,), (digest,) = cache.glob("*.gguf"), cache.glob("*.sha256")
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        file.write_bytes(content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])
    else:  # a process died between the two
        digest.unlink()

    assert text() == whole
    assert writes == ["f32", "f32"]
    assert ("is damaged and is written anew" in caplog.text) == (damage != "not named")
    assert file.read_bytes() == content


@needs_llama
def test_a_base_that_has_changed_has_another_file(
    base: str, adapter: Path, cache: Path, tmp_path: Path, writes: list[str]
) -> None:
    other = tmp_path / "other"
    family = write_family(tmp_path / "family", "Qwen2.5", base)
    other.mkdir()
    write_adapter(other, str(family))

    for folder in (adapter, other, adapter):
        open_llama_engine(folder, quantize="f32", **SIZE).close()

    assert writes == ["f32", "f32"]
    assert len(list(cache.glob("*.gguf"))) == 2


@needs_llama
def test_on_a_full_disk_the_reason_is_said_and_nothing_is_left(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf_cache, "replace_file", refuse)
    full = r"\.gguf cannot be written: No space left on device; free some space there, let FITBOT_C"

    with pytest.raises(ConfigError, match=full):
        open_llama_engine(adapter, **SIZE)
    with closing(open_fastest(adapter, **SIZE)) as engine:
        assert isinstance(engine.decoder, TorchDecoder)

    assert "by fitbot's own decoder, as llama.cpp cannot" in caplog.text
    assert list(cache.iterdir()) == []


def test_without_llama_cpp_fitbots_decoder_answers_and_says_so(
    adapter: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)

    with closing(open_fastest(adapter, **SIZE)) as engine:
        assert isinstance(engine.decoder, TorchDecoder)
    with pytest.raises(ConfigError, match="--backend llama: xllamacpp is not installed here; run"):
        open_llama_engine(adapter, **SIZE)

    assert "xllamacpp is not installed here; run pip install 'fitbot[cpu]'" in caplog.text


@needs_llama
def test_weights_that_are_merged_or_have_a_precision_are_fitbots_own(
    adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for more in ({"merged": True}, {"precision": "float32", "quantize": "q8_0"}):
        with closing(open_fastest(adapter, **SIZE, **more)) as engine:
            assert isinstance(engine.decoder, TorchDecoder)

    assert "--quantize q8_0 is for llama.cpp, which does not answer" in caplog.text
    with pytest.raises(ConfigError, match="--quantize: not with --backend torch"):
        open_local("torch", adapter, SIZE | {"quantize": "q8_0"})


@needs_llama
def test_a_family_without_such_a_form_is_answered_with_all_the_same(
    base: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(tmp_path, str(write_family(tmp_path / "family", "OLMo 2", base)))

    with closing(open_fastest(tmp_path, **SIZE)) as engine:
        assert not isinstance(engine.decoder, LlamaDecoder)

    assert "as llama.cpp cannot: a base of kind 'olmo2' cannot be written as GGUF" in caplog.text
