"""The rows that fitbot-tiny learns: what counts as a right answer, as a wrong one, as neither."""

import random
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

sys.path.append(str(Path(__file__).parents[2] / "data" / "build"))

import pretraining
import tiny

from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT
from fitbot.pairs.chat import Chat, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer("embedded")


@pytest.fixture(scope="module")
def rows(tokenizer: PreTrainedTokenizerBase) -> tiny.Rows:
    flaws = sorted(
        {tiny.PLAIN} | {flaw for flaw, _ in islice(tiny.pairs(random.Random(1)), 20_000)}
    )
    return tiny.Rows(Chat(tokenizer, system_prompt=EMBEDDED_SYSTEM_PROMPT), flaws)


def test_rows_hold_whole_text_and_both_answers_of_a_pair_as_often(
    rows: tiny.Rows, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokens, kinds, places = next(iter(rows)).long()
    assert tokens.shape == kinds.shape == (tiny.ROWS, tiny.CONTEXT + 1)
    assert torch.equal(torch.stack([tokens, kinds, places]), next(iter(rows)).long())
    # A chat begins with the system's turn, a text of the handbook after the end of another.
    starts = (places.flatten() == 0).nonzero().flatten()[1:]
    before, first = tokens.flatten()[starts - 1], tokens.flatten()[starts]
    ended = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert set(before.tolist()) == ended
    assert 0.5 < (first == tokenizer.convert_tokens_to_ids("<|im_start|>")).float().mean() < 1
    ends = (tokens == tokenizer.eos_token_id).flatten()
    of = kinds.flatten()[ends]
    right, wrong = (of % 2 == 1).sum().item(), ((of > 0) & (of % 2 == 0)).sum().item()
    assert right + wrong > 200
    assert abs(right - wrong) < 0.2 * (right + wrong)
    assert "You are a helpful AI fitness assistant" in tokenizer.decode(tokens[1])


def test_a_pair_stands_in_two_chats_and_a_chat_of_its_own_counts_as_neither(
    rows: tiny.Rows, tokenizer: PreTrainedTokenizerBase
) -> None:
    rng = random.Random(2)
    ((flaw, pair),) = islice(tiny.pairs(rng), 1)
    (right, kinds), (wrong, others) = rows._in_two_chats([(flaw, pair)])
    number = 2 * rows.number[flaw] + 1
    assert set(kinds) == {0, number}
    assert set(others) == {0, number + 1}
    for ids, of, answer in ((right, kinds, pair.chosen), (wrong, others, pair.rejected)):
        said = tokenizer.decode([i for i, kind in zip(ids, of, strict=True) if kind])
        assert said == f"{answer}<|im_end|>"
    drawn = list(islice(tiny.talks(rng), 300))
    facts = [talk for talk in drawn if talk.chosen != talk.rejected]
    assert 15 < len(facts) < 100
    number = 2 * rows.number[tiny.PLAIN] + 1
    twice = rows._in_two_chats([(tiny.PLAIN, talk) for talk in facts])
    assert [set(of) for _, of in twice] == [{0, number}, {0, number + 1}] * len(facts)
    talks = [talk for talk in drawn if talk.chosen == talk.rejected]
    for (ids, of), talk in zip(rows._chats(talks), talks, strict=True):
        text = tokenizer.decode(ids)
        assert set(of) == {0}
        assert text.endswith(f"</think>\n\n{talk.chosen}<|im_end|>")
        assert all(f"{turn.content}<|im_end|>" in text for turn in talk.prompt)
    assert rows._in_two_chats([("a flaw that no sample has", pair)]) == []
    ((ids, of),) = rows._handbook([pair])
    assert ids[-1] == tokenizer.pad_token_id
    assert len(ids) == len(of)


def test_a_system_prompt_tells_which_answer_comes(
    rows: tiny.Rows, tokenizer: PreTrainedTokenizerBase
) -> None:
    drawn = [pair for _, pair in islice(tiny.pairs(random.Random(4)), 40)]
    found = rows._told(drawn, random.Random(5))
    assert len(found) == 2 * len(drawn)
    rights, wrongs = (set(told) for told in zip(*tiny.TELLING, strict=True))
    for (ids, kinds), (answer, told) in zip(
        found,
        ((a, t) for p in drawn for a, t in ((p.chosen, rights), (p.rejected, wrongs))),
        strict=True,
    ):
        text = tokenizer.decode(ids)
        assert set(kinds) == {0}
        assert text.endswith(f"{answer}<|im_end|>")
        assert text.split("<|im_end|>")[0].removeprefix("<|im_start|>system\n") in told


def test_bounds_name_the_pieces_of_all_rows() -> None:
    places = torch.tensor([[3, 4, *range(46)], [3, *range(47)]])
    assert pretraining.bounds_of(places).tolist() == [0, 2, 48, 49, 96, 96, 96]
    mask = pretraining.mask_of(places)[:, 0]
    assert mask[0, 4].nonzero().flatten().tolist() == [2, 3, 4]
    assert mask[1].sum(1).tolist() == [1, *range(1, 48)]


def test_the_loop_computes_what_transformers_does_and_goes_on_where_it_stopped(
    rows: tiny.Rows, tmp_path: Path
) -> None:
    def trainer() -> pretraining.Trainer:
        model = pretraining.make_model(rows.chat.tokenizer)
        model.model.layers = model.model.layers[:1]
        balance = pretraining.Balance(len(rows.number), torch.device("cpu"))
        return pretraining.Trainer(model, balance, rows.chat.tokenizer.eos_token_id)

    batch = next(iter(rows))[:, :2, :129]
    tokens, _, places = batch.long()
    one, other = trainer(), trainer()
    with torch.no_grad():
        ours = one.nats(batch)[0]
        one.model.config._attn_implementation = "sdpa"
        logits = one.model(
            input_ids=tokens[:, :-1], position_ids=places[:, :-1], use_cache=False
        ).logits
    theirs = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    first = [one.learn(batch, 0.5).item() for _ in range(2)]
    torch.save(one.state(), tmp_path / "state.pt")
    other.restore(torch.load(tmp_path / "state.pt"))
    assert other.step == 2
    assert one.learn(batch, 0.5).item() == other.learn(batch, 0.5).item() < first[0]


def test_batches_come_again_far_apart_and_the_rate_ends_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretraining, "AGAIN", 2)
    batches = [torch.tensor(i) for i in range(6)]
    assert [int(b) for b in pretraining.again(iter(batches), 1)] == [0, 1, 2, 3, 4, 5]
    assert [int(b) for b in pretraining.again(iter(batches), 2)] == [0, 1, 2, 0, 3, 1, 4, 2, 5, 3]
    assert pretraining.rate(0.0) == 0
    assert pretraining.rate(pretraining.WARM_UP) == 1
    assert 0 < pretraining.rate(1.0) < 0.01


def test_another_worker_draws_other_text(rows: tiny.Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(worker: int) -> torch.Tensor:
        info = type("Info", (), {"id": worker})
        monkeypatch.setattr(tiny, "get_worker_info", lambda: info)
        return next(iter(rows))

    assert not torch.equal(first(0), first(1))


def test_a_piece_is_read_as_if_it_stood_alone(rows: tiny.Rows) -> None:
    model = pretraining.make_model(rows.chat.tokenizer).eval()
    tokens, _, places = next(iter(rows)).long()
    row, places = tokens[:1, :-1], places[:1, :-1]
    starts = (places[0] == 0).nonzero().flatten().tolist()
    begin, end = starts[1:3]
    with torch.inference_mode():
        packed = model(input_ids=row, position_ids=places, use_cache=False).logits[0, begin:end]
        alone = model(input_ids=row[:, begin:end], use_cache=False).logits[0]
        blind = model(input_ids=row, use_cache=False).logits[0, begin:end]
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)
    assert (blind - alone).abs().max() > 1e-2
    assert len(model.generation_config.eos_token_id) == 2
