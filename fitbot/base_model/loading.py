"""A base model by hub id or folder → the frozen 4-bit network with a trainable LoRA adapter.

What it returns is a PEFT model whose adapter "default" is the policy. With the adapter off it is
the reference, unless a frozen adapter "reference" says otherwise.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from fitbot.base_model import nf4
from fitbot.base_model.adapter_files import (
    ModuleWeights,
    adapter_config,
    base_of,
    check_adapter_folder,
    load_adapter,
)
from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import absolute_base, resolve_base_model
from fitbot.base_model.gpu import is_out_of_memory, what_failed
from fitbot.base_model.lora import POLICY_ADAPTER, REFERENCE_ADAPTER, round_once
from fitbot.base_model.provenance import PROVENANCE_FILE, provenance_of
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.base_model.sharding import shard_base
from fitbot.base_model.targets import check_layers, check_targets, choose_targets
from fitbot.base_model.unsloth import load_unsloth
from fitbot.errors import AdapterError, ConfigError
from fitbot.platforms import is_apple
from fitbot.report.progress import can_draw

logger = logging.getLogger(__name__)


def load_policy_network(
    settings: BaseSettings,
    lora: LoraSettings,
    *,
    device: torch.device,
    compute_dtype: torch.dtype,
    adapter: str | None = None,
    mesh: DeviceMesh | None = None,
    with_reference: bool = True,
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
        with_reference: Whether the adapter is loaded a second time.

    Returns:
        A PEFT model in train mode. Its adapter weights are float32 whatever the compute dtype: in
        bfloat16, at a learning rate of 5e-6, most of lora_A would never move.

    Raises:
        ConfigError: The settings contradict the checkpoint, the device or each other.
        AdapterError: `adapter` is not an adapter of this base.
    """
    if adapter is not None and settings.backend != "unsloth":  # which continues none
        _check_base_of(adapter, settings.base_model)
    if settings.backend == "unsloth":
        if mesh is not None:
            raise ConfigError("trainer.strategy sharded needs model.backend: transformers")
        network = load_unsloth(settings, lora, device=device, dtype=compute_dtype, adapter=adapter)
    elif mesh is not None:
        network = _load_sharded(
            settings, lora, mesh, device, compute_dtype, adapter, with_reference=with_reference
        )
    else:
        base = load_base(settings, device=device, compute_dtype=compute_dtype)
        network = add_adapter(base, lora, adapter, with_reference=with_reference)
        round_once(network)
    _check_adapter_weights(network)
    network.config.use_cache = False
    # from_pretrained returns eval mode and Lightning keeps it: dropout would silently be off.
    network.train()
    for name, module in network.named_modules():
        if ".lora_dropout." not in name:
            _be_certain(module)
    return network


def _be_certain(module: nn.Module) -> None:
    """Switch off a base's own dropout and noise, which its reference is without.

    Some networks hold such a share as a number, by a name that says so.
    """
    if isinstance(module, nn.Dropout):
        module.p = 0.0
    for name, value in list(vars(module).items()):
        if isinstance(value, float) and ("drop" in name or "jitter" in name):
            setattr(module, name, 0.0)


def _check_base_of(adapter: str, base_model: str) -> None:
    """Refuse an adapter of another base where its export says which; else warn by the name."""
    check_adapter_folder(adapter)
    expected = None
    if (Path(adapter) / PROVENANCE_FILE).is_file():
        expected = provenance_of(Path(adapter)).get("base_sha256")
    check_base(base_model, expected, adapter)
    named = base_of(adapter)
    if expected is None and named and absolute_base(named) != absolute_base(base_model):
        logger.warning(
            "model.adapter %s says that it is of base %s, and is put on %s: it is worth something "
            "only if these are the same weights",
            adapter,
            named,
            base_model,
        )


def load_base(settings: BaseSettings, *, device: torch.device, compute_dtype: torch.dtype) -> Any:
    """Load the frozen base model, 4-bit or not, without an adapter."""
    if is_apple(device) and settings.load_in_4bit:
        return _load_expanded(settings, compute_dtype).to(device)
    model = _read_weights(settings, device, compute_dtype, quantise=settings.load_in_4bit)
    if settings.load_in_4bit:
        nf4.prepare_4bit(model, compute_dtype)
        packed = sum(p.numel() for p in model.parameters() if not p.is_floating_point())
        if _should_expand(settings, 4 * packed, device):
            nf4.expand_4bit(model, compute_dtype)
    return model


