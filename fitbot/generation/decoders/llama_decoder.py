"""The decoder on a CPU by llama.cpp, from the files that `fitbot export --gguf` wrote.

Only the logits are llama.cpp's: requests, sampling and text are the embedded engine's, and tokens
go in and out as numbers. A slot is one of its sequences; each has cells of its own, so that no
row's sums depend on who else is there.
"""

import ctypes
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fitbot.base_model.gguf_file import FILE_TYPES, write_adapter
from fitbot.errors import ConfigError, EngineError
from fitbot.generation.decoders.torch_decoder import TorchDecoder

Row = tuple[int, int, int, bool]  # token, its place, slot, whether its logits are wanted

_ERROR = 4  # llama.cpp's level of a log line
_F32, _F16 = 0, 1  # types of a cache
_complaints: deque[str] = deque(maxlen=3)


class LlamaDecoder(TorchDecoder):
    """Weights and cache, held by llama.cpp."""

    def __init__(self, file: Path, *, slots: int, context: int, ranks: int = 0):
        """Open a base; only the terms of `TorchDecoder` are inherited, nothing that it holds.

        Args:
            file: The base, as `gguf_file.write_base` writes it.
            slots: S.
            context: M, at most what the base takes.
            ranks: R, the room for adapters.

        Raises:
            ConfigError: llama.cpp is not installed, or cannot open the file.
        """
        self._llama = llama = _library()
        self.device, self.threads = torch.device("cpu"), torch.get_num_threads()
        self.slots, self.ranks, self.held = slots, ranks, {}
        self._adapters: dict[int, Any] = {}  # by the first of their ranks
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        # Compiled by GCC 12, the code for AMX crashes: github.com/ggml-org/llama.cpp/issues/20824.
        options.use_extra_bufts = b"AMX_INT8 = 1" not in llama.llama_print_system_info()
        self._model = llama.llama_model_load_from_file(str(file).encode(), options)
        if not self._model:
            raise ConfigError(f"{file} cannot be opened by llama.cpp: {_why()}")
        self._free_later(llama.llama_model_free, self._model)
        self.context = min(context, llama.llama_model_n_ctx_train(self._model))
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self.architecture = self._told("general.architecture")
        kinds = {str(number): kind for kind, number in FILE_TYPES.items()}
        self.kind = kinds.get(self._told("general.file_type"))
        self._context = self._make_context()
        self._free_later(llama.llama_free, self._context)
        self._batch = llama.llama_batch_init(max(self.context, slots), 0, 1)
        self._free_later(llama.llama_batch_free, self._batch)

    def warm_up(self) -> None:
        """Read the weights, which llama.cpp has only mapped."""
        self.prefill(0, [0], None)

    def prefill(self, slot: int, ids: Sequence[int], ranks: slice | None) -> Tensor:
        """See `TorchDecoder`."""
        llama = self._llama
        llama.llama_memory_seq_rm(llama.llama_get_memory(self._context), slot, -1, -1)
        last = len(ids) - 1
        rows = [(token, place, slot, place == last) for place, token in enumerate(ids)]
        return self._decode(rows, ranks)[0]

    def step(
        self,
        tokens: Tensor,
        slots: Sequence[int],
        lengths: Sequence[int],
        ranks: Sequence[slice | None],
    ) -> Tensor:
        """See `TorchDecoder`; a pass has one adapter or none, so there is a pass for each."""
        rows = list(zip(tokens.tolist(), lengths, slots, [True] * len(slots), strict=True))
        logits = torch.empty(len(rows), self.vocabulary)
        for own in {one and one.start: one for one in ranks}.values():
            members = [number for number, one in enumerate(ranks) if one == own]
            # Neighbours in order share a pass.
            members.sort(key=lambda number: slots[number])
            logits[members] = self._decode([rows[number] for number in members], own)
        return logits

    def adapt(self, ranks: slice, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        """See `TorchDecoder`."""
        llama, new = self._llama, None
        if weights:
            with tempfile.TemporaryDirectory() as scratch:
                file = Path(scratch) / "adapter.gguf"
                write_adapter(
                    file,
                    weights,
                    architecture=self.architecture,
                    heads=llama.llama_model_n_head(self._model),
                    key_heads=llama.llama_model_n_head_kv(self._model),
                )
                new = llama.llama_adapter_lora_init(self._model, str(file).encode())
            if not new:
                raise ConfigError(f"llama.cpp refuses the adapter: {_why()}")
        self._use(None)
        if (old := self._adapters.pop(ranks.start, None)) is not None:
            llama.llama_adapter_lora_free(old)
        if new:
            self._adapters[ranks.start] = new

    def _make_context(self) -> Any:
        llama = self._llama
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_seq_max = self.slots * self.context, self.slots
        options.n_batch, options.n_outputs_max = max(self.context, self.slots), self.slots
        options.n_threads = options.n_threads_batch = self.threads
        options.type_k = options.type_v = _F32 if self.kind == "f32" else _F16
        options.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it adds up in 16 bits
        options.kv_unified, options.no_perf = False, True
        made = llama.llama_init_from_model(self._model, options)
        if not made:
            raise ConfigError(
                f"llama.cpp has no room for {self.slots} slots of {self.context}: {_why()}"
            )
        return made

    def _free_later(self, free: Callable[[Any], None], what: Any) -> None:
        # Not at the process's end: a thread may still be computing with it.
        weakref.finalize(self, free, what).atexit = False

    def _decode(self, rows: Sequence[Row], ranks: slice | None) -> Tensor:
        """Run all layers for N rows; logits of those wanted."""
        self._use(ranks)
        batch, llama = self._batch, self._llama
        batch.n_tokens = len(rows)
        for number, (token, place, slot, wanted) in enumerate(rows):
            batch.token[number], batch.pos[number] = token, place
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, slot
            batch.logits[number] = wanted
        if (status := llama.llama_decode(self._context, batch)) != 0:
            raise EngineError(f"llama.cpp's decode says {status}: {_why()}")
        found = [
            np.ctypeslib.as_array(
                llama.llama_get_logits_ith(self._context, number), (self.vocabulary,)
            )
            for number, row in enumerate(rows)
            if row[-1]
        ]
        return torch.from_numpy(np.stack(found))  # a copy: the next pass writes there

    def _use(self, ranks: slice | None) -> None:
        """Have the next passes use an adapter, or none; one with nothing in it is none."""
        adapter = None if ranks is None else self._adapters.get(ranks.start)
        adapters = [] if adapter is None else [adapter]
        self._llama.llama_set_adapters_lora(
            self._context,
            (self._llama.llama_adapter_lora_p_ctypes * 1)(*adapters),
            len(adapters),
            (ctypes.c_float * 1)(1.0),
        )

    def _told(self, key: str) -> str:
        """Read what the file says of itself."""
        text = ctypes.create_string_buffer(256)
        self._llama.llama_model_meta_val_str(self._model, key.encode(), text, len(text))
        return text.value.decode()


@cache
def _library() -> Any:
    """Load llama.cpp, and have it complain here instead of at the terminal."""
    try:
        import llama_cpp
    except ImportError as error:
        raise ConfigError(
            "llama.cpp is not installed here; run pip install 'fitbot[llama]'"
        ) from error
    llama_cpp.llama_log_set(_listen(llama_cpp), None)
    return llama_cpp


@cache
def _listen(llama: Any) -> Any:
    # Cached, or else it would be collected while llama.cpp still calls it.
    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, _: Any) -> None:
        if level == _ERROR:
            _complaints.append(text.decode(errors="replace").strip())

    return listen


def _why() -> str:
    """Say what llama.cpp complained of last."""
    said = "; ".join(_complaints) or "it does not say why"
    _complaints.clear()
    return said
