"""Habits: getting oneself to train, sleep, recovery, full weeks, and why nothing moves any more."""

import plateaus
import starting
from coaching import (
    AASM,
    COUNT,
    IMPLEMENTATION,
    LALLY,
    NHS_SLEEP,
    WHO,
    Told,
    clock,
    mirror_of,
    plain,
    say,
)
from mirrors import Draw, Mirror, declare, require

CATEGORY = "habits"

NIGHTS = (
    ("on weekdays", "at weekends"), ("on early shifts", "on late shifts"), ("in term time", "in the holidays"),
    ("on race days", "on other days"), ("on market days", "on quiet days"), ("on travel days", "at home"),
    ("on rowing days", "on gym days"), ("when I open the shop", "when my partner opens it"),
    ("on school days", "on Sundays"), ("in summer", "in winter"), ("on days with the dog", "on days without the dog"),
    ("in the barracks", "on leave"), ("on court days", "on desk days"), ("on bakery days", "on days off"),
)  # fmt: skip
BEDTIME = (
    "I get up at {a} {x} and at {b} {y}. I want {h} hours of sleep and need {f} minutes to drop off. When do I go to bed {x}?",
    "My alarm rings at {a} {x}, at {b} {y}. {f} minutes to fall asleep, {h} hours of sleep: what is my bedtime {x}?",
    "Bedtime {x}, please: {h} hours of sleep, {f} minutes awake before. I rise at {a} {x} and at {b} {y}.",
    "Up at {a} {x}, up at {b} {y}. When should the light go out {x} if I want {h} hours and lie awake for {f} minutes?",
    "How late may I stay up {x}? I get up at {a} then, and at {b} {y}; I take {f} minutes to fall asleep and want {h} hours.",
    "My goal is {h} hours of sleep. It takes me {f} minutes to drift off. I wake at {a} {x}, at {b} {y}. Plan my evening {x}.",
    "For better recovery I want {h} hours a night {x}. Alarm {x}: {a}. Alarm {y}: {b}. I need {f} minutes to nod off.",
    "I sleep too little {x}. The day starts at {a} {x} and at {b} {y}. With {f} minutes to fall asleep, when is bedtime for {h} hours?",
    "Please count back for me: {h} hours asleep, {f} minutes to get there, out of bed at {a} {x} ({b} {y}). I ask for {x}.",
    "What time is lights out {x}? {a} is when I get up {x}, {b} {y}. {h} hours, plus {f} minutes until I am asleep.",
    "Help me sleep {h} hours {x}. I lie awake for {f} minutes first. The alarm is set to {a} {x} and {b} {y}.",
    "I get up at {a} {x}. When must I be in bed for {h} hours of sleep if I need {f} minutes to fall asleep?",
    "Alarm at {a}, {h} hours of sleep, {f} minutes to drop off: when is bedtime {x}?",
    "{h} hours of sleep before {a} {x}, please. I need {f} minutes to fall asleep. And {y} it is {b}.",
    "When do I turn in {x}, with {h} hours of sleep to get, {f} minutes to fall asleep, and an alarm at {a} ({b} {y})?",
)
IN_BED = (
    "Be in bed at {t}.",
    "Lights out at {t}.",
    "Your bedtime is {t}.",
    "Lie down at {t}, with the phone outside the room.",
    "Go to bed at {t}, the same time every night {x}.",
    "Plan to lie down at {t}.",
)
COUNT_BACK = (
    "{h} hours and {f} minutes before the alarm is {t_long}.",
    "You then fall asleep at about {s} and have {h} hours until {a}.",
    "Counted back from {a}: {h} hours of sleep bring you to {s}, and {f} minutes more to bedtime.",
    "Asleep by {s}, you wake at {a} with {h} hours behind you.",
    "From {s}, when you should be asleep, to {a} it is {h} hours.",
)
EVENING = (
    "Begin to wind down at {w}: dim light, a shower, no screens.",
    "Finish hard training by {e}, and drink the last coffee before {c}.",
    "The last coffee belongs before {c}, which leaves eight hours to clear it.",
    "Put screens away at {w} and keep the room cool and dark.",
    "Set a second alarm at {w} that says the day is over.",
    "A heavy meal or a hard session after {e} makes that bedtime difficult.",
)
WHY_SLEEP = (
    "Adults need seven hours or more, and muscles repair themselves in that time.",
    "Seven hours is the least for an adult; {h} gives training a fair chance.",
    "Try it for {n} nights before you judge how the sessions feel.",
    "If you lie awake for much longer than {f} minutes, get up, read something dull and try again.",
    "Move there in steps of {m} minutes a night if your usual time is much later.",
)


