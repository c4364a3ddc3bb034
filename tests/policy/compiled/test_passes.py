"""The engine computes what the network's own modules do: log-probs, gradients, reference."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from fitbot.base_model.settings import LoraSettings
from fitbot.dpo import module as dpo_module
from fitbot.dpo.memory import activation_bytes
from fitbot.errors import ConfigError
from fitbot.pairs.batch import Extent, PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy import engine_choice
from fitbot.policy.compiled.passes import CompiledEngine, unsupported
from fitbot.policy.engine_choice import accelerate, use_engine
from fitbot.policy.policy import Policy, to_device
from tests.conftest import DEVICES, adapter_of, make_data, make_module, make_policy, make_trainer
from tests.families import write_family

on_gpu = pytest.mark.gpu


@pytest.fixture(scope="session")
def llama(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Llama: no norm of queries and keys, one key head."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def qwen2(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Qwen2.5, whose q, k and v have biases."""
    return str(write_family(tmp_path_factory.mktemp("qwen2"), "Qwen2.5", base))


@pytest.fixture(scope="session")
def mistral(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Mistral, whose attention sees 900 tokens."""
    folder = tmp_path_factory.mktemp("mistral")
    return str(write_family(folder, "Mistral", base, sliding_window=900))


def batch_of(pairs: list[EncodedPair], policy: Policy) -> PairBatch:
    return to_device(collate_pairs(pairs, layout="shared", pad_id=0), policy.device)


def forget_gradient(policy: Policy) -> None:
    policy.adapter.grad = None


def run(policy: Policy, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return log-probs and the adapter's gradient of sum(chosen - 2 · rejected)."""
    forget_gradient(policy)
    logps = policy.logps(batch)
    (logps @ logps.new_tensor([1.0, -2.0])).sum().backward()
    assert policy.adapter.grad is not None
    return logps.detach(), policy.adapter.grad.clone()


def linears_of_a_layer(policy: Policy) -> list[Any]:
    layer = policy.network.get_base_model().get_decoder().layers[0]
    return [module.base_layer for module in layer.modules() if hasattr(module, "base_layer")]


def assert_same_gradient(policy: Policy, one: Tensor, other: Tensor, tolerance: float) -> None:
    for (name, a), b in zip(
        policy.weights.split(one).items(), policy.weights.split(other).values(), strict=True
    ):
        assert (a - b).norm() < tolerance * b.norm(), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["base", "llama", "qwen2", "mistral"])
def test_engine_is_network_in_float32(
    family: str, device: str, pairs: list[EncodedPair], request: pytest.FixtureRequest
) -> None:
    policy = make_policy(request.getfixturevalue(family), device=device)
    batch = batch_of(pairs[:4], policy)
    logps, gradient = run(policy, batch)
    reference = policy.reference_logps(batch)

    accelerate(policy, capture=False)

    assert policy.engine_name == "compiled"
    engine_logps, engine_gradient = run(policy, batch)
    torch.testing.assert_close(engine_logps, logps, atol=1e-3, rtol=1e-5)
    assert_same_gradient(policy, engine_gradient, gradient, 1e-3 if device == "cuda" else 1e-4)
    engine_reference = policy.reference_logps(batch)
    torch.testing.assert_close(engine_reference, reference, atol=1e-3, rtol=1e-5)
    assert not engine_reference.requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_padding_as_for_more_pairs_changes_nothing(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    policy = make_policy(base, device=device)
    accelerate(policy, capture=device == "cuda")
    batch = batch_of(pairs[:2], policy)
    alone = run(policy, batch)
    room = Extent(3 * batch.input_ids.numel(), 3 * len(batch.score_ids))
    larger = collate_pairs(pairs[:2], layout="shared", pad_id=0, room=room)
    assert larger.input_ids.numel() >= 3 * batch.input_ids.numel()

    for _ in range(3):  # launched, captured, replayed
        logps, gradient = run(policy, to_device(larger, policy.device))
        torch.testing.assert_close(logps, alone[0], atol=1e-3, rtol=1e-5)
        assert_same_gradient(policy, gradient, alone[1], 1e-3 if device == "cuda" else 1e-4)


@pytest.mark.parametrize(
    "targets", [["q_proj", "v_proj"], ["o_proj", "up_proj"], ["down_proj", "k_proj", "gate_proj"]]
)
def test_any_of_the_seven_projections_may_be_adapted(
    base: str, pairs: list[EncodedPair], targets: list[str]
) -> None:
    policy = make_policy(base, lora=LoraSettings(r=3, alpha=7, dropout=0.0, target_modules=targets))
    batch = batch_of(pairs[:3], policy)
    logps, gradient = run(policy, batch)

    accelerate(policy, capture=False)

    engine_logps, engine_gradient = run(policy, batch)
    torch.testing.assert_close(engine_logps, logps, atol=1e-3, rtol=1e-5)
    assert_same_gradient(policy, engine_gradient, gradient, 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=on_gpu)])
