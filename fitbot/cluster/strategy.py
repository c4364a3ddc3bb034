"""One fit by several processes, one a device, each with its share of every step's pairs.

All trained weights are one vector (policy/adapter_vector.py), so that data parallelism is one sum
over processes a step. Which pairs a step has does not depend on how many processes there are: so
neither does what is learned, but for rounding and dropout.

`ddp` holds the base in every process, `sharded` a part of it.
"""

from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)
from torch.distributed.device_mesh import DeviceMesh

from fitbot.errors import ConfigError

_INSTEAD = "leave it out, or set it to ddp, or to sharded for a base that one GPU cannot hold"


class DataParallel(DDPStrategy):
    """Lightning's launcher, process group and ranks, without the wrapper around the module.

    The wrapper averages gradients over processes in every backward pass, and wants as many passes
    of all; here a step has as many as its pairs need, and their gradients are summed once.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all processes, with checkpoints like any other's.

    What is trained is whole in every process (base_model/sharding.py), so a checkpoint is one file
    that the first one writes, and loads where there are more processes, fewer, or one.
    """

    restore_checkpoint_after_setup = False
    lightning_restore_optimizer = True
    save_checkpoint = Strategy.save_checkpoint
    load_checkpoint = Strategy.load_checkpoint
    lightning_module_state_dict = Strategy.lightning_module_state_dict
    load_model_state_dict = Strategy.load_model_state_dict
    optimizer_state = Strategy.optimizer_state
    load_optimizer_state_dict = Strategy.load_optimizer_state_dict

    def setup_environment(self) -> None:
        """Form the group of processes; each has another part of the pairs."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()

    @property
    def mesh(self) -> DeviceMesh:
        """The processes that share the base."""
        return self.device_mesh["data_parallel"]


def register_strategies() -> None:
    """Offer `sharded`, and have Lightning take ours for `ddp`, and for `auto` with devices."""
    StrategyRegistry.register("ddp", DataParallel, override=True)
    StrategyRegistry.register("sharded", Sharded, override=True)


def check_strategy_name(name: object) -> None:
    """Refuse names that Lightning does not know; what it makes of others `check_strategy` sees.

    Raises:
        ConfigError: It is such a one.
    """
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(name, str) and name not in known:
        raise ConfigError(f"trainer.strategy {name!r} is unknown: {_INSTEAD}")


def check_strategy(strategy: Strategy) -> None:
    """Refuse strategies that would reduce gradients in a way of their own, a second time.

    Raises:
        ConfigError: It is such a one.
    """
    if not isinstance(strategy, (SingleDeviceStrategy, DataParallel, Sharded)):
        raise ConfigError(
            f"trainer.strategy {type(strategy).__name__} is not supported: fitbot sums gradients "
            f"over processes by itself; {_INSTEAD}"
        )
