"""Plateaus: a lift that stands still, and the cause among the things that a person names."""

from coaching import NSCA, Told, mirror_of, say
from mirrors import Draw, Mirror, declare

CATEGORY = "habits"

CAUSES = {  # what may hold somebody back: how a coach says so, words that give it away, what to do
    "my sleep": (("sleep", "bed", "nights"), (
        "Aim at 7 hours of sleep or more; if it is {h} now, move bedtime {m} minutes earlier each week.",
        "On {h} hours of sleep nobody gets stronger for long; add {m} minutes to your nights until it is 7 or more.",
        "Short nights cost strength. Be in bed {m} minutes earlier from tonight, until you have 7 hours.")),
    "my protein": (("protein", "quark", "lentils"), (
        "Aim at 1.6 g of protein per kg: for {k} kg that is {g} g a day, in {e} meals of about {q} g.",
        "Bring protein to 1.6 g per kg a day. Somebody of {k} kg needs {g} g, in {e} portions of {q} g.",
        "1.6 g per kg is the aim, for example {g} g of protein at {k} kg: {q} g in each of {e} meals, with quark, lentils or fish.")),
    "my energy intake": (("kcal", "calories"), (
        "Add about {c} kcal a day and weigh yourself weekly; {v} kg up in a month is plenty.",
        "Eat {c} kcal more a day for a month. If the scales have not moved by then, add {c} more kcal.",
        "You cannot build from nothing: {c} kcal on top each day, and about {v} kg more a month.")),
    "the rest between my sets": (("between sets", "pauses", "rest timer"), (
        "Wait {t} minutes between sets instead of rushing, so {s} sets take {u} minutes more or less.",
        "Set a rest timer to {t} minutes; with {s} sets that is {u} minutes of pauses.",
        "Short pauses turn strength into stamina. Take {t} minutes each time, {u} minutes for {s} sets.")),
    "my days off": (("days off", "48 hours", "day off"), (
        "Leave 48 hours before the same muscles work again, which means at most {d} such sessions a week.",
        "Take {o} days off a week, so that {d} are left for training.",
        "You need days off: {d} sessions and {o} free days are a better week than seven sessions.")),
    "my technique": (("technique", "film", "depth"), (
        "Drop to {b} % of your load for {w} weeks, film the last set and rebuild the technique before you climb again.",
        "Film a set at {b} % of your load from the side. Where the technique breaks is where the lift ends.",
        "Use {b} % of your load and a pause of {i} seconds at the bottom for {w} weeks; clean technique carries more later.")),
    "my log": (("log", "write down", "written down"), (
        "Write down load and repetitions every time and beat one entry each session, by {z} kg or a repetition; without a log you repeat yourself.",
        "Start a log today: date, kg, repetitions. Then add {z} kg or one repetition, whichever is next.",
        "Keep a log for {w} weeks. What is not written down is not progressed, and {z} kg steps are easily forgotten.")),
    "my attendance": (("missed", "appointments", "sessions you skip"), (
        "You cannot progress on missed sessions. Fix {d} appointments a week, and make {f} of {j} in the next {w} weeks.",
        "Count the sessions you skip. {f} of {j} in {w} weeks is the target, with {d} appointments a week.",
        "Put {d} appointments a week into the calendar; after {w} weeks {f} of {j} kept is a good mark.")),
    "my number of sets": (("weekly sets", "sets a week"), (
        "Count your weekly sets; if it is {r} for a muscle, raise it to {y} in steps of two.",
        "Fewer than ten sets a week are few. Go from {r}, say, to {y}, two more each week, split over two days.",
        "Do {y} sets a week rather than {r}; reviews find that ten or more work better.")),
    "my effort": (("effort", "in reserve", "to failure"), (
        "Finish each set with one or two repetitions in reserve; with {x} or more left, nothing has to adapt.",
        "Raise the effort: do the last set of the day to failure once a week and see how many you had in reserve, {x} perhaps.",
        "Stop {x} repetitions before failure and little happens. One or two in reserve is the effort that counts.")),
    "my handling of stress": (("stress", "deadlines", "calm"), (
        "Stress takes from the same purse as training. Cut to {d} shorter sessions for {w} weeks and add {m} calm minutes a day.",
        "Until the deadlines are over, do {d} sessions and {y} sets a muscle, no records; walk {m} minutes a day against the stress.",
        "Lower the load for {w} weeks while stress is high, keep {d} sessions, and take {m} minutes of calm each evening.")),
}  # fmt: skip
STUCK = (
    "My {l} has not moved for {n} weeks. What is in order: {b}. What has suffered: {a}. What do I do?",
    "Plateau in the {l} for {n} weeks. {a} went downhill, {b} did not. What should I change?",
    "I have stood still in the {l} for {n} weeks. To be honest, {a} is poor; {b} is good. What now?",
    "{n} weeks without progress in the {l}. Good: {b}. Bad: {a}. Your advice?",
    "Why does my {l} stall? {b} is fine these {n} weeks and {a} is not.",
    "For {n} weeks my {l} is stuck. I neglect {a}, I look after {b}. How do I get on?",
    "How do I break the plateau in my {l}? Nothing for {n} weeks. I can praise {b}, I cannot praise {a}.",
    "{l}, {n} weeks, no gain. The weak point is {a}, the strong one is {b}. What first?",
    "Nothing moves in the {l} ({n} weeks). My coach likes {b} and dislikes {a}. Where do I start?",
    "I am frustrated: {n} weeks at the same {l}. {b} could not be better and {a} could not be worse.",
    "What would you change after {n} weeks of standstill in the {l}? {a} is a mess, unlike {b}.",
)
STUCK_LIFTS = ("squat", "bench press", "deadlift", "overhead press", "row", "pull-up", "dip", "hip thrust", "leg press", "front squat", "incline press", "chin-up", "lunge", "push-up", "Romanian deadlift", "power clean", "split squat", "push press", "lat pull-down", "hack squat")  # fmt: skip
BACK_AGAIN = (
    "Test the {l} again in {w} weeks; one more repetition means you found the cause.",
    "Change this one thing only, and give the {l} {w} weeks to answer.",
    "Leave the plan for the {l} as it is meanwhile, or you will not know what helped.",
    "If the {l} still stands after {w} weeks, take a lighter week and look at the plan itself.",
    "After {n} weeks of standstill, {w} weeks of patience are fair for the {l}.",
    "A stalled {l} is information, not failure; {w} weeks will show.",
)
FIRST = (
    "I would look there first before touching the {l}.",
    "You named the cause of the stalled {l} yourself.",
    "That explains a {l} that stands still for {n} weeks.",
    "The plan for the {l} is probably fine.",
    "{n} weeks are long enough to act on the {l}.",
    "No new exercise will help the {l} as much as this.",
    "Good that you are honest about the {l}.",
)


