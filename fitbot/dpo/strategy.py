"""One fit by several processes, one a device, each with its share of every step's pairs.

All trained weights are one vector (policy/adapter.py), so that data parallelism is one sum over
processes a step. Which pairs a step has does not depend on how many processes there are: so neither
does what is learned, but for rounding and dropout.
"""

from lightning.pytorch.strategies import (
    DDPStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)

from fitbot.errors import ConfigError


class DataParallel(DDPStrategy):
    """Lightning's launcher, process group and ranks, without the wrapper around the module.

    The wrapper averages gradients over processes in every backward pass, and wants as many passes
    of all; here a step has as many as its pairs need, and their gradients are summed once.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def use_data_parallel() -> None:
    """Have Lightning take it wherever it would take its own: for `ddp`, and `auto` with devices."""
    StrategyRegistry.register("ddp", DataParallel, override=True)


def check_strategy(strategy: Strategy) -> None:
    """Refuse strategies that would reduce gradients in a way of their own, a second time.

    Raises:
        ConfigError: It is such a one.
    """
    if not isinstance(strategy, (SingleDeviceStrategy, DataParallel)):
        raise ConfigError(
            f"trainer.strategy {type(strategy).__name__} is not supported: fitbot sums gradients "
            "over processes by itself; leave it out, or set it to ddp"
        )
