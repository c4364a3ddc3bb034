"""Ten steps of DPO and one answer, really done: so it is known which engine commands take here."""

import gc
import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT
from fitbot.base_model.gpu import why_no_kernels
from fitbot.cluster.launchers import devices_of
from fitbot.doctor.block import FAILED, Fact, failed
from fitbot.doctor.software import version_of
from fitbot.dpo.accelerator import choose_accelerator
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import quieten
from fitbot.dpo.start_checks import precision_for
from fitbot.errors import AdapterError, EngineError
from fitbot.evaluation.scoring import hush_libraries
from fitbot.export.adapter import export_adapter
from fitbot.generation.messages import Sampling
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.formats import Message
from fitbot.platforms import peak_memory
from fitbot.policy.engine_choice import COMPILED_FROM_STEPS, why_not_compiled
from fitbot.serving.engines import describe, open_local

STEPS, _PAIRS = 10, 8  # optimizer steps, and pairs of each, as the recipe has
_TIMED = 5  # last steps: those before compile kernels and capture graphs
_TOKENS = 32  # of the answer
_LENGTH = 512  # tokens of prompt and answer, at most
_GIB = 2**30


class Trial:
    """A base that is trained and asked in a folder of its own; keeps which engines that took."""

    def __init__(self, base_model: str, folder: Path):
        """Take a base, as model.base_model, and an empty folder; silence the libraries."""
        quieten()
        hush_libraries()
        warnings.simplefilter("ignore")
        self.base_model, self.folder = base_model, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.adapter: Path | None = None
        self.trained_by = self.answered_by = "not known, as it failed above"

    def train(self) -> Iterator[Fact]:
        """Train by the fastest engine; where that fails, by the network's own modules."""
        if reason := why_no_kernels(self.device):
            self.trained_by = _eager(reason)  # whatever the base
        write_pairs(self.folder / "pairs.json")
        failure = None
        with _warned() as warned:
            fit = TimedFit(self.base_model, self.folder, may_compile=True)
            try:
                fit.run()
            except Exception as error:
                if fit.module.engine != "compiled":
                    raise
                failure = failed(error)
            if failure:  # only here is what the failed fit held free again
                yield "compiled", failure
                fit = TimedFit(self.base_model, self.folder, may_compile=False)
                fit.why_eager = failure.removeprefix(FAILED)
                _free_memory()
                fit.run()
        self.trained_by = f"compiled in a run of {COMPILED_FROM_STEPS} steps or more, else eager"
        if fit.why_eager:
            self.trained_by = _eager(fit.why_eager)
        for line in warned:
            yield "warned", line
        yield from fit.facts()
        self.adapter = fit.export()
        yield "memory", _peak(self.device)

    def answer(self) -> Iterator[Fact]:
        """Answer one question with what was trained, as `fitbot chat` does.

        Raises:
            AdapterError: Nothing was trained, and the base cannot answer without.
            EngineError: The answer failed.
        """
        if self.adapter is None and self.base_model != EMBEDDED:
            raise AdapterError("training left no adapter to answer with")
        _free_memory()
        started = time.perf_counter()
        with _warned() as warned:
            opened = open_local("auto", self.adapter, {"slots": 2})
        with closing(opened) as engine:
            ready = time.perf_counter() - started
            kind = type(engine.decoder).__name__
            self.answered_by = describe(engine)
            reason = why_no_kernels(self.device)
            if reason or warned:
                self.answered_by += f"; CUDA graphs: {reason or ' '.join(warned)}"
            yield "engine", self.answered_by
            should_be_faster = reason is None and kind == "TorchDecoder"
            for line in warned:
                yield "warned", f"{FAILED}{line}" if should_be_faster else line
            yield "start", f"{ready:.1f} s from loading to the first question"
            yield "answer", _ask(engine)
        yield "memory", _peak(self.device)

    def engines(self) -> Iterator[Fact]:
        """Yield what each command computes with here."""
        yield "fit", self.trained_by
        yield "evaluate", "log-probs: eager; answers: fitbot's own decoder"
        yield "chat", self.answered_by
        yield "serve", "as chat"
        llama, gguf = version_of("xllamacpp"), version_of("gguf")
        yield "llama.cpp", f"xllamacpp {llama}" if llama else "none, xllamacpp is not installed"
        written = f"by gguf {gguf}" if gguf else "not here, gguf is not installed"
        yield "export", f"adapter: none needed; --merge: eager; --gguf: on the CPU, {written}"