def plateau(draw: Draw) -> Mirror:
    """What is in order and what is not: the same two things, swapped."""
    lift = draw.fact("stuck lift", STUCK_LIFTS)
    causes = draw.two(list(CAUSES))
    weeks = draw.rng.randint(4, 12)

    def told(bad: str, good: str) -> Told:
        words, fixes = CAUSES[bad]
        kilos, meals, days = draw.pick(range(55, 101, 5)), draw.pick((3, 4)), draw.pick((3, 4))
        rest, sets, again = draw.pick((2, 3)), draw.pick((12, 14, 15, 16)), draw.pick((4, 5, 6))
        few = draw.pick((4, 5, 6))
        grams = round(kilos * 1.6)
        answer = say(
            draw, FIRST, fixes, BACK_AGAIN, l=lift, n=weeks, w=again, h=draw.pick((5, 5.5, 6)),
            m=draw.pick((15, 20, 30)), k=kilos, g=grams, q=round(grams / meals), c=draw.pick((200, 250, 300)),
            v=draw.pick((0.5, 1)), t=rest, s=sets, u=rest * sets, d=days, o=7 - days, i=draw.pick((1, 2)),
            z=draw.pick((1.25, 2.5)), f=days * again - 1, j=days * again, r=few, y=few + 6,
            x=draw.pick((4, 5, 6)), e=meals, b=draw.pick((70, 75, 80)),
        )  # fmt: skip
        return Told(
            {"l": lift, "n": weeks, "a": bad, "b": good},
            answer,
            {"any": list(words), "none": list(CAUSES[good][0])},
            "mends what is in order",
            (f"{lift}: {bad.removeprefix('my ')} is to be mended", NSCA),
        )

    return mirror_of(draw, CATEGORY, STUCK, told(*causes), told(*causes[::-1]))


KINDS = ((plateau, 5),)
declare("stuck lift", STUCK_LIFTS)