def _load_expanded(settings: BaseSettings, compute_dtype: torch.dtype) -> Any:
    """Expand a 4-bit base on the CPU, for Apple's GPU, for which bitsandbytes has few kernels."""
    if settings.expand_4bit is False:
        raise ConfigError(
            "model.expand_4bit is false, but Apple's GPU (MPS) keeps no weights in 4 bits; set it "
            "to null, or use --trainer.accelerator cpu"
        )
    expanded, cpu = replace(settings, expand_4bit=True), torch.device("cpu")
    with cpu:  # or Lightning's default device would be between the file and the CPU
        return load_base(expanded, device=cpu, compute_dtype=compute_dtype)


def _read_weights(
    settings: BaseSettings, device: torch.device, compute_dtype: torch.dtype, *, quantise: bool
) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    if settings.load_in_4bit:
        nf4.check_installed()
    check_base_files(settings.base_model)
    source = resolve_base_model(settings.base_model)
    with _naming(settings.base_model):
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
    if not can_draw():
        disable_progress_bar()  # it would be one line after the other
    with _naming(settings.base_model):
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=compute_dtype,
            device_map={"": str(device)},
            attn_implementation=None,  # SDPA, or the network's own where it does not take that
            output_loading_info=True,
            **quantisation,
        )
    if missing := sorted(loaded["missing_keys"]):  # transformers draws them at random
        raise ConfigError(
            f"base_model {settings.base_model!r}: its files lack {len(missing)} of the weights "
            f"that its config.json asks for, such as {missing[0]}; fetch all of its files"
        )
    model.requires_grad_(False)
    if settings.gradient_checkpointing:
        recompute_activations(model)
    return model


def check_base_files(base_model: str) -> None:
    """Refuse a folder whose files of weights are cut or damaged, without reading the weights.

    Raises:
        ConfigError: With the file; also if there is no such folder.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(resolve_base_model(base_model))
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ConfigError(
                f"base_model {base_model!r}: {file.name} is cut or damaged ({error}); fetch it "
                "again"
            ) from error


@contextmanager
def _naming(base_model: str) -> Iterator[None]:
    """Name the base whose files could not be loaded; transformers raises anything then."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"base_model {base_model!r} cannot be loaded: {what_failed(error)}; give a folder with "
            "all files of a model that transformers knows, or a hub id within reach"
        ) from error


def recompute_activations(model: Any) -> None:
    """Have a model's layers keep their inputs only, and run again in backward."""
    model.gradient_checkpointing_enable({"use_reentrant": False})


def _load_sharded(
    settings: BaseSettings,
    lora: LoraSettings,
    mesh: DeviceMesh,
    device: torch.device,
    compute_dtype: torch.dtype,
    adapter: str | None,
    *,
    with_reference: bool,
) -> Any:
    """Map the weight files into the host's memory; layer by layer the device then takes a part."""
    base = _read_weights(settings, torch.device("cpu"), compute_dtype, quantise=False)
    stored_in_4bit = settings.load_in_4bit and getattr(base, "is_loaded_in_4bit", False)
    if stored_in_4bit:
        nf4.prepare_4bit(base, compute_dtype)
    # Packed, two numbers are one element; each process will hold its part of the expanded ones.
    numbers = sum(p.numel() * (1 if p.is_floating_point() else 2) for p in base.parameters())
    needed = numbers * compute_dtype.itemsize // mesh.size()
    expand = settings.load_in_4bit and _should_expand(settings, needed, device)

    def prepare(layer: nn.Module) -> None:
        if settings.load_in_4bit and not stored_in_4bit:
            nf4.quantise_linears(layer, compute_dtype)
        if expand:
            nf4.expand_linears(layer, compute_dtype)
        elif settings.load_in_4bit:
            nf4.detach_quant_states(layer)

    network = add_adapter(base, lora, adapter, with_reference=with_reference)
    round_once(network)
    shard_base(network, mesh, device, prepare)
    return network


