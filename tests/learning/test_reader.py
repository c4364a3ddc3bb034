"""Answers scored, checked and generated behind prompts that are read once."""

from collections import Counter

import pytest
import torch

from fitbot.base_model.settings import LoraSettings
from fitbot.learning.lesson import LessonSettings, Teacher
from fitbot.learning.reader import Question
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.formats import Message, PreferencePair
from fitbot.policy.greedy import answer_greedily

MOST = 8
WORDS = ("rest", "run or swim", "walk, or cycle to work and back again", "eat")


@pytest.fixture
def teacher(base: str) -> Teacher:
    lora = LoraSettings(r=2, alpha=4, dropout=0.5)
    teacher = Teacher(LessonSettings(base, load_in_4bit=False, lora=lora, shipped=None))
    with torch.no_grad():  # or the adapter would change nothing
        teacher.policy.adapter.add_(0.05)
    teacher.policy.train()  # dropout must not be seen
    return teacher


@pytest.fixture
def pairs(teacher: Teacher) -> list[EncodedPair]:
    return teacher.encode(
        [
            PreferencePair((Message("user", f"Shall I {words}?"),), f"Yes, {words}.", "No.", n)
            for n, words in enumerate(WORDS)
        ]
    )


def greedy(teacher: Teacher, pairs: list[EncodedPair]) -> list[list[int]]:
    end = teacher.chat.end_of_turn_id
    found = [answer_greedily(teacher.policy, pair.prompt, MOST, [end]) for pair in pairs]
    return [(ids + [end])[:MOST] for ids in found]


@pytest.mark.parametrize("at_once", [1, 60, 8192])
def test_scores_are_those_of_whole_sequences_and_answers_are_greedy(
    teacher: Teacher, pairs: list[EncodedPair], at_once: int
) -> None:
    teacher.reader.at_once = at_once
    asked = [Question(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]
    replies = teacher.reader.read(asked, MOST)

    expected = teacher.margins(pairs)
    assert [one.logps[0] - one.logps[1] for one in replies] == pytest.approx(expected, abs=1e-4)
    assert [one.answer for one in replies] == greedy(teacher, pairs)


def test_a_draft_is_kept_as_far_as_it_is_greedy(teacher: Teacher, pairs: list[EncodedPair]) -> None:
    right = greedy(teacher, pairs)
    other = [(token + 1) % 200 for token in right[1]]
    drafts = [right[0], other, [*right[2][:4], *other[4:]], None]
    asked = [Question(pair.prompt, (), draft) for pair, draft in zip(pairs, drafts, strict=True)]

    assert [one.answer for one in teacher.reader.read(asked, MOST)] == right
    assert teacher.reader.read(asked[:1], MOST)[0].answer == right[0]


def test_an_answer_ends_at_every_token_that_ends_one_elsewhere(
    teacher: Teacher, pairs: list[EncodedPair]
) -> None:
    (whole,) = greedy(teacher, pairs[:1])
    assert teacher.chat.ends <= teacher.ends

    teacher.reader.ends = teacher.ends | {whole[3]}  # as generation_config.json may say

    (reply,) = teacher.reader.read([Question(pairs[0].prompt)], MOST)
    assert reply.answer == whole[: whole.index(whole[3]) + 1]


def test_draws_follow_the_temperature(teacher: Teacher, pairs: list[EncodedPair]) -> None:
    prompt = pairs[0].prompt
    with torch.no_grad(), teacher.policy.without_dropout():
        logits = teacher.policy.network(input_ids=torch.tensor([prompt])).logits[0, -1]
    chances = (logits / 0.5).softmax(-1)
    torch.manual_seed(0)

    drawn = teacher.reader.read([Question(prompt)] * 4000, 1, temperature=0.5)

    counts = Counter(one.answer[0] for one in drawn)
    token = int(chances.argmax())
    spread = 4 * (float(chances[token]) / 4000) ** 0.5
    assert counts[token] / 4000 == pytest.approx(float(chances[token]), abs=spread)
