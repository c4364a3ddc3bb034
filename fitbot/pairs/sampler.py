"""The order of an epoch's pairs, the same after a resume."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Sampler


@dataclass
class EpochSampler(Sampler[list[int]]):
    """Batches of one epoch, starting where the run is; its length is that of a whole epoch.

    Args:
        order: Returns an epoch's order of all pairs, (count,); asked at the start of every epoch.
        count: Pairs.
        step: Pairs of a batch.
        position: Returns the epoch and the batch in it that come next; asked likewise.
    """

    order: Callable[[int], Tensor]
    count: int
    step: int
    position: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = self.position()
        order = self.order(epoch)
        for first in range(start * self.step, self.count, self.step):
            yield order[first : first + self.step].tolist()

    def __len__(self) -> int:
        return -(-self.count // self.step)
