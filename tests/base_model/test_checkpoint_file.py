"""A checkpoint that was changed after it was written is known by its checksums."""

from pathlib import Path

import pytest
import torch

from fitbot.base_model.checkpoint_file import is_whole, save_with_checksum, whole_one_beside
from fitbot.errors import AdapterError

CONTENT = {"weight": torch.arange(8.0), "moment": torch.ones(3)}


def write(path: Path) -> None:
    with path.open("wb") as file:
        save_with_checksum(CONTENT, file)


def test_torch_reads_a_checkpoint_with_a_checksum(tmp_path: Path) -> None:
    write(tmp_path / "last.ckpt")

    read = torch.load(tmp_path / "last.ckpt", weights_only=True)

    assert all(torch.equal(read[name], tensor) for name, tensor in CONTENT.items())


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "last.ckpt"
    write(path)
    written = path.read_bytes()
    assert is_whole(path)

    unseen = []
    for place in range(len(written)):
        changed = bytearray(written)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        if is_whole(path):
            unseen.append(place - len(written))

    assert set(unseen) <= {-66, -65}  # the checksum's length, which nobody needs


def test_a_checkpoint_of_plain_torch_is_judged_by_the_checksums_of_its_parts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    assert is_whole(path)
    written = path.read_bytes()

    path.write_bytes(written.replace(torch.ones(3).numpy().tobytes(), bytes(12)))

    assert not is_whole(path)


@pytest.mark.parametrize("left", [0, 1, 100, -1])
def test_a_cut_or_empty_checkpoint_is_found(tmp_path: Path, left: int) -> None:
    path = tmp_path / "last.ckpt"
    write(path)

    path.write_bytes(path.read_bytes()[:left])

    assert not is_whole(path)


def test_the_way_out_is_the_other_checkpoint_if_that_one_is_whole(tmp_path: Path) -> None:
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    last.touch()

    assert whole_one_beside(last) is None
    best.touch()
    assert whole_one_beside(last) is None
    write(best)
    assert whole_one_beside(last) == best
    assert whole_one_beside(best) is None


def test_a_checkpoint_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").mkdir()

    with pytest.raises(AdapterError, match=r"last\.ckpt cannot be read: Is a directory"):
        is_whole(tmp_path / "last.ckpt")
