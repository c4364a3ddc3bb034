"""The chats that fitbot-tiny learns besides pairs: repeatable, of training facts, and right."""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "data" / "build"))

import chats
import grammar
import plain_facts
import small_plans
import small_talk
from diet import BY_NAME
from facts import FOODS, UNITS, nutrients_of
from mirrors import Draw, NothingToDraw, pool_of
from plain_facts import KNOWN, Exchange
from ranges import RANGES

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "data" / "build"
MANY = 4000
CONTROL = re.compile(r"<\|?\w+\|?>|</?think>|\b(?:system|user|assistant)\b|[{}\[\]]")


def of_kinds(kinds: plain_facts.Kinds, count: int) -> dict[str, list[Exchange]]:
    """Draw so many of every kind."""
    rng, found = random.Random(28), dict[str, list[Exchange]]()
    for kind, _ in kinds:
        own: list[Exchange] = []
        for _ in range(60 * count):
            if len(own) == count:
                break
            try:
                own.append(kind(Draw(rng, "train", "train")))
            except NothingToDraw:
                continue
        found[kind.__name__] = own
    return found


@pytest.fixture(scope="module")
def drawn() -> list[chats.Chat]:
    return list(islice(chats.chats(random.Random(28)), MANY))


@pytest.fixture(scope="module")
def exchanges(drawn: list[chats.Chat]) -> list[Exchange]:
    return [exchange for chat in drawn for exchange in chat]


