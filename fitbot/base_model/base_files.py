"""The files of a base, and a hash of them that tells one base from another.

Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fitbot.base_model.embedded import resolve_base_model
from fitbot.base_model.provenance import sha256_of
from fitbot.errors import AdapterError, ConfigError

_PIECE = 2**16  # bytes
_PIECES = 16  # of a tensor that has more bytes than so many
_VOLATILE = ("_name_or_path", "transformers_version")  # keys of a config that say who wrote it


def base_files(base_model: str) -> Iterator[str]:
    """Find a base's config and weight files, in its folder or in the hub's cache."""
    from transformers.utils import cached_file
    from transformers.utils.hub import get_checkpoint_shard_files

    source = resolve_base_model(base_model)
    quiet = {"_raise_exceptions_for_missing_entries": False}
    yield cached_file(source, "config.json")
    for name in ("model.safetensors", "pytorch_model.bin"):  # in transformers' order
        if (single := cached_file(source, name, **quiet)) is not None:
            yield single
            return
        if (index := cached_file(source, f"{name}.index.json", **quiet)) is not None:
            yield from get_checkpoint_shard_files(source, index)[0]
            return
    raise OSError("there are none")


def positions_of(base_model: str) -> int | None:
    """Return how many positions a base has; None where they have no end, or it cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolve_base_model(base_model))
    except (OSError, ValueError):  # loading the base says why
        return None
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def base_hash(base_model: str) -> str:
    """Hash a base's config and samples of every tensor, in hexadecimal.

    The whole of a 70B base takes minutes to read, 16 pieces of each of its tensors a second. Any
    training or merge changes nearly all numbers of a tensor, so that samples show it; tensors of
    up to 1 MiB are hashed whole. How tensors are spread over files does not matter.

    Raises:
        ConfigError: A file is missing, cut off or of another kind.
    """
    try:
        config_file, *files = (Path(file) for file in base_files(base_model))
        config = json.loads(config_file.read_text(encoding="utf-8"))
        with ThreadPoolExecutor() as threads:
            parts = [part for found in threads.map(_sample, files) for part in found.items()]
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"base_model {base_model!r}: its weights cannot be read: {str(error).splitlines()[0]}; "
            "fetch the base again"
        ) from error
    kept = {name: value for name, value in config.items() if name not in _VOLATILE}
    return hashlib.sha256(json.dumps([kept, sorted(parts)], sort_keys=True).encode()).hexdigest()


def check_base(base_model: str, expected: str | None, trained: str) -> None:
    """Demand that a base still is what was trained on.

    Args:
        base_model: Its name or folder.
        expected: The hash of what was trained on; None where nobody kept it.
        trained: Who was trained, for the message.

    Raises:
        AdapterError: It is another base.
        ConfigError: See `base_hash`.
    """
    if expected is not None and base_hash(base_model) != expected:
        raise AdapterError(
            f"{trained} was not trained on what base_model {base_model!r} holds now, but on other "
            "weights or another config.json; put that base back, or train anew"
        )


def _sample(file: Path) -> dict[str, str]:
    """Hash samples of every tensor of a weight file, by name; of an old .bin the whole file."""
    if file.suffix != ".safetensors":
        return {file.name: sha256_of(file)}
    size, found = file.stat().st_size, {}
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(start - 8)) if start <= size else {}
        header.pop("__metadata__", None)
        ends = (entry["data_offsets"][1] for entry in header.values())
        if start + max(ends, default=size) != size:
            raise ValueError(f"{file.name} is not whole")
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            digest = hashlib.sha256(json.dumps([entry["dtype"], entry["shape"]]).encode())
            for offset in range(first, end, max(_PIECE, (end - first) // _PIECES)):
                opened.seek(start + offset)
                digest.update(opened.read(min(_PIECE, end - offset)))
            found[name] = digest.hexdigest()
    return found
