"""A device that stands for Apple's GPU: its tensors say where they are, and there is no float64.

They lie in the host's memory and are computed there. It cannot be taken back: import this in a
process of its own. What cannot be imitated is which operations MPS lacks, and what it gets wrong.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "apple"


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Twin(torch.Tensor):
    """A tensor on the device, and its twin on the CPU."""

    inner: Any

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Twin":
        made: Twin = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, _: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return int(self.inner.data_ptr())

    def _set_data(self, value: "Twin") -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner = value.inner

    data = property(lambda self: torch.Tensor.data.__get__(self), _set_data)  # type: ignore


class Device(TorchDispatchMode):
    """Within it, tensors can be made on the device."""

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    twins: list[Twin] = []
    tree_map(lambda x: twins.append(x) if isinstance(x, Twin) else None, (args, kwargs))
    device = kwargs.get("device")
    is_there = torch.device(device).type == NAME if device is not None else bool(twins)
    if device is not None and is_there:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func.namespace == "bitsandbytes" and is_there:
        raise NotImplementedError(f"The operator '{func}' is not implemented for the MPS device")
    done = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    for place, argument in enumerate(func._schema.arguments if done is not None else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return args[place] if place < len(args) else kwargs[argument.name]
    return tree_map(_twin, done) if is_there else done


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, Twin) else x


def _twin(x: Any) -> Any:
    if not isinstance(x, Tensor) or isinstance(x, Twin):
        return x
    if x.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
    return Twin(x)


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return Twin(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _copy_from(source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
    _inner(to).copy_(_inner(source))
    return to


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
# `torch.tensor` goes around Python's dispatch.
torch.library.impl("aten::empty_strided", "privateuseone")(_empty_strided)
torch.library.impl("aten::_copy_from", "privateuseone")(_copy_from)
_AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_AUTOCAST.fallback(torch.library.fallthrough_kernel)
