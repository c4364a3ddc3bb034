"""DPO as a LightningModule: forward policy, forward reference, objective, step.

`fitbot fit` builds module, data and trainer from settings. In Python any Lightning trainer will do:

    data = PreferenceDataModule("data/fitness_train.json", "data/fitness_val.json")
    module = DPOModule(learning_rate=2e-4, optimizer="adamw")
    trainer = lightning.Trainer(
        max_epochs=3, callbacks=[EarlyStopping("val/loss")], logger=CSVLogger("logs")
    )
    trainer.fit(module, data)
    print(trainer.callback_metrics["val/rewards/accuracies"])
    trainer.save_checkpoint("mine.ckpt")  # then: fitbot export mine.ckpt --out mine

trainer.callback_metrics and the loggers have the means of `metrics.NAMES` as train/… at log points
(see `StepLog`) and as val/… after each validation.

It does not know how log-probs are made fast, nor how a pair is laid out: `Policy.logps` and
`PairBatch` do. Optimisation is manual because one batch is one optimizer step whose pairs may need
several forward passes: each pass is weighted by its pairs, so the split changes no result.
"""

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fitbot.base_model.adapter_files import lora_settings_of
from fitbot.base_model.embedded import absolute_base, absolute_path
from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.settings import Backend, BaseSettings, LoraSettings
from fitbot.cluster.processes import num_processes, sum_over_processes
from fitbot.cluster.strategy import Sharded, check_strategy
from fitbot.dpo.callbacks import needed_callbacks
from fitbot.dpo.early_end import check_finite, check_weights
from fitbot.dpo.losses import DPOTerms, Objective
from fitbot.dpo.memory import Memory
from fitbot.dpo.metrics import NAMES, PairMeans, TrainMeans, prediction_rows
from fitbot.dpo.optimizer_choice import schedule_steps
from fitbot.dpo.own_loss import import_loss
from fitbot.dpo.pass_runner import PassRunner
from fitbot.dpo.reference_cache import ReferenceSetting, cache_reference, should_cache
from fitbot.dpo.start_checks import (
    check_checkpoint,
    check_first_loss,
    check_module,
    check_same_start,
    compute_dtype_of,
    count_steps,
    hashes_of,
)
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.agreement import fitting_layout
from fitbot.policy.engine_choice import EngineSetting, use_engine
from fitbot.policy.policy import Policy

logger = logging.getLogger(__name__)


