"""How Triton's kernels are launched, and how many of them are compiled side by side.

A kernel is compiled when it is launched for the first time, one after the other, seconds in all.
Compiling leaves Python's lock most of the time, so threads do it faster. Triton keeps the
results on disk; the next run finds them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_only_compile: ContextVar[bool] = ContextVar("only_compile", default=False)


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run a kernel; within `compiled_together`, have it compiled only."""
    if _only_compile.get():
        kernel.warmup(*args, grid=grid, **constants)
    else:
        kernel[grid](*args, **constants)


def blocks(elements: int, size: int) -> int:
    """Count the blocks of a size that hold so many elements."""
    return -(-elements // size)


def power_of_two(elements: int) -> int:
    """Return the smallest power of two that holds so many elements, as Triton's blocks must be."""
    return 1 << (elements - 1).bit_length()


@contextmanager
def compiled_together() -> Iterator[None]:
    """Compile what is launched inside, side by side, and run none of it: outputs stay unset."""
    import triton

    with ThreadPoolExecutor() as pool, triton.AsyncCompileMode(pool):
        token = _only_compile.set(True)
        try:
            yield
        finally:
            _only_compile.reset(token)
