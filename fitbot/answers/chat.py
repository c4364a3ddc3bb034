"""Ask a trained adapter, or its base, at the terminal: the command `chat`.

The base is held and the question rendered as they were in training; what the model writes is shown
token by token.
"""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fitbot.answers.export import PROVENANCE_FILE
from fitbot.answers.settings import AnswerSettings
from fitbot.command_line import SuggestingParser
from fitbot.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT
from fitbot.errors import AdapterError
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.pairs.preferences import Message
from fitbot.policy.base import BaseSettings, load_answerer


def main(args: list[str]) -> int:
    """Run `fitbot chat`.

    Args:
        args: The command and its options, as typed.

    Returns:
        0.
    """
    parser = SuggestingParser(prog="fitbot chat", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--adapter",
        type=Path,
        help="folder that fit exported; default: the latest run's in checkpoints/, or else the "
        "embedded model alone",
    )
    parser.add_argument("--ask", help="one question; its answer is all that is printed")
    parser.add_argument("--base", action="store_true", help="ask the base, with the adapter off")
    parser.add_argument(
        "--max_new_tokens", type=int, help="tokens of an answer; default: the run's"
    )
    parser.add_argument("--seed", type=int, default=42, help="of the sampling")
    options = parser.parse_args(args[1:])
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    adapter = options.adapter or latest_adapter(Path("checkpoints"))
    if options.adapter is None:
        part = "the base of " if options.base else ""
        who = f"{part}{adapter}" if adapter else "the embedded model"
        sys.stderr.write(f"no --adapter named: {who} answers\n")
    answerer = Answerer(adapter, with_adapter=not options.base)
    if options.max_new_tokens:
        answerer.settings["max_new_tokens"] = options.max_new_tokens
    torch.manual_seed(options.seed)
    if options.ask is not None:
        answerer.answer([Message("user", options.ask)])
        return 0
    history: list[Message] = []
    _write("Ask something; an empty line ends.\n")
    while question := _read():
        history.append(Message("user", question))
        history.append(Message("assistant", answerer.answer(history)))
    return 0


def latest_adapter(root: Path) -> Path | None:
    """Return the adapter that a run in this folder exported last, if any has."""
    exported = root.glob(f"*/adapter/{PROVENANCE_FILE}")
    latest = max(exported, key=lambda file: file.stat().st_mtime, default=None)
    return latest.parent if latest else None


def provenance_of(adapter: Path) -> dict[str, Any]:
    """Read what an export says of its training.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
    """
    file = adapter / PROVENANCE_FILE
    if not file.is_file():
        raise AdapterError(f"{adapter}: no {PROVENANCE_FILE} there; give a folder fit exported")
    return dict(json.loads(file.read_text(encoding="utf-8")))


# The embedded model alone has no export to say how it was trained.
OF_EMBEDDED: dict[str, Any] = {
    "base_model": EMBEDDED,
    "settings": {"load_in_4bit": True},
    "data": {"system_prompt": EMBEDDED_SYSTEM_PROMPT, "max_prompt_length": 256},
}


class Answerer:
    """One adapter on its base, asked with the prompt it was trained with."""

    def __init__(self, adapter: Path | None, *, with_adapter: bool = True):
        """Load base and adapter.

        Args:
            adapter: Folder that `fitbot fit` or `fitbot export` wrote; None for the embedded model.
            with_adapter: False asks the base alone.

        Raises:
            AdapterError: The folder holds no adapter of fitbot's.
        """
        provenance = provenance_of(adapter) if adapter else OF_EMBEDDED
        trained = provenance["settings"]
        # A run from Python, without the command line, has no such settings: the defaults hold.
        self.settings: dict[str, Any] = provenance.get("answers") or asdict(AnswerSettings())
        self.max_prompt_length: int = provenance["data"]["max_prompt_length"]
        base_model = provenance["base_model"]
        self.chat = Chat(
            load_tokenizer(base_model), system_prompt=provenance["data"]["system_prompt"]
        )
        self.model = load_answerer(
            BaseSettings(base_model=base_model, load_in_4bit=trained["load_in_4bit"]),
            adapter=adapter if with_adapter else None,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        )

    def answer(self, messages: list[Message]) -> str:
        """Write the answer to the terminal as it comes, and return it."""
        from transformers import TextStreamer

        prompt, _ = self.chat.encode_prompt(messages, self.max_prompt_length)
        ids = torch.tensor([prompt], device=self.model.device)
        sampling = {name: self.settings[name] for name in ("temperature", "top_p")}
        output = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.settings["max_new_tokens"],
            do_sample=self.settings["do_sample"],
            **(sampling if self.settings["do_sample"] else {}),
            eos_token_id=self.chat.end_of_turn_id,
            pad_token_id=self.chat.end_of_turn_id,
            streamer=TextStreamer(self.chat.tokenizer, skip_prompt=True, skip_special_tokens=True),
        )
        new = output[0, len(prompt) :]
        return str(self.chat.tokenizer.decode(new, skip_special_tokens=True))


def _read() -> str:
    _write("> ")
    return sys.stdin.readline().strip()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
