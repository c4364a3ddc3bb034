"""The order of an epoch's pairs, the same after a resume."""

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[int]]):
    """Batches of one epoch, starting where the run is; its length is that of a whole epoch."""

    def __init__(
        self,
        order: Callable[[int], Tensor],
        count: int,
        step: int,
        position: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ):
        """Take what the order is and where to start, asked anew at the start of every epoch.

        Args:
            order: Returns an epoch's order of all pairs, (count,).
            count: Pairs.
            step: Pairs of a batch.
            position: Returns the epoch and the batch in it that come next.
        """
        self.order, self.count, self.step, self.position = order, count, step, position

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rest of the epoch."""
        epoch, start = self.position()
        order = self.order(epoch)
        for first in range(start * self.step, self.count, self.step):
            yield order[first : first + self.step].tolist()

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return -(-self.count // self.step)
