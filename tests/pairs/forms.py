"""Chat templates in the form of public bases', each with the embedded model's tokenizer."""

from pathlib import Path
from typing import Any

from fitbot.pairs.chat import load_tokenizer

_FOLDER = Path(__file__).parent / "templates"
_TOKENS = {
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
    "gemma": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "phi3": ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
}
_TOKENS["llama3_2"] = _TOKENS["llama3"]


def tokenizer_of(form: str) -> Any:
    """Load the embedded tokenizer with a base's template, and with the tokens that it writes."""
    tokenizer: Any = load_tokenizer("embedded")
    if form == "embedded":
        return tokenizer
    if form in _TOKENS:
        tokenizer.add_tokens(_TOKENS[form], special_tokens=True)
        tokenizer.bos_token = _TOKENS[form][0]
        tokenizer.eos_token = _TOKENS[form][1]
    text = (_FOLDER / f"{form}.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = text.removesuffix("\n")
    return tokenizer
