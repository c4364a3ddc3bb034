"""Random networks of eighteen families, of next to no size, with a token per byte."""

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

_HIDDEN = 64
_LIKE_LLAMA: dict[str, Any] = {
    "hidden_size": _HIDDEN,
    "intermediate_size": 2 * _HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": _HIDDEN**-0.5,
    "tie_word_embeddings": False,
}
_ONE_OF_EACH = ["linear_attention", "full_attention"]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # model type, and what its config has besides
    "Qwen2.5": ("qwen2", {}),
    "Qwen3": ("qwen3", {"head_dim": 16}),
    "Qwen3.5": (
        "qwen3_5_text",
        {
            "head_dim": 16,
            "layer_types": _ONE_OF_EACH,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
    ),
    "Llama": ("llama", {}),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Gemma 3": ("gemma3_text", {"head_dim": 16, "query_pre_attn_scalar": 16}),
    "Phi-3": ("phi3", {}),
    "SmolLM3": ("smollm3", {}),
    "OLMo 2": ("olmo2", {}),
    "Granite": ("granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    "LFM2": (
        "lfm2",
        {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "GPT-2": (
        "gpt2",
        {"n_embd": _HIDDEN, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    ),
    "Gemma 2": ("gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16}),  # logits with a cap
    "Phi": ("phi", {}),  # a head with a bias
    "Falcon": ("falcon", {}),  # linear layers and attention of its own
    "Bloom": ("bloom", {"n_layer": 2, "n_head": 4}),  # no positions, and no SDPA
    "DeepSeek-V3": (  # experts
        "deepseek_v3",
        {
            **{"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16},
            **{"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16},
            **{"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
            **{"moe_intermediate_size": 32, "first_k_dense_replace": 1},
        },
    ),
    "Falcon-H1": (  # attention beside a recurrent layer, logits with a factor
        "falcon_h1",
        {
            **{"mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_ssm": 128},
            **{"mamba_chunk_size": 16, "lm_head_multiplier": 0.5},
        },
    ),
}


def write_family(folder: Path, family: str, tokenizer_of: str, **more: Any) -> Path:
    """Write a folder that AutoTokenizer and AutoModelForCausalLM can load, and return it.

    Args:
        folder: Where to write; made if missing.
        family: One of `FAMILIES`.
        tokenizer_of: A folder with the tokenizer.
        **more: Of its config.
    """
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    kind, own = FAMILIES[family]
    shape = {"initializer_range": _HIDDEN**-0.5} if kind == "gpt2" else _LIKE_LLAMA
    config = CONFIG_MAPPING[kind](
        vocab_size=-(-len(tokenizer) // 64) * 64,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape | own | more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):  # zeros would not be missed
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return folder