def bedtime(draw: Draw) -> Mirror:
    """Count back from the alarm of one of two kinds of days."""
    x, y = draw.fact("nights", NIGHTS, " / ".join)
    alarms = [draw.fact("alarm", range(270, 481, 5), clock) for _ in range(2)]
    require(30 <= abs(alarms[0] - alarms[1]) <= 150)
    hours, fall = draw.pick((7, 7.5, 8, 8.5)), draw.pick((10, 15, 20, 25, 30))

    def told(alarm: int, others: int) -> Told:
        asleep = alarm - round(60 * hours)
        bed = asleep - fall
        shared = {"x": x, "h": plain(hours), "f": fall, "a": clock(alarm)}
        answer = say(
            draw, IN_BED, COUNT_BACK, EVENING, WHY_SLEEP, t=clock(bed), t_long=clock(bed),
            s=clock(asleep), w=clock(bed - draw.pick((45, 60))), e=clock(bed - 150),
            c=clock(bed - 480), n=draw.pick((7, 10, 14)), m=draw.pick((15, 20, 30)), **shared,
        )  # fmt: skip
        return Told(
            {**shared, "y": y, "b": clock(others)},
            answer,
            {"all": [clock(bed)]},
            "too late for that alarm" if others > alarm else "far too early for that alarm",
            (
                f"{clock(alarm)} less {plain(hours)} h and {fall} min is {clock(bed)}",
                AASM,
                NHS_SLEEP,
            ),
        )

    return mirror_of(draw, CATEGORY, BEDTIME, told(*alarms), told(*alarms[::-1]))


BRISK = ("brisk walking", "easy cycling", "water exercise", "raking leaves", "doubles tennis", "ballroom dancing", "a gentle hike", "easy skating", "pushing the pram fast", "slow rowing")  # fmt: skip
HARD = ("running", "fast cycling", "lap swimming", "skipping", "a football match", "hill walking with a pack", "hard rowing", "a spinning class", "singles tennis", "boxing drills")  # fmt: skip
SO_FAR = (
    "This week I did {a} minutes of {x} and {b} minutes of {y}. How much is missing to 150 moderate minutes?",
    "So far: {a} minutes of {x}, {b} minutes of {y}. What do I still owe the week?",
    "My week has {a} minutes of {x} and {b} of {y} in it. What is left to do?",
    "How many minutes are missing for the week? {x} {a}, {y} {b}.",
    "I am short of time. {a} minutes of {x} and {b} minutes of {y} are done. What remains until Sunday?",
    "Count with me: {y} for {b} minutes, {x} for {a}. How far am I from the weekly minimum?",
    "The guideline says 150 moderate minutes. I have {b} minutes of {y} and {a} of {x}. What is the rest?",
    "A full week at work. I only managed {a} minutes of {x} and {b} minutes of {y}. What else is needed?",
    "Please add up my week: {x}, {a} minutes; {y}, {b} minutes. How much more should I do?",
    "With {a} minutes of {x} and {b} minutes of {y} behind me, which minutes are open?",
    "I want to reach the activity guideline. {y}: {b} minutes. {x}: {a} minutes. What is still to come?",
)
ADDED = (
    "Hard minutes count twice: {a} + 2 x {b} = {s}, so {r} moderate minutes are missing.",
    "{b} hard minutes are worth {d} moderate ones. With {a} that makes {s}, and {r} are left.",
    "You stand at {s} moderate minutes ({a} and twice {b}); {r} are still open.",
    "Take {a} minutes as they are and double the {b} hard ones: {s} in all. That leaves {r} of 150.",
    "150 less {a} less {d} leaves {r}; the {b} hard minutes count double.",
)
FILLED = (
    "Fill them with {n} outings of {m} minutes on foot, for instance on the way from work.",
    "{n} brisk walks of {m} minutes close the gap.",
    "Split it: {n} times {m} minutes, after a meal or during calls.",
    "{n} blocks of {m} minutes of {x} would do it.",
    "If time is short, {k} hard minutes do the same as {r} moderate ones.",
    "Put {n} times {m} minutes of {x} into the diary now, before the week fills up.",
)
ALSO = (
    "Add two short sets of strength work on two days; they count on top.",
    "Do not forget strength on two days, even if it is {p} minutes of squats and push-ups.",
    "A missed week is no drama, the next one starts at zero for everybody.",
    "On two days {p} minutes for the muscles complete the picture.",
    "Next week begin with {q} minutes on Monday, so that the end is less tight.",
    "Even {p} minutes at a time add up, no session has to be long.",
)


