"""Ask a model 60 first messages of ordinary people, and print what it answers.

    python benchmarks/first_messages.py [MODEL] [--adapter ADAPTER] [--out ANSWERS.json]

MODEL is a folder with a model and its tokenizer; without one, the embedded model. The messages are
in first_messages.json. They were written apart from the text of data/build, which leaves them out.
Answers are the model's own tokens, before the engine cleans them. Beside each stands what is wrong
by its form:

    empty         no word in it
    unfinished    no end within --max_new_tokens
    stray token   a control token, or the name of a turn on a line of its own
    fragment      begins in mid-sentence, or ends without a full stop
    repeats       says a sentence twice

Whether an answer is sensible, a person has to read. What a model is worth on pairs, after a fit:

    fitbot evaluate ADAPTER --pairs data/fitness_test_v1.json --temperature 0.7 --max_new_tokens 96

Its report gives the answers that pass their check, sampled and greedy, for all questions and for
each kind of split (seen, forms, facts), and the reward accuracy.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT, resolve_base_model
from fitbot.generation.loading import ends_of
from fitbot.pairs.chat import Chat
from fitbot.pairs.formats import Message

MESSAGES = Path(__file__).parent / "first_messages.json"


def faults(answer: str, *, ended: bool, controls: list[str]) -> list[str]:
    """Name what is wrong with an answer by its form.

    Args:
        answer: Its text, control tokens written out; without the token that ended it.
        ended: Whether such a token came.
        controls: What control tokens look like.
    """
    text = answer.strip()
    said = [part.strip().lower() for part in re.split(r"(?<=[.!?])\s+", text) if len(part) > 12]
    found = {
        "empty": not re.search(r"\w", text),
        "unfinished": not ended,
        "stray token": any(control in text for control in controls)
        or re.search(r"(system|user|assistant)(\n|$)", text) is not None,
        "fragment": not re.match(r"[A-Z0-9“\"]|- ", text)
        or not re.search(r"[.!?”\"]$|\d \w+$|(^|\n)(- |\d\. ).+$", text),
        "repeats": len(set(said)) < len(said),
    }
    return [name for name, is_there in found.items() if is_there]


def ask(
    model: Any, chat: Chat, message: str, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Draw one answer; the same message with the same seed has the same answer."""
    prompt, _ = chat.encode_prompt([Message("user", message)], 1024)
    sampled = {"do_sample": True, "temperature": args.temperature, "top_p": 0.9, "top_k": 0}
    torch.manual_seed(seed)
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        (out,) = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=args.max_new_tokens,
            eos_token_id=sorted(chat.ends),
            pad_token_id=chat.tokenizer.pad_token_id,
            **(sampled if args.temperature else {"do_sample": False}),
        )
    tokens = out[len(prompt) :].tolist()
    ended = bool(tokens) and tokens[-1] in chat.ends
    text = chat.tokenizer.decode(tokens[: len(tokens) - ended])
    controls = list(chat.tokenizer.get_added_vocab())
    return {
        "message": message,
        "answer": text.strip(),
        "faults": faults(text, ended=ended, controls=controls),
    }


def table(answers: list[dict[str, Any]]) -> str:
    """Write answers as a Markdown table; below it, how many are whole and what the others have."""
    lines = ["| message | answer | faults |", "|---|---|---|"]
    for one in answers:
        cells = (one["message"], one["answer"], ", ".join(one["faults"]))
        row = " | ".join(cell.replace("|", r"\|") for cell in cells)
        lines.append(re.sub(r"\s*\n\s*", " ⏎ ", f"| {row} |"))
    counts = Counter(fault for one in answers for fault in one["faults"])
    whole = sum(not one["faults"] for one in answers)
    named = ", ".join(f"{count} {fault}" for fault, count in counts.most_common())
    return "\n".join([*lines, "", f"{whole} of {len(answers)} whole. {named}".strip()])


def main() -> None:
    """Ask, print a table, and count what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default=EMBEDDED)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--messages", type=Path, default=MESSAGES, help="another list")
    parser.add_argument("--temperature", type=float, default=0.7, help="0: the likeliest tokens")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max_new_tokens", type=int, default=160)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    source = resolve_base_model(args.model)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    chat = Chat(tokenizer, system_prompt=EMBEDDED_SYSTEM_PROMPT, ends=ends_of(args.model))
    answers = [
        ask(model, chat, message, args.seed + place, args)
        for place, message in enumerate(json.loads(args.messages.read_text(encoding="utf-8")))
    ]
    print(table(answers))  # noqa: T201
    if args.out:
        text = json.dumps(answers, indent=1, ensure_ascii=False)
        args.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