def test_in_16_bits_the_engine_is_as_near_to_float32_as_the_network(
    base: str, pairs: list[EncodedPair], device: str, dtype: torch.dtype
) -> None:
    if device == "cpu" and dtype == torch.float16:
        pytest.skip("float16 is for GPUs")
    exact = make_policy(base, device=device)
    batch = batch_of(pairs, exact)
    logps, gradient = run(exact, batch)
    policy = make_policy(base, device=device, dtype=dtype)
    eager_logps, eager_gradient = run(policy, batch)

    accelerate(policy, capture=device == "cuda")

    engine_logps, engine_gradient = run(policy, batch)
    assert (engine_logps - logps).norm() < 1.3 * (eager_logps - logps).norm()
    assert (engine_gradient - gradient).norm() < 1.3 * (eager_gradient - gradient).norm()


def test_expanded_nf4_weights_are_joined(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base, load_in_4bit=True)
    batch = batch_of(pairs[:3], policy)
    logps, gradient = run(policy, batch)

    accelerate(policy, capture=False)

    torch.testing.assert_close(run(policy, batch)[0], logps, atol=1e-3, rtol=1e-5)
    assert_same_gradient(policy, run(policy, batch)[1], gradient, 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["base", "qwen2"])
def test_kept_nf4_weights_are_joined_layer_by_layer(
    family: str, pairs: list[EncodedPair], device: str, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(family)
    policy = make_policy(base, device=device, load_in_4bit=True, expand_4bit=False)
    held = sum(p.nbytes for p in policy.network.parameters())
    batch = batch_of(pairs[:3], policy)
    logps, gradient = run(policy, batch)
    reference = policy.reference_logps(batch)

    accelerate(policy, capture=device == "cuda")

    for _ in range(3):  # launched, captured, replayed
        torch.testing.assert_close(run(policy, batch)[0], logps, atol=1e-3, rtol=1e-5)
        tolerance = 1e-3 if device == "cuda" else 1e-4
        assert_same_gradient(policy, run(policy, batch)[1], gradient, tolerance)
    torch.testing.assert_close(policy.reference_logps(batch), reference, atol=1e-3, rtol=1e-5)
    assert sum(p.nbytes for p in policy.network.parameters()) == held
    layer = sum(base.in_features * base.out_features for base in linears_of_a_layer(policy))
    assert 4 * layer < policy.buffer_bytes < 1.5 * 4 * layer  # in float32, with room for B


@pytest.mark.parametrize("device", DEVICES)
def test_with_dropout_the_gradient_is_the_slope_for_the_same_masks(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    policy = make_policy(base, device=device, dropout=0.3)
    batch = batch_of(pairs[:2], policy)
    accelerate(policy, capture=False)
    assert policy.compiled is not None
    engine = policy.compiled.engine
    upstream = torch.tensor([[1.0, -1.0], [0.5, 2.0]], device=device)

    def value(vector: Tensor) -> float:
        logps, _ = engine.forward(batch, vector, training=True, backward=False)
        return float((logps.double() * upstream).sum())

    with torch.no_grad():
        engine.seeds.random_()
        vector = policy.adapter.data
        _, kept = engine.forward(batch, vector, training=True, backward=True)
        assert kept is not None
        engine.backward(kept, upstream)
        gradient = engine.gradient.clone()
        direction = gradient / gradient.norm()
        step = 2e-3
        slope = (value(vector + step * direction) - value(vector - step * direction)) / (2 * step)
        without, _ = engine.forward(batch, vector, training=False, backward=False)
        with_dropout, _ = engine.forward(batch, vector, training=True, backward=False)

    assert slope == pytest.approx(float(gradient.norm()), rel=0.02)
    assert (with_dropout - without).abs().max() > 0.01


def test_every_training_pass_draws_other_masks_and_validation_none(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base, dropout=0.3)
    batch = batch_of(pairs[:2], policy)
    accelerate(policy, capture=False)

    one, other = policy.logps(batch).detach(), policy.logps(batch).detach()
    validated = policy.logps_without_gradient(batch)
    policy.eval()

    assert (one - other).abs().max() > 0.01
    assert torch.equal(policy.logps(batch).detach(), validated)
    policy.train()
    torch.manual_seed(3)
    first = policy.logps(batch).detach()
    torch.manual_seed(3)
    assert torch.equal(policy.logps(batch).detach(), first)


def test_gradients_of_several_passes_add_up(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    accelerate(policy, capture=False)
    _, at_once = run(policy, batch_of(pairs[:5], policy))

    forget_gradient(policy)
    for start in (0, 3):
        logps = policy.logps(batch_of(pairs[start : min(start + 3, 5)], policy))
        (logps @ logps.new_tensor([1.0, -2.0])).sum().backward()

    assert policy.adapter.grad is not None
    assert_same_gradient(policy, policy.adapter.grad, at_once, 1e-4)


def test_an_adapter_that_is_gone_on_from_is_the_reference(
    base: str, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    first = make_policy(base)
    first.network.save_pretrained(tmp_path / "adapter")
    policy = make_policy(base, moved=False, adapter=str(tmp_path / "adapter"))
    batch = batch_of(pairs[:3], policy)
    expected = policy.reference_logps(batch)
    accelerate(policy, capture=False)

    with torch.no_grad():
        policy.adapter.add_(0.05)

    torch.testing.assert_close(policy.reference_logps(batch), expected, atol=1e-3, rtol=1e-5)
    assert (policy.logps(batch) - expected).abs().max() > 0.5


@pytest.mark.parametrize("device", DEVICES)
def test_a_look_at_a_reference_with_an_adapter_changes_no_gradient(
    base: str, pairs: list[EncodedPair], tmp_path: Path, device: str
) -> None:
    make_policy(base).network.save_pretrained(tmp_path / "adapter")
    policy = make_policy(base, device=device, moved=False, adapter=str(tmp_path / "adapter"))
    with torch.no_grad():
        policy.adapter.add_(0.05 * torch.randn(policy.adapter.shape).to(device))
    batch = batch_of(pairs[:3], policy)
    _, expected = run(policy, batch)
    accelerate(policy, capture=device == "cuda")

    for _ in range(3):  # launched, captured, replayed
        forget_gradient(policy)
        logps = policy.logps(batch)
        policy.reference_logps(batch)
        (logps @ logps.new_tensor([1.0, -2.0])).sum().backward()
        assert policy.adapter.grad is not None
        assert_same_gradient(
            policy, policy.adapter.grad, expected, 1e-3 if device == "cuda" else 1e-4
        )


def test_the_networks_weights_are_views_of_the_joined_ones(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base)
    batch = batch_of(pairs[:2], policy)
    before, _ = run(policy, batch)
    accelerate(policy, capture=False)
    assert policy.compiled is not None
    joined = {
        g.weight.untyped_storage().data_ptr() for g in policy.compiled.engine.layers.joined.groups
    }
    layer = policy.network.get_base_model().get_decoder().layers[1]

    for linear in (layer.self_attn.k_proj, layer.mlp.down_proj):
        assert linear.get_base_layer().weight.untyped_storage().data_ptr() in joined
    policy.compiled = None  # the network's own modules still compute the same
    torch.testing.assert_close(run(policy, batch)[0], before, atol=1e-4, rtol=1e-6)


def test_a_moved_policy_has_no_engine_that_computes_with_old_weights(base: str) -> None:
    policy = make_policy(base)
    accelerate(policy, capture=False)

    policy.double().float()

    assert policy.engine_name == "eager"


# -- where it cannot run --------------------------------------------------------------------------


def changed(policy: Policy, name: str, value: Any) -> Any:
    network = policy.network.get_base_model()
    setattr(network.config, name, value)
    return network


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("model_type", "gemma3", "families"),
        ("hidden_act", "gelu", "silu"),
        ("attention_dropout", 0.1, "drop"),
        ("rope_parameters", {"rope_type": "dynamic"}, "positions"),
    ],
)
def test_what_it_does_not_know_is_told(base: str, name: str, value: Any, told: str) -> None:
    policy = make_policy(base)
    assert unsupported(policy.network.get_base_model()) is None

    assert told in str(unsupported(changed(policy, name, value)))


@pytest.mark.parametrize("device", DEVICES)
def test_recomputed_activations_are_those_that_were_not_kept(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    found, bytes_a_token = [], []
    for recomputes in (False, True):
        policy = make_policy(base, device=device, dropout=0.3, gradient_checkpointing=recomputes)
        accelerate(policy, capture=device == "cuda")
        bytes_a_token.append(activation_bytes(policy, pairs[0]))
        batch = batch_of(pairs[:3], policy)
        torch.manual_seed(1)
        found.append([run(policy, batch) for _ in range(3)])  # launched, captured, replayed

    for (logps, gradient), (again, recomputed) in zip(*found, strict=True):
        assert torch.equal(logps, again)
        assert torch.equal(gradient, recomputed)
    assert bytes_a_token[1] < 0.7 * bytes_a_token[0]  # of three layers one is whole


def test_the_engine_too_begins_to_recompute_at_any_time_and_tries_a_pass(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy, held = make_policy(base, dropout=0.0), list[bool]()
    accelerate(policy, capture=False)
    batch = batch_of(pairs[:2], policy)
    logps, gradient = run(policy, batch)
    forget_gradient(policy)

    policy.try_pass(batch, lambda: held.append(True))
    policy.recompute()
    policy.try_pass(batch, lambda: held.append(True))

    assert held == [True, True]
    assert policy.adapter.grad is None
    assert activation_bytes(policy, pairs[0]) < 0.7 * activation_bytes(make_policy(base), pairs[0])
    again, recomputed = run(policy, batch)
    assert torch.equal(logps, again)
    assert torch.equal(gradient, recomputed)


def test_an_engine_that_computes_something_else_is_not_used(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CompiledEngine.forward

    def wrong(self: CompiledEngine, *args: Any, **kwargs: Any) -> Any:
        logps, kept = original(self, *args, **kwargs)
        return logps * 1.01, kept

    monkeypatch.setattr(CompiledEngine, "forward", wrong)
    policy = make_policy(base)

    with pytest.raises(ValueError, match=r"differ from the network's by 1\.00%"):
        accelerate(policy, capture=False)
    assert policy.engine_name == "eager"


def test_auto_takes_the_engine_however_the_base_is_held(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "why_not_compiled", lambda *_: None)
    held: list[dict[str, Any]] = [
        {"gradient_checkpointing": True},
        {"load_in_4bit": True, "expand_4bit": False},
    ]
    for settings in held:
        policy = make_policy(base, **settings)
        use_engine(policy, "auto", layout="shared", num_steps=1000)
        assert policy.engine_name == "compiled"


def test_auto_says_why_it_stays_eager_and_compiled_insists(
    base: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fitbot"), "propagate", True)
    policy = make_policy(base)

    with caplog.at_level(logging.INFO, "fitbot"):
        use_engine(policy, "auto", layout="shared", num_steps=1000)
    assert "engine: eager (it needs a CUDA GPU, this is a cpu)" in caplog.text
    with pytest.raises(ConfigError, match=r"compiled cannot run here: it needs a CUDA GPU"):
        use_engine(policy, "compiled", layout="shared", num_steps=1000)


# -- a whole fit ----------------------------------------------------------------------------------


def losses_of_a_fit(base: str, folder: Path, path: str, **settings: Any) -> dict[str, Tensor]:
    folder.mkdir(exist_ok=True)
    module = make_module(base, folder, **settings)
    make_trainer(folder, max_epochs=3).fit(module, make_data(base, path))
    return adapter_of(module)


def test_a_fit_by_the_engine_is_the_networks(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"lora": LoraSettings(r=4, alpha=8, dropout=0.0), "learning_rate": 1e-3}
    expected = losses_of_a_fit(base, tmp_path / "network", pairs_file, **settings)

    monkeypatch.setattr(
        dpo_module, "use_engine", lambda policy, *_, **__: accelerate(policy, capture=False)
    )
    actual = losses_of_a_fit(base, tmp_path / "engine", pairs_file, **settings)

    for name, weight in expected.items():
        assert (actual[name] - weight).abs().max() < 2e-5, name


@on_gpu
def test_all_kernels_are_compiled_before_the_first_step(
    base: str, pairs: list[EncodedPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton

    compiled: list[str] = []
    monkeypatch.setattr(
        triton.knobs.runtime,
        "jit_post_compile_hook",
        lambda **kwargs: compiled.append(kwargs["fn"].name),
    )
    # Sizes that no other test uses, or nothing would be left to compile.
    lora = LoraSettings(r=5, alpha=10, dropout=0.2)
    policy = make_policy(base, device="cuda", dtype=torch.bfloat16, lora=lora)
    accelerate(policy, capture=True)
    assert compiled
    compiled.clear()

    policy.train()
    run(policy, batch_of(pairs, policy))
    policy.logps_without_gradient(batch_of(pairs[:5], policy))
    policy.reference_logps(batch_of(pairs[:3], policy))

    assert compiled == []


@on_gpu
def test_a_gpu_that_is_too_small_for_a_kernel_runs_eager_and_says_why(
    base: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.runtime.errors import OutOfResources

    from fitbot.policy.compiled import layers

    def too_small(*_: Any) -> None:
        raise OutOfResources(148736, 101376, "shared memory")

    monkeypatch.setattr(layers, "attend_backward", too_small)
    monkeypatch.setattr(logging.getLogger("fitbot"), "propagate", True)
    policy = make_policy(base, device="cuda")

    with caplog.at_level(logging.INFO, "fitbot"):
        use_engine(policy, "auto", layout="shared", num_steps=1000)

    assert policy.engine_name == "eager"
    assert "eager (its kernels do not run here" in caplog.text


# -- CUDA graphs ----------------------------------------------------------------------------------


@on_gpu
def test_captured_passes_are_the_launched_ones(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base, device="cuda", dtype=torch.bfloat16, dropout=0.3)
    batches = [batch_of(pairs[:5], policy), batch_of(pairs[5:], policy), batch_of(pairs, policy)]
    results: dict[bool, list[tuple[Tensor, Tensor]]] = {}
    for capture in (False, True):
        accelerate(policy, capture=capture)
        assert policy.compiled is not None
        torch.manual_seed(0)
        results[capture] = [run(policy, batches[i]) for i in (0, 1, 2, 0, 2, 1, 0, 0, 2, 1)]
        assert len(policy.compiled._graphs) == (3 if capture else 0)

    for (logps, gradient), (captured_logps, captured_gradient) in zip(
        *results.values(), strict=True
    ):
        assert torch.equal(logps, captured_logps)
        assert torch.equal(gradient, captured_gradient)


@pytest.mark.parametrize("device", DEVICES)
def test_a_forward_pass_may_not_come_between_another_and_its_backward(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    policy = make_policy(base, device=device, dtype=torch.bfloat16)
    batch = batch_of(pairs, policy)
    accelerate(policy, capture=device == "cuda")
    run(policy, batch)
    run(policy, batch)

    first = policy.logps(batch)
    policy.logps_without_gradient(batch)  # keeps nothing, and may
    policy.logps(batch)

    with pytest.raises(RuntimeError, match="before the next forward"):
        first.sum().backward()
