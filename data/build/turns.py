"""Conversations of two to four turns, of which the last only makes sense with the earlier ones.

Both conversations of a mirror hold the same words, with roles, days or order exchanged. turn_figures.py
has figures, turn_plans.py plans. In turn_follow_ups.py only the last turns differ. Side.history has the
earlier turns, Side.question the last one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from itertools import combinations

import turn_figures
import turn_follow_ups
import turn_plans
from constraints import AT_HOME
from diet import ANIMAL, DAIRY, EGGS, FISH, MEAT, NO_EGGS, SIDES, SOURCES, VEGAN, VEGETARIAN, Eater
from exercises import EXERCISES, SOFT, exercise_name, names_muscle, names_tool
from mirrors import Draw, Mirror, Side, capital
from turn_figures import Shape, talk

GEAR: tuple[Shape, ...] = (
    ("I have {r}, and my brother has {w}.", "Nice. What are you two after?", "One exercise for the {p}, for me."),
    ("I have {w}, and my brother has {r}.", "Nice. What are you two after?", "One exercise for the {p}, for him."),
    ("Until last month I trained with {w}. Now I only have {r}.", "That changes a few things. What do you want to train?", "The {p}. Which exercise do I do?"),
    ("I have {r} where I train now. Before, it was {w}.", "Understood. Which muscles are next?", "The {p}. Name one exercise."),
    ("On Monday I am in a hotel with {w}, on Thursday in a club with {r}.", "Good, two places. How can I help?", "Something for the {p} on Thursday, please."),
    ("On Monday I am in a hotel with {r}, on Thursday in a club with {w}.", "Good, two places. How can I help?", "Something for the {p} on Monday, please."),
    ("I train with {w}.", "Good. Which muscles shall it be?", "The {p}. But all I can use today is {r}."),
    ("I train with {r}.", "Good. Which muscles shall it be?", "The {p}. A friend offers {w}, but I stay with what I have."),
    ("My plan is for {w}, but the gym lost that. They left {r}.", "A pity. What does the plan say?", "An exercise for the {p}. What do I do instead?"),
    ("At home I have {r}. At work I have {w}.", "Where will you train?", "At home, and it is the day for the {p}. What do you suggest?"),
    ("At home I have {w}. At work I have {r}.", "Where will you train?", "At work, and it is the day for the {p}. What do you suggest?"),
    ("I want to work the {p}.", "What do you have?", "I was going to say {w}, but that is broken. So {r}."),
    ("I want to work the {p}.", "What do you have?", "Only {r}. I gave {w} away."),
    ("My wife uses {w}, and I use {r}.", "Good to know.", "We both train the {p} tonight. What is there for me?"),
    ("My wife uses {r}, and I use {w}.", "Good to know.", "We both train the {p} tonight. What is there for her?"),
    ("I sold {w} and bought {r}.", "Have fun with it! What is the first session?", "The {p}. Give me one exercise."),
    ("In winter I use {w}, in summer {r}.", "And what would you like to know?", "It is July. One exercise for the {p}?"),
    ("In winter I use {r}, in summer {w}.", "And what would you like to know?", "It is January. One exercise for the {p}?"),
    ("I asked for {w} at the gym and got {r}.", "Take what there is.", "All right. How do I train the {p}?"),
    ("Not {w} but {r} is what my studio offers.", "Fine. What is the aim?", "Stronger {p}. Which exercise?"),
)  # fmt: skip
TRY = (
    "Try the {e}.", "The {e} would fit.", "Do the {e}, three sets.", "Take the {e}, with a load you control.",
    "The {e}: two or three sets, slowly.", "Go for the {e}.", "{E}.", "With that, the {e} works.",
    "The {e} is worth a try there.", "Then the {e}.", "For that the {e} comes to mind.", "Here it would be the {e}.",
)  # fmt: skip


def gear(draw: Draw) -> Mirror:
    """What one person has, and what another has, or had, or has elsewhere."""
    # Whoever has a barbell has a body, too: an exercise without equipment is wrong for nobody.
    usable = [
        e
        for e in EXERCISES
        if e["equipment"] in AT_HOME
        and e["equipment"] != "body only"
        and not names_muscle(e)
        and not names_tool(e)
    ]
    first = draw.fact("exercise", usable, lambda row: row["exercise"])
    # Dumbbells, a barbell and a kettlebell may stand in for one another.
    rivals = [
        e
        for e in usable
        if e["primary"] == first["primary"]
        and e["equipment"] != first["equipment"]
        and (first["equipment"] in SOFT or e["equipment"] in SOFT)
    ]
    second = draw.fact("exercise", rivals, lambda row: row["exercise"])
    rows = (first, second)
    shape, form = draw.ask(GEAR), draw.pick(TRY)

    def side(place: int) -> Side:
        row, rival = rows[place], rows[1 - place]
        fitting = [e for e in usable if e["primary"] == row["primary"] and e["equipment"] == row["equipment"]]  # fmt: skip
        tools = {"r": AT_HOME[row["equipment"]], "w": AT_HOME[rival["equipment"]]}
        history, question = talk(shape, {**tools, "p": row["primary"]})
        return Side(
            question,
            form.format(e=exercise_name(row), E=capital(exercise_name(row))),
            {"any": sorted({exercise_name(e) for e in fitting})},
            "equipment that is not there",
            (f"{row['exercise']}: {row['primary']}, {row['equipment']} (free-exercise-db)",),
            history,
        )

    return draw.mirror("turns", side(0), side(1))


FOOD_OF = (
    (VEGETARIAN, "vegetarian food"),
    (VEGAN, "vegan food"),
    (NO_EGGS, "vegetarian food without eggs"),
    (MEAT, "food with meat"),
    (FISH, "food with fish but no meat"),
    (DAIRY, "vegetarian food with dairy"),
    (EGGS, "food with eggs but no meat"),
)
TABLE: tuple[Shape, ...] = (
    ("I want {r}. My sister wants {w}.", "Two pots, then. Whose dinner shall I plan?", "Mine first."),
    ("I want {w}. My sister wants {r}.", "Two pots, then. Whose dinner shall I plan?", "Hers first."),
    ("I asked for {w} last week.", "I remember. Shall it be that again?", "No, from now on I want {r}. What do I eat tonight?"),
    ("I asked for {r} last week.", "I remember. Shall it be that again?", "Yes. My guests on Sunday want {w}, but tonight it is just me. What do I eat?"),
    ("Tonight I cook for two: {r} for Asha, {w} for Ben.", "Good. Where do we begin?", "With her plate. What goes on it?"),
    ("Tonight I cook for two: {w} for Asha, {r} for Ben.", "Good. Where do we begin?", "With his plate. What goes on it?"),
    ("On training days I have {r}, on other days {w}.", "And today?", "I trained this morning. What is for dinner?"),
    ("On training days I have {w}, on other days {r}.", "And today?", "It is a day off. What is for dinner?"),
    ("Plan a lunch for me, {w}, please.", "Gladly. Anything else to keep in mind?", "I mixed that up, sorry: {w} is for my flatmate. I need {r}."),
    ("Plan a lunch for me, {r}, please.", "Gladly. Anything else to keep in mind?", "My flatmate wants {w}, but forget about him. Just mine, please."),
    ("My mother cooks {w}. I live on {r}.", "Which of you shall I plan for?", "For me, a meal after training."),
    ("My mother cooks {r}. I live on {w}.", "Which of you shall I plan for?", "For her, a meal after her walk."),
    ("At work I take {w}, at home {r}.", "Sounds fine. Where do you eat today?", "I am home all day. A plate with protein, please."),
    ("At work I take {r}, at home {w}.", "Sounds fine. Where do you eat today?", "I am at work all day. A plate with protein, please."),
    ("Two runners stay with me. The older one eats {r}, the younger one {w}.", "Nice company. What do you need?", "A supper for the older one."),
    ("Two runners stay with me. The older one eats {w}, the younger one {r}.", "Nice company. What do you need?", "A supper for the younger one."),
    ("I used to eat {w}.", "And now?", "Now it is {r}. One meal with protein, please."),
    ("I used to eat {r}.", "And now?", "For a while it was {w}, but I went back to how it was. One meal with protein, please."),
    ("The menu says {w} for the coach and {r} for me.", "Clear. What is missing?", "My main dish. What could it be?"),
    ("The menu says {r} for the coach and {w} for me.", "Clear. What is missing?", "The coach's main dish. What could it be?"),
)  # fmt: skip
PLATES = (
    "{g} g of {s} with {c}.", "Have {s} ({g} g) on {c}.", "{C} with {g} g of {s}.", "How about {s}, {g} g, and {c}?",
    "A bowl of {c} with {g} g of {s}.", "{S}, about {g} g, with {c}.", "Take {g} g of {s} and some {c}.",
    "That could be {s} ({g} g) and {c}.", "{S} with {c} and a salad.", "I would make {c} with {s} today.",
)  # fmt: skip


def table(draw: Draw) -> Mirror:
    """One person's way to eat, and another's, or another day's."""
    (one, one_food), (other, other_food) = draw.two(FOOD_OF)
    shape, form, side_dish = draw.ask(TABLE), draw.pick(PLATES), draw.pick(SIDES)

    def side(eater: Eater, food: str, rival: str) -> Side:
        source = draw.fact("food", [s for s in SOURCES if s.diet in eater.eats], lambda s: s.food)
        history, question = talk(shape, {"r": food, "w": rival})
        check = {
            "none": [word for kind in eater.never for word in ANIMAL[kind]],
            "any": [word for kind in eater.wants for word in ANIMAL[kind]],
        }
        answer = form.format(
            g=source.grams, s=source.words, S=capital(source.words), c=side_dish, C=capital(side_dish)
        )  # fmt: skip
        return Side(
            question,
            answer,
            {key: words for key, words in check.items() if words},
            "food of the other person or time",
            (f"wanted: {food}", f"{source.words}: {source.diet}"),
            history,
        )

    return draw.mirror("turns", side(one, one_food, other_food), side(other, other_food, one_food))


