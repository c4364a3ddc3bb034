"""fitbot against TRL's DPOTrainer: the same token ids, log-probs and 20 optimizer steps.

Both put a LoRA adapter on one tiny random Qwen3 in float32 and train it on fitness pairs. TRL
tokenises them; from there on fitbot is given TRL's own ids, so that what differs is arithmetic.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from datasets import Dataset
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

from fitbot.base_model.adapter_files import adapter_config
from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.module import DPOModule
from fitbot.pairs.batch import Layout, collate_pairs
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.preferences import load_pairs
from fitbot.policy.policy import Policy
from tests.conftest import store_of
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "data" / "fitness_train.json"
NUM_PAIRS = 48
QWEN3_TOKENIZER = ROOT.parent / "shared" / "qwen3-tokenizer"

SYSTEM_PROMPT = "You are a helpful AI fitness assistant for gym-goers and vegetarians."
LORA = LoraSettings(r=8, alpha=16, dropout=0.0)  # TRL turns dropout off
LIMITS = LengthLimits(max_prompt_length=1024, max_length=2048)  # nothing is cut

STEPS = 20  # 6 an epoch: the run sees the pairs in four orders
PAIRS_PER_STEP = 8
BETA = 0.1
LEARNING_RATE = 2e-3  # takes the loss from 0.69 to 0.08
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0  # between the largest norm, 5.3, and the smallest, 0.6


class Run(NamedTuple):
    """What one training run did."""

    steps: list[dict[str, float]]  # the log of every step
    order: list[int]  # pairs, as they were trained on
    adapter: dict[str, Tensor]  # at the end

    def column(self, name: str) -> Tensor:
        """Take one logged value of every step: (STEPS,) float64."""
        return torch.tensor([step[name] for step in self.steps], dtype=torch.float64)


class PlainHead:
    """Token log-probs by definition, in place of TRL's kernel, which is Triton and needs a GPU."""

    @staticmethod
    def apply(
        hidden: Tensor, weight: Tensor, bias: None, targets: Tensor, *_: Any
    ) -> tuple[Tensor | None, ...]:
        logps = (hidden @ weight.T).log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)  # (S,)
        unused = torch.zeros(len(logps))  # entropy and more, for TRL's log only
        return logps, unused, None, unused, unused.bool()


class TrlInOrder(DPOTrainer):
    """TRL's trainer, taking the pairs in a given order."""

    order: list[int]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return self.order