class TimedFit(Callback):
    """One short fit, by the compiled engine if that can run the base here."""

    def __init__(self, base_model: str, folder: Path, *, may_compile: bool):
        """Take what is trained, where pairs.json lies, and whether to try the engine."""
        self.may_compile, self.folder = may_compile, folder
        self.why_eager: str | None = None
        self.marks: list[float] = []  # time.perf_counter after so many steps
        self.step_log = StepLog()
        self.module = DPOModule(
            base_model,
            max_seq_length=_LENGTH,
            engine="eager",
            reference="cached",  # as in the recipe, so that steps take as long as there
            reference_cache=str(folder / "reference"),
            learning_rate=2e-5,
            lr_schedule="constant",
            warmup_ratio=0.0,
        )
        self.data = PreferenceDataModule(
            str(folder / "pairs.json"),
            base_model=base_model,
            pair_cache=str(folder / "pairs"),
            system_prompt=EMBEDDED_SYSTEM_PROMPT,
            max_length=_LENGTH,
            batch_size=_PAIRS,
            accumulate_batches=1,
        )

    def run(self) -> None:
        """Train."""
        asked: dict[str, Any] = {"accelerator": "auto", "devices": 1, "strategy": "auto"}
        asked["precision"] = precision_for(devices_of(asked)[0])
        asked["accelerator"] = choose_accelerator(asked, self.module.hparams)
        trainer = Trainer(
            **asked,
            max_epochs=1,
            logger=False,
            callbacks=[self, self.step_log],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=self.folder,
        )
        torch.set_flush_denormal(True)  # as `fitbot fit` does
        self.started = time.perf_counter()
        trainer.fit(self.module, self.data)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the engine, now that the base is there; the module's own start obeys."""
        assert self.module.policy is not None
        if self.may_compile:
            self.why_eager = why_not_compiled(self.module.policy, self.data.layout)
            self.module.engine = "eager" if self.why_eager else "compiled"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step in (1, STEPS - _TIMED, STEPS):
            self._mark()

    def _mark(self) -> None:
        if self.module.device.type == "cuda":
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def facts(self) -> Iterator[Fact]:
        """Yield how it went."""
        module, memory = self.module, self.module.memory
        assert module.policy is not None
        assert memory is not None
        dtype = str(module.policy.compute_dtype).removeprefix("torch.")
        yield "base", f"{module.base.base_model} as NF4, in {dtype} on {module.policy.device}"
        compiled = module.policy.compiled
        ready, first, before, last = self.marks
        kernels = f"; kernels: {compiled.engine.compile_seconds:.1f} s" if compiled else ""
        yield "engine", module.policy.engine_name
        yield "start", f"{ready - self.started:.1f} s from loading to the first step{kernels}"
        tokens = memory.lengths.step
        yield (
            "steps",
            f"{STEPS}, each of {_PAIRS} pairs of {tokens // _PAIRS} tokens; the first took "
            f"{first - ready:.3g} s",
        )
        a_step = (last - before) / _TIMED
        yield (
            "a step",
            f"{a_step:.3g} s expected from then on, {_PAIRS / a_step:.3g} pairs a second",
        )
        first_loss, loss = module.first_loss, self.step_log.last["train/loss"]
        assert first_loss is not None
        fell = loss < first_loss
        text = f"{first_loss:.6f} in the first step, {loss:.6f} on average in the others"
        yield "loss", text if fell else f"{FAILED}it did not fall: {text}"
        if module.device.type == "cuda":
            yield "expected", memory.text(tokens).partition(": ")[2]

    def export(self) -> Path:
        """Write the adapter."""
        return export_adapter(
            self.folder / "adapter",
            self.module.state_dict(),
            dict(self.module.hparams),
            training={"data": self.data.provenance()},
        )


def write_pairs(path: Path) -> None:
    """Make up pairs of like length: as many as the steps take, one sentence right, one wrong."""
    records = [
        {
            "question": f"I train {n} minutes a day. How many sets should I do for my legs?",
            "chosen": f"With {n} minutes a day, three or four sets for your legs are plenty. Rest "
            "for two minutes between them, and add weight only when every repetition is clean.",
            "rejected": f"With {n} minutes a day it does not matter at all. Do as many as you "
            "like, never rest, and add weight until something hurts.",
        }
        for n in range(10, 10 + STEPS * _PAIRS)
    ]
    path.write_text(json.dumps(records), encoding="utf-8")


def _eager(why_not_compiled: str) -> str:
    return f"eager; compiled: {why_not_compiled}"


def _ask(engine: Any) -> str:
    """Ask one question and time its tokens."""
    started = time.perf_counter()
    sampling = Sampling(max_new_tokens=_TOKENS, temperature=0.0)
    text, arrivals, last = "", [], None
    for chunk in engine.submit([Message("user", "How many sets should I do?")], sampling):
        text, last = text + chunk.text, chunk
        arrivals.append(time.perf_counter())
    if last is None or last.error or not last.usage:
        raise EngineError(f"the answer failed: {last and last.error}")
    first, tokens = arrivals[0] - started, last.usage.completion
    rest = arrivals[-1] - arrivals[0]
    speed = f", then {(tokens - 1) / rest:.0f} tokens a second" if tokens > 1 and rest > 0 else ""
    return (
        f"{tokens} tokens to a prompt of {last.usage.prompt}, the first after {first:.3f} s"
        f"{speed}: {ascii(text[:60])}"
    )


@contextmanager
def _warned() -> Iterator[list[str]]:
    """Collect what fitbot warns of, such as the reason for a slower engine."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    ours = logging.getLogger("fitbot")
    ours.addHandler(handler)
    try:
        yield lines
    finally:
        ours.removeHandler(handler)


def _peak(device: torch.device) -> str:
    """Say how much memory there was at most, and start anew on a GPU."""
    text = f"at most {peak_memory() / _GIB:.2f} GiB of the host's"
    if device.type == "cuda":
        text += f", {torch.cuda.max_memory_allocated(device) / _GIB:.2f} GiB of the GPU's"
        torch.cuda.reset_peak_memory_stats(device)
    return text


def _free_memory() -> None:
    """Let nothing of the training lie on the GPU, as in a process of its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
