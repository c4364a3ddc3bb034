"""Questions → the answers of every model in the line-up, from fitbot's own engine.

Each model answers each question in three ways: with the likeliest tokens (greedy), with tokens
sampled by the settings that the adapter is used with (sampled), and with tokens sampled from the
unchanged distribution (plain). Drift and entropy are measured on the last. One engine holds the
base and all adapters, as in `fitbot serve`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fitbot.base_model.adapter_files import rank_of, read_adapter
from fitbot.base_model.base_files import positions_of
from fitbot.base_model.gpu import compute_dtype_on
from fitbot.base_model.loading import load_base
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import ConfigError, EngineError
from fitbot.evaluation.models import Lineup
from fitbot.generation.decoders.choice import open_decoder
from fitbot.generation.decoders.torch_decoder import Precision
from fitbot.generation.engine import Stream
from fitbot.generation.loading import add_adapter
from fitbot.generation.messages import BASE, Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat
from fitbot.report.progress import Progress

GREEDY, SAMPLED, PLAIN = "greedy", "sampled", "plain"


@dataclass(frozen=True)
class ModelAnswer:
    """What one model answers to one question."""

    text: str  # as the user is shown it
    thought: str  # what the user is not shown
    tokens: int
    finished: bool  # ended by itself


class LineupEngine(AbstractContextManager["LineupEngine"]):
    """An engine with the base and all adapters of a line-up; a context that closes the engine."""

    def __init__(self, lineup: Lineup, chat: Chat, *, device: torch.device, max_new_tokens: int):
        """Load them.

        Args:
            lineup: The models to ask.
            chat: Of the line-up's base.
            device: Where to compute.
            max_new_tokens: Tokens of an answer at most.

        Raises:
            AdapterError: An adapter does not fit the base.
            ConfigError: The base is of a kind that the engine does not know, or too short for this.
        """
        context = lineup.max_prompt_length + max_new_tokens
        positions = positions_of(lineup.base_model)
        if positions is not None and context > positions:
            raise ConfigError(
                f"prompts of {lineup.max_prompt_length} tokens and --max_new_tokens "
                f"{max_new_tokens} exceed the base's {positions} positions; lower the latter"
            )
        in_4bit = lineup.load_in_4bit
        base = BaseSettings(lineup.base_model, load_in_4bit=in_4bit, expand_4bit=False)
        folders = {adapter.name: Path(str(adapter.adapter)) for adapter in lineup.adapters}
        rank = max((rank_of(read_adapter(folder)) for folder in folders.values()), default=0)
        decoder = open_decoder(
            lambda: load_base(base, device=device, compute_dtype=compute_dtype_on(device)),
            device,
            context=context,
            ranks=rank * len(folders),
        )
        self.precision: Precision = decoder.precision
        # This policy never halves a request's tokens because others wait.
        self.engine = LocalEngine(
            decoder, chat, rank=rank, max_waiting=2**31, policy="published", below_gib=0.0
        )
        # Their names in the engine, which does not accept every folder's name.
        self._names = {BASE: BASE} | {name: f"adapter-{i}" for i, name in enumerate(folders)}
        try:
            for name, folder in folders.items():
                add_adapter(self.engine, self._names[name], folder)
        except BaseException:
            self.engine.close()
            raise
        self.max_new_tokens = max_new_tokens

    def submit(self, name: str, prompt: list[int], sampling: Sampling) -> Stream:
        """Ask one model one question, see `Engine.submit`.

        Args:
            name: Of a model in the line-up.
            prompt: Token ids, rendered as they were in training.
            sampling: How the answer is drawn.
        """
        return self.engine.submit(prompt, sampling, model=self._names[name])

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def ask(
        self, name: str, kind: str, prompts: Sequence[list[int]], sampling: Sampling, *, seed: int
    ) -> list[ModelAnswer]:
        """Ask one model all questions.

        Args:
            name: Of a model in the line-up.
            kind: GREEDY, SAMPLED or PLAIN.
            prompts: Token ids, rendered as they were in training.
            sampling: Settings of SAMPLED.
            seed: Of the first question. A question has the same seed with every model.

        Raises:
            EngineError: An answer failed.
        """
        own = {
            GREEDY: Sampling(temperature=0.0, top_p=1.0),
            SAMPLED: sampling,
            PLAIN: Sampling(temperature=1.0, top_p=1.0),
        }[kind]
        settings = replace(own, max_new_tokens=self.max_new_tokens, reasoning=True)
        streams = [
            self.submit(name, prompt, replace(settings, seed=seed + i))
            for i, prompt in enumerate(prompts)
        ]
        answers = []
        with Progress(f"{name}, {kind} answers", len(streams)) as progress:
            for stream in streams:
                answers.append(_read(stream))
                progress.update()
        return answers


def _read(stream: Stream) -> ModelAnswer:
    text, thought = "", ""
    for chunk in stream:
        text += chunk.text
        thought += chunk.reasoning
    if chunk.error is not None or chunk.usage is None:
        raise EngineError(f"an answer failed: {chunk.error}; nothing was evaluated")
    return ModelAnswer(text, thought, chunk.usage.completion, chunk.finish_reason == "stop")
