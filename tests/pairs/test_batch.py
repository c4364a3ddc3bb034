"""One small packed batch, number by number."""

import pytest
import torch

from fitbot.pairs.batch import Extent, attention_mask, collate_pairs, pack_by_tokens, padded_size
from fitbot.pairs.chat import EncodedPair

A = EncodedPair([11, 12, 13], [21, 22], [31, 32, 33], 0, 0, 0, 0)
B = EncodedPair([14], [24, 25], [34], 0, 0, 0, 1)


def test_a_packed_row_is_prompt_chosen_rejected_pair_after_pair() -> None:
    batch = collate_pairs([A, B], layout="shared", pad_id=9)

    assert batch.input_ids[0, :12].tolist() == [11, 12, 13, 21, 22, 31, 32, 33, 14, 24, 25, 34]
    assert batch.position_ids[0, :12].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2, 1]
    assert batch.pair_index is not None
    assert batch.pair_index[:12].tolist() == [0] * 8 + [1] * 4
    assert batch.part is not None
    assert batch.part[:12].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 0, 1, 1, 2]
    assert batch.input_ids.shape == (1, 64)
    assert batch.input_ids[0, 12:].unique().tolist() == [9]
    assert batch.pair_index[12:].unique().tolist() == [2]  # padding is a segment of its own


def test_the_first_token_of_both_completions_is_predicted_by_the_last_prompt_position() -> None:
    batch = collate_pairs([A, B], layout="shared", pad_id=9)

    #          chosen A  rejected A  chosen B  rejected B
    assert batch.score_from[:8].tolist() == [2, 3, 2, 5, 6, 8, 9, 8]
    assert batch.score_ids[:8].tolist() == [21, 22, 31, 32, 33, 24, 25, 34]
    assert batch.score_owner[:8].tolist() == [0, 0, 1, 1, 1, 2, 2, 3]
    assert len(batch.score_ids) == 8


def test_scored_tokens_are_padded_to_eighths_of_the_row_and_the_padding_owns_no_completion() -> (
    None
):
    batch = collate_pairs([A, B, A], layout="shared", pad_id=9)

    assert len(batch.score_ids) == 16  # 13 are real, an eighth of the row's 64 tokens is 8
    assert batch.score_owner[:13].tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 5, 5, 5]
    assert batch.score_owner[13:].tolist() == [6, 6, 6]  # 2B: thrown away


def test_a_batch_is_padded_as_one_that_has_more() -> None:
    larger = collate_pairs([A, B, A], layout="shared", pad_id=9)

    # 120 tokens are padded to 120 as well, of which eighths are 15; 40 scored ones to 45.
    batch = collate_pairs([A, B], layout="shared", pad_id=9, room=Extent(120, 40))

    assert batch.input_ids.shape == (1, 120)
    assert batch.position_ids[0, :13].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2, 1, 0]
    assert len(batch.score_ids) == 45
    assert batch.score_owner[8:].unique().tolist() == [4]
    less = collate_pairs([A, B, A], layout="shared", pad_id=9, room=Extent(12, 8))
    for x, y in zip(less, larger, strict=True):
        assert (x is None) == (y is None)
        assert x is None or y is None or torch.equal(x, y)


def test_rows_are_chosen_then_rejected_padded_on_the_right() -> None:
    batch = collate_pairs([A, B], layout="rows", pad_id=9)

    assert batch.input_ids.shape == (4, 64)
    assert batch.input_ids[:, :6].tolist() == [
        [11, 12, 13, 21, 22, 9],
        [14, 24, 25, 9, 9, 9],
        [11, 12, 13, 31, 32, 33],
        [14, 34, 9, 9, 9, 9],
    ]
    #  row 0: 2, 3; row 1: 64; row 2: 128 + 2; row 3: 192
    assert batch.score_from[:8].tolist() == [2, 3, 64, 65, 130, 131, 132, 192]
    assert batch.score_ids[:8].tolist() == [21, 22, 24, 25, 31, 32, 33, 34]
    assert batch.score_owner[:8].tolist() == [0, 0, 2, 2, 1, 1, 1, 3]


def test_the_mask_hides_the_chosen_completion_from_the_rejected_and_pairs_from_each_other() -> None:
    pair_index = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    part = torch.tensor([0, 1, 1, 2, 0, 1, 2])

    mask = attention_mask(pair_index, part)

    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 0, 1],
    ]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 500, 1025, 5730])
def test_padding_wastes_at_most_an_eighth_beyond_the_smallest_size(count: int) -> None:
    size = padded_size(count)

    assert size >= count
    assert size % 8 == 0
    assert size == 64 or size <= count * 9 / 8 + 8


def test_a_pair_larger_than_the_budget_is_a_group_of_its_own_and_none_is_lost() -> None:
    groups = pack_by_tokens([5, 50, 3, 3, 3], max_tokens=8)

    assert groups == [[0], [1], [2, 3], [4]]
