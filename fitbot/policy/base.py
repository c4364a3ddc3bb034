"""A base model by hub id or folder → the frozen 4-bit network with a trainable LoRA adapter.

The only module that names bitsandbytes, LoraConfig and Unsloth. What it returns is a PEFT model
whose adapter "default" is the policy; with the adapter off it is the reference.
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from fitbot.embedded import EMBEDDED, resolve_base_model
from fitbot.errors import AdapterError, ConfigError
from fitbot.policy.lora import round_once
from fitbot.policy.sharding import shard_base

logger = logging.getLogger(__name__)

POLICY_ADAPTER = "default"
REFERENCE_ADAPTER = "reference"

_UNSUPPORTED_LORA = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")

Backend = Literal["transformers", "unsloth"]


@dataclass
class LoraSettings:
    """What the adapter looks like.

    Args:
        r: Rank of the update.
        alpha: The update is scaled by alpha / r, or alpha / sqrt(r) with use_rslora.
        dropout: Probability of dropping an adapter's input while training, in [0, 1).
        bias: Only "none": a trained bias would change the reference, which is the adapter off.
        target_modules: Names of the linear layers that get an adapter; never the head.
        use_rslora: Scale by alpha / sqrt(r), https://arxiv.org/abs/2312.03732.
        random_state: Seed of the adapter's initial weights.
    """

    r: int = 16
    alpha: int = 64
    dropout: float = 0.05
    bias: Literal["none"] = "none"
    target_modules: list[str] = field(
        default_factory=lambda: [
            *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        ]
    )
    use_rslora: bool = False
    random_state: int = 3407


@dataclass
class BaseSettings:
    """Which base model, and how its weights are held.

    Args:
        base_model: Hub id or folder; "embedded" is the small model that fitbot brings along.
        load_in_4bit: Hold the linear layers as NF4, as QLoRA does.
        expand_4bit: Expand the NF4 weights once to the compute dtype: identical values, no
            dequantisation in every step, four times the memory. null: when memory allows.
        max_seq_length: Tokens of the longest sequence the model is set up for.
        gradient_checkpointing: Recompute activations in backward: less memory, a third slower.
        backend: transformers, or unsloth (needs `pip install 'fitbot[unsloth]'`).
    """

    base_model: str = EMBEDDED
    load_in_4bit: bool = True
    expand_4bit: bool | None = None
    max_seq_length: int = 2048
    gradient_checkpointing: bool = False
    backend: Backend = "transformers"


def lora_settings_of(adapter: str) -> LoraSettings:
    """Read the shape of an existing adapter, which a run that goes on from it keeps.

    Raises:
        AdapterError: No adapter is there, or one of a kind that fitbot does not train.
    """
    _check_adapter_folder(adapter)
    file = Path(adapter) / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    unknown = {key: config.get(key) for key in _UNSUPPORTED_LORA if config.get(key)}
    if config.get("bias", "none") != "none":
        unknown["bias"] = config["bias"]
    if config.get("peft_type") != "LORA" or not isinstance(config.get("target_modules"), list):
        unknown |= {key: config.get(key) for key in ("peft_type", "target_modules")}
    if unknown:
        raise AdapterError(f"{file}: fitbot trains plain LoRA on named layers, found {unknown}")
    return LoraSettings(
        r=config["r"],
        alpha=config["lora_alpha"],
        dropout=config["lora_dropout"],
        target_modules=sorted(config["target_modules"]),
        use_rslora=config.get("use_rslora", False),
    )


def load_policy_network(
    settings: BaseSettings,
    lora: LoraSettings,
    *,
    device: torch.device,
    compute_dtype: torch.dtype,
    adapter: str | None = None,
    mesh: DeviceMesh | None = None,
) -> Any:
    """Load the base, hold it as the settings say, and put a float32 LoRA adapter on it.

    Args:
        settings: Which base and how it is held.
        lora: The adapter's shape; ignored when `adapter` brings its own.
        device: Where the weights go.
        compute_dtype: What matrix products run in: float32, bfloat16 or float16.
        adapter: Folder of an existing adapter to go on from. It is loaded twice: once to be
            trained, once frozen, as the reference.
        mesh: Processes that share the base, each holding a part of it; None: it is whole here.

    Returns:
        A PEFT model in train mode. Its adapter weights are float32 whatever the compute dtype: in
        bfloat16, at a learning rate of 5e-6, most of lora_A would never move.

    Raises:
        ConfigError: The settings contradict the checkpoint, the device or each other.
        AdapterError: `adapter` is not an adapter of this base.
    """
    if settings.backend == "unsloth":
        if mesh is not None:
            raise ConfigError("trainer.strategy sharded needs model.backend: transformers")
        network = _load_unsloth(settings, lora, device=device, dtype=compute_dtype, adapter=adapter)
    elif mesh is not None:
        network = _load_sharded(settings, lora, mesh, device, compute_dtype, adapter)
    else:
        base = load_base(settings, device=device, compute_dtype=compute_dtype)
        network = add_adapter(base, lora, adapter)
        round_once(network)
    _check_adapter_weights(network)
    network.config.use_cache = False
    # from_pretrained returns eval mode and Lightning keeps it: dropout would silently be off.
    network.train()
    return network


def load_base(settings: BaseSettings, *, device: torch.device, compute_dtype: torch.dtype) -> Any:
    """Load the frozen base model, 4-bit or not, without an adapter."""
    model = _read_weights(settings, device, compute_dtype, quantise=settings.load_in_4bit)
    if settings.load_in_4bit:
        _prepare_4bit(model, compute_dtype)
        packed = sum(p.numel() for p in model.parameters() if not p.is_floating_point())
        if _should_expand(settings, 4 * packed, device):
            expand_4bit(model, compute_dtype)
    return model


def _read_weights(
    settings: BaseSettings, device: torch.device, compute_dtype: torch.dtype, *, quantise: bool
) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    source = resolve_base_model(settings.base_model)
    config = AutoConfig.from_pretrained(source)
    prequantised = getattr(config, "quantization_config", None) is not None
    _check_settings(settings, config, prequantised)
    quantisation = {}
    if quantise and not prequantised:
        # A config given for a pre-quantised checkpoint would be ignored, so none is given.
        quantisation["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=compute_dtype,
        device_map={"": str(device)},
        attn_implementation="sdpa",
        **quantisation,
    )
    model.requires_grad_(False)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _load_sharded(
    settings: BaseSettings,
    lora: LoraSettings,
    mesh: DeviceMesh,
    device: torch.device,
    compute_dtype: torch.dtype,
    adapter: str | None,
) -> Any:
    """Map the weight files into the host's memory; layer by layer the device then takes a part."""
    base = _read_weights(settings, torch.device("cpu"), compute_dtype, quantise=False)
    stored_in_4bit = settings.load_in_4bit and getattr(base, "is_loaded_in_4bit", False)
    if stored_in_4bit:
        _prepare_4bit(base, compute_dtype)
    # Packed, two numbers are one element; each process will hold its part of the expanded ones.
    numbers = sum(p.numel() * (1 if p.is_floating_point() else 2) for p in base.parameters())
    needed = numbers * compute_dtype.itemsize // mesh.size()
    expand = settings.load_in_4bit and _should_expand(settings, needed, device)

    def prepare(layer: nn.Module) -> None:
        if settings.load_in_4bit and not stored_in_4bit:
            _quantise_linears(layer, compute_dtype)
        if expand:
            _expand_linears(layer, compute_dtype)
        elif settings.load_in_4bit:
            _detach_quant_states(layer)

    network = add_adapter(base, lora, adapter)
    round_once(network)
    shard_base(network, mesh, device, prepare)
    return network


