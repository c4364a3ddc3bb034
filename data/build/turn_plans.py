"""Conversations about plans: sessions, loads, sore joints, aims; and questions that are dropped."""

from itertools import combinations

from mirrors import Draw, Mirror, Side, capital, require
from ranges import RANGES, Range
from turn_figures import LIFTS, Shape, talk

WEEK: tuple[Shape, ...] = (
    ("My plan: {w} on {d1}, {v} on {d2}, {r} on {d3}.", "A balanced week.", "Swap the first and the last. What is on {d1} now?"),
    ("My plan: {r} on {d1}, {v} on {d2}, {w} on {d3}.", "A balanced week.", "Swap the first and the last. What is on {d3} now?"),
    ("I do {w} on {d1} and {r} on {d2}.", "Good. What about it?", "I have to change the two days round. What do I do on {d1}?"),
    ("I do {r} on {d1} and {w} on {d2}.", "Good. What about it?", "I thought of changing the two round, but leave it. What do I do on {d1}?"),
    ("{w} comes on {d1}, {r} on {d2}.", "I see. Shall I move something?", "Yes: put the session of {d1} on {d2} and bring the other one forward. What is on {d1}?"),
    ("{r} comes on {d1}, {w} on {d2}.", "I see. Shall I move something?", "No, all stays. What is on {d1}?"),
    ("On {d1} it is {w}, on {d2} {r}.", "Noted.", "I missed {d1} and will skip that session. What is next, on {d2}?"),
    ("On {d1} it is {r}, on {d2} {w}.", "Noted.", "I missed {d1}, so that session moves to {d2} in place of the other. What do I do on {d2}?"),
    ("The week has {r} first, then {w}.", "And how far are you?", "Nothing done yet. What is up?"),
    ("The week has {w} first, then {r}.", "And how far are you?", "The first is done. What is up?"),
    ("I planned {w} for {d1} and {r} for {d2}.", "Fine. Is there a problem?", "None, and it is {d2} now. What is on?"),
    ("I planned {r} for {d1} and {w} for {d2}.", "Fine. Is there a problem?", "None, and it is {d1} now. What is on?"),
    ("{w} in the morning, {r} in the evening: that is my {d1}.", "A full day.", "It is eight in the evening. What do I have to do?"),
    ("{r} in the morning, {w} in the evening: that is my {d1}.", "A full day.", "It is eight in the morning. What do I have to do?"),
    ("In odd weeks I do {r}, in even weeks {w}.", "A neat system.", "This is week 7. Which one is it?"),
    ("In odd weeks I do {w}, in even weeks {r}.", "A neat system.", "This is week 8. Which one is it?"),
    ("Put {w} on {d1} for me.", "Done. What about {d2}?", "{r}. Now read {d2} back to me."),
    ("Put {r} on {d1} for me.", "Done. What about {d2}?", "{w}. Now read {d1} back to me."),
    ("If it rains I do {w}, else {r}.", "Then look out of the window.", "Blue sky, not a drop. So what is it today?"),
    ("If it rains I do {r}, else {w}.", "Then look out of the window.", "It is pouring. So what is it today?"),
)  # fmt: skip
SESSIONS = (
    "intervals", "a long run", "leg training", "chest and triceps", "back and biceps", "yoga", "a swim", "mobility work",
    "an easy ride", "hill repeats", "shoulder work", "a core circuit", "rowing", "a full-body session",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
IS_ON = (
    "{R}.", "That is {r}.", "It is {r}.", "{R}, after ten minutes of warming up.", "Now it is {r}.", "What is on: {r}.", "By your plan, {r}.",
    "Then {r}.", "You have {r}.", "{R}; the other session is not for now.", "It comes out as {r}.", "{R}, so get your things ready.",
)  # fmt: skip


def week(draw: Draw) -> Mirror:
    """Sessions that change their days, or do not."""
    right, wrong = draw.fact("sessions", tuple(combinations(SESSIONS, 2)))
    third = draw.pick([s for s in SESSIONS if s not in (right, wrong)])
    days = sorted(draw.rng.sample(DAYS, 3), key=DAYS.index)
    shape, form = draw.ask(WEEK), draw.pick(IS_ON)

    def side(one: str, other: str) -> Side:
        values = {"r": one, "w": other, "v": third, "d1": days[0], "d2": days[1], "d3": days[2]}
        history, question = talk(shape, values)
        return Side(
            question,
            form.format(r=one, R=capital(one)),
            {"all": [one], "none": [other, third]},
            "the session of another day",
            (f"what is on: {one}",),
            history,
        )

    return draw.mirror("turns", side(right, wrong), side(wrong, right))


RULES: tuple[Shape, ...] = (
    ("My rule: all repetitions done, {u} kg more; if not, {n} kg less.", "A clear rule.", "In the {good}, {x} kg, all done. In the {bad}, {x} kg, not all. Next weight for the {l}?"),
    ("I add {u} kg when I get all repetitions and take {n} kg off when I fail.", "Good. How did it go?", "At {x} kg the {good} went up every time, and the {bad} did not. What now for the {l}?"),
    ("We go up by {u} kg after a full set and down by {n} kg after a missed one.", "Fine. And this week?", "{x} kg on both: {good} full, {bad} missed. So the {l} is next at?"),
    ("Coach says: success, plus {u} kg; failure, minus {n} kg.", "Simple enough.", "I used {x} kg for all lifts. Success in the {good}, failure in the {bad}. And the {l}?"),
    ("Progress here means {u} kg more if it was complete, {n} kg less if it was not.", "How was the session?", "Both at {x} kg. The {bad} was not complete, the {good} was. Weight of the {l} next time?"),
    ("Plus {u} kg for a good day, minus {n} kg for a bad one: that is how I load.", "And how were they?", "A bad day for the {bad}, a good one for the {good}, both with {x} kg. What do I load for the {l}?"),
    ("If I finish, I add {u} kg. If I do not, I drop {n} kg.", "What did you finish?", "The {good} at {x} kg. The {bad} at {x} kg I did not. Tell me the next {l}."),
    ("The app adds {u} kg after a pass and takes away {n} kg after a fail.", "Passed today?", "{bad} fail, {good} pass, {x} kg each. What will the app show for the {l}?"),
    ("Our log has a tick for plus {u} kg and a cross for minus {n} kg.", "Which marks are there?", "With {x} kg: a tick at the {good}, a cross at the {bad}. What does the {l} go to?"),
    ("Easy means {u} kg more next time, too hard means {n} kg less.", "How did it feel?", "{x} kg was too hard in the {bad} and easy in the {good}. Next time in the {l}?"),
)  # fmt: skip
LOADS = (
    "{v} kg.", "Next time {v} kg.", "By your rule {v} kg.", "Load {v} kg.", "It goes to {v} kg.", "{v} kg, and see how it feels.",
    "Then {v} kg.", "That makes {v} kg.", "Write down {v} kg.", "Go on with {v} kg.",
)  # fmt: skip


def rule(draw: Draw) -> Mirror:
    """A rule that the person set, applied to one of two lifts."""
    lift, rival = draw.two(LIFTS)
    weight = draw.fact("log", range(40, 161, 5))
    up, down = draw.pick(((2.5, 5), (2.5, 7.5), (5, 10), (5, 7.5), (2.5, 10), (5, 2.5)))
    shape, form = draw.ask(RULES), draw.pick(LOADS)

    def side(good: str, bad: str) -> Side:
        # Both lifts had the same weight, so the words of both conversations are the same.
        value = weight + up if good == lift else weight - down
        numbers = {"u": f"{up:g}", "n": f"{down:g}", "x": str(weight)}
        history, question = talk(shape, {"good": good, "bad": bad, "l": lift, **numbers})
        how = f"{weight} + {up:g}" if good == lift else f"{weight} - {down:g}"
        return Side(
            question,
            form.format(v=f"{value:g}"),
            {"number": value, "within": 0.005},
            "goes the other way",
            (f"{how} = {value:g} kg",),
            history,
        )

    return draw.mirror("turns", side(lift, rival), side(rival, lift))


SORE: tuple[Shape, ...] = (
    ("My {w} hurts. My {r} did last week, but is fine again.", "Good that you tell me. What is your plan?", "{x} or {y} today?"),
    ("My {r} is fine. It is my {w} that hurts.", "Good that you tell me. What is your plan?", "I would do {x} or {y}. Which?"),
    ("I hurt my {w}.", "I am sorry. Is anything else sore?", "My {r} was, but no longer. Do I do {x} or {y}?"),
    ("I hurt my {r}.", "I am sorry. Is it still bad?", "No, that healed. But now my {w} is sore. Do I do {x} or {y}?"),
    ("Sore {w}, healthy {r}: that is me today.", "Take it easy, then.", "Which of them can I do, {x} or {y}?"),
    ("Healthy {r}, sore {w}: that is me today.", "Take it easy, then.", "Which of them can I do, {x} or {y}?"),
    ("The doctor cleared my {r}. The {w} is still to rest.", "Good news in part.", "So tonight, {x} or {y}?"),
    ("The {w} is still to rest, says the doctor. The {r} is cleared.", "Good news in part.", "So tonight, {x} or {y}?"),
    ("My {r} feels strong.", "Good. Anything to spare?", "Yes, my {w}. I can choose between {x} and {y}."),
    ("My {w} feels strong. Or did; since this morning it aches.", "And the rest of you?", "My {r} is in order. I can choose between {x} and {y}."),
    ("First my {r} ached, now it is my {w}.", "Then spare what aches now.", "That means {x} or {y}?"),
    ("Now it is my {w} that aches; earlier it was my {r}.", "Then spare what aches now.", "That means {x} or {y}?"),
)  # fmt: skip
LOADING = {
    "knee": ("jump squats", "deep lunges", "step-ups"),
    "shoulder": ("overhead presses", "dips", "handstands"),
    "lower back": ("deadlifts", "good mornings", "barbell rows"),
    "wrist": ("push-ups on flat hands", "planche leans"),
    "elbow": ("curls", "chin-ups", "skull crushers"),
    "ankle": ("skipping", "hill sprints", "pogo jumps"),
    "neck": ("headstands", "neck bridges"),
    "hip": ("hip thrusts", "sumo squats"),
}
DO_AND_LEAVE = (
    "Do {a} and leave out {b}.", "Go for {a}; {b} can wait.", "{A} today, and {b} when it has settled.", "I would pick {a} and drop {b}.",
    "Take {a}, since {b} would load what is sore.", "{A} are fine, {b} are not.", "Choose {a} rather than {b}.", "You can do {a}, but no {b}.",
    "Better {a} than {b}.", "Keep {a} and skip {b} for now.",
)  # fmt: skip


def sore(draw: Draw) -> Mirror:
    """Which joint is sore now, and which was, or is sound."""
    one, other = draw.fact("joints", tuple(combinations(LOADING, 2)))
    loads = {joint: draw.pick(LOADING[joint]) for joint in (one, other)}
    choices = [loads[one], loads[other]]
    draw.rng.shuffle(choices)
    shape, form = draw.ask(SORE), draw.pick(DO_AND_LEAVE)

    def side(sound: str, hurt: str) -> Side:
        # What loads the sound joint may be done.
        does, leaves = loads[sound], loads[hurt]
        require(not (does == "skipping" and "are fine" in form))
        history, question = talk(shape, {"r": sound, "w": hurt, "x": choices[0], "y": choices[1]})
        return Side(
            question,
            form.format(a=does, A=capital(does), b=leaves),
            {"any": [f.format(a=does, A=capital(does), b=leaves) for f in DO_AND_LEAVE]},
            "loads what is sore",
            (f"sore: {hurt}; {leaves} load it",),
            history,
        )

    return draw.mirror("turns", side(one, other), side(other, one))


TOPICS: tuple[Shape, ...] = (
    ("{W}", "Is that for you or for somebody you train?", "Never mind, another question first. {R}"),
    ("{W}", "May I ask how long you have trained?", "Let us leave that. {R}"),
    ("{W}", "One moment, please.", "Forget it, I found it. {R}"),
    ("I have two questions. {R}", "And the other one?", "{W} But answer the first one only, please."),
    ("I have two questions. {W}", "And the other one?", "{R} Please begin with this one."),
    ("{W}", "Do you want the short answer or the long one?", "None, I changed my mind. {R}"),
    ("{R}", "Let me see.", "I could also ask this. {W} No, stay with what I asked."),
    ("{W}", "Can you say a little more?", "My wife knows the answer, so skip it. {R}"),
    ("Yesterday I asked you this. {W}", "I hope it helped.", "It did. Today something else. {R}"),
    ("Today I ask you this. {R}", "Was there not something yesterday?", "That was this. {W} It is settled. So, today's question?"),
    ("{R}", "Do you ask for yourself?", "I do. Unlike my son, who asks this. {W} Mine first."),
    ("{W}", "Do you ask for yourself?", "No, for my son. Mine is this. {R} Mine first."),
)  # fmt: skip
TOLD = (
    "{A}.", "About {a}.", "{A}, as a rule.", "Plan with {a}.", "The usual advice is {a}.", "Most guidelines say {a}.",
    "To that: {a}.", "For this, {a}.", "{A} will do for most people.", "Here the answer is {a}.",
)  # fmt: skip


def topic(draw: Draw) -> Mirror:
    """Two questions, of which one is dropped."""
    first = draw.fact("range", RANGES, lambda r: r.topic)
    rivals = [r for r in RANGES if r.answer != first.answer and r.topic != first.topic]
    second = draw.fact("range", rivals, lambda r: r.topic)
    cores = {r.topic: draw.ask(r.cores * 5) for r in (first, second)}
    shape, form = draw.ask(TOPICS), draw.pick(TOLD)

    def side(asked: Range, dropped: Range) -> Side:
        history, question = talk(shape, {"R": cores[asked.topic], "W": cores[dropped.topic]})
        return Side(
            question,
            form.format(a=asked.answer, A=capital(asked.answer)),
            {"all": [asked.answer]},
            "answers the question that was dropped",
            (f"{asked.topic}: {asked.answer} ({asked.source})",),
            history,
        )

    return draw.mirror("turns", side(first, second), side(second, first))


AIMS: tuple[Shape, ...] = (
    ("I want to {w}. My maintenance is {n} kcal.", "Understood. Anything else?", "I have changed my mind: I want to {r}. How much do I eat?"),
    ("I want to {r}. My maintenance is {n} kcal.", "Understood. Anything else?", "Friends tell me to {w}, but I keep my aim. How much do I eat?"),
    ("Maintenance {n} kcal. My aim was to {w}.", "And what is it now?", "To {r}. Name a daily figure, please."),
    ("Maintenance {n} kcal. My aim is to {r}.", "Has it always been that?", "No, once it was to {w}. Name a daily figure, please."),
    ("At {n} kcal I neither gain nor lose. I hope to {r}, my twin hopes to {w}.", "Two aims, one family.", "What do I set as my daily energy?"),
    ("At {n} kcal I neither gain nor lose. I hope to {w}, my twin hopes to {r}.", "Two aims, one family. Are your needs alike?", "Yes, the same. What does my twin set as daily energy?"),
    ("Until May I want to {r}, after that {w}. I need {n} kcal.", "A year in two parts.", "It is March. What is my daily energy?"),
    ("Until May I want to {w}, after that {r}. I need {n} kcal.", "A year in two parts.", "It is July. What is my daily energy?"),
    ("I need {n} kcal to stay as I am. I plan to {w}.", "Is that for this season?", "That was last season. For this one I plan to {r}. How many kcal?"),
    ("I need {n} kcal to stay as I am. I plan to {r}.", "Is that for this season?", "Yes, for now. Next season I plan to {w}. How many kcal at present?"),
    ("Not {w} but {r}: that is the aim. {n} kcal hold my weight.", "Clear.", "So what do I eat a day?"),
    ("My aim is to {r} and not to {w}. {n} kcal hold my weight.", "Clear.", "So what do I eat a day?"),
)  # fmt: skip
AIM = {
    "lose fat": (-400, "some 400 under what you need"),
    "gain muscle": (250, "some 250 over what you need"),
    "keep my weight": (0, "just what you need"),
}
ENERGY = (
    "About {v} kcal, {why}.", "Set {v} kcal, {why}.", "Roughly {v} kcal a day, {why}.", "{v} kcal: {why}.", "I would say {v} kcal, {why}.",
    "Start with {v} kcal, {why}, and watch the scales for two weeks.", "Try {v} kcal; that is {why}.", "{v} kcal a day is {why}.",
)  # fmt: skip


def aim(draw: Draw) -> Mirror:
    """What the person wants now, against what was wanted, or is wanted by somebody else."""
    need = draw.fact("energy", range(1900, 3301, 50))
    one, other = draw.two(tuple(AIM))
    shape, form = draw.ask(AIMS), draw.pick(ENERGY)

    def side(wanted: str, other: str) -> Side:
        change, why = AIM[wanted]
        history, question = talk(shape, {"r": wanted, "w": other, "n": f"{need:,}"})
        require("twin" not in shape[0] or "my weight" not in f"{wanted} {other}")
        return Side(
            question,
            form.format(v=f"{need + change:,}", why=why),
            {"number": float(need + change), "within": 0.04},
            "serves the aim that does not count",
            (f"{need} {'-' if change < 0 else '+'} {abs(change)} = {need + change:,} kcal",),
            history,
        )

    return draw.mirror("turns", side(one, other), side(other, one))


KINDS = ((week, 4), (rule, 3), (sore, 3), (topic, 4), (aim, 3))
