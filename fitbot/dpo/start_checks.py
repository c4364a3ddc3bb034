"""What must hold before the first step: settings, precision, checkpoint, and a first loss of ln 2.

If something does not, the run stops here and says why.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from fitbot.base_model.adapter_files import adapter_hash
from fitbot.base_model.base_files import base_hash
from fitbot.base_model.embedded import absolute_base, absolute_path
from fitbot.base_model.gpu import has_bfloat16
from fitbot.base_model.settings import check_ranges
from fitbot.cluster.processes import check_agreement, from_first, num_processes, rank
from fitbot.dpo.losses import LOSSES, Objective, kind_of
from fitbot.dpo.pass_runner import PassRunner
from fitbot.errors import AdapterError, ConfigError, NotFiniteError
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.policy import Policy, to_device

logger = logging.getLogger(__name__)

COMPUTE_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

# How far the first loss may be from ln 2. In float32 the policy and its reference agree to the last
# digits; in 16 bits the same pair in another batch shape is rounded otherwise, by some tenths of a
# nat in a completion.
FIRST_LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.03}

_RANGES = {
    "max_seq_length": ">= 1",
    "beta": "> 0",
    "label_smoothing": "in [0, 0.5)",
    "gamma": ">= 0",
    "nll_weight": ">= 0",
    "learning_rate": "> 0",
    "weight_decay": ">= 0",
    "warmup_ratio": "in [0, 1]",
    "max_grad_norm": ">= 0",
    "lora.r": ">= 1",
    "lora.alpha": "> 0",
    "lora.dropout": "in [0, 1)",
    "lora.random_state": ">= 0",
}


def check_module(settings: Mapping[str, Any]) -> None:
    """Refuse hyper-parameters of the module that are out of range, or contradict each other.

    Raises:
        ConfigError: With the setting's name and its range.
    """
    lora = {f"lora.{name}": value for name, value in settings["lora"].items()}
    check_ranges("model", {**settings, **lora}, _RANGES)
    loss, kind = settings["loss"], kind_of(settings["loss"])
    for name in ("label_smoothing", "gamma", "length_normalised", "nll_weight"):
        if settings[name] and name not in kind.reads:
            readers = ", ".join(other for other in LOSSES if name in LOSSES[other].reads)
            none = "false" if settings[name] is True else "0"
            raise ConfigError(
                f"model.{name} {settings[name]}: set it to {none}, for the loss {loss} does not "
                f"get it; these do: {readers}"
            )
    if settings["reference"] != "auto" and not kind.has_reference:
        raise ConfigError(
            f"model.reference {settings['reference']}: set it to auto, for the loss {loss} has no "
            "reference"
        )


def compute_dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Return what matrix products run in, by trainer.precision.

    Raises:
        ConfigError: A precision that would train or measure wrongly, or that the GPU lacks.
    """
    if precision not in COMPUTE_DTYPES:
        raise ConfigError(
            f"trainer.precision {precision} is not supported: it would round adapter and "
            f"metrics; use one of {', '.join(COMPUTE_DTYPES)}"
        )
    if precision == "bf16-mixed" and not has_bfloat16(device):
        raise ConfigError(
            "trainer.precision bf16-mixed: this GPU has no bfloat16; set trainer.precision: auto, "
            "which is 16-mixed here"
        )
    return COMPUTE_DTYPES[precision]


