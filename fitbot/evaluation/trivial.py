"""Answers that need no understanding → how many checks they pass.

They are what a model's figure must be compared with: where "See a doctor." passes a third of the
checks, a third is worth nothing.
"""

from collections.abc import Sequence

from fitbot.audit.records import prompt_text
from fitbot.evaluation.cases import Case
from fitbot.evaluation.checks import passes

# A paragraph of the kind that fits everywhere and answers nothing.
_PARAGRAPH = """\
Great question! It depends on your goals, but here are some general tips. Warm up for 5 to 10
minutes, then do 3 sets of 8 to 12 reps of compound exercises such as squats, deadlifts, bench
presses, rows and pull-ups, resting 60 to 90 seconds in between. Train 3 to 4 days a week, for
example Monday, Wednesday and Friday, and add about 2.5 kg when it gets easy. Aim for 150
minutes of cardio such as running, cycling or swimming. Eat plenty of protein, about 1.6 g per
kg: chicken, fish, eggs, yoghurt, tofu, lentils and beans, with rice, potatoes, oats, fruit and
vegetables. Drink 2 litres of water and sleep 7 to 9 hours. Listen to your body and stop if it
hurts. If you have any medical condition, please consult a doctor before you start. Stay
consistent and you will see results!"""

_FIXED = {
    "nothing": "",
    '"Yes."': "Yes.",
    '"No."': "No.",
    '"See a doctor."': "Please see a doctor or another health professional about this.",
    '"Call an ambulance."': "Call an ambulance now.",
    '"Carry on."': "That is normal, you can carry on.",
    "a general paragraph": " ".join(_PARAGRAPH.split()),
}
_OTHERS = 5  # whose right answers each question is given
THE_QUESTION = "the question again"
ANOTHER = "the right answer to another question"


def trivial_rates(cases: Sequence[Case]) -> dict[str, float]:
    """Measure which share of the checks each trivial answer passes.

    The right answer to another question is that of each of five others, spread evenly.

    Args:
        cases: N questions with checks, at least one.

    Returns:
        By answer, the highest share first.
    """
    checks = [(case, case.check) for case in cases if case.check is not None]
    rates = {
        name: sum(passes(text, check) for _, check in checks) / len(checks)
        for name, text in _FIXED.items()
    }
    rates[THE_QUESTION] = sum(
        passes(prompt_text(case.pair), check) for case, check in checks
    ) / len(checks)
    steps = sorted({max(1, i * len(checks) // (_OTHERS + 1)) for i in range(1, _OTHERS + 1)})
    others = [
        passes(checks[(i + step) % len(checks)][0].pair.chosen, check)
        for i, (_, check) in enumerate(checks)
        for step in steps
        if len(checks) > 1
    ]
    rates[ANOTHER] = sum(others) / max(1, len(others))
    return dict(sorted(rates.items(), key=lambda item: -item[1]))