def test_the_same_seed_draws_the_same_chats_in_every_process() -> None:
    program = (
        "import random, chats; from itertools import islice;"
        "print(list(islice(chats.chats(random.Random(3)), 300)))"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=BUILD,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert len(first) > 20_000


def test_every_kind_can_be_drawn() -> None:
    for source, _ in chats.SOURCES:
        counts = {name: len(own) for name, own in of_kinds(source.KINDS, 5).items()}
        assert counts == dict.fromkeys(counts, 5)


def test_chats_vary(drawn: list[chats.Chat], exchanges: list[Exchange]) -> None:
    assert len(set(drawn)) > 0.97 * MANY
    assert len({said for _, said, *_ in exchanges}) > 0.75 * len(exchanges)
    turns = Counter(len(chat) for chat in drawn)
    assert 0.1 < 1 - turns[1] / MANY < 0.3
    assert max(turns) <= 4


def test_answers_are_whole_and_hold_no_control_token(exchanges: list[Exchange]) -> None:
    for asked, said, *_ in exchanges:
        assert chats.is_sound(said), said
        assert not CONTROL.search(said), said
        assert asked.strip() == asked != ""
        assert not re.search(r"[{}|<>]|\[|\]", asked), asked


@pytest.mark.parametrize(
    "answer",
    [
        " ",
        "in mid-sentence.",
        "No end",
        "Two  spaces.",
        "A {place}.",
        "Ends <|im_end|>.",
        "So,.",
        f"A {'long ' * 120}answer.",
    ],
)
def test_a_broken_answer_is_not_sound(answer: str) -> None:
    assert not chats.is_sound(answer)


def test_no_fact_of_validation_or_test_is_said(exchanges: list[Exchange]) -> None:
    names = {food["food"] for food in FOODS}
    names |= {food["food"] for food in plain_facts.ALL_FOODS}
    held_out = {name for name in names if pool_of(f"food:{name}") != "train"}
    own = sorted(names - held_out, key=len, reverse=True)
    assert len(held_out) > 30
    # "butter" is validation's or test's, "peanut butter" is not.
    longer = [name for name in own if any(name != other and other in name for other in held_out)]
    figures = re.compile(r"(?:of|in|with|:) (?:" + "|".join(map(re.escape, held_out)) + r")\b")
    ranges = [r.answer for r in RANGES if pool_of(f"range:{r.topic}") != "train"]
    for _, said, *_ in exchanges:
        text = said.lower()
        for name in longer:
            text = text.replace(name.lower(), "")
        assert not figures.search(text), said
        assert not any(answer in said for answer in ranges), said


def test_a_plain_figure_is_the_tables() -> None:
    count, rows = 0, {food["food"]: food for food in plain_facts.ALL_FOODS}
    for name, own in of_kinds(plain_facts.KINDS[:2], 200).items():
        for _, said, *_ in own:
            (food,) = [max((f for f in rows if f.lower() in said.lower()), key=len)]
            (nutrient,) = [n for n in UNITS if re.search(rf" of {n}(?![-\w])", said)]  # fmt: skip
            value = float(rows[food][nutrient])
            figures = re.findall(r"[\d.,]*\d(?= (?:g|mg|kcal) of)", said)
            amounts = [float(figure.replace(",", "")) for figure in figures]
            assert any(abs(a - value) <= 0.06 * value + 0.005 for a in amounts), (name, said, value)
            count += 1
    assert count == 400


def test_muscles_and_kit_of_familiar_exercises_are_the_tables() -> None:
    assert len(KNOWN) == len(plain_facts.FAMILIAR) + 4  # pull-ups and three more
    assert len(plain_facts.FAMILIAR) == len(set(plain_facts.FAMILIAR.values()))
    by_name = {row["everyday"]: row for row in KNOWN}
    for _, said, *_ in of_kinds(((plain_facts.works, 1),), 300)["works"]:
        assert any(row["primary"] in said for row in KNOWN), said
    for asked, said, *_ in of_kinds(((plain_facts.instead, 1),), 200)["instead"]:
        names = sorted((n for n in by_name if n.lower() in (asked + said).lower()), key=len)
        muscles = {by_name[n]["primary"] for n in names if f"the {by_name[n]['primary']}" in said}
        assert len(muscles) == 1, (asked, said)


def test_a_session_adds_up_and_fits_goal_and_kit() -> None:
    for asked, said in of_kinds(small_plans.KINDS, 300)["session"]:
        lifts = re.findall(r"(\d) x (\d+)", said)
        assert len(lifts) >= 3
        (total,) = re.findall(r"(\d+) sets", said)[:1]
        assert int(total) == sum(int(sets) for sets, _ in lifts), said
        if "kettlebell" in asked:
            assert said.count("kettlebell") >= 3, (asked, said)
        if re.search(r"strong\b|strength", asked):
            assert all(4 <= int(reps) <= 6 for _, reps in lifts), (asked, said)
        if re.search(r"no (?:equipment|gear|gym|weights)|without equipment|bodyweight", asked):
            assert not re.search(r"dumbbell|barbell|kettlebell|cable|machine|band", said), said


def test_a_week_has_the_days_that_were_asked_for() -> None:
    words = {"two": 2, "three": 3, "four": 4}
    names = r"Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
    for asked, said in of_kinds(small_plans.KINDS, 150)["days"]:
        number = re.search(r"\b([2-4]|two|three|four)\b", asked.replace("two dumbbells", ""))
        assert number is not None, asked
        days = re.findall(rf"\b({names})[,:]", said)
        assert len(days) == len(set(days)) == words.get(number[1], 0) or int(number[1]), asked
        (total,) = re.findall(r"(\d+)(?: weekly)? sets", said)[-1:]
        assert int(total) == sum(int(sets) for sets in re.findall(r"(\d) x \d+", said)), said


def test_a_circuit_fills_the_minutes_that_were_asked_for() -> None:
    for asked, said in of_kinds(small_plans.KINDS, 100)["timed"]:
        minutes = re.search(r"\d+", asked)
        rounds = re.search(r"(\d) rounds of (.+?)(?:, 40| \()", said)
        assert minutes is not None
        assert rounds is not None, said
        moves = re.split(r", | and ", rounds[2])
        assert len(set(moves)) == len(moves) == 4, said
        work = 4 * int(rounds[1])
        warm = re.search(r"(\d+) (?:minutes\. Then|to warm)", said)
        end = re.search(r"(\d+) (?:minutes, \d+ in all|to (?:cool|calm|stretch))", said)
        assert warm is not None, said
        assert end is not None, said
        assert int(warm[1]) + work + int(end[1]) == int(minutes[0]), (asked, said)
        assert f"{work} minutes" in said or f"{work} for" in said, said


def test_a_day_of_protein_has_the_sum_that_it_names_and_near_what_was_asked() -> None:
    meat = re.compile(r"chicken|beef|pork|lamb|turkey|salmon|tuna|cod|fish|egg")
    dairy = re.compile(r"yoghurt|kefir|mozzarella|feta|ricotta|whey|cheddar")
    asked_for = 0
    for asked, said in of_kinds(small_plans.KINDS, 200)["protein_day"]:
        portions = re.findall(r"(\d+) g of ([A-Za-z -]+) \((\d+) g\)", said)
        assert len(portions) == 8
        for grams, food, protein in portions:
            assert int(protein) == round(int(grams) * float(BY_NAME[food]["protein"]) / 100), said
        (total,) = re.findall(r"(\d+) g of protein", said)
        assert int(total) == sum(int(protein) for _, _, protein in portions), said
        wanted = re.search(r"\b(\d+) ?g", asked)
        if wanted:
            asked_for += 1
            assert abs(int(wanted[1]) - int(total)) <= 4, (asked, said)
        assert not meat.search(said), said
        assert not (re.search(r"vegan|plant", asked) and dairy.search(said)), (asked, said)
    assert asked_for > 40


def test_a_plan_that_does_not_add_up_is_found() -> None:
    good = "Do squats 3 x 8, push-ups 3 x 8 and towel rows 3 x 8. That is 9 sets."
    allowed = ("squats", "push-ups", "towel rows")
    assert small_plans.adds_up(good, allowed, (8,))
    assert not small_plans.adds_up(good.replace("9 sets", "8 sets"), allowed, (8,))
    assert not small_plans.adds_up(good, allowed[:2], (8,))
    assert not small_plans.adds_up(good, allowed, (10,))
    assert not small_plans.adds_up(good.replace("push-ups", "squats"), allowed, (8,))
    kefir, tempeh = (float(BY_NAME[food]["protein"]) for food in ("kefir", "tempeh"))
    parts = (round(2 * kefir), round(tempeh), round(3 * kefir), round(2 * tempeh))
    day = (
        "{} g of kefir ({} g), {} g of tempeh ({} g), {} g of kefir ({} g), {} g of tempeh ({} g)."
    )
    grams = (200, 100, 300, 200)
    text = day.format(*(n for pair in zip(grams, parts, strict=True) for n in pair))
    assert small_plans.portions_hold(text, sum(parts))
    assert not small_plans.portions_hold(text, sum(parts) + 1)
    assert not small_plans.portions_hold(text.replace("300 g of", "400 g of"), sum(parts))


def test_every_question_that_it_names_can_be_answered() -> None:
    named = Counter(
        question
        for own in of_kinds(small_talk.KINDS, 150).values()
        for _, said, *_ in own
        for question in re.findall("“(.+?)”", said)
    )
    assert len(named) > 300
    foods = {f["food"]: f for f in FOODS if pool_of(f"food:{f['food']}") == "train"}
    moves = {k["everyday"] for k in KNOWN if pool_of(f"exercise:{k['exercise']}") == "train"}
    ranges = {r.cores[0] for r in RANGES if pool_of(f"range:{r.topic}") == "train"}
    openings = "Which muscles do|What do I need for|What can I do instead of|What do"
    words = "|".join(re.escape(food) for food in foods)
    value = re.compile(
        rf"(?:How much|Which has more) (\w+)\b.*?({words})(?: have\?|\?|, | or ({words}))"
    )
    assert pool_of("weight:70") == "train"
    for question in named:
        if question in small_talk.PLANS or question in ranges:
            continue
        move = re.fullmatch(rf"(?:{openings}) (.+?)(?: work| train)?\?", question)
        if move:
            assert move[1] in moves, question
            continue
        about = value.match(question)
        assert about, question
        assert about[1] in nutrients_of(foods[about[2]]), question


def test_it_knows_as_many_foods_and_exercises_as_it_says() -> None:
    from exercises import EXERCISES

    foods = [f for f in FOODS if pool_of(f"food:{f['food']}") == "train"]
    moves = [e for e in EXERCISES if pool_of(f"exercise:{e['exercise']}") == "train"]
    assert len(foods) >= small_talk.FOODS_KNOWN
    assert len(moves) >= small_talk.EXERCISES_KNOWN


def test_the_60_first_messages_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = json.loads(chats.FIRST_MESSAGES.read_text(encoding="utf-8"))
    assert len(messages) == len({chats.same_words(m) for m in messages}) == 60

    def asked(seed: int) -> set[str]:
        own = islice(chats.chats(random.Random(seed)), 6000)
        return {chats.same_words(question) for chat in own for question, *_ in chat}

    assert not asked(1) & {chats.same_words(m) for m in messages}
    often = set(sorted(asked(2))[::7])
    monkeypatch.setattr(chats, "held_out", lambda: frozenset(often))
    assert len(often) > 500
    assert not asked(2) & often


def test_a_wrong_answer_says_another_fact_in_the_same_words() -> None:
    of = of_kinds(plain_facts.KINDS, 40)
    balanced = {name: own for name, own in of.items() if any(len(drawn) > 2 for drawn in own)}
    assert set(balanced) == {"amount", "calories", "works", "works_singular", "usual_range"}
    for name, own in balanced.items():
        for _, right, wrong in own:
            assert right != wrong
            assert chats.is_sound(wrong), wrong
            assert name == "usual_range" or set(right.split()) & set(wrong.split()), wrong


def test_no_pair_asks_a_first_message() -> None:
    messages = json.loads(chats.FIRST_MESSAGES.read_text(encoding="utf-8"))
    pairs = json.loads((ROOT / "data" / "fitness_train.json").read_text(encoding="utf-8"))
    asked = {chats.same_words(str(pair.get("question") or pair.get("prompt"))) for pair in pairs}
    assert len(asked) > 1000
    assert not asked & {chats.same_words(message) for message in messages}


def test_a_grammar_draws_all_its_wordings_and_no_others() -> None:
    form = "[hi|hello][| [all|there]] {x}[!|]"
    texts = {grammar.expand(form, random.Random(seed)) for seed in range(400)}
    assert len(texts) == grammar.count(form) == 12
    assert {"hi {x}", "hello there {x}!"} < texts
    for broken in ("a [b", "a b]", "[a|[b]"):
        with pytest.raises(AssertionError):
            grammar.count(broken)
    assert grammar.one_of((form,), random.Random(0), x="you").rstrip("!").endswith("you")