def precision_for(device: torch.device) -> str:
    """Return what `trainer.precision: auto` means on a device.

    bfloat16 where the device itself computes in it; else float16 on a GPU and float32 elsewhere.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bf16-mixed" if has_bfloat16(device) else "16-mixed"
    # A CPU without instructions for bfloat16 takes four times as long for it, or far longer.
    has_instructions = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if has_instructions else "32-true"


def hashes_of(base_model: str, adapter: str | None) -> dict[str, str | None]:
    """Hash what the reference is made of: the base, and the adapter that a run goes on from."""
    return {
        "base_sha256": from_first(base_hash(base_model) if rank() == 0 else ""),
        "reference_sha256": adapter and adapter_hash(adapter),
    }


def count_steps(trainer: Trainer) -> int:
    """Return how many optimizer steps a fit has, as far as settings say.

    Raises:
        ConfigError: It has none or no end, or its epoch is too short for another setting.
    """
    epoch = "an epoch of these pairs, data.batch_size and data.accumulate_batches"
    try:
        steps = trainer.estimated_stepping_batches
    except MisconfigurationException as error:  # a share of an epoch that is less than one step
        raise ConfigError(
            f"trainer.limit_train_batches is {trainer.limit_train_batches}, less than one step of "
            f"{epoch}; raise it"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"trainer.val_check_interval is {trainer.val_check_interval}, but {epoch} has "
            f"{trainer.num_training_batches} steps; set it to at most that, to 1.0 for the end of "
            "each epoch, or set trainer.check_val_every_n_epoch: null to count over epochs"
        ) from error
    if math.isinf(steps):
        raise ConfigError("trainer.max_epochs is -1; a schedule needs an end: set max_steps")
    if steps < 1 or trainer.limit_train_batches == 0:
        raise ConfigError(
            "the fit would have no step: raise trainer.max_steps or trainer.limit_train_batches"
        )
    return int(steps)


def check_checkpoint(
    checkpoint: Mapping[str, Any],
    weight_names: set[str],
    settings: Mapping[str, Any],
    precision: str | None,
    hashes: Mapping[str, str | None] = MappingProxyType({}),
) -> None:
    """Demand that a checkpoint has this run's adapter weights, base and reference.

    Base and reference are known by their hashes, or by their paths where the checkpoint has none.
    Another `trainer.precision` than a resumed run's is no error, but said.

    Raises:
        AdapterError: It is of another base, reference or adapter shape.
    """
    if odd := sorted(weight_names ^ set(checkpoint["state_dict"])):
        raise AdapterError(
            f"the checkpoint's adapter has other layers than this run's: {len(odd)} names "
            f"differ, such as {odd[0]!r}; use the base and the model.lora.target_modules it was "
            "trained with"
        )
    shape = checkpoint["hyper_parameters"]["lora"]
    for key in ("r", "alpha", "use_rslora"):
        ours = settings["lora"][key]
        theirs = shape.get(key, ours)
        if theirs != ours:
            raise AdapterError(
                f"the checkpoint was trained with model.lora.{key} {theirs}, this run has {ours}; "
                "use the settings it was trained with"
            )
    hashed = {"base_model": "base_sha256", "adapter": "reference_sha256"}
    for key in ("base_model", "load_in_4bit", "adapter"):
        theirs, ours = _absolute(key, checkpoint["hyper_parameters"].get(key)), settings[key]
        before, now = (of.get(hashed.get(key, "")) for of in (checkpoint, hashes))
        if theirs != ours and (before is None or before != now):
            raise AdapterError(
                f"the checkpoint was trained with model.{key} {theirs!r}, this run has "
                f"{ours!r}; its reference would be another one"
            )
        if before is not None and before != now:
            raise AdapterError(
                f"model.{key} {ours!r} holds other weights or settings than when the checkpoint "
                "was trained; put those back"
            )
    if precision and (before := checkpoint.get("precision", precision)) != precision:
        logger.warning(
            "the checkpoint was trained with trainer.precision %s, this run has %s: it goes on, "
            "but its numbers are rounded in another way than an unbroken run's",
            before,
            precision,
        )


def _absolute(key: str, value: Any) -> Any:
    """Make a path absolute that a setting of an older checkpoint may hold."""
    if key == "base_model":
        return absolute_base(value)
    return absolute_path(value) if key == "adapter" and value else value


def check_same_start(policy: Policy, data: PreferenceDataModule, step: int) -> None:
    """Demand that all processes begin at the same step, with the same base, adapter and pairs.

    Raises:
        ConfigError: One does not.
    """
    if num_processes() > 1:
        base, adapter = policy.base_checksum(), policy.adapter
        check_agreement(base=base, **data.identity(), step=step, adapter=adapter)


@torch.no_grad()
def check_first_loss(
    runner: PassRunner, *, beta: float, resumed: bool, reference_cache: Path
) -> None:
    """Compare policy and reference where they must agree, with dropout off.

    A fresh run compares the policy; a resumed one, whose policy has moved, the reference
    recomputed with what the cache holds. `reference_cache` is named in the message.

    Raises:
        AdapterError: The first loss is not ln 2.
        NotFiniteError: It is infinite or NaN.
    """
    policy, data = runner.policy, runner.data
    logps_now = policy.reference_logps if resumed else policy.logps_without_gradient

    def losses_of(batch: PairBatch) -> Tensor:
        logps, cached = logps_now(batch), batch.reference_logps
        reference = policy.reference_logps(batch) if cached is None else cached
        return Objective(beta).terms(logps, reference).losses

    pairs = range(min(data.pairs_per_step, len(data.pairs["train"])))
    batch = [to_device(part, policy.device) for part in data.collate("train", pairs)]
    loss = torch.cat(runner.measure("train", batch, losses_of)).mean().item()
    if not math.isfinite(loss):
        numbers = str(policy.compute_dtype).removeprefix("torch.")
        raise NotFiniteError(
            f"the first loss is {loss}, before any step was done: log-probs of "
            f"{runner.base.base_model}, or of model.adapter on it, are infinite or NaN in "
            f"{numbers}. Set trainer.precision to 32-true; if it is that, weights are damaged"
        )
    if not abs(loss - math.log(2)) < FIRST_LOSS_TOLERANCE[policy.compute_dtype]:
        raise AdapterError(
            f"the first loss is {loss:.6f} and must be ln 2 = 0.693147, because policy and "
            "reference are the same model before the first step. Either the cached reference "
            f"log-probs are of another model (delete {reference_cache}), or the adapter "
            "does not start where its reference is"
        )
    logger.info("first loss %.6f, as it must be (ln 2 = 0.693147)", loss)