class StepHistory(StepLog):
    """fitbot's own log, of every step, and the pairs that each step trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, float]] = []
        self.order: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.steps.append({name.removeprefix("train/"): x for name, x in self.last.items()})
        self.order += [record for part in batch for record in part.records.tolist()]


@pytest.fixture(scope="module", autouse=True)
def _trl_on_an_offline_cpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("trl.trainer.utils._ChunkedLogProbFunction", PlainHead)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("base"), hidden_size=64)


@pytest.mark.parametrize(
    "tokenizer_folder",
    [
        pytest.param(None, id="embedded"),
        pytest.param(
            QWEN3_TOKENIZER,
            id="qwen3",
            marks=pytest.mark.skipif(not QWEN3_TOKENIZER.is_dir(), reason="no such folder"),
        ),
    ],
)
def test_trl_scores_our_ids_and_the_newline_after_them(
    base: Path, tmp_path: Path, tokenizer_folder: Path | None
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder or base)
    chat = Chat(tokenizer, system_prompt=SYSTEM_PROMPT)

    ours = chat.encode_pairs(load_pairs(TRAIN, limit=NUM_PAIRS).pairs, LIMITS)
    theirs = trl_pairs(make_trl_trainer(base, tmp_path, tokenizer=tokenizer))

    # The template ends a turn with "<|im_end|>\n". TRL trains the newline, too; fitbot does not,
    # because no server ever asks for a token after the end of the turn.
    newline = tokenizer.encode("\n")
    assert len(newline) == 1
    assert [pair.prompt for pair in theirs] == [pair.prompt for pair in ours]
    assert [pair.chosen for pair in theirs] == [pair.chosen + newline for pair in ours]
    assert [pair.rejected for pair in theirs] == [pair.rejected + newline for pair in ours]
    assert len(theirs) == NUM_PAIRS


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_policy_and_reference_score_every_completion_as_trl_does(
    base: Path, tmp_path: Path, layout: Layout
) -> None:
    trl = make_trl_trainer(base, tmp_path)
    settings = BaseSettings(base_model=str(base), load_in_4bit=False)
    device, dtype = torch.device("cpu"), torch.float32
    network = load_policy_network(settings, LORA, device=device, compute_dtype=dtype)
    move_from_the_reference(network)
    copy_adapter(network, trl.model)
    policy = Policy(network, compute_dtype=dtype)
    batches = torch.arange(NUM_PAIRS).split(PAIRS_PER_STEP)
    pairs = trl_pairs(trl)

    theirs = torch.cat([trl_logps(trl, indices.tolist()) for indices in batches])
    packed = [collate_pairs([pairs[i] for i in b], layout=layout, pad_id=0) for b in batches]
    with torch.no_grad():
        ours = [torch.stack([policy.logps(b), policy.reference_logps(b)], dim=1) for b in packed]

    # Sums of up to 1,200 nats, where neighbouring float32 numbers are 1.2e-4 apart: hence rtol.
    torch.testing.assert_close(torch.cat(ours), theirs, atol=1e-4, rtol=1e-6)
    logratios = theirs[:, 0] - theirs[:, 1]
    assert logratios.abs().mean() > 1  # nats: policy and reference are two models


@pytest.mark.parametrize(
    ("layout", "reference", "trl_pairs_per_pass"),
    [("shared", "cached", 8), pytest.param("rows", "online", 2, marks=pytest.mark.slow)],
    ids=["packed-cached-8x1", "rows-online-2x4"],
)
def test_twenty_optimizer_steps_are_those_of_trl(
    base: Path,
    tmp_path: Path,
    layout: Layout,
    reference: Literal["cached", "online"],
    trl_pairs_per_pass: int,
) -> None:
    trl = make_trl_trainer(base, tmp_path, pairs_per_pass=trl_pairs_per_pass)
    module = make_module(base, tmp_path, reference)
    module.configure_model()
    assert module.policy is not None
    copy_adapter(module.policy.network, trl.model)

    ours = train_fitbot(module, trl_pairs(trl), layout)
    theirs = train_trl(trl, ours.order)

    assert len(ours.steps) == len(theirs.steps) == STEPS
    for name, tolerance in [
        ("loss", 1e-4),
        ("grad_norm", 1e-3),  # before clipping
        ("rewards/chosen", 1e-3),
        ("rewards/rejected", 1e-3),
        ("rewards/margins", 1e-3),
        ("logps/chosen", 1e-2),
        ("logps/rejected", 1e-2),
        ("learning_rate", 0.0),
    ]:
        residuals = ours.column(name) - theirs.column(name)
        assert residuals.abs().max() <= tolerance, name
        # Rounding goes both ways. What stays on one side is an error of method, such as a step's
        # passes weighted wrongly, which AdamW and clipping hide from everything but the norm.
        assert residuals.mean().abs() <= tolerance / 5, name
    # Before the first step all margins are 0 but for rounding, and so is whether they are above it.
    accuracies = ours.column("rewards/accuracies")[1:], theirs.column("rewards/accuracies")[1:]
    torch.testing.assert_close(*accuracies, atol=1e-6, rtol=0)
    # One step moves a weight by up to the learning rate, 2e-3.
    torch.testing.assert_close(ours.adapter, theirs.adapter, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "trl_loss", "settings", "trl_pairs_per_pass"),
    [
        ("robust", "robust", {"label_smoothing": 0.1}, 8),
        ("hinge", "hinge", {}, 8),
        ("apo_zero", "apo_zero", {}, 8),
        ("ipo", "ipo", {"length_normalised": True}, 8),
        ("sigmoid", "sigmoid_norm", {"length_normalised": True}, 8),
        # A mean over the tokens of a pass there, over pairs here: of one pair both are the same.
        ("sft", "sft", {}, 1),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_twenty_steps_of_other_losses_are_those_of_trl(
    base: Path,
    tmp_path: Path,
    loss: str,
    trl_loss: str,
    settings: dict[str, Any],
    trl_pairs_per_pass: int,
) -> None:
    smoothing = settings.get("label_smoothing", 0.0)
    trl = make_trl_trainer(
        base,
        tmp_path,
        pairs_per_pass=trl_pairs_per_pass,
        loss_type=trl_loss,
        label_smoothing=smoothing,
    )
    module = make_module(base, tmp_path, "auto", loss=loss, **settings)
    module.configure_model()
    assert module.policy is not None
    copy_adapter(module.policy.network, trl.model)

    ours = train_fitbot(module, trl_pairs(trl), "shared")
    theirs = train_trl(trl, ours.order)

    compared = [("loss", 1e-4), ("grad_norm", 1e-3), ("logps/chosen", 1e-2)]
    # Of what it compares fitbot takes the rewards; TRL of sums against the reference, always.
    if not module.objective.per_token:
        compared += [("rewards/chosen", 1e-3), ("rewards/margins", 1e-3), ("logps/rejected", 1e-2)]
    for name, tolerance in compared:
        expected = theirs.column(name)
        residuals = (ours.column(name) - expected).abs() / (1 + expected.abs())
        assert residuals.max() <= tolerance, name
    assert (ours.column("loss")[0] - ours.column("loss")[-1]).abs() > 1e-3  # it has learned
    torch.testing.assert_close(ours.adapter, theirs.adapter, atol=1e-4, rtol=0)


def conversations() -> list[dict[str, Any]]:
    """Return the first pairs in TRL's format."""
    return [
        {
            "prompt": [
                {"role": "system", "content": SYSTEM_PROMPT},
                *(record.get("prompt") or [{"role": "user", "content": record["question"]}]),
            ],
            "chosen": [{"role": "assistant", "content": record["chosen"]}],
            "rejected": [{"role": "assistant", "content": record["rejected"]}],
            "chat_template_kwargs": {"enable_thinking": False},
        }
        for record in json.loads(TRAIN.read_text(encoding="utf-8"))[:NUM_PAIRS]
    ]


