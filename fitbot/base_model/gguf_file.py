"""A base and an adapter → GGUF files, which llama.cpp and all that is built on it can load.

The adapter gets a file of its own, so that it is never rounded into the weights: it is float32
beside a base of any precision. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import ctypes
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fitbot.base_model.architecture import (
    FAMILIES,
    Family,
    family_of,
    head_size_of,
    known_families,
    longest_of,
    parts_of,
)
from fitbot.errors import ConfigError
from fitbot.platforms import link_file, load_library

if TYPE_CHECKING:  # the command's help lists the kinds, and must not wait for torch
    from torch import Tensor

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_k_m", "q4_0"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15, "bf16": 32}
BASE_FILE, ADAPTER_FILE = "base.gguf", "adapter.gguf"  # in an adapter's folder

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
# What llama.cpp calls the rules by which text falls into words before it falls into tokens.
_WORD_RULES: dict[tuple[tuple[str, str | bool], ...], str] = {
    (("ByteLevel", True),): "gpt-2",
    (("Digits", True), ("ByteLevel", True)): "smollm",
    (("Split", QWEN2), ("ByteLevel", False)): "qwen2",
    (("Split", LLAMA3), ("ByteLevel", False)): "llama-bpe",
}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # kinds of tokens
_PART = "split.no"  # which part of a file in several parts; means nothing where there is one


def write_base(file: Path, model: Any, tokenizer: Any, kind: Kind, *, end_of_turn_id: int) -> None:
    """Write a network and its tokenizer.

    Args:
        file: Where to.
        model: transformers' causal LM without adapter, its weights not in 4 bits.
        tokenizer: transformers' tokenizer of the model.
        kind: Of the matrices; vectors stay float32. Beside q4_0 the embedding, and a head that
            shares its weights, has q8_0. q4_k_m is llama.cpp's mixture, see `_mixed`.
        end_of_turn_id: The token that ends an answer.

    Raises:
        ConfigError: The network or its tokenizer is of a shape that cannot be written.
    """
    import gguf

    config = model.config
    family = gguf_family(config)
    tensors, embedding = _tensors(model, family), "token_embd.weight"
    writer = gguf.GGUFWriter(file, family.gguf)
    writer.add_name(Path(config._name_or_path).name)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_uint16(_PART, 1)  # it may be the second part after `write_numbered`
    _add_shape(writer, config)
    _add_tokenizer(writer, tokenizer, end_of_turn_id, size=len(tensors[embedding]))
    for name, tensor in tensors.items():
        at_ends = name in (embedding, "output.weight")
        own: str = "q8_0" if kind == "q4_0" and at_ends else kind
        if tensor.dim() == 1:
            own = "f32"
        elif kind == "q4_k_m":
            is_head = name == ("output.weight" if "output.weight" in tensors else embedding)
            own = _mixed(name, tensor.shape[-1], config.num_hidden_layers, is_head=is_head)
        type_ = gguf.GGMLQuantizationType[own.upper()]
        block = gguf.GGML_QUANT_SIZES[type_][0]
        if tensor.shape[-1] % block:
            raise ConfigError(
                f"{name} has rows of {tensor.shape[-1]}, {own} wants multiples of {block}; "
                "write f16 or bf16"
            )
        numbers = tensor.float().cpu().numpy()
        quantize = _quantize_by_ggml if own in ("q4_k", "q6_k") else gguf.quantize
        writer.add_tensor(name, quantize(numbers, type_), raw_dtype=type_)
    _write(writer)


def _mixed(name: str, width: int, layers: int, *, is_head: bool) -> str:
    """Return the kind of a matrix in q4_k_m, as llama.cpp's llama_tensor_get_type chooses it.

    The head, and in half of the layers what matters most, has six bits; what is not a multiple of
    256 wide cannot have either kind.
    """
    block, _, part = name.removeprefix("blk.").partition(".")
    has_more = is_head
    if part.startswith(("attn_v.", "ffn_down.")):
        number, eighth = int(block), layers // 8
        has_more = number < eighth or number >= 7 * layers // 8 or (number - eighth) % 3 == 2
    if width % 256:
        return "q8_0" if has_more else "q5_0"
    return "q6_k" if has_more else "q4_k"


def _quantize_by_ggml(numbers: Any, type_: Any) -> Any:
    """Quantise (rows, width) float32 by xllamacpp's C function; gguf does not write such kinds.

    Raises:
        ConfigError: It is not there, as on Windows, where a library's functions stay hidden.
    """
    import gguf
    import numpy as np

    try:
        import xllamacpp.xllamacpp as library

        quantize = load_library(library.__file__).ggml_quantize_chunk
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "q4_k_m cannot be written here, as xllamacpp is missing or hides its functions; take "
            "q4_0 or q8_0"
        ) from error
    rows, width = numbers.shape
    block, size = gguf.GGML_QUANT_SIZES[type_]
    found = np.empty((rows, width // block * size), np.uint8)
    pointers, counts = [ctypes.c_void_p] * 2, [ctypes.c_int64] * 3
    quantize.argtypes = [ctypes.c_int, *pointers, *counts, ctypes.c_void_p]
    quantize.restype = ctypes.c_size_t
    source = np.ascontiguousarray(numbers)
    written = quantize(int(type_), source.ctypes.data, found.ctypes.data, 0, rows, width, None)
    assert written == found.nbytes
    return found


def write_numbered(folder: Path, base: Path, config: Any, ends: Sequence[int]) -> Path:
    """Give a base another vocabulary, without a copy: each token's text is its number and a comma.

    Args:
        folder: Gets a file in two parts: the vocabulary, and a link to the base.
        base: A file of `write_base`.
        config: transformers' configuration of its network.
        ends: One or two tokens that end an answer; no others do.

    Returns:
        The first part, by which llama.cpp opens both.

    Raises:
        ConfigError: The base was written before it could be a second part.
    """
    import gguf

    with base.open("rb") as opened:
        header = opened.read(4096)
    if _PART.encode() not in header:
        raise ConfigError(
            f"{base} was written by an earlier fitbot; write it again with fitbot export "
            f"{base.parent} --gguf KIND"
        )
    numbers, architecture = config.vocab_size, gguf_family(config).gguf
    writer = gguf.GGUFWriter(folder / "numbered-00001-of-00002.gguf", architecture)
    _add_shape(writer, config)
    writer.add_uint16(_PART, 0)
    writer.add_uint16("split.count", 2)
    writer.add_int32("split.tensors.count", int.from_bytes(header[8:16], "little"))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"{number}," for number in range(numbers)])
    writer.add_token_types([_NORMAL] * numbers)
    writer.add_token_merges(["0, 0,"])
    writer.add_eos_token_id(ends[0])
    writer.add_eot_token_id(ends[-1])
    _write(writer)
    link_file(folder / "numbered-00002-of-00002.gguf", base)
    return folder / "numbered-00001-of-00002.gguf"


def write_adapter(file: Path, weights: "dict[str, tuple[Tensor, Tensor]]", config: Any) -> None:
    """Write an adapter in float32.

    Args:
        file: Where to.
        weights: A, (r, I), and scaled B, (O, r), by the layer's name: "3.q_proj".
        config: transformers' configuration of its base.
    """
    import gguf

    family = family_of(config)
    names, rotated = _tensor_names(1), _rotated(config, family)
    blocks = {name: group.block for group in family.groups for name in group.names}
    writer = gguf.GGUFWriter(file, family.gguf)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    # llama.cpp multiplies by alpha / rank.
    writer.add_float32("adapter.lora.alpha", float(next(iter(weights.values()))[0].shape[0]))
    for name, (a, b) in weights.items():
        number, _, module = name.partition(".")
        if module not in blocks:
            raise ConfigError(f"adapter on {name}: a GGUF file has no such layer")
        found = names.get_name(f"model.layers.0.{blocks[module]}.{module}")
        name = found.replace("blk.0.", f"blk.{number}.")
        if module in rotated:
            b = _interleaved(b, rotated[module])
        for tensor, which in ((a, "lora_a"), (b, "lora_b")):
            data = tensor.float().contiguous().cpu().numpy()
            writer.add_tensor(f"{name}.weight.{which}", data)
    _write(writer)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_family(config: Any) -> Family:
    """Find a network's family, if llama.cpp computes what this network does.

    Raises:
        ConfigError: It does not.
    """
    family = FAMILIES.get(config.model_type)
    if family is None or getattr(config, "use_sliding_window", False):
        raise ConfigError(
            f"a base of kind {config.model_type!r} cannot be written as GGUF, only "
            f"{known_families()} without sliding windows"
        )
    if config.hidden_act not in family.activations:
        raise ConfigError(
            f"a base with the activation {config.hidden_act!r} cannot be written as GGUF, only "
            f"with {family.activations[0]}"
        )
    return family


def _tensors(model: Any, family: Family) -> "dict[str, Tensor]":
    """Return the weights by llama.cpp's names."""
    parts, rotated, tensors = parts_of(model), _rotated(model.config, family), {}
    names = _tensor_names(len(parts.layers))
    for name, tensor in model.state_dict().items():
        module, _, what = name.rpartition(".")
        found = names.get_name(module)
        projection = module.rpartition(".")[2]
        if found is None or (what != "weight" and projection not in family.biased):
            raise ConfigError(f"a base with {name} cannot be written as GGUF")
        if module == "lm_head" and parts.head_is_tied:
            continue  # llama.cpp then takes the embedding
        if (heads := rotated.get(projection)) is not None:
            tensor = _interleaved(tensor, heads)
        tensors[f"{found}.{what}"] = tensor
    if (factors := _rope_factors(model, may_scale=family.scales_rope)) is not None:
        tensors["rope_freqs.weight"] = factors
    return tensors


