"""Checkpoints with a checksum, by which one that was cut or changed is known."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from fitbot.errors import AdapterError

_LENGTH = (64).to_bytes(2, "little")  # of a zip file's comment, which follows; torch's have none


def save_with_checksum(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    """Write a checkpoint as torch does, a zip file, with the SHA-256 of all of it as comment."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    body = content.getbuffer()[: -len(_LENGTH)]
    file.write(body)
    file.write(_LENGTH + hashlib.sha256(body).hexdigest().encode())


def is_whole(path: Path) -> bool:
    """Say whether nothing of a checkpoint was cut off or changed.

    One without a checksum, which others have written, is judged by those of its parts. torch itself
    looks at neither.

    Raises:
        AdapterError: It cannot be read.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error.strerror}") from error
    body, length, checksum = content[:-66], content[-66:-64], content[-64:]
    if length == _LENGTH:
        return hashlib.sha256(body).hexdigest().encode() == checksum
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None and not parts.comment  # a cut checksum of ours
    except Exception:  # zipfile has another one for each field that may be wrong
        return False


def is_of_fitbot(path: Path) -> bool:
    """Say whether a whole checkpoint is one of fitbot's; its tensors are not read."""
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:  # with the state of a callback of the user's
        return True
    return isinstance(found, dict) and "base_model" in found.get("hyper_parameters", ())


def whole_one_beside(path: Path) -> Path | None:
    """Find the run's other checkpoint, best.ckpt or else last.ckpt, if that one is whole."""
    beside = [path.with_name(name) for name in ("best.ckpt", "last.ckpt")]
    found = [one for one in beside if one.name != path.name and one.is_file() and is_whole(one)]
    return found[0] if found else None