def make_trl_trainer(
    base: Path,
    folder: Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    pairs_per_pass: int = PAIRS_PER_STEP,
    loss_type: str = "sigmoid",
    label_smoothing: float = 0.0,
) -> TrlInOrder:
    """Set TRL up, which tokenises the pairs; its adapter is to be replaced by fitbot's."""
    config = DPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=LIMITS.max_length,
        beta=BETA,
        loss_type=[loss_type],
        label_smoothing=label_smoothing,
        max_steps=STEPS,
        per_device_train_batch_size=pairs_per_pass,
        gradient_accumulation_steps=PAIRS_PER_STEP // pairs_per_pass,
        optim="adamw_torch",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return TrlInOrder(
        model=str(base),
        args=config,
        train_dataset=Dataset.from_list(conversations()),
        processing_class=tokenizer or AutoTokenizer.from_pretrained(base),
        peft_config=adapter_config(LORA, str(base)),
    )


def make_module(
    base: Path, folder: Path, reference: Literal["auto", "cached", "online"], **settings: Any
) -> DPOModule:
    """Set fitbot up with the same settings."""
    return DPOModule(
        base_model=str(base),
        load_in_4bit=False,
        lora=LORA,
        reference=reference,
        reference_cache=str(folder / "reference"),
        beta=BETA,
        learning_rate=LEARNING_RATE,
        optimizer="adamw",
        weight_decay=WEIGHT_DECAY,
        lr_schedule="constant",
        warmup_ratio=0.0,
        max_grad_norm=MAX_GRAD_NORM,
        **settings,
    )


def trl_pairs(trl: DPOTrainer) -> list[EncodedPair]:
    """Return the ids that TRL trains on, in the sample's order."""
    return [
        EncodedPair(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"], 0, 0, 0, record)
        for record, row in enumerate(trl.train_dataset)
    ]


def trl_logps(trl: DPOTrainer, indices: list[int]) -> Tensor:
    """Score B pairs as TRL does: (B, 2, 2) nats, policy and reference, chosen and rejected."""
    batch = trl.data_collator([trl.train_dataset[i] for i in indices])
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad():
        scores = trl.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            labels=labels,
            fused_lm_head=True,
        ).log_probs  # (2B, T - 1), chosen rows first
    policy = torch.stack(scores.sum(1).chunk(2), dim=-1)
    reference = torch.stack(trl.compute_ref_log_probs(trl.model, batch), dim=-1)
    return torch.stack([policy, reference], dim=1)


def train_fitbot(module: DPOModule, pairs: list[EncodedPair], layout: Layout) -> Run:
    """Train as `fitbot fit` does, on these ids instead of those of the file."""
    data = PreferenceDataModule(
        base_model=module.base.base_model,
        max_prompt_length=LIMITS.max_prompt_length,
        max_length=LIMITS.max_length,
        batch_size=PAIRS_PER_STEP,
        accumulate_batches=1,
        layout=layout,
        max_tokens_per_pass=2048,  # splits a step into two or more passes of unequal size
    )
    data.pairs["train"] = store_of(pairs)
    history = StepHistory()
    trainer = Trainer(
        accelerator="cpu",
        precision="32-true",
        max_steps=STEPS,
        log_every_n_steps=1,
        callbacks=[history],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    assert module.policy is not None
    return Run(history.steps, history.order, adapter_of(module.policy.network))


def train_trl(trl: TrlInOrder, order: list[int]) -> Run:
    """Train TRL on its pairs in this order."""
    trl.order = order
    trl.train()
    steps = [entry for entry in trl.state.log_history if "grad_norm" in entry]
    return Run(steps, order, adapter_of(trl.model))


def adapter_of(network: nn.Module) -> dict[str, Tensor]:
    """Copy the trainable weights, under PEFT's names."""
    return {
        name: parameter.detach().clone()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def copy_adapter(source: nn.Module, target: nn.Module) -> None:
    """Give the target all of the source's trainable weights."""
    weights = adapter_of(source)
    assert weights.keys() == adapter_of(target).keys()
    target.load_state_dict(weights, strict=False)


def move_from_the_reference(network: nn.Module) -> None:
    """Fill lora_B, which is zero at first, with small numbers."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.02, generator=generator)
