"""DPO as a LightningModule: forward policy, forward reference, objective, step.

It does not know how log-probs are made fast, nor how a pair is laid out: `Policy.logps` and
`PairBatch` do. Optimisation is manual because one batch is one optimizer step whose pairs may need
several forward passes: each pass is weighted by its pairs, so the split changes no result.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fitbot.base_model.adapter_files import lora_settings_of
from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.nf4 import count_4bit
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.cluster.processes import (
    check_agreement,
    largest_over_processes,
    num_processes,
    rank,
    sum_over_processes,
)
from fitbot.cluster.strategy import Sharded, check_strategy
from fitbot.dpo.losses import DPOTerms, Loss, chosen_nll, dpo_loss
from fitbot.dpo.memory import Memory, measure_memory
from fitbot.dpo.metrics import PairMeans, means_of
from fitbot.errors import AdapterError, ConfigError
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.datamodule import PreferenceDataModule, Split
from fitbot.policy.policy import EngineSetting, Policy, to_device
from fitbot.policy.reference import (
    ReferenceCache,
    cached_reference_logps,
    open_reference_cache,
)

logger = logging.getLogger(__name__)

Measured = TypeVar("Measured")

COMPUTE_DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}

# How far the first loss may be from ln 2. In float32 the policy and its reference agree to the last
# digits; in 16 bits the same pair in another batch shape is rounded otherwise, by some tenths of a
# nat in a completion.
FIRST_LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.03}


class DPOModule(LightningModule):
    """A 4-bit base with a LoRA adapter, trained by direct preference optimisation."""

    train_total: Tensor

    def __init__(
        self,
        base_model: str = "embedded",
        load_in_4bit: bool = True,
        expand_4bit: bool | None = None,
        max_seq_length: int = 2048,
        gradient_checkpointing: bool = False,
        backend: Literal["transformers", "unsloth"] = "transformers",
        lora: LoraSettings | None = None,
        adapter: str | None = None,
        engine: EngineSetting = "auto",
        reference: Literal["auto", "cached", "online"] = "auto",
        reference_cache: str = "checkpoints/reference",
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        loss: Loss = "sigmoid",
        nll_weight: float = 0.0,
        learning_rate: float = 5e-6,
        optimizer: Literal["adamw", "adamw_8bit"] = "adamw_8bit",
        weight_decay: float = 0.01,
        lr_schedule: Literal["linear", "cosine", "constant"] = "linear",
        warmup_ratio: float = 0.1,
        max_grad_norm: float = 1.0,
    ):
        """Take the settings; weights load in `configure_model`.

        Args:
            base_model: Hub id or folder; "embedded" is the small model that fitbot brings along.
            load_in_4bit: Hold the linear layers as NF4, as QLoRA does.
            expand_4bit: Expand the NF4 weights once to the compute dtype: identical values, no
                dequantisation in every step, four times the memory. null: when memory allows.
            max_seq_length: Tokens of the longest sequence the model is set up for.
            gradient_checkpointing: Recompute activations in backward: less memory, a third slower.
            backend: transformers, or unsloth (needs `pip install 'fitbot[unsloth]'`).
            lora: The adapter's shape; with adapter, that one's.
            adapter: Folder of an adapter to go on from; frozen, it is the reference, too.
            engine: eager (transformers' own modules), compiled (fused kernels, CUDA graphs), or
                auto: compiled where that can run and the run is long enough.
            reference: cached (log-probs computed once and kept on disk), online (adapter off, in
                every step), or auto: cached if the run sees its pairs more than once.
            reference_cache: Folder of the cached log-probs; runs share it.
            beta: Pull towards the reference, > 0; lower lets the policy go further.
            label_smoothing: Assumed share of flipped preferences, in [0, 0.5).
            loss: sigmoid is DPO; ipo stops pulling where a pair is told apart.
            nll_weight: Of the chosen answers' negative log-likelihood a token, added to the loss;
                keeps them likely. 0: none of it.
            learning_rate: Peak, reached after the warm-up.
            optimizer: adamw, or adamw_8bit (bitsandbytes: optimizer state in 8 bits).
            weight_decay: Of AdamW.
            lr_schedule: After the warm-up: linear or cosine to 0, or constant.
            warmup_ratio: Share of the steps in which the learning rate rises from 0.
            max_grad_norm: L2 norm that gradients are clipped to.
        """
        super().__init__()
        # Plain values only: a checkpoint with dataclasses in it cannot be loaded weights_only.
        self.save_hyperparameters(ignore=["lora"])
        lora = LoraSettings(**lora) if isinstance(lora, dict) else lora or LoraSettings()
        if adapter is not None:
            lora = lora_settings_of(adapter)  # or an export would tell another shape than it has
        self.hparams["lora"] = asdict(lora)
        self.base = BaseSettings(
            base_model=base_model,
            load_in_4bit=load_in_4bit,
            expand_4bit=expand_4bit,
            max_seq_length=max_seq_length,
            gradient_checkpointing=gradient_checkpointing,
            backend=backend,
        )
        self.lora = lora
        self.adapter, self.reference = adapter, reference
        self.engine: EngineSetting = engine
        self.reference_cache = Path(reference_cache)
        self.beta, self.label_smoothing = beta, label_smoothing
        self.loss: Loss = loss
        self.nll_weight = nll_weight
        self.learning_rate, self.optimizer_name = learning_rate, optimizer
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self.lr_schedule, self.warmup_ratio = lr_schedule, warmup_ratio
        self.automatic_optimization = False
        self.strict_loading = False  # checkpoints hold the adapter; on_load_checkpoint is strict
        self.policy: Policy | None = None
        self.memory: Memory | None = None  # measured at the start of a fit
        self.run_settings: dict[str, Any] = {}  # the command line's; carried to an export
        self.train_window = PairMeans()  # since the last log point
        # Sums of the windows before it: of the whole run, once the last one is closed.
        self.register_buffer("train_total", torch.zeros_like(self.train_window.sums), False)
        self.val_means, self.test_means = PairMeans(), PairMeans()
        self.grad_norm = torch.tensor(math.nan)
        self.first_loss: float | None = None
        self.validated_at: int | None = None  # optimizer step of the latest validation
        _check_ranges(beta, label_smoothing, nll_weight, warmup_ratio, lora.dropout)

    def configure_model(self) -> None:
        """Load base and adapter onto this process's device. Lightning calls it more than once."""
        if self.policy is not None:
            return
        dtype = self.compute_dtype
        strategy = self.trainer.strategy if self._trainer else None
        network = load_policy_network(
            self.base,
            self.lora,
            device=strategy.root_device if strategy else torch.device("cpu"),
            compute_dtype=dtype,
            adapter=self.adapter,
            mesh=strategy.mesh if isinstance(strategy, Sharded) else None,
        )
        self.policy = Policy(network, compute_dtype=dtype)

    def cpu(self) -> Self:
        """Stay on the device: Lightning moves a module to the host's memory when a fit is over.

        There nobody reads the base, a 32B one is 61 GiB, and many a host that a GPU is in has less.
        """
        return self

    @property
    def compute_dtype(self) -> torch.dtype:
        """What matrix products run in, by trainer.precision.

        Raises:
            ConfigError: A precision that would train or measure wrongly, or that the GPU lacks.
        """
        precision = str(self.trainer.precision) if self._trainer else "32-true"
        if precision not in COMPUTE_DTYPES:
            raise ConfigError(
                f"trainer.precision {precision} is not supported: it would round adapter and "
                f"metrics; use one of {', '.join(COMPUTE_DTYPES)}"
            )
        on_gpu = self._trainer and self.trainer.strategy.root_device.type == "cuda"
        bfloat16_is_missing = on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bf16-mixed" and bfloat16_is_missing:
            raise ConfigError(
                "trainer.precision bf16-mixed: this GPU has no bfloat16; add "
                "--config configs/t4.yaml, or --trainer.precision 16-mixed"
            )
        return COMPUTE_DTYPES[precision]

    def training_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Do one optimizer step on one global batch, in as many passes as it was split into.

        The batch is this process's share of it; the gradient is summed over all.
        """
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LRScheduler)
        for terms, logps in self._backward_over(batch, optimizer):
            self.train_window.update(terms, logps)
        adapter = self._policy().adapter
        if adapter.grad is None:  # a last batch of fewer pairs than processes
            adapter.grad = torch.zeros_like(adapter)
        if num_processes() > 1:
            torch.distributed.all_reduce(adapter.grad)
        optimizer.step()
        scheduler.step()

    def _backward_over(
        self, batch: list[PairBatch], optimizer: LightningOptimizer
    ) -> list[tuple[DPOTerms, Tensor]]:
        """Run all passes of a step forward and backward; where memory runs out, smaller ones."""
        num_pairs = self._datamodule().pairs_in_step()
        while True:
            optimizer.zero_grad()
            results = []
            try:
                for number, part in enumerate(self._joint_passes("train", batch)):
                    terms, logps = self._terms(part)
                    counts = number < len(batch)
                    self.manual_backward(counts * terms.losses.sum() / num_pairs)
                    results.append((terms, logps.detach()))
                return results[: len(batch)]
            except torch.cuda.OutOfMemoryError:
                results.clear()
            # Only here is what the failed pass held free again.
            self._policy().release_memory()
            batch = self._smaller("train", batch)

    def _measure(
        self, split: Split, batch: list[PairBatch], of: Callable[[PairBatch], Measured]
    ) -> list[Measured]:
        """Run passes without backward; where memory runs out, without graphs, then smaller."""
        while True:
            try:
                return [of(part) for part in self._joint_passes(split, batch)][: len(batch)]
            except torch.cuda.OutOfMemoryError:
                pass  # only after this is what the failed pass held free again
            # Passes that are not captured cannot use the memory that captured ones hold.
            if not self._policy().release_memory():
                batch = self._smaller(split, batch)

    def _joint_passes(self, split: Split, batch: list[PairBatch]) -> list[PairBatch]:
        """Add passes that count for nothing until all processes run as many, if they must."""
        if not self._policy().is_sharded:
            return batch
        missing = largest_over_processes(len(batch), self.device) - len(batch)
        extra = self._datamodule().collate(split, [0]) if missing else []
        return batch + missing * [to_device(part, self.device) for part in extra]

    def _smaller(self, split: Split, batch: list[PairBatch]) -> list[PairBatch]:
        self._check_may_be_smaller()
        smaller = self._datamodule().split_smaller(split, batch)
        return [to_device(part, self.device) for part in smaller]

    def _check_may_be_smaller(self) -> None:
        """Refuse to try again where the other processes are in the middle of the same pass."""
        if self._policy().is_sharded:
            raise ConfigError(
                f"out of GPU memory in process {rank()}, in a forward pass of at most "
                f"{self._datamodule().token_budget:,} tokens; with trainer.strategy sharded it "
                "cannot be tried again in smaller ones: set data.max_tokens_per_pass lower, or "
                "model.gradient_checkpointing: true, or take more GPUs"
            )

    def close_window(self) -> tuple[dict[str, float], int]:
        """Return the means over the pairs since the last log point and their number; start anew."""
        sums = sum_over_processes(self.train_window.sums)
        means = {name: mean.item() for name, mean in means_of(sums).items()}
        num_pairs = int(sums[-1].item())
        self.train_total += sums
        self.train_window.reset()
        return means, num_pairs

    def validation_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Add a batch's pairs to the validation means."""
        for terms, logps in self._measure("val", batch, self._terms):
            self.val_means.update(terms, logps)

    def on_validation_epoch_end(self) -> None:
        """Log means over all validation pairs."""
        self._log_means("val", self.val_means)
        self.validated_at = self.trainer.global_step

    def test_step(self, batch: list[PairBatch], batch_idx: int) -> None:
        """Add a batch's pairs to the test means."""
        for terms, logps in self._measure("test", batch, self._terms):
            self.test_means.update(terms, logps)

    def on_test_epoch_end(self) -> None:
        """Log means over all test pairs."""
        self._log_means("test", self.test_means)

    def predict_step(self, batch: list[PairBatch], batch_idx: int) -> list[dict[str, float]]:
        """Score every pair: log-probs under policy and reference, rewards and margin."""
        return [row for rows in self._measure("test", batch, self._rows) for row in rows]

    def on_fit_start(self) -> None:
        """Compute or fetch the reference's log-probs, and check that the first loss is ln 2."""
        check_strategy(self.trainer.strategy)
        data = self._datamodule()
        self._policy().check_layout(data.layout, data.limits.max_length)
        self._policy().use_engine(
            self.engine,
            layout=data.layout,
            num_steps=int(self.trainer.estimated_stepping_batches),
        )
        self.memory = self._measured_memory(data)
        data.choose_budget(self.memory.tokens_that_fit)
        if self._caches_reference():
            cache = open_reference_cache(
                self.reference_cache,
                self.base,
                expanded=count_4bit(self._policy())[1] > 0,
                compute_dtype=self.compute_dtype,
                device=self.device,
                layout=data.layout,
                engine=self._policy().engine_name,
                adapter=self.adapter,
            )
            for split in data.pairs:
                data.reference_logps[split] = self._cached_reference(split, cache)
        if num_processes() > 1:
            check_agreement(
                base=self._policy().base_checksum(),
                **data.identity(),
                step=self.trainer.global_step,
                adapter=self._policy().adapter,
            )
        self._check_first_loss()

    def on_validation_start(self) -> None:
        """Check the layout where no fit has done so before."""
        if self.trainer.state.fn != "fit":
            data = self._datamodule()
            self._policy().check_layout(data.layout, data.limits.max_length)

    on_test_start = on_predict_start = on_validation_start

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip, after any loss scale was divided out; keep the norm, without a host sync."""
        adapter = self._policy().adapter
        self.grad_norm = torch.nn.utils.clip_grad_norm_(adapter, self.max_grad_norm)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the adapter, with warm-up from 0 and a schedule over the whole run.

        The schedules are transformers': the first step has learning rate 0, and so has the end of
        the linear and the cosine one.
        """
        from transformers import get_scheduler

        num_steps = self.trainer.estimated_stepping_batches
        if math.isinf(num_steps):
            raise ConfigError("trainer.max_epochs is -1; a schedule needs an end: set max_steps")
        scheduler = get_scheduler(
            "constant_with_warmup" if self.lr_schedule == "constant" else self.lr_schedule,
            optimizer := self._make_optimizer(),
            num_warmup_steps=math.ceil(self.warmup_ratio * num_steps),
            num_training_steps=int(num_steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the policy's adapter only: the base never reaches a checkpoint."""
        # Named as the network's own state_dict names them, without walking through all of it.
        return {
            f"policy.network.{layer.name}.lora_{letter}.{POLICY_ADAPTER}.weight": weight.detach()
            for layer in self._policy().weights.layers
            for letter, weight in (("A", layer.a), ("B", layer.b))
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the running means, so that a resumed run logs what the unbroken one does."""
        window = sum_over_processes(self.train_window.sums)
        checkpoint["train_sums"] = [window, self.train_total]
        checkpoint["first_loss"] = self.first_loss
        checkpoint["run_settings"] = self.run_settings

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Demand exactly this adapter's weights, and the same base and reference.

        Raises:
            AdapterError: The checkpoint is of another base, reference or adapter shape.
        """
        self.configure_model()
        wanted, found = set(self.state_dict()), set(checkpoint["state_dict"])
        if wanted != found:
            odd = sorted(wanted ^ found)
            raise AdapterError(
                f"the checkpoint's adapter has other layers than this run's: {len(odd)} names "
                f"differ, such as {odd[0]!r}; use the settings it was trained with"
            )
        for key in ("base_model", "load_in_4bit", "adapter"):
            theirs, ours = checkpoint["hyper_parameters"].get(key), self.hparams[key]
            if theirs != ours:
                raise AdapterError(
                    f"the checkpoint was trained with model.{key} {theirs!r}, this run has "
                    f"{ours!r}; its reference would be another one"
                )
        window, total = checkpoint["train_sums"]
        if rank() == 0:  # the sums are over all processes
            self.train_window.sums = window.to(self.train_window.sums.device)
        self.train_total = total.to(self.train_total.device)
        self.first_loss = checkpoint["first_loss"]

    def _rows(self, batch: PairBatch) -> list[dict[str, float]]:
        """Say of every pair what `predict_step` writes."""
        logps, reference = self._logps(batch)
        terms = dpo_loss(logps, reference, beta=self.beta)
        columns = {
            "pair": batch.records,
            "logps/chosen": logps[:, 0],
            "logps/rejected": logps[:, 1],
            "reference_logps/chosen": reference[:, 0],
            "reference_logps/rejected": reference[:, 1],
            "rewards/chosen": terms.chosen_rewards,
            "rewards/rejected": terms.rejected_rewards,
            "margin": terms.chosen_rewards - terms.rejected_rewards,
        }
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in values]

    def _terms(self, batch: PairBatch) -> tuple[DPOTerms, Tensor]:
        """Compute the objective's terms and the policy's log-probs, (B, 2) nats."""
        logps, reference_logps = self._logps(batch)
        terms = dpo_loss(
            logps,
            reference_logps,
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            loss=self.loss,
        )
        if self.nll_weight:
            more = self.nll_weight * chosen_nll(logps, batch.score_owner)
            terms = terms._replace(losses=terms.losses + more)
        return terms, logps

    def _logps(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Log-probs under policy and reference, each (B, 2) nats."""
        logps = self._policy().logps(batch)
        if batch.reference_logps is not None:
            return logps, batch.reference_logps
        return logps, self._policy().reference_logps(batch)

    def _log_means(self, stage: str, means: PairMeans) -> None:
        # The metric has summed over processes by itself; averaging again would be wrong.
        values: dict[str, Tensor | float] = {
            f"{stage}/{name}": value for name, value in means.compute().items()
        }
        if self.trainer.global_step:  # of a fit, that is: what only measures takes no steps
            # Lightning would count steps from 0 here; this is its way of being told the step.
            values["step"] = float(self.trainer.global_step)
        self.log_dict(values)
        means.reset()

    def _cached_reference(self, split: Split, cache: ReferenceCache) -> Tensor:
        """Log-probs of a split's pairs under the reference, (N, 2) nats on the CPU."""
        data = self._datamodule()

        def smaller(longest: int) -> int:
            self._policy().release_memory()
            self._check_may_be_smaller()
            data.lower_budget(data.token_budget, can_be_smaller=data.token_budget > longest)
            return data.token_budget

        return cached_reference_logps(
            self._policy(),
            data.pairs[split],
            cache,
            layout=data.layout,
            pad_id=data.pad_id,
            max_tokens=data.token_budget,
            smaller=smaller,
        )

    def _caches_reference(self) -> bool:
        if self.reference != "auto":
            return self.reference == "cached"
        data = self._datamodule()
        seen = int(self.trainer.estimated_stepping_batches) * data.pairs_per_step
        cached = seen > len(data.pairs["train"])
        logger.info(
            "reference: %s (the run sees %s pairs, the file has %s)",
            "cached" if cached else "online, adapter off in every step",
            f"{seen:,}",
            f"{len(data.pairs['train']):,}",
        )
        return cached

    def _measured_memory(self, data: PreferenceDataModule) -> Memory:
        moment = 1 if self.optimizer_name == "adamw_8bit" else 4  # bytes
        try:
            return measure_memory(self._policy(), data.pairs["train"], bytes_a_moment=moment)
        except torch.cuda.OutOfMemoryError:
            self._check_may_be_smaller()
            data.lower_budget(data.limits.max_length, can_be_smaller=False)  # it was a single pair
            raise

    @torch.no_grad()
    def _check_first_loss(self) -> None:
        """Compare policy and reference where they must agree, with dropout off.

        A fresh run compares the policy; a resumed one, whose policy has moved, the reference
        recomputed with what the cache holds.
        """
        data, policy = self._datamodule(), self._policy()
        pairs = range(min(data.pairs_per_step, len(data.pairs["train"])))
        resumed = self.trainer.ckpt_path is not None

        def losses_of(batch: PairBatch) -> Tensor:
            logps = policy.reference_logps(batch) if resumed else policy.logps(batch)
            cached = batch.reference_logps
            reference = policy.reference_logps(batch) if cached is None else cached
            return dpo_loss(logps, reference, beta=self.beta).losses

        policy.eval()
        batch = [to_device(part, self.device) for part in data.collate("train", pairs)]
        losses = self._measure("train", batch, losses_of)
        policy.train()
        loss = torch.cat(losses).mean().item()
        if not abs(loss - math.log(2)) < FIRST_LOSS_TOLERANCE[self.compute_dtype]:
            raise AdapterError(
                f"the first loss is {loss:.6f} and must be ln 2 = 0.693147, because policy and "
                "reference are the same model before the first step. Either the cached reference "
                f"log-probs are of another model (delete {self.reference_cache}), or the adapter "
                "does not start where its reference is"
            )
        logger.info("first loss %.6f, as it must be (ln 2 = 0.693147)", loss)

    def _make_optimizer(self) -> Optimizer:
        if self.optimizer_name == "adamw":
            return torch.optim.AdamW(
                [self._policy().adapter], lr=self.learning_rate, weight_decay=self.weight_decay
            )
        from fitbot.dpo.optimizer import AdamW8bit  # bitsandbytes takes seconds to import

        return AdamW8bit(
            [self._policy().adapter], lr=self.learning_rate, weight_decay=self.weight_decay
        )

    def _policy(self) -> Policy:
        assert self.policy is not None, "configure_model has not run"
        return self.policy

    def _datamodule(self) -> PreferenceDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PreferenceDataModule)
        return data


def _check_ranges(
    beta: float, label_smoothing: float, nll_weight: float, warmup_ratio: float, dropout: float
) -> None:
    for name, value, fits, legal in (
        ("beta", beta, beta > 0, "> 0"),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 0.5, "in [0, 0.5)"),
        ("nll_weight", nll_weight, nll_weight >= 0, ">= 0"),
        ("warmup_ratio", warmup_ratio, 0 <= warmup_ratio <= 1, "in [0, 1]"),
        ("lora.dropout", dropout, 0 <= dropout < 1, "in [0, 1)"),
    ):
        if not fits:
            raise ConfigError(f"model.{name} must be {legal}, got {value}")
