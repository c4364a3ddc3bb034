"""What the processes of one fit exchange; a single process exchanges nothing.

Nothing here knows about models: it is torch.distributed in the few forms that a fit needs.
"""

import hashlib
import heapq
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed
from torch import Tensor

from fitbot.errors import ConfigError

Item = TypeVar("Item")


def num_processes() -> int:
    """Count the processes of this fit."""
    return torch.distributed.get_world_size() if _are_several() else 1


def rank() -> int:
    """Number this process; 0 writes files and speaks."""
    return torch.distributed.get_rank() if _are_several() else 0


def balanced_shares(items: Sequence[Item], size: Callable[[Item], int]) -> list[list[Item]]:
    """Deal a list that all processes have out to them, such that all have about as much to do.

    The largest first, each to the process with the least so far. All get as many items, but for a
    rest: a process with eight pairs in one step and nine in the next would need CUDA graphs for
    both.

    Args:
        items: The list, the same in all processes.
        size: Says what an item costs, the same in all processes; not asked with one process.

    Returns:
        By process, its items in the list's order; maybe none.
    """
    if num_processes() == 1:
        return [list(items)]
    sizes = [size(item) for item in items]
    most = -(-len(items) // num_processes())
    shares: list[list[int]] = [[] for _ in range(num_processes())]
    lightest = [(0, process) for process in range(num_processes())]  # a heap: size, process
    for i in sorted(range(len(items)), key=lambda i: -sizes[i]):
        load, process = heapq.heappop(lightest)
        shares[process].append(i)
        if len(shares[process]) < most:
            heapq.heappush(lightest, (load + sizes[i], process))
    return [[items[i] for i in sorted(share)] for share in shares]


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add up what the processes have: a new tensor, the same in all of them."""
    total = tensor.detach().clone()
    if _are_several():
        torch.distributed.all_reduce(total)
    return total


def largest_over_processes(number: int, device: torch.device) -> int:
    """Find the largest of the processes' numbers; `device` is where theirs can meet."""
    if not _are_several():
        return number
    found = torch.tensor(number, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def gather(item: Item) -> list[Item]:
    """Collect a picklable object of each process, by rank, in all of them."""
    if not _are_several():
        return [item]
    items: list[Item | None] = [None] * num_processes()
    torch.distributed.all_gather_object(items, item)
    return items  # type: ignore[return-value]


def from_first(item: Item) -> Item:
    """Take the first process's object instead of one's own."""
    if not _are_several():
        return item
    items = [item]
    torch.distributed.broadcast_object_list(items)
    return items[0]


def check_agreement(**values: object) -> None:
    """Demand that all processes start from the same state.

    Args:
        values: Name → what must be the same everywhere; tensors are compared bit by bit.

    Raises:
        ConfigError: Something is not.
    """
    ours = {name: _digest(value) for name, value in values.items()}
    for number, theirs in enumerate(gather(ours)):
        for name, value in theirs.items():
            if value != ours[name]:
                raise ConfigError(
                    f"process {number} of {num_processes()} has another {name} than process "
                    f"{rank()}: files and checkpoints must lie where all hosts read the same ones"
                )


def leave() -> None:
    """Say goodbye to the other processes; harmless where there are none.

    gloo's threads, still at work while the interpreter ends, sometimes end it with a signal.
    """
    if _are_several():
        torch.distributed.destroy_process_group()


def _digest(value: object) -> str:
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().cpu().numpy().tobytes()).hexdigest()
    return repr(value)


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