class ExpandedLinear(nn.Linear):
    """A linear layer with the weights that an NF4 layer stood for."""


def count_4bit(network: nn.Module) -> tuple[int, int]:
    """Number of 4-bit linear layers: those held as NF4, and those expanded once."""
    import bitsandbytes as bnb

    kept = sum(isinstance(module, bnb.nn.Linear4bit) for module in network.modules())
    return kept, sum(isinstance(module, ExpandedLinear) for module in network.modules())


def expand_4bit(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace every NF4 layer by an ordinary one with the very weights that it stands for."""
    _expand_linears(model, dtype)
    # Otherwise PEFT and transformers would go on treating the model as quantised.
    model.is_loaded_in_4bit = model.is_quantized = False  # type: ignore[assignment]
    model.hf_quantizer = None  # type: ignore[assignment]
    model.quantization_method = None  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _expand_linears(model: nn.Module, dtype: torch.dtype) -> None:
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            linear = ExpandedLinear(
                module.in_features, module.out_features, bias=module.bias is not None, device="meta"
            )
            linear.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
            if module.bias is not None:
                linear.bias = nn.Parameter(module.bias.data.to(dtype), requires_grad=False)
            model.set_submodule(name, linear)
            # A weight that was stored in 4 bits refers to its module, so that both would stay until
            # Python looks for cycles: 15 GiB of a 32B base's, all through the run.
            module.weight = None


def _quantise_linears(layer: nn.Module, dtype: torch.dtype) -> None:
    """Hold a decoder layer's own linear layers as NF4, as transformers does while it loads."""
    import bitsandbytes as bnb

    for name, module in list(layer.named_modules()):
        if isinstance(module, nn.Linear) and ".lora_" not in name:
            nf4 = bnb.nn.Linear4bit(
                module.in_features,
                module.out_features,
                bias=module.bias is not None,
                compute_dtype=dtype,
                quant_type="nf4",
                device="meta",
            )
            weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            nf4.weight, nf4.bias = weight.to(module.weight.device), module.bias
            _compute_in(nf4, dtype)
            layer.set_submodule(name, nf4)


def _detach_quant_states(layer: nn.Module) -> None:
    """Leave NF4 weights as plain bytes beside what says how to read them.

    FSDP2 knows no subclasses of a parameter: it would hand back the bytes alone. And torch 2.11's
    takes floating point numbers only, so the bytes pass for some; bitsandbytes reads them as bytes.
    """
    import bitsandbytes as bnb

    for module in layer.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.quant_state = module.weight.quant_state
            data = module.weight.data.as_subclass(torch.Tensor)
            data = data.reshape(-1).view(torch.bfloat16).unsqueeze(1)
            module.weight = nn.Parameter(data, requires_grad=False)


def adapter_config(lora: LoraSettings, base_model: str) -> Any:
    """Build the `LoraConfig` that PEFT makes the adapter from, and that an export carries."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=list(lora.target_modules),
        use_rslora=lora.use_rslora,
    )


def _check_settings(settings: BaseSettings, config: Any, prequantised: bool) -> None:
    name = settings.base_model
    if prequantised and not settings.load_in_4bit:
        raise ConfigError(
            f"load_in_4bit is false, but the weights of {name!r} are stored in 4 bits; set "
            "load_in_4bit: true (expand_4bit: true computes without 4-bit kernels), or name the "
            "unquantised base"
        )
    if prequantised:
        kind = dict(config.quantization_config)
        if kind.get("quant_method") != "bitsandbytes" or not kind.get("load_in_4bit"):
            raise ConfigError(
                f"{name!r} is quantised as {kind.get('quant_method')!r}; fitbot trains on "
                "bitsandbytes 4-bit or unquantised weights"
            )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and settings.max_seq_length > positions:
        raise ConfigError(
            f"max_seq_length {settings.max_seq_length} exceeds {name!r}'s {positions} positions"
        )


def _prepare_4bit(model: nn.Module, compute_dtype: torch.dtype) -> None:
    import bitsandbytes as bnb

    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    if not layers:
        raise ConfigError("load_in_4bit is true, but no layer of the base model became 4-bit")
    for layer in layers:
        _compute_in(layer, compute_dtype)
    for parameter in model.parameters():
        if parameter.is_floating_point():  # a checkpoint's own dtype wins over dtype= otherwise
            parameter.data = parameter.data.to(compute_dtype)


def _compute_in(layer: Any, dtype: torch.dtype) -> None:
    """Have a Linear4bit compute, and dequantise, in a dtype."""
    # A pre-quantised checkpoint brings dtypes of its own; the run's precision decides. Both are
    # set, or weights dequantised on the fly and expanded once would be rounded differently.
    layer.compute_dtype = layer.weight.quant_state.dtype = dtype
    layer.compute_type_is_set = True
    # On CPUs with AVX512-BF16 the first eval forward would repack the weights for a kernel
    # that has no gradient: later LoRA gradients come out wrong, with a mere warning.
    layer.support_avx512bf16_for_cpu = False


def _should_expand(settings: BaseSettings, needed: int, device: torch.device) -> bool:
    """Decide whether to expand NF4 weights that will then take so many bytes of the device."""
    if settings.expand_4bit is not None:
        return settings.expand_4bit
    if device.type != "cuda":
        return True  # memory of the host: a base small enough to be trained on a CPU fits
    free, total = torch.cuda.mem_get_info(device)
    return free - needed > total // 2


def add_adapter(base: Any, lora: LoraSettings, adapter: str | None) -> Any:
    """Put an adapter on a base: a fresh one, or that of a folder, which is then the reference, too.

    Raises:
        ConfigError: The base has no layer that the settings name.
        AdapterError: The folder has no adapter.
    """
    from peft import PeftModel, get_peft_model

    if adapter is not None:
        _check_adapter_folder(adapter)
        network = PeftModel.from_pretrained(base, adapter, is_trainable=True)
        network.load_adapter(adapter, adapter_name=REFERENCE_ADAPTER, is_trainable=False)
        network.set_adapter(POLICY_ADAPTER)
        return network
    if "lm_head" in lora.target_modules:
        raise ConfigError("lora.target_modules: lm_head cannot be adapted; the head stays frozen")
    # The adapter's seed is its own and leaves the run's alone. Drawn on the CPU, where no default
    # device of Lightning's intervenes, it means the same weights whatever holds the base.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(lora.random_state)
        try:
            return get_peft_model(base, adapter_config(lora, str(base.config._name_or_path)))
        except ValueError as error:
            raise ConfigError(f"lora.target_modules {lora.target_modules}: {error}") from error


def _check_adapter_folder(adapter: str) -> None:
    if not (Path(adapter) / "adapter_config.json").is_file():
        raise AdapterError(
            f"adapter {adapter!r}: no adapter_config.json there; give a folder that "
            "`fitbot export` or PEFT's save_pretrained wrote"
        )


def _check_adapter_weights(network: nn.Module) -> None:
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    foreign = [name for name in trainable if ".lora_" not in name]
    if foreign or not trainable:
        raise ConfigError(
            f"only LoRA weights may be trainable, found {foreign or 'none'}: with the adapter off, "
            "the model must be the reference again"
        )
    for parameter in trainable.values():
        parameter.data = parameter.data.float()


def _load_unsloth(
    settings: BaseSettings,
    lora: LoraSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    adapter: str | None,
) -> Any:
    if adapter is not None:
        raise ConfigError("adapter: continuing an adapter needs backend: transformers")
    if settings.expand_4bit:
        raise ConfigError("expand_4bit: true needs backend: transformers; Unsloth keeps NF4")
    try:
        from unsloth import FastLanguageModel
    except ImportError as error:
        raise ConfigError(
            "backend: unsloth is not installed here; run pip install 'fitbot[unsloth]', or set "
            "backend: transformers"
        ) from error
    except NotImplementedError as error:
        raise ConfigError(f"backend: unsloth cannot run on this machine: {error}") from error
    checkpointing = "unsloth" if settings.gradient_checkpointing else False
    base, _ = FastLanguageModel.from_pretrained(
        resolve_base_model(settings.base_model),
        max_seq_length=settings.max_seq_length,
        dtype=dtype,
        load_in_4bit=settings.load_in_4bit,
        use_gradient_checkpointing=checkpointing,
        device_map={"": str(device)},
    )
    if settings.load_in_4bit:
        _prepare_4bit(base, dtype)
    knobs = asdict(lora)
    return FastLanguageModel.get_peft_model(
        base,
        lora_alpha=knobs.pop("alpha"),
        lora_dropout=knobs.pop("dropout"),
        use_gradient_checkpointing=checkpointing,
        **knobs,
    )
