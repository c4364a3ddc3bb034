"""The datamodule fits its limits to the base."""

from pathlib import Path

import pytest

from fitbot.errors import ConfigError
from tests.conftest import make_data
from tests.families import write_family


def test_no_pair_is_longer_than_the_base_has_positions(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(write_family(tmp_path, "GPT-2", base, n_positions=110))
    data = make_data(folder, pairs_file, max_prompt_length=100, system_prompt=None)

    data.setup("fit")

    assert (data.limits.max_length, data.hparams["max_length"]) == (110, 110)
    assert max(pair.num_tokens - len(pair.rejected) for pair in data.pairs["train"]) <= 110
    assert "data.max_length: 110 instead of 700, the base has no more positions" in caplog.text


def test_a_prompt_that_would_take_all_positions_is_refused(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    folder = str(write_family(tmp_path, "GPT-2", base, n_positions=300))

    with pytest.raises(ConfigError, match="max_prompt_length 300 leaves no room .* 300 positions"):
        make_data(folder, pairs_file, max_prompt_length=300).setup("fit")


def test_limits_that_fit_stay(base: str, pairs_file: str) -> None:
    data = make_data(base, pairs_file)

    data.setup("fit")

    assert data.limits.max_length == 700
