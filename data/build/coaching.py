"""What programmes and habits share: days, clock times, sums over sets, and mirrors with roles swapped.

Most questions here come in pairs that use the same words in other roles ("30 minutes before work and
50 after" and "50 minutes before work and 30 after"). So no single word of a question tells which
answer is right.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mirrors import Draw, Mirror, Side, capital, require

from fitbot.audit.text import sentences

FEWEST_WORDS, MOST_WORDS = 30, 120  # of an answer

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COUNT = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

WHO = "WHO guidelines on physical activity 2020"
ACSM = "ACSM position stand on resistance training 2009, doi 10.1249/MSS.0b013e3181915670"
ACSM_FITNESS = "ACSM position stand on exercise prescription 2011, doi 10.1249/MSS.0b013e318213fefb"
SCHOENFELD = "Schoenfeld et al. 2017 on weekly sets, doi 10.1080/02640414.2016.1210197"
FREQUENCY = "Schoenfeld et al. 2016 on training frequency, doi 10.1007/s40279-016-0543-8"
RETURN = "CSCCa and NSCA consensus on returning to training 2019, doi 10.1519/SSC.0000000000000477"
NSCA = "NSCA, Essentials of Strength Training and Conditioning, 4th edition"
AASM = "AASM and SRS consensus on sleep 2015, doi 10.5665/sleep.4716"
NHS_SLEEP = "NHS advice on sleep"
IMPLEMENTATION = "Gollwitzer and Sheeran 2006 on if-then plans, doi 10.1016/S0065-2601(06)38002-1"
LALLY = "Lally et al. 2010 on how habits form, doi 10.1002/ejsp.674"
OVERTRAINING = "ECSS and ACSM consensus on overtraining 2013, doi 10.1249/MSS.0b013e318279a10a"

# People of any age. Both questions of a mirror name the same one.
COMPANIONS = (
    "neighbour", "colleague", "flatmate", "training partner", "boss", "landlord", "hairdresser",
    "piano teacher", "friend", "walking partner", "dance partner", "chess partner", "club mate",
    "postman", "tenant", "baker", "choir friend", "yoga partner", "fellow dog owner", "lift buddy",
)  # fmt: skip

# What a session is put together from, by where the person trains: legs, pushes, pulls, trunk.
PLACES = {
    "in a gym": (
        ("squats", "leg presses", "lunges", "Romanian deadlifts", "hip thrusts", "leg curls", "split squats", "hack squats"),
        ("bench presses", "overhead presses", "incline presses", "dips", "chest flys", "machine presses"),
        ("rows", "pull-downs", "chin-ups", "face pulls", "cable rows", "chest-supported rows"),
        ("Pallof presses", "cable crunches", "hanging knee raises", "back extensions"),
    ),
    "at home with two dumbbells": (
        ("goblet squats", "dumbbell lunges", "dumbbell Romanian deadlifts", "dumbbell split squats", "dumbbell step-ups"),
        ("dumbbell floor presses", "dumbbell overhead presses", "push-ups", "dumbbell squeeze presses"),
        ("dumbbell rows", "dumbbell pullovers", "reverse flys", "renegade rows"),
        ("dead bugs", "Russian twists", "leg raises", "bird dogs"),
    ),
    "at home without any kit": (
        ("squats", "reverse lunges", "split squats", "single-leg bridges", "lateral lunges", "step-ups on a stair"),
        ("push-ups", "pike push-ups", "close push-ups", "incline push-ups on a table"),
        ("rows under a table", "towel rows", "prone Y raises", "reverse snow angels"),
        ("dead bugs", "bird dogs", "leg raises", "bicycle crunches"),
    ),
    "in a park with bars": (
        ("pistol squats to a bench", "walking lunges", "step-ups on a bench", "split squats", "jump squats"),
        ("bar dips", "push-ups", "incline push-ups", "feet-up push-ups"),
        ("pull-ups", "chin-ups", "rows under a low bar", "pull-ups with a pause"),
        ("hanging knee raises", "hollow rocks", "leg raises", "bird dogs"),
    ),
}  # fmt: skip
WHOLE, UPPER, LOWER = (0, 1, 2), (1, 2, 1, 2), (0, 0, 3)
PUSH, PULL, LEGS = (1, 1, 1), (2, 2, 2), (0, 0, 3)
NAMES = {"whole body": WHOLE, "upper body": UPPER[:3], "lower body": LOWER, "push": PUSH, "pull": PULL, "legs": LEGS}  # fmt: skip


class Told(NamedTuple):
    """What one side fills into the shared wording, and the answer that is right for it."""

    slots: dict[str, Any]
    answer: str
    check: dict[str, Any]
    flaw: str
    facts: tuple[str, ...]


def mirror_of(draw: Draw, category: str, forms: Sequence[str], one: Told, other: Told) -> Mirror:
    """Put two sides into one wording of the question. Answers have 30 to 120 words."""
    form = draw.ask(forms)
    for told in (one, other):
        said = sentences(told.answer)
        require(FEWEST_WORDS <= len(told.answer.split()) <= MOST_WORDS)
        require(len(set(said)) == len(said))

    def side(told: Told) -> Side:
        question = sentence_case(form.format(**told.slots))
        return Side(question, told.answer, told.check, told.flaw, told.facts)

    return draw.mirror(category, side(one), side(other))


def say(draw: Draw, *parts: Sequence[str], **slots: Any) -> str:
    """Write an answer: one wording of every part, filled in, each a sentence or more."""
    return sentence_case(" ".join(draw.pick(part).format(**slots) for part in parts))


def sentence_case(text: str) -> str:
    """Begin every sentence with a capital letter."""
    return capital(re.sub(r"(?<=[.!?] )[a-z]", lambda letter: letter[0].upper(), text))


def clock(minutes: int) -> str:
    """Write minutes after midnight as a time of day: 23:05."""
    hours, rest = divmod(minutes % (24 * 60), 60)
    return f"{hours}:{rest:02}"


def to_step(value: float, step: float) -> float:
    """Round a weight to what can be loaded."""
    return round(value / step) * step


def plain(value: float) -> str:
    """Write a number without a needless ".0"."""
    return f"{value:g}"


def listed(numbers: Sequence[float]) -> str:
    """Write numbers as in "10, 9 and 8"."""
    *first, last = (plain(number) for number in numbers)
    return f"{', '.join(first)} and {last}"
