"""A base that no single device could hold: every process keeps a part of each decoder layer.

FSDP2 (torch's `fully_shard`) gathers a layer from all processes just before it is computed, forward
and backward, and lets go of it afterwards. So every pass through the network is a joint one: a
process that ran fewer than the others would leave them waiting for ever. Embedding, head and final
norm are whole in every process, and so is the adapter. The engine, which does not run the layers as
modules, gathers them by `Gathering`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from fitbot.errors import ConfigError


def shard_base(
    network: Any, mesh: DeviceMesh, device: torch.device, prepare: Callable[[nn.Module], None]
) -> None:
    """Spread the decoder's layers over the processes of a mesh, one after the other.

    Args:
        network: A PEFT model in the memory of the host, its base frozen.
        mesh: Of one dimension: the processes.
        device: This process's.
        prepare: Called with every layer when it is whole on the device.
    """
    decoder = network.get_base_model().get_decoder()
    adapter = {p for name, p in network.named_parameters() if ".lora_" in name}
    for layer in blocks_of(decoder):
        layer.to(device)
        prepare(layer)
        fully_shard(layer, mesh=mesh, ignored_params=adapter)
    # Nothing else of the decoder is sharded, but as their root it has its layers gather ahead.
    fully_shard(decoder, mesh=mesh, ignored_params=set(decoder.parameters()))
    network.to(device)


def blocks_of(decoder: nn.Module) -> nn.ModuleList:
    """Return a decoder's blocks, whatever it calls them: the list that holds most weights."""
    lists = [module for module in decoder.children() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ConfigError(
            "trainer.strategy sharded cannot divide this base, whose decoder has no list of "
            "blocks; set it to auto"
        )
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


def is_sharded(decoder: nn.Module) -> bool:
    """Whether a decoder went through `shard_base`."""
    return isinstance(decoder, FSDPModule)


def own_part(weight: Tensor) -> Tensor:
    """Return what this process holds of a weight: all of it unless it is sharded."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole_of(weight: Tensor) -> Tensor:
    """Gather a weight of which each process may hold a part; all of them must ask for it."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


class Gathering:
    """Has layers whole one after the other, for who does not run them as modules.

    The next one is gathered while one is at work.
    """

    def __init__(self, layers: Any):
        """Take a sharded decoder's layers."""
        self._layers = layers
        self._coming: dict[int, Any] = {}

    @contextmanager
    def whole(self, layer: int, then: int) -> Iterator[None]:
        """Have a layer whole, and `then` on its way, if there is one of that number."""
        coming = self._coming.pop(layer, None) or self._layers[layer].unshard(async_op=True)
        coming.wait()
        if 0 <= then < len(self._layers):
            self._coming[then] = self._layers[then].unshard(async_op=True)
        try:
            yield
        finally:
            self._layers[layer].reshard()


def gathered_bytes(decoder: Any) -> int:
    """Count the bytes of the layers that are whole at once: the one at work and the next."""
    if not is_sharded(decoder):
        return 0
    layers = (layer.parameters() for layer in blocks_of(decoder))
    largest: int = max(sum(p.numel() * p.element_size() for p in layer) for layer in layers)
    return 2 * largest
