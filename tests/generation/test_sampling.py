"""Draws have the distribution that was asked for; text comes early and is never taken back."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer

from fitbot.base_model.embedded import embedded_model
from fitbot.base_model.settings import AnswerSettings
from fitbot.errors import ConfigError, RequestError
from fitbot.generation.detokenize import AnswerText, Thoughts, TokenBytes
from fitbot.generation.messages import Sampling
from fitbot.generation.random_numbers import uniform
from fitbot.generation.sampling import Draw, choose, draw, numbers_of, state_of
from fitbot.generation.token_budget import answer_budget


def shares(logits: Tensor, draws: int = 4000, **sampling: Any) -> Tensor:
    """How often each token is drawn."""
    wanted = [Draw(Sampling(**sampling), 7, n) for n in range(draws)]
    drawn = draw(logits.expand(draws, -1), wanted).drawn()
    return torch.bincount(torch.tensor([d.token for d in drawn]), minlength=len(logits)) / draws


LOGITS = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05]).log()[torch.tensor([3, 0, 4, 1, 2])]
TRUE = torch.tensor([0.1, 0.5, 0.05, 0.2, 0.15])


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"temperature": 1.0, "top_p": 1.0}, TRUE),
        ({"temperature": 0.5, "top_p": 1.0}, TRUE**2 / (TRUE**2).sum()),
        ({"temperature": 1.0, "top_p": 0.75}, torch.tensor([0, 0.5, 0, 0.2, 0.15]) / 0.85),
        ({"temperature": 1.0, "top_p": 1.0, "top_k": 2}, torch.tensor([0, 0.5, 0, 0.2, 0]) / 0.7),
        # Of what top_k has left, 0.5 of 0.7 is more than 0.7.
        ({"temperature": 1.0, "top_p": 0.7, "top_k": 2}, torch.tensor([0.0, 1, 0, 0, 0])),
        (
            {"temperature": 1.0, "top_p": 1.0, "min_p": 0.25},
            torch.tensor([0, 0.5, 0, 0.2, 0.15]) / 0.85,
        ),
        ({"temperature": 0.0}, torch.tensor([0.0, 1, 0, 0, 0])),
    ],
)  # fmt: skip
def test_tokens_are_drawn_as_often_as_they_should_be(
    sampling: dict[str, Any], expected: Tensor
) -> None:
    found = shares(LOGITS, **sampling)

    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(found, expected.float(), atol=0.025, rtol=0)  # three sigma


def test_a_flat_distribution_is_drawn_from_in_full() -> None:
    logits = torch.linspace(1, 0, 2000)
    drawn = shares(logits, draws=8000, temperature=1.0, top_p=0.9)

    true = logits.softmax(-1)
    last = int((true.cumsum(-1) < 0.9).sum())
    assert drawn[last + 1 :].sum() == 0
    eighths = torch.arange(last) * 8 // last
    found, expected = (
        torch.zeros(8).index_add(0, eighths, share[:last])
        for share in (drawn, true / true[: last + 1].sum())
    )
    torch.testing.assert_close(found, expected, atol=0.012, rtol=0)
    # A filter that leaves next to nothing, and one that wants more tokens than are looked at.
    assert shares(logits, draws=50, temperature=1.0, top_p=0.0006).nonzero().max() <= 1
    assert shares(logits, draws=500, temperature=1.0, top_p=1.0, top_k=300).nonzero().max() < 300
    # Of what a large top_k has left, too, top_p takes a part: 10 of 300 even tokens.
    even = torch.cat([torch.full((300,), 5.0), torch.zeros(1700)])
    few = shares(
        even - torch.arange(2000) * 1e-6, draws=300, temperature=1.0, top_p=0.03, top_k=300
    )
    assert 9 <= few.nonzero().max() + 1 <= 10


def test_the_repetition_penalty_is_for_what_was_said() -> None:
    seen = torch.tensor([False, True, False, False, False])
    logits = torch.tensor([[1.0, 1.2, -1.0, 0.0, 0.5]])

    (plain,) = draw(logits, [Draw(Sampling(temperature=0), 0)]).drawn()
    punished = Sampling(temperature=0, repetition_penalty=1.5)
    (other,) = draw(logits, [Draw(punished, 0, 0, seen)]).drawn()

    assert (plain.token, other.token) == (1, 0)


def test_frequency_and_presence_penalties_count_the_answer_alone() -> None:
    # Prompt 3 3 3, answer 1 1 2: token 1 loses 2 * 0.5 + 0.25, token 2 loses 0.5 + 0.25.
    wanted = Sampling(temperature=0, frequency_penalty=0.5, presence_penalty=0.25)
    one = Draw(wanted, 0, drawn=3)
    one.see([3, 3, 3, 1, 1, 2], 5, torch.device("cpu"))
    assert one.counts is not None
    assert one.counts.tolist() == [0, 2, 1, 0, 0]

    rows = [[0, 1.2, 0, 0, 0], [0.7, 0, 1.5, 0, 0], [0, 2.1, 0, 0.8, 0]]
    tokens = [draw(torch.tensor([row]), [replace(one)]).drawn()[0].token for row in rows]

    assert tokens == [0, 2, 1]  # 1.2 - 1.25 < 0; 1.5 - 0.75 > 0.7; 2.1 - 1.25 > 0.8
    # What is drawn counts: at first the likeliest token, then as often as its lead allows.
    new = Draw(replace(wanted, frequency_penalty=1), 0)
    new.see([1], 3, torch.device("cpu"))
    logits = torch.tensor([[0.0, 2.0, 1.5]])
    assert [draw(logits, [new]).drawn()[0].token for _ in range(5)] == [1, 2, 1, 2, 0]


def test_log_probs_are_those_before_any_penalty() -> None:
    wanted = Sampling(temperature=0, presence_penalty=2, min_tokens=9, logprobs=1)
    one = Draw(wanted, 0, ends=[2])
    one.see([0], 3, torch.device("cpu"))
    logits = torch.tensor([[0.0, 1.0, 2.0]])

    (drawn,) = draw(logits, [one]).drawn()

    assert drawn.token == 1
    assert drawn.logprob == pytest.approx(logits[0].log_softmax(-1)[1].item())
    assert drawn.top[0][0] == 2


def test_an_end_is_not_drawn_before_min_tokens_and_neighbours_are_as_they_were() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0, 2.0]] * 2).bfloat16()
    draws = [
        Draw(Sampling(temperature=0, min_tokens=2), 0, ends=[2, 3]),
        Draw(Sampling(temperature=0), 0, ends=[2, 3]),
    ]

    tokens = [[one.token for one in draw(logits, draws).drawn()] for _ in range(3)]

    assert tokens == [[1, 2], [1, 2], [2, 2]]


def test_on_a_gpu_every_row_has_the_token_that_it_has_on_a_cpu() -> None:
    kernel = pytest.importorskip("fitbot.generation.decoders.choice_kernel")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = [
        Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
        for temperature in (0.0, 0.4, 1.5)
        for top_p in (0.1, 0.9, 1.0)
        for top_k in (0, 1, 20, 5000)
        for min_p in (0.0, 0.2)
    ]
    for size in (5, 700) if device == "cpu" else (5, 700, 151_936):
        draws = [Draw(one, 3**n % 2**63, n) for n, one in enumerate(wanted)]
        generator = torch.Generator().manual_seed(size)
        # Rounded, so that some are equal; some rows nearly flat, others steep.
        steep = torch.tensor([0.1, 1.0, 4.0]).repeat(len(draws) // 3)[:, None]
        logits = (torch.randn(len(draws), size, generator=generator) * steep).bfloat16().float()
        expected = choose(logits, draws)

        found = torch.empty(len(draws), dtype=torch.long, device=device)
        numbers = torch.tensor([numbers_of(draw) for draw in draws], device=device)
        states = torch.tensor([state_of(draw) for draw in draws], device=device)
        kernel.choose_rows(logits.to(device), numbers, states, found)
        # float32 instead of float64 puts a goal on the other side of a token's edge now and then.
        assert (found.cpu() != expected).sum() <= (0 if size < 1000 else 2)


def test_the_random_numbers_are_even() -> None:
    for seed in (0, 1, 2**63 - 1):
        numbers = torch.tensor([uniform(seed, n) for n in range(4000)])
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = torch.histc(numbers, 20, 0, 1)
        assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared, 19 degrees, 0.1 %


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be 1 or more"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"frequency_penalty": 2.1}, "frequency_penalty is 2.1; it must be from -2 to 2"),
        ({"presence_penalty": -3.0}, "presence_penalty is -3.0"),
        ({"min_tokens": -1}, "min_tokens is -1"),
        ({"stop": ("",)}, "without empty strings"),
        ({"seed": 2**63}, "below 2\\^63"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Sampling(**wrong)


# -- text -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(base: str) -> Any:
    return AutoTokenizer.from_pretrained(base)


def pieces(tokenizer: Any, text: str, *stop: str) -> list[str]:
    """What is shown token by token, a byte each, and what at the end."""
    answer = AnswerText(TokenBytes(tokenizer), Sampling(stop=stop))
    shown = [answer.add(token) for token in tokenizer(text, add_special_tokens=False).input_ids]
    return [*shown, answer.finish()]


def test_a_character_of_several_tokens_comes_whole(tokenizer: Any) -> None:
    shown = pieces(tokenizer, "25 µg – 💪!")

    assert "".join(shown) == "25 µg – 💪!"
    assert not any("\ufffd" in piece for piece in shown)
    assert "💪" in shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<think>secret</think>\n\nYes.", "Yes."),
        ("Yes. <think>secret", "Yes. "),
        ("a < b and <thin air", "a < b and <thin air"),
        ("</think>x", "x"),
        ("<think></think><think>a</think>b", "b"),
    ],
)
def test_thoughts_are_not_shown(tokenizer: Any, said: str, shown: str) -> None:
    assert "".join(pieces(tokenizer, said)) == shown


def test_a_stop_string_does_not_count_before_min_tokens() -> None:
    answer = AnswerText(_Bytes(), Sampling(stop=("a",), min_tokens=2))

    shown = [answer.add(byte) for byte in b"aaba"]

    assert shown == ["a", "a", "b", ""]
    assert answer.stopped
    assert answer.finish() == ""


@given(st.text("abc\n", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_a_stop_string_cuts_where_it_first_ends(said: str, stop: list[str]) -> None:
    answer = AnswerText(_Bytes(), Sampling(stop=tuple(stop)))
    shown = ""
    for byte in said.encode():
        shown += answer.add(byte)
        if answer.stopped:
            break
    shown += answer.finish()

    ends = [(said.index(s) + len(s), said.index(s)) for s in stop if s in said]
    first = min(ends, default=None)
    if first is None:
        assert shown == said
    else:
        # Of those that end with the same character, the one that begins first.
        assert shown == said[: min(start for end, start in ends if end == first[0])]
        assert answer.stopped


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "a", "\n", "é", "<th", "💪"])))
def test_an_answer_byte_by_byte_is_what_it_is_at_once(parts: list[str]) -> None:
    said = "".join(parts)
    answer, thoughts = AnswerText(_Bytes(), Sampling(reasoning=True)), Thoughts()

    shown = "".join(answer.add(byte) for byte in said.encode()) + answer.finish()

    pairs = zip(thoughts.feed(said), thoughts.finish(), strict=True)
    assert (shown, answer.take_reasoning()) == tuple(map("".join, pairs))


class _Bytes(TokenBytes):
    """A token per byte, without the tokenizers library: hypothesis asks a thousand times."""

    def __init__(self) -> None:
        self._bytes = [bytes([byte]) for byte in range(256)]


def test_bytes_are_those_that_the_tokenizer_decodes(tokenizer: Any) -> None:
    embedded = AutoTokenizer.from_pretrained(embedded_model())
    text = "25 µg of B12 – 💪, naïve <think>\n\n\tindeed</think> 東京<|im_end|>"
    for one in (tokenizer, embedded):
        ids = one(text, add_special_tokens=False).input_ids
        found = b"".join(TokenBytes(one)[token] for token in ids).decode()
        assert found == one.decode(ids, skip_special_tokens=True)


def test_a_tokenizer_that_is_not_of_bytes_is_refused(tokenizer: Any) -> None:
    class Sentencepiece:
        name_or_path = "llama"
        all_special_ids: tuple[int, ...] = ()

        def get_added_vocab(self) -> dict[str, int]:
            return {}

        def get_vocab(self) -> dict[str, int]:
            return {"▁the": 0}

    with pytest.raises(ConfigError, match="not one of bytes: '▁the'"):
        TokenBytes(Sentencepiece())


def test_a_runs_settings_decide_how_its_answers_are_drawn() -> None:
    settings = AnswerSettings(temperature=0.3, top_p=0.5, max_new_tokens=7)

    assert Sampling.from_settings(settings) == Sampling(7, temperature=0.3, top_p=0.5)
    greedy = Sampling.from_settings(replace(settings, do_sample=False))
    assert greedy == Sampling(7, temperature=0.0, top_p=0.5)


# -- the token budget ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "left", "given", "expected"),
    [
        (1024, 1948, {}, 1024),
        (1024, 548, {}, 548),  # the context's end
        (1024, 1948, {"crowded": True}, 512),  # others wait
        (300, 1948, {"crowded": True}, 256),
        (100, 1948, {"crowded": True}, 100),
        (1024, 300, {"crowded": True}, 300),
        (1024, 0, {}, 0),
        (1024, 1948, {"rule": "published", "free_gib": 80.0}, 1024),
        (1024, 1948, {"rule": "published", "free_gib": 9.9}, 512),
        (2000, 4086, {"rule": "published", "free_gib": 9.9}, 1000),
        (600, 4086, {"rule": "published", "free_gib": 9.9}, 512),
        (100, 4086, {"rule": "published", "free_gib": 9.9}, 100),
        (1024, 1948, {"rule": "published", "crowded": True}, 1024),  # no GPU
    ],
)
def test_a_request_gets_what_it_asks_for_as_far_as_there_is_room(
    asked: int, left: int, given: dict[str, Any], expected: int
) -> None:
    assert answer_budget(asked, left, **given) == expected