def _tensor_names(blocks: int) -> Any:
    """Return llama.cpp's names by those of transformers' modules; Qwen3 has all that are known."""
    import gguf

    return gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, blocks)


def _rotated(config: Any, family: Family) -> dict[str, int]:
    """Return the heads of each projection whose rotated rows llama.cpp wants side by side."""
    heads = (config.num_attention_heads, config.num_key_value_heads)
    return dict(zip(family.interleaved, heads, strict=False))


def _interleaved(weight: "Tensor", heads: int) -> "Tensor":
    """Bring the rows that are rotated together side by side."""
    halves = weight.view(heads, 2, -1, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def _rope_factors(model: Any, *, may_scale: bool) -> "Tensor | None":
    """Return what the rotary frequencies are divided by; None where they are as they were.

    Raises:
        ConfigError: llama.cpp has no means for it.
    """
    import torch

    rope, parameters = parts_of(model).rotary, model.config.rope_parameters
    frequencies = rope.inv_freq.double().cpu()
    exponents = torch.arange(len(frequencies), dtype=torch.float64) / len(frequencies)
    factors = parameters["rope_theta"] ** -exponents / frequencies
    scaled = not torch.allclose(factors, torch.ones_like(factors), rtol=1e-5)
    if rope.attention_scaling != 1 or (scaled and not may_scale):
        raise ConfigError(
            f"positions scaled by {parameters['rope_type']!r} cannot be written as GGUF"
        )
    return factors.float() if scaled else None


def _add_shape(writer: Any, config: Any) -> None:
    head_size = head_size_of(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(longest_of(config, config.max_position_embeddings))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(writer: Any, tokenizer: Any, end_of_turn_id: int, size: int) -> None:
    """Describe a byte-level BPE tokenizer; `size` is the number of rows of the embedding.

    Raises:
        ConfigError: It is of another kind.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    words = _word_rule(described["pre_tokenizer"]) if described["model"]["type"] == "BPE" else None
    if words is None:
        raise ConfigError(
            f"the tokenizer of {tokenizer.name_or_path!r} splits words by rules that llama.cpp "
            "is not known to have; it cannot be written as GGUF"
        )
    tokens, kinds = [f"[PAD{number}]" for number in range(size)], [_UNUSED] * size
    for token, number in described["model"]["vocab"].items():
        tokens[number], kinds[number] = token, _NORMAL
    for added in described["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = [m if isinstance(m, str) else " ".join(m) for m in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    # GGUF has no empty lists; a pair that makes no token of the vocabulary changes nothing.
    writer.add_token_merges(merges or [f"{tokens[0]} {tokens[0]}"])
    writer.add_add_bos_token(False)  # the chat template writes it, where the base has one
    if tokenizer.bos_token_id is not None:  # or llama.cpp names another to that template
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(end_of_turn_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _word_rule(rules: dict[str, Any] | None) -> str | None:
    """Name the rules of a tokenizer.json, if llama.cpp has them."""
    found: list[tuple[str, str | bool]] = []
    for rule in (rules or {}).get("pretokenizers", [rules]):
        match rule:
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": bool(how)}:
                found.append(("ByteLevel", how))
            case {"type": "Digits", "individual_digits": bool(how)}:
                found.append(("Digits", how))
            case {"type": "Split", "pattern": {"Regex": str(how)}, "behavior": "Isolated"}:
                found.append(("Split", how))
            case _:
                return None
    return _WORD_RULES.get(tuple(found))
