"""An export for Ollama: its template is the base's; llama.cpp answers with it as fitbot does."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from fitbot.__main__ import main
from fitbot.errors import ConfigError
from fitbot.export.go_template import turns_of
from fitbot.export.ollama import export_ollama
from fitbot.generation.loading import open_engine
from fitbot.generation.messages import Sampling
from fitbot.pairs.formats import Message
from fitbot.pairs.template import Template
from tests.conftest import SYSTEM
from tests.generation.test_engines import write_adapter

pytest.importorskip("gguf")
needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs llama.cpp"
)

TALKS = [
    ["Is tofu vegan?"],
    ["Is tofu vegan?", "Yes {{ of course }}.", 'And "seitan"?'],
    ["One\n\nand two", "Ok.", "Three?", "Ok.", "Four?"],
]
CHATML = """{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{{- message.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
LLAMA3 = """{{- '<|begin|>' }}{%- if messages[0].role == 'system' %}
{%- set system = messages[0].content %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|im_start|>system\\n\\nToday Date: ' + strftime_now('%d %b %Y') + '\\n\\n' + system }}
{{- '<|im_end|>' }}{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n\\n' + message.content | trim + '<|im_end|>' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"""
# Gemma and Mistral have no system turn of their own: it stands before the first question.
GEMMA = """{{- '<|begin|>' }}{%- if messages[0].role == 'system' %}
{%- set first = messages[0].content + '\\n\\n' %}{%- set messages = messages[1:] %}
{%- else %}{%- set first = '' %}{%- endif %}{%- for message in messages %}
{{- '<|im_start|>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}
{{- (first if loop.first else '') + message.content | trim + '<|im_end|>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>model\\n' }}{%- endif %}"""
MISTRAL = """{{- '<|begin|>' }}{%- if messages[0].role == 'system' %}
{%- set first = messages[0].content + '\\n\\n' %}{%- set messages = messages[1:] %}
{%- else %}{%- set first = '' %}{%- endif %}{%- for message in messages %}
{%- if message.role == 'user' %}{{- '[INST] ' + (first if loop.first else '') }}
{{- message.content + '[/INST]' }}{%- else %}{{- ' ' + message.content + '<|im_end|>' }}
{%- endif %}{%- endfor %}"""
PHI = """{%- for message in messages %}
{{- '<|' + message.role + '|>\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}"""
DEFAULT = "{%- if messages[0].role != 'system' %}{{- 'You are nice.\\n' }}{%- endif %}" + CHATML
# Mistral's newer ones: the system prompt moves on to the last question.
LAST = """{%- if messages[0].role == 'system' %}{%- set first = messages[0].content + '\\n\\n' %}
{%- set messages = messages[1:] %}{%- else %}{%- set first = '' %}{%- endif %}
{%- for message in messages %}{%- if message.role == 'user' %}{{- '[INST] ' }}
{{- (first if loop.last else '') + message.content + '[/INST]' }}
{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}{%- endfor %}"""
NO_SYSTEM = "{%- if messages[0].role == 'system' %}{{ raise_exception('no') }}{%- endif %}" + CHATML


def turns(talk: list[str], system: str | None) -> list[Message]:
    said = [Message("system", system)] if system else []
    roles = ("user", "assistant") * len(talk)
    return said + [Message(role, text) for role, text in zip(roles, talk, strict=False)]


def tokenizer_of(base: str, template: str | None) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


# -- what Go makes of a template -------------------------------------------------------------------


def run_go(text: str, messages: list[Message]) -> str:
    """Execute what the exports use of Go's template language, as its documentation has it."""
    text = re.sub(r"\s*\{\{-", "{{", text)  # a trim marker takes the blanks before it
    pieces = re.split(
        r"\{\{ *((?:\"(?:[^\"\\]|\\.)*\"|[^}])*?) *\}\}", text
    )  # text, action, text ...
    assert pieces[:2] == ["", "range $i, $turn := .Messages"]
    assert pieces[-2:] == ["end", ""]
    return "".join(_run_turn(pieces[2:-2], index, messages) for index in range(len(messages)))


def _run_turn(pieces: list[str], index: int, messages: list[Message]) -> str:
    """Execute the body of the range; `branches` holds of each open if: is it on, was one on."""
    output, branches = "", list[tuple[bool, bool]]()
    for number, piece in enumerate(pieces):
        word, _, rest = piece.partition(" ")
        if number % 2 == 0 or word not in ("if", "else", "end", "$last"):
            written = piece if number % 2 == 0 else _value(piece, index, messages)
            output += written if all(on for on, _ in branches) else ""
        elif word == "if":
            found = _value(rest, index, messages)
            branches.append((found, found))
        elif word == "else":
            _, done = branches.pop()
            found = not done and _value(rest.removeprefix("if "), index, messages)
            branches.append((found, done or found))
        elif word == "end":
            branches.pop()
    return output


def _value(expression: str, index: int, messages: list[Message]) -> Any:
    if expression.startswith('"'):
        return json.loads(expression)
    if found := re.fullmatch(r'eq \.Role "(\w+)"', expression):
        return messages[index].role == found[1]
    last = index == len(messages) - 1  # eq (len (slice $.Messages $i)) 1
    return {
        ".Content": messages[index].content,
        "eq $i 0": index == 0,
        "$last": last,
        "not $last": not last,
    }[expression]


def parse_modelfile(text: str) -> dict[str, list[str]]:
    """Read a Modelfile: instructions, and what follows them, which triple quotes may hold."""
    found: dict[str, list[str]] = {}
    rule = r'^(FROM|TEMPLATE|SYSTEM|PARAMETER) (?:"""(.*?)"""|(.*?))$'
    matches = list(re.finditer(rule, text, re.M | re.S))
    assert "\n".join(match[0] for match in matches) + "\n" == text  # and nothing besides
    for match in matches:
        found.setdefault(match[1], []).append(match[3] if match[2] is None else match[2])
    return found


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(None, id="qwen3"),
        pytest.param(CHATML, id="chatml"),
        pytest.param(DEFAULT, id="default system prompt"),
        pytest.param(LLAMA3, id="llama3"),
        pytest.param(GEMMA, id="gemma"),
        pytest.param(MISTRAL, id="mistral"),
        pytest.param(PHI, id="phi"),
    ],
)
def test_gos_template_writes_what_the_bases_writes(base: str, template: str | None) -> None:
    own = Template(tokenizer_of(base, template), "2031-05-06")
    go = turns_of(own).in_go()

    for talk in TALKS:
        for system in (None, 'Be "brief".\nSay {{ it }}.'):
            assert run_go(go, turns(talk, system)) == own.render(turns(talk, system))
    # An answer that comes last is one to go on with.
    assert run_go(go, turns(["Hi?", "We"], None)).endswith("We")


@pytest.mark.parametrize("template", [LAST, NO_SYSTEM])
def test_a_template_that_is_no_sequence_of_turns_is_refused(base: str, template: str) -> None:
    with pytest.raises(ConfigError, match=r"a plain sequence of turns.* llama-server --jinja"):
        turns_of(Template(tokenizer_of(base, template), None))


# -- the folder ------------------------------------------------------------------------------------


@pytest.fixture
def adapter(base: str, tmp_path: Path) -> Path:
    """An adapter whose base's template writes a beginning of text and the day."""
    source = Path(shutil.copytree(base, tmp_path / "base"))
    tokenizer = tokenizer_of(base, LLAMA3)
    tokenizer.save_pretrained(source)
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    write_adapter(folder, str(source))
    metadata = json.loads((folder / "fitbot.json").read_text())
    metadata["data"]["date"] = "2031-05-06"
    metadata["answers"] = {"temperature": 0.3, "top_p": 0.8, "max_new_tokens": 77}
    (folder / "fitbot.json").write_text(json.dumps(metadata))
    return folder


def test_the_modelfile_says_what_the_run_had(adapter: Path) -> None:
    assert main(["export", str(adapter), "--target", "ollama", "--gguf", "f16"]) == 0

    out = adapter.with_name("adapter-ollama")
    said = parse_modelfile((out / "Modelfile").read_text(encoding="utf-8"))
    assert said["FROM"] == ["./model.gguf"]
    assert said["SYSTEM"] == [SYSTEM]
    assert "06 May 2031" in said["TEMPLATE"][0]
    assert set(said["PARAMETER"]) == {
        *('stop "<|im_end|>"', "temperature 0.3", "top_p 0.8", "num_predict 77", "num_ctx 4096"),
        *("top_k 0", "min_p 0", "repeat_penalty 1"),
        *(f'stop "{begun}"' for begun in ("<|begin|>", "<|im_start|>", "<|endoftext|>")),
    }
    told = json.loads((out / "fitbot.json").read_text())["gguf"]
    assert told["kind"] == "f16"
    assert set(told["sha256"]) == {"model.gguf"}
    assert "ollama create" in (out / "README.md").read_text()
    assert {file.name for file in out.iterdir()} == {
        *("Modelfile", "model.gguf", "README.md", "fitbot.json"),
    }


def test_a_system_prompt_that_a_modelfile_cannot_hold_is_refused(adapter: Path) -> None:
    metadata = json.loads((adapter / "fitbot.json").read_text())
    metadata["data"]["system_prompt"] = 'Say """ often.'
    (adapter / "fitbot.json").write_text(json.dumps(metadata))

    with pytest.raises(ConfigError, match='SYSTEM holds """'):
        export_ollama(adapter, adapter.with_name("out"), "f16")
    assert not adapter.with_name("out").exists()


@needs_llama
def test_an_adapter_that_the_precision_swallows_is_said(
    adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coarse = export_ollama(adapter, adapter.with_name("out"), "q8_0")["drift"]
    exact = export_ollama(adapter, adapter.with_name("out"), "f32")["drift"]
    assert exact["effect_kept"] == pytest.approx(1, abs=1e-3)
    assert coarse["effect_kept"] == pytest.approx(1, abs=0.1)
    assert "too coarse for this adapter" not in caplog.text

    weights = load_file(adapter / "adapter_model.safetensors")
    faint = {name: weight / (100 if "lora_B" in name else 1) for name, weight in weights.items()}
    save_file(faint, adapter / "adapter_model.safetensors")
    export_ollama(adapter, adapter.with_name("out"), "q4_0")

    assert "q4_0 is too coarse for this adapter" in caplog.text


# -- llama.cpp's answers ---------------------------------------------------------------------------


def ask_llama(folder: Path, prompts: list[str], count: int) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each prompt and of its answer, both as a server like Ollama has them."""
    import xllamacpp

    said = parse_modelfile((folder / "Modelfile").read_text(encoding="utf-8"))
    stops = [json.loads(one.removeprefix("stop ")) for one in said["PARAMETER"] if "stop" in one]
    options = xllamacpp.CommonParams()
    options.model.path = str(folder / said["FROM"][0])
    options.verbosity, options.n_ctx, options.fit_params = 0, 1024, False
    types = xllamacpp.ggml_type
    options.cache_type_k = options.cache_type_v = types.GGML_TYPE_F32
    options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    url = (server := xllamacpp.Server(options)).listening_address
    found = []
    for prompt in prompts:
        wanted: dict[str, Any] = {"content": prompt, "add_special": True, "parse_special": True}
        ids = httpx.post(f"{url}/tokenize", json=wanted).json()["tokens"]
        wanted = {"prompt": prompt, "temperature": 0, "n_predict": count, "return_tokens": True}
        answer = httpx.post(f"{url}/completion", json=wanted | {"stop": stops}, timeout=60).json()
        found.append((ids, answer["tokens"]))
    del server
    return found


def answers_of_fitbot(
    adapter: Path | None, talks: list[list[str]], count: int
) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each prompt and of its answer, which are the engine's text."""
    merged = adapter is not None
    engine = open_engine(adapter, slots=1, context=1024, precision="float32", merged=merged)
    decoder: Any = engine.decoder
    found = []
    for talk in talks:
        messages = turns(talk, None)  # the engine puts the run's system prompt before them
        ids, _ = engine.chat.encode_prompt(messages, 1024)
        sampling = Sampling(max_new_tokens=count, temperature=0)
        text = "".join(chunk.text for chunk in engine.submit(messages, sampling))
        drawn = [decoder.prefill(0, ids, None).argmax().item()]
        while drawn[-1] not in engine.chat.ends and len(drawn) < count:
            drawn.append(decoder.step(torch.tensor(drawn[-1:]), [0])[0].argmax().item())
        assert engine.chat.tokenizer.decode(drawn, skip_special_tokens=True).startswith(text)
        found.append((ids, drawn))
    engine.close()
    return found


@needs_llama
@pytest.mark.parametrize("which", ["embedded", "llama3"])
def test_llama_cpp_answers_token_for_token_as_fitbot(
    which: str, adapter: Path, tmp_path: Path
) -> None:
    asked = None if which == "embedded" else adapter
    begin = AutoTokenizer.from_pretrained(tmp_path / "base").bos_token_id
    out = tmp_path / "out"
    export_ollama(asked, out, "f32")
    said = parse_modelfile((out / "Modelfile").read_text(encoding="utf-8"))
    prompts = [run_go(said["TEMPLATE"][0], turns(talk, said["SYSTEM"][0])) for talk in TALKS]

    found = ask_llama(out, prompts, 24)

    expected = answers_of_fitbot(asked, TALKS, 24)
    for (ids, drawn), (own_ids, own_drawn) in zip(found, expected, strict=True):
        assert ids == own_ids
        assert drawn == own_drawn
        assert len(drawn) > 5
        assert ids.count(begin) == (which == "llama3")
