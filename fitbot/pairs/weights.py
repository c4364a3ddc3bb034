"""What each training pair counts in the mean loss."""

import logging

import torch
from torch import Tensor

from fitbot.errors import ConfigError
from fitbot.pairs.store import PairStore

logger = logging.getLogger(__name__)


def training_weights(pairs: PairStore, column: str, path: str | None) -> Tensor:
    """Return every pair's weight, 1 where its record has none: (N,) float32.

    Args:
        pairs: The training pairs.
        column: Key of a record that holds the weight, for messages.
        path: The file, likewise.

    Raises:
        ConfigError: No record has one.
    """
    weights = torch.from_numpy(pairs.weights()).float()
    if weights.isnan().all():
        raise ConfigError(
            f"data.weight_column {column}: no record of {path} has that key; name another, or set "
            "it to null"
        )
    found = weights.nan_to_num(1.0)
    logger.info(
        "weights of training pairs: %.3g on average, from %.3g to %.3g; %s records have none and "
        "count 1",
        found.mean(),
        found.min(),
        found.max(),
        f"{int(weights.isnan().sum()):,}",
    )
    return found