def minutes_so_far(draw: Draw) -> Mirror:
    """Moderate and vigorous minutes, of which the vigorous ones count twice."""
    x, y = draw.fact("moderate", BRISK), draw.pick(HARD)
    done = [draw.fact("done minutes", range(10, 61)) for _ in range(2)]
    require(abs(done[0] - done[1]) >= 8)

    def told(moderate: int, hard: int) -> Told:
        total = moderate + 2 * hard
        left = 150 - total
        require(left >= 16)
        walks = [n for n in (2, 3, 4, 5) if left % n == 0 and 8 <= left // n <= 45]
        require(bool(walks))
        n = draw.pick(walks)
        answer = say(
            draw, ADDED, FILLED, ALSO, a=moderate, b=hard, d=2 * hard, s=total, r=left,
            n=COUNT[n], m=left // n, k=-(-left // 2), x=x, p=draw.pick((8, 10, 12, 15)), q=draw.pick((20, 25, 30, 35)),
        )  # fmt: skip
        return Told(
            {"a": moderate, "b": hard, "x": x, "y": y},
            answer,
            {"number": float(left), "within": 0.01},
            "counts hard minutes once or the wrong ones twice",
            (f"150 - {moderate} - 2 x {hard} = {left} minutes ({WHO})",),
        )

    return mirror_of(draw, CATEGORY, SO_FAR, told(*done), told(*done[::-1]))


CUES = (
    "put the kettle on", "feed the cat", "brush my teeth", "park the car", "close the laptop", "hang up my coat",
    "water the plants", "take off my shoes", "take out the rubbish", "load the dishwasher", "walk the dog", "charge my phone",
    "get off the bus", "read the paper", "shave", "lay the table", "empty the letter box", "pack my bag", "lock the shop", "iron a shirt",
)  # fmt: skip
MOMENTS = (("in the morning", "in the evening"), ("before lunch", "after lunch"), ("at home", "at my parents' house"), ("on weekdays", "at weekends"), ("early in the day", "late in the day"))  # fmt: skip
HABIT = (
    "I never get round to training. {x} I always {a}, {y} I always {b}. I would like to train {x}. How do I make it stick?",
    "What do I hang a new habit on? {x} I {a} without fail, {y} I {b}. The training should be {x}.",
    "{x} I {a}, {y} I {b}, that never changes. How do I build a training habit {x}?",
    "My motivation is gone after two weeks each time. I want to train {x}. Things I never forget: {x} I {a}, {y} I {b}.",
    "How do I start a routine {x}? What I do every time: {a} {x}, {b} {y}.",
    "I have tried to train {x} and forgot it. I {a} {x} and I {b} {y}, always. What helps?",
    "Training {x} is the plan, but I lack drive. {y} I {b} like clockwork, {x} I {a}.",
    "Give me a trick to get going {x}. Fixed points of mine: I {b} {y} and {a} {x}.",
    "I want to move a little every day, {x}. {y} I always {b}. {x} I always {a}. Where do I begin?",
    "Discipline is not my strength. {x} I {a}; {y} I {b}. Tie my training to something {x}, please.",
    "How can I remember to exercise {x}? There I {a} each time, as I {b} {y}.",
    "No willpower left {x}. I {a} anyway then, and {y} I {b}. How do I fit in exercise {x}?",
)
TIE = (
    'Tie it to what happens anyway: "When I {a}, I do {n} {e}."',
    'Write down one sentence: "After I {a}, I do {n} {e}."',
    'Use an if-then plan: "If I {a}, then {n} {e} follow at once."',
    'Say it like this: "As soon as I {a}, I do {n} {e}, whatever the mood."',
    'Your cue is there already, so learn this by heart: "Each time I {a}, {n} {e} come next."',
)
SMALL = (
    "Start as small as that for {w} weeks; {n} are over in {s} seconds and need no motivation.",
    "It takes about {s} seconds, so no day is too full for it.",
    "Keep it at {n} for {w} weeks, even when you feel like more.",
    "{n} sound like little. In {w} weeks of daily use they are {t}.",
)
GROW = (
    "Then add {k} a week until you have {m} minutes of training.",
    "After that let it grow to {m} minutes, a little each week.",
    "Afterwards lengthen it by one minute a week, up to {m}.",
    "Once it runs by itself, go for {m} minutes on {d} days.",
)
LAST = (
    "It took people about 66 days on average until such a thing ran by itself, and a missed day did no harm.",
    "Cross off every day on a calendar, and never miss twice in a row.",
    "Lay out your shoes the evening before, so that nothing stands in the way.",
    "If a day is lost, do {k} on the next and carry on.",
    "Tell someone about it, and report after {w} weeks.",
    "On bad days {k} count as done.",
    "Praise yourself for starting, the length of it comes later.",
)
TINY = ("squats", "push-ups at the counter", "heel raises", "lunges", "chair stands", "wall push-ups", "knee lifts", "glute bridges")  # fmt: skip


def _wordings(act: str) -> list[str]:
    """Write an act as the person and as the coach may say it."""
    return [act, act.replace(" my ", " your ")] if " my " in act else [act]


def cue(draw: Draw) -> Mirror:
    """An if-then plan on the thing that happens at the time in question."""
    first, second = (draw.fact("cue", CUES) for _ in range(2))
    require(first != second)
    x, y = draw.pick(MOMENTS)
    if draw.pick((True, False)):
        x, y = y, x

    def told(own: str, others: str) -> Told:
        n, w = draw.pick((5, 6, 8, 10)), draw.pick((2, 3, 4))
        answer = say(
            draw, TIE, SMALL, GROW, LAST, a=own, n=n, e=draw.pick(TINY), w=w, s=4 * n, t=7 * w * n,
            k=draw.pick((2, 3)), m=draw.pick((10, 12, 15, 20)), d=draw.pick(("three", "four", "five")),
        )  # fmt: skip
        return Told(
            {"x": x, "y": y, "a": own, "b": others},
            answer,
            {"any": _wordings(own), "none": _wordings(others)},
            "tied to something that happens at another time",
            (f"{x}: {own} ({IMPLEMENTATION}; {LALLY})",),
        )

    return mirror_of(draw, CATEGORY, HABIT, told(first, second), told(second, first))


MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November")  # fmt: skip
KEPT = (
    "I kept {a} of {n} planned sessions in {x} and {b} of {n} in {y}. Do I change my plan?",
    "{x}: {a} of {n} sessions. {y}: {b} of {n}. How should I go on?",
    "My calendar says {a} of {n} workouts in {x} and {b} of {n} in {y}. What does it tell me?",
    "Planned were {n} sessions a month. {x} saw {a}, {y} saw {b}. What is the plan for next month?",
    "How is my habit doing? In {x} I trained {a} times of {n}, in {y} {b} times of {n}.",
    "In {x} I made {a} of my {n} sessions, in {y} {b} of {n}. Should I ask more of myself or less?",
    "Out of {n} sessions I did {a} in {x}, then {b} in {y}. Motivation tips?",
    "Look at my two months: {x} with {a} of {n}, {y} with {b} of {n}. What now?",
    "I tick off sessions. {x} has {a} ticks of {n}, {y} has {b} of {n}. What would a coach say?",
    "Training kept: {a} of {n} in {x}, {b} of {n} in {y}. Raise the plan or shrink it?",
    "Two months of records, {n} sessions planned in each: {x} {a}, {y} {b}. Advice, please.",
)
DOWN = (
    "You went from {p} % to {q} %, so shrink the plan until it fits: {t} sessions next month.",
    "The share fell from {p} to {q} %. Plan {t} sessions for next month instead of {n}.",
    "{b} of {n} is {q} %, down from {p} %. Make it smaller for now: {t} sessions.",
    "A drop from {p} to {q} % says that the plan got too large. Cut it back to {t} sessions.",
    "Keep less, but keep it: {t} sessions next month, after a fall from {p} % to {q} %.",
)
DOWN_HOW = (
    "Halve their length too, {m} minutes are enough to keep the chain.",
    "Decide on day and hour now, and have a spare version of {m} minutes for bad days.",
    "Ask what changed in {y}, work or sleep perhaps, and move the sessions to a calmer hour; {m} minutes will do.",
    "Begin each with the exercise you like best, and stop after {m} minutes if you want to.",
    "Nobody is lazy for missing {g} of {n}; the plan met a full month. Start with {m} minutes.",
)
UP = (
    "You rose from {p} % to {q} %, so the habit is taking hold: stay with {n} sessions and add a little to each.",
    "From {p} to {q} % is a fine rise. Keep the {n} sessions and lengthen each by {k} minutes.",
    "{b} of {n} is {q} %, up from {p} %. Leave the days alone; you have room to add {k} minutes a session.",
    "Well done: {q} % after {p} %. Now the sessions themselves may grow, by {k} minutes or one set.",
    "The trend is up, {p} to {q} %. Hold {n} sessions for another month and build on them with one more set each.",
)
UP_HOW = (
    "Write down what helped in {y} and repeat it, the same hour above all.",
    "Missing {g} of {n} is normal; nobody needs a perfect month.",
    "Do not pile on extra days yet, most people trip over the second jump.",
    "Reward the {b} sessions of {y} with something that is not food.",
    "Find out which {g} got lost in {y} and give them a fixed hour.",
    "In a month like {y} the next step is quality: one exercise done better.",
)


def sessions_kept(draw: Draw) -> Mirror:
    """A month better and a month worse, in either order."""
    month = draw.fact("month", MONTHS)
    after = [*MONTHS, "December"][MONTHS.index(month) + 1]
    planned = draw.pick((8, 10, 12, 16, 20))
    good = round(planned * draw.pick((0.75, 0.8, 0.85, 0.9)))
    bad = round(planned * draw.pick((0.3, 0.35, 0.4, 0.5)))
    require(good - bad >= 3)

    def told(before: int, now: int) -> Told:
        down = now < before
        answer = say(
            draw, DOWN if down else UP, DOWN_HOW if down else UP_HOW, LAST_WORD, b=now, n=planned,
            p=round(100 * before / planned), q=round(100 * now / planned), t=now + 1, y=after, x=month,
            m=draw.pick((10, 15, 20)), k=draw.pick((3, 5, 8)), g=planned - now, w=draw.pick((3, 4)),
        )  # fmt: skip
        return Told(
            {"x": month, "y": after, "a": before, "b": now, "n": planned},
            answer,
            {"any": ["shrink", "instead of", "smaller", "cut it back", "keep less"]}
            if down
            else {"any": ["add a little", "lengthen", "room to add", "may grow", "build on"]},
            "asks for more after a drop" if down else "asks for less after a rise",
            (f"{before} of {planned}, then {now} of {planned} ({LALLY})",),
        )

    return mirror_of(draw, CATEGORY, KEPT, told(good, bad), told(bad, good))


LAST_WORD = (
    "Count again at the end of the month, at {n} planned or not.",
    "Look at it every {w} weeks, not every day.",
    "{x} and {y} are only two months; the third one will show the way.",
    "Compare with {x} again in {w} weeks.",
    "What counts is whether you still train in {w} months.",
    "Tell a friend the number, and report in {w} weeks.",
)


KINDS = (
    (bedtime, 4),
    (minutes_so_far, 14),
    (cue, 4),
    (sessions_kept, 3),
    *plateaus.KINDS,
    *starting.KINDS,
)
declare("nights", (" / ".join(pair) for pair in NIGHTS))
declare("moderate", BRISK)
declare("cue", CUES)
declare("month", MONTHS)
