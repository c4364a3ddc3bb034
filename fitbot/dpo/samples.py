"""A few fixed questions, answered by the policy again and again while it learns."""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from fitbot.dpo.module import DPOModule
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.greedy import answer_greedily

logger = logging.getLogger(__name__)

FILE = "samples.txt"
_QUESTIONS, _TOKENS = 3, 48


class Samples(Callback):
    """Writes greedy answers of the policy to a text file of the run, and to its loggers.

    The questions are the first, the middle and the last of the validation pairs (of the training
    pairs where there are none). The first answers, before any step, are the reference's.
    """

    def __init__(self, folder: Path, every_n_steps: int):
        """Take the run's folder and the interval in optimizer steps."""
        self.path, self.every_n_steps = folder / FILE, every_n_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._answer(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps == 0:
            self._answer(trainer, pl_module)

    def _answer(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, DPOModule)
        assert module.policy is not None
        if not (trainer.is_global_zero or module.policy.is_sharded):
            return
        data: PreferenceDataModule = trainer.datamodule  # type: ignore[attr-defined]
        pairs = data.pairs["val" if "val" in data.pairs else "train"].texts
        chosen = [pairs[i * (len(pairs) - 1) // (_QUESTIONS - 1)] for i in range(_QUESTIONS)]
        chat = data.chat
        lines = [f"step {trainer.global_step:,}"]
        for pair in chosen:
            ids, _ = chat.encode_prompt(pair.prompt, data.limits.max_prompt_length)
            new = answer_greedily(module.policy, ids, _TOKENS, chat.ends)
            answer = chat.tokenizer.decode(new, skip_special_tokens=True).strip()
            more = " …" if len(new) == _TOKENS else ""
            lines += [f"  {pair.prompt[-1].content}", f"    {answer}{more}"]
        if not trainer.is_global_zero:
            return
        text = "\n".join(lines)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n\n")
        logger.info("%s", text)
        for sink in trainer.loggers:
            if isinstance(sink, WandbLogger):
                sink.log_text("samples", columns=["text"], data=[[text]], step=trainer.global_step)
            elif isinstance(sink, TensorBoardLogger):
                sink.experiment.add_text("samples", text, trainer.global_step)