class DPOModule(LightningModule):
    """A 4-bit base with a LoRA adapter, trained by direct preference optimisation.

    Args:
        base_model: Hub id or folder; "embedded" is the small model that fitbot brings along.
        load_in_4bit: Hold the linear layers as NF4, as QLoRA does.
        expand_4bit: Expand the NF4 weights once to the compute dtype: identical values, no
            dequantisation in every step, four times the memory. null: when memory allows.
        max_seq_length: Tokens of the longest sequence the model is set up for.
        gradient_checkpointing: Recompute activations in backward: less memory, a third slower.
            null: where the memory of a GPU asks for it.
        backend: transformers, or unsloth (needs `pip install 'fitbot[unsloth]'`).
        lora: The adapter's shape; with adapter, that one's.
        adapter: Folder of an adapter to go on from; frozen, it is the reference, too. After loss
            sft that is SFT, then DPO.
        engine: eager (transformers' own modules), compiled (fused kernels, CUDA graphs), or
            auto: compiled where that can run and the run is long enough.
        reference: cached (log-probs computed once and kept on disk), online (adapter off, in
            every step), or auto: cached if the run sees its pairs more than once.
        reference_cache: Folder of the cached log-probs; runs share it.
        beta: Pull towards the reference, > 0; lower lets the policy go further.
        label_smoothing: Assumed share of flipped preferences, in [0, 0.5); of sigmoid and robust.
        loss: sigmoid (DPO), hinge, ipo, simpo, sft or another name of the page Losses; or an own
            one's import path, such as my_losses.hinge.
        length_normalised: Compare log-probs a token; simpo, orpo and sft always do.
        gamma: Margin that simpo asks for.
        nll_weight: Of the chosen answers' negative log-likelihood a token, added to the loss;
            keeps them likely. 0: none of it; orpo and sft have it anyway.
        learning_rate: Peak, reached after the warm-up.
        optimizer: adamw, or adamw_8bit (bitsandbytes: optimizer state in 8 bits).
        weight_decay: Of AdamW.
        lr_schedule: linear or cosine to 0, or constant; after the warm-up.
        warmup_ratio: Share of the steps in which the learning rate rises from 0.
        max_grad_norm: L2 norm that gradients are clipped to; 0: they are not clipped.
    """

    def __init__(
        self,
        base_model: str = "embedded",
        load_in_4bit: bool = True,
        expand_4bit: bool | None = None,
        max_seq_length: int = 2048,
        gradient_checkpointing: bool | None = None,
        backend: Backend = "transformers",
        lora: LoraSettings | None = None,
        adapter: str | None = None,
        engine: EngineSetting = "auto",
        reference: ReferenceSetting = "auto",
        reference_cache: str = "checkpoints/reference",
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        loss: str = "sigmoid",
        length_normalised: bool = False,
        gamma: float = 0.0,
        nll_weight: float = 0.0,
        learning_rate: float = 5e-6,
        optimizer: Literal["adamw", "adamw_8bit"] = "adamw_8bit",
        weight_decay: float = 0.01,
        lr_schedule: Literal["linear", "cosine", "constant"] = "linear",
        warmup_ratio: float = 0.1,
        max_grad_norm: float = 1.0,
    ):
        """Take the settings; weights load in `configure_model`."""
        super().__init__()
        # Whatever comes from this run finds both again from another working folder.
        base_model, adapter = absolute_base(base_model), adapter and absolute_path(adapter)
        # Plain values only: a checkpoint with dataclasses in it cannot be loaded weights_only.
        self.save_hyperparameters(ignore=["lora"])
        lora = LoraSettings(**lora) if isinstance(lora, dict) else lora or LoraSettings()
        if adapter is not None:
            lora = lora_settings_of(adapter)  # or an export would tell another shape than it has
        self.hparams["lora"] = asdict(lora)
        self.base = BaseSettings(
            base_model, load_in_4bit, expand_4bit, max_seq_length, gradient_checkpointing, backend
        )
        self.lora, self.adapter, self.engine = lora, adapter, engine
        self.reference, self.reference_cache = reference, Path(reference_cache)
        self.objective = Objective.of(self.hparams, import_loss(loss, beta=beta))
        self.automatic_optimization = False
        self.strict_loading = False  # checkpoints hold the adapter; on_load_checkpoint is strict
        self.policy: Policy | None = None
        self.hashes: dict[str, str | None] = {}  # of base and reference, once they are loaded
        self.memory: Memory | None = None  # measured at the start of a fit
        self.run_settings: dict[str, Any] = {}  # the command line's; carried to an export
        self.train_means = TrainMeans()
        self.val_means, self.test_means = PairMeans(), PairMeans()
        self.grad_norm = torch.tensor(math.nan)  # of the latest step, before clipping
        self.step_rate = math.nan  # learning rate of the latest step
        self.bad_gradients = torch.tensor(0)  # steps whose gradient was infinite or NaN
        self.first_loss: float | None = None
        self.validated_at: int | None = None  # optimizer step of the latest validation
        self.validated_pairs = 0  # in it
        check_module(self.hparams)

    def configure_callbacks(self) -> list[Callback]:
        """Log the steps, and compare a resumed fit with its checkpoint, with any trainer."""
        return needed_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]

    def configure_model(self) -> None:
        """Load base and adapter onto this process's device. Lightning calls it more than once."""
        if self.policy is not None:
            return
        strategy = self.trainer.strategy if self._trainer else None
        logger.info("loading base %s", self.base.base_model)
        network = load_policy_network(
            self.base,
            self.lora,
            device=strategy.root_device if strategy else torch.device("cpu"),
            compute_dtype=self.compute_dtype,
            adapter=self.adapter,
            mesh=strategy.mesh if isinstance(strategy, Sharded) else None,
            with_reference=self.objective.kind.has_reference,
        )
        self.hparams["lora"] = asdict(self.lora)  # with the layers that were found
        self.policy = Policy(network, compute_dtype=self.compute_dtype)
        self.hashes = hashes_of(self.base.base_model, self.adapter)

    def cpu(self) -> Self:
        """Stay on the device: Lightning moves a module to the host's memory when a fit is over.

        Nothing reads the base there. One of 32B takes 61 GiB, and many GPU hosts have less.
        """
        return self

    @property
    def compute_dtype(self) -> torch.dtype:
        """What matrix products run in, by trainer.precision; see `compute_dtype_of`."""
        if not self._trainer:
            return torch.float32
        return compute_dtype_of(str(self.trainer.precision), self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Choose engine and token budget, fetch the reference's log-probs, check the first loss."""
        check_strategy(self.trainer.strategy)
        policy, data, runner = self._policy(), self._datamodule(), self._runner()
        num_steps = int(self.trainer.estimated_stepping_batches)
        data.layout = fitting_layout(policy, data.layout, data.limits.max_length)
        use_engine(policy, self.engine, layout=data.layout, num_steps=num_steps)
        moment = 1 if self.hparams["optimizer"] == "adamw_8bit" else 4
        self.memory = runner.fit_to_memory(bytes_a_moment=moment)
        check_same_start(policy, data, self.trainer.global_step)
        if not self.objective.kind.has_reference:
            return
        if should_cache(self.reference, data, num_steps):
            cache_reference(runner, self.reference_cache, self.base, self.adapter)
        check_first_loss(
            runner,
            beta=self.objective.beta,
            resumed=self.trainer.ckpt_path is not None,
            reference_cache=self.reference_cache,
        )

    def training_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Do one optimizer step on one global batch, in as many passes as it was split into.

        The batch is this process's share of it; the gradient is summed over all.
        """
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LRScheduler)
        num_pairs = self._datamodule().pairs_in_step()

        def one_pass(part: PairBatch, counts: bool) -> tuple[DPOTerms, Tensor]:
            terms, logps = self._terms(part)
            self.manual_backward(counts * terms.losses.sum() / num_pairs)
            return terms, logps.detach()

        for terms, logps in self._runner().train(batch, one_pass, restart=optimizer.zero_grad):
            self.train_means.update(terms, logps)
        adapter = self._policy().adapter
        if adapter.grad is None:  # a last batch of fewer pairs than processes
            adapter.grad = torch.zeros_like(adapter)
        if num_processes() > 1:
            torch.distributed.all_reduce(adapter.grad)
        optimizer.step()
        scheduler.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip, after any loss scale was divided out; keep the norm, without a host sync."""
        adapter, most = self._policy().adapter, self.hparams["max_grad_norm"]
        assert adapter.grad is not None
        # A CPU adds up one weight after the other: in float32 millions of them cost four digits.
        exact = torch.float64 if adapter.device.type == "cpu" else torch.float32
        self.grad_norm = torch.linalg.vector_norm(adapter.grad, dtype=exact).float()
        if most:
            torch.nn.utils.clip_grads_with_norm_(adapter, most, self.grad_norm)
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:  # which counts its own
            self.bad_gradients = self.bad_gradients + ~self.grad_norm.isfinite()
        self.step_rate = float(optimizer.param_groups[0]["lr"])

    def on_validation_start(self) -> None:
        """Choose the layout where no fit has done so before."""
        if self.trainer.state.fn != "fit":
            data = self._datamodule()
            data.layout = fitting_layout(self._policy(), data.layout, data.limits.max_length)

    on_test_start = on_predict_start = on_validation_start

    def validation_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Add a batch's pairs to the validation means."""
        for terms, logps in self._runner().measure("val", batch, self._terms):
            self.val_means.update(terms, logps)

    def on_validation_epoch_end(self) -> None:
        self.validated_at = self.trainer.global_step
        self.validated_pairs = int(sum_over_processes(self.val_means.sums)[-1])
        values = self._log_means("val", self.val_means)
        if self.trainer.state.fn == "fit":  # before any callback keeps a checkpoint of it
            check_finite(self, values)

    def test_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Add a batch's pairs to the test means."""
        for terms, logps in self._runner().measure("test", batch, self._terms):
            self.test_means.update(terms, logps)

    def on_test_epoch_end(self) -> None:
        self._log_means("test", self.test_means)

    def predict_step(self, batch: list[PairBatch], batch_idx: int) -> list[dict[str, float]]:
        """Score every pair: log-probs under policy and reference, rewards and margin."""

        def rows_of(part: PairBatch) -> list[dict[str, float]]:
            logps, reference = self._both_logps(part)
            terms = self.objective.terms(logps, reference, part.score_owner)
            return prediction_rows(part.records, terms, logps, reference)

        return [row for rows in self._runner().measure("test", batch, rows_of) for row in rows]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the adapter, with warm-up from 0 and a schedule over the whole run."""
        return schedule_steps(self._policy().adapter, self.hparams, count_steps(self.trainer))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the policy's adapter only: the base never reaches a checkpoint."""
        # Named as the network's own state_dict names them, without walking through all of it.
        named = self._policy().weights.named_weights()
        return {f"policy.network.{name}": weight.detach() for name, weight in named.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the running means, so that a resumed run logs what the unbroken one does.

        Raises:
            NotFiniteError: The weights or the means are infinite or NaN; nothing is written.
        """
        check_weights(self)
        checkpoint["train_sums"] = [window, _] = self.train_means.saved()
        names = (f"train/{name}" for name in NAMES)
        check_finite(self, dict(zip(names, window[:-1].tolist(), strict=True)))
        checkpoint["first_loss"] = self.first_loss
        checkpoint["bad_gradients"] = int(self.bad_gradients)
        checkpoint["run_settings"] = self.run_settings
        checkpoint.update(self.hashes)
        checkpoint["precision"] = str(self.trainer.precision)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the running means back, after `check_checkpoint`."""
        self.configure_model()
        resumes = self._trainer and self.trainer.state.fn == "fit"
        precision = str(self.trainer.precision) if resumes else None
        check_checkpoint(checkpoint, set(self.state_dict()), self.hparams, precision, self.hashes)
        self.train_means.restore(*checkpoint["train_sums"])
        self.first_loss = checkpoint["first_loss"]
        self.bad_gradients = torch.tensor(checkpoint.get("bad_gradients", 0))  # 0.1.0 wrote none

    def _terms(self, batch: PairBatch) -> tuple[DPOTerms, Tensor]:
        """Compute the objective's terms and the policy's log-probs, (B, 2) nats."""
        logps, reference = self._both_logps(batch)
        return self.objective.terms(logps, reference, batch.score_owner, batch.weights), logps

    def _both_logps(self, batch: PairBatch) -> tuple[Tensor, Tensor | None]:
        has_reference = self.objective.kind.has_reference
        return self._policy().both_logps(batch, with_reference=has_reference)

    def _log_means(self, stage: str, means: PairMeans) -> dict[str, float]:
        # The metric has summed over processes by itself; averaging again would be wrong.
        found = {name: value.item() for name, value in means.compute().items()}
        found |= self.objective.derived(found["rewards/chosen"])
        values = {f"{stage}/{name}": value for name, value in found.items()}
        # A fit's step; without it Lightning would count from 0 here.
        step = {"step": float(self.trainer.global_step)} if self.trainer.global_step else {}
        self.log_dict(values | step)
        means.reset()
        return values

    def _policy(self) -> Policy:
        assert self.policy is not None, "configure_model has not run"
        return self.policy

    def _datamodule(self) -> PreferenceDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PreferenceDataModule)
        return data

    def _runner(self) -> PassRunner:
        return PassRunner(self._policy(), self._datamodule(), self.base)