def _check_settings(settings: BaseSettings, config: Any, prequantised: bool) -> None:
    name = settings.base_model
    if prequantised:
        if not settings.load_in_4bit:
            raise ConfigError(
                f"load_in_4bit is false, but the weights of {name!r} are stored in 4 bits; set "
                "load_in_4bit: true (expand_4bit: true computes without 4-bit kernels), or name "
                "the unquantised base"
            )
        kind = dict(config.quantization_config)
        if kind.get("quant_method") != "bitsandbytes" or not kind.get("load_in_4bit"):
            raise ConfigError(
                f"{name!r} is quantised as {kind.get('quant_method')!r}; fitbot trains on "
                "bitsandbytes 4-bit or unquantised weights"
            )
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and settings.max_seq_length == BaseSettings.max_seq_length:
        settings.max_seq_length = min(settings.max_seq_length, positions)  # nobody asked for more
    if positions is not None and settings.max_seq_length > positions:
        raise ConfigError(
            f"max_seq_length {settings.max_seq_length} exceeds {name!r}'s {positions} positions"
        )


def _should_expand(settings: BaseSettings, needed: int, device: torch.device) -> bool:
    """Decide whether to expand NF4 weights that will then take so many bytes of the device."""
    if settings.expand_4bit is not None:
        return settings.expand_4bit
    if device.type != "cuda":
        return True  # memory of the host: a base small enough to be trained on a CPU fits
    free, total = torch.cuda.mem_get_info(device)
    return free - needed > total // 2


def add_adapter(
    base: Any, lora: LoraSettings, adapter: str | None, *, with_reference: bool = True
) -> Any:
    """Put an adapter on a base: a fresh one, or that of a folder.

    That of a folder is the reference, too, unless with_reference is false.

    `lora.target_modules` of a fresh one becomes the list of what was found in this base.

    Raises:
        ConfigError: The base has no layer that the settings name, or one that cannot be adapted.
        AdapterError: The folder has no adapter, or one of another base.
    """
    from peft import get_peft_model

    weights: ModuleWeights = {}
    if adapter is not None:
        lora, weights = load_adapter(Path(adapter))
        try:
            check_targets(base, lora.target_modules)
        except ConfigError as error:  # PEFT leaves such a name out, and a checkpoint would not
            raise AdapterError(f"{adapter} does not fit its base: {error}") from error
    else:
        lora.target_modules = choose_targets(base, lora.target_modules)
    # The adapter's seed is its own and leaves the run's alone. Drawn on the CPU, where no default
    # device of Lightning's intervenes, it means the same weights whatever holds the base.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), catch_warnings():
        filterwarnings("ignore", "fan_in_fan_out is set")  # PEFT sees a Conv1D by itself
        torch.default_generator.manual_seed(lora.random_state)
        try:
            name = str(base.config._name_or_path)
            network = get_peft_model(base, adapter_config(lora, name))
            if adapter is not None and with_reference:
                network.add_adapter(REFERENCE_ADAPTER, adapter_config(lora, name))
        except ValueError as error:
            if adapter is not None:
                raise AdapterError(f"{adapter} does not fit its base: {error}") from error
            raise ConfigError(f"lora.target_modules {lora.target_modules}: {error}") from error
    check_layers(network, base.get_output_embeddings())
    if adapter is not None:
        for name in (POLICY_ADAPTER, REFERENCE_ADAPTER)[: 1 + with_reference]:
            put_weights(network, name, weights, adapter)
        network.set_adapter(POLICY_ADAPTER)
    return network


@torch.no_grad()
def put_weights(network: nn.Module, name: str, weights: ModuleWeights, folder: str) -> None:
    """Copy a folder's weights into an adapter of a PEFT model.

    Raises:
        AdapterError: It has other layers than the folder's, or of other sizes.
    """
    from peft.tuners.lora import LoraLayer

    layers = {
        path.removeprefix("base_model.model."): (layer.lora_A[name], layer.lora_B[name])
        for path, layer in network.named_modules()
        if isinstance(layer, LoraLayer)
    }
    if odd := sorted(layers.keys() ^ weights.keys()):
        raise AdapterError(
            f"{folder} does not fit its base: {2 * len(odd)} layers differ, such as {odd[0]}"
        )
    for path, given in weights.items():
        for own, new in zip(layers[path], given, strict=True):
            if own.weight.shape != new.shape:
                raise AdapterError(
                    f"{folder} does not fit its base: {path} is {list(new.shape)}, and must be "
                    f"{list(own.weight.shape)}"
                )
            own.weight.copy_(new)


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