LEFT: tuple[Shape, ...] = (
    ("Name three exercises {of}.", "{w}, {r} and {v}.", "I did the first yesterday, and the last one hurts. Which is left?"),
    ("Name three exercises {of}.", "{r}, {w} and {v}.", "The second hurts, and I did the last one yesterday. Which is left?"),
    ("Three moves {of}, please.", "{w}, {v} or {r}.", "I like neither of the first two."),
    ("Three moves {of}, please.", "{r}, {v} or {w}.", "Only the first of these is new to me, so I take that. Which was it?"),
    ("What can I do {of}?", "One: {w}. Two: {r}. Three: {v}.", "Number two sounds good. How do I begin?"),
    ("What can I do {of}?", "One: {v}. Two: {w}. Three: {r}.", "Number three sounds good. How do I begin?"),
    ("Give me some options {of}.", "You could do {r}, {w} or {v}.", "Let me take the one you named first."),
    ("Give me some options {of}.", "You could do {w}, {v} or {r}.", "Let me take the one you named last."),
    ("I need an exercise {of}.", "{r} or {w}?", "The former. How much of it?"),
    ("I need an exercise {of}.", "{w} or {r}?", "The latter. How much of it?"),
    ("Which exercises {of} are on my list?", "{w} on Monday, {r} on Friday.", "Today is Friday. What is up?"),
    ("Which exercises {of} are on my list?", "{r} on Monday, {w} on Friday.", "Today is Monday. What is up?"),
    ("I alternate {w} and {r} {of}.", "A sound plan.", "Last time I did the one I named first. What is next?"),
    ("I alternate {r} and {w} {of}.", "A sound plan.", "Last time I did the one I named second. What is next?"),
    ("I tried {w} and {r} {of}.", "How did that go?", "The first hurt, the second felt right. Which do I keep?"),
    ("I tried {r} and {w} {of}.", "How did that go?", "The first felt right, the second hurt. Which do I keep?"),
    ("{r} or {w} {of}: which would you take?", "Either is fine. Which do you enjoy?", "The first one more than the second. So?"),
    ("{w} or {r} {of}: which would you take?", "Either is fine. Which do you enjoy?", "The second one more than the first. So?"),
    ("My coach says {r} {of}, my friend says {w}.", "Both work. Whom do you trust?", "My coach. What do I put on the list?"),
    ("My coach says {w} {of}, my friend says {r}.", "Both work. Whom do you trust?", "My friend. What do I put on the list?"),
)  # fmt: skip
MOVES = {
    "for the legs": ("squats", "lunges", "step-ups", "wall sits", "split squats", "calf raises", "leg curls", "leg presses"),
    "for the upper body": ("push-ups", "rows", "dips", "pull-ups", "overhead presses", "bench presses", "curls", "pulldowns"),
    "for the middle": ("planks", "crunches", "dead bugs", "side planks", "leg raises", "hollow holds", "bird dogs", "mountain climbers"),
    "for endurance": ("rowing", "cycling", "swimming", "jogging", "skipping", "brisk walks", "stair climbing", "hill sprints"),
    "for the hips": ("glute bridges", "hip thrusts", "clamshells", "deadlifts", "band walks", "good mornings", "kickbacks", "swings"),
}  # fmt: skip
CHOSEN = (
    "{R}, then.", "So it is {r}.", "{R}: {n} times a week is a good start.", "Then go for {r}, {n} times a week.", "{R} it is.",
    "So {r}, {n} times a week at first.", "Do {r}, and take it easy on the first {n} days.", "I would go with {r}.",
    "{R}, without hurry in the first {n} weeks.", "Then {r}, for {n} weeks or so.", "Put down {r} for today.", "{R}, by what you say.",
)  # fmt: skip


def left_over(draw: Draw) -> Mirror:
    """One of the things that were named, by its place or by what was said of it."""
    purpose = draw.pick(tuple(MOVES))
    right, wrong = draw.fact("moves", tuple(combinations(MOVES[purpose], 2)))
    third = draw.pick([move for move in MOVES[purpose] if move not in (right, wrong)])
    shape, form, number = draw.ask(LEFT), draw.pick(CHOSEN), str(draw.pick((2, 3, 4)))

    def side(one: str, other: str) -> Side:
        history, question = talk(shape, {"r": one, "w": other, "v": third, "of": purpose})
        return Side(
            question,
            form.format(r=one, R=capital(one), n=number),
            {"all": [one], "none": [other, third]},
            "the other of those that were named",
            (f"what was meant: {one}",),
            history,
        )

    return draw.mirror("turns", side(right, wrong), side(wrong, right))


OPENINGS = (
    ("Hello! Can I ask you something about my training?", "Of course. Go ahead."),
    ("Hi, are you there?", "I am. What can I do for you?"),
    ("I would like some help with my week.", "Gladly. Tell me about it."),
    ("My coach is on holiday, so I turn to you.", "That is fine. What is the matter?"),
    ("Can you keep things short today?", "I can. What is it about?"),
    ("I just got home from the gym.", "Well done. How was it?"),
    ("It is raining, so I am planning a little.", "A good use of the day. What are you planning?"),
    ("Thanks for your help last time.", "You are welcome. What is next?"),
)
AFTER_THAT = (
    ("Sorry, the phone rang. Shall I begin?", "Please do."),
    ("It is not urgent, but I want to get it right.", "Then let us take our time."),
    ("Let me find my notes first.", "No hurry."),
    ("I am new to apps like this.", "Just write as you would talk."),
    ("Good. I have it in front of me now.", "Then tell me."),
)


def longer(kind: Callable[[Draw], Mirror]) -> Callable[[Draw], Mirror]:
    """Let some conversations of a kind begin with an exchange or two of small talk; four turns at most."""

    @wraps(kind)
    def drawn(draw: Draw) -> Mirror:
        mirror = kind(draw)
        if draw.rng.random() < 0.65:
            return mirror
        both = [draw.pick(OPENINGS), draw.pick(AFTER_THAT)]
        small_talk = both[: draw.pick((1, 2, 2))][: 3 - len(mirror.one.history)]
        one, other = (
            replace(side, history=(*small_talk, *side.history))
            for side in (mirror.one, mirror.other)
        )
        return replace(mirror, one=one, other=other)

    return drawn


_SHORT = (
    *turn_figures.KINDS,
    *turn_follow_ups.KINDS,
    *turn_plans.KINDS,
    (gear, 8),
    (table, 5),
    (left_over, 4),
)
KINDS = tuple((longer(kind), weight) for kind, weight in _SHORT)
