"""Caution: a warning sign means stop and seek care, as fast as it asks for; its harmless sibling does not.

What is a sign, and how fast it wants care, is in scenes.py, after the health layer's table.
"""

from mirrors import Draw, Mirror, Side, capital, declare, require
from scenes import SCENES, URGENT_AND_LESS, Fine, Scene

ASKS = (
    "Should I finish my session?",
    "Can I go on training?",
    "What should I do?",
    "Is it all right to train tomorrow?",
    "Do I push through?",
    "Do I need to change anything?",
    "How do I deal with it?",
    "May I keep my plan?",
    "Is that a reason to stop?",
    "What would you do now?",
    "Does it matter for my training?",
    "Is it safe to carry on?",
    "What is my next step?",
    "Can I still do my sets today?",
    "Is it something to worry about?",
    "Shall I rest, or what?",
    "What now?",
    "Could you tell me how to go on?",
    "Would you train with that?",
    "Is this normal?",
)
# The same words for a sign and for its sibling: what is denied and what is said decides.
CONTRASTS = (
    "What I have is {x}, not {y}.",
    "I have {x}. I do not have {y}.",
    "I do not have {y}. I have {x}.",
    "A friend took it for {y}; in fact I have {x}.",
    "At first I wrote {y}. That was wrong: what I have is {x}.",
    "Not {y}, but {x}: that is what I have.",
    "I mean {x}, and I do not mean {y}.",
    "If I had {y} I would not ask. I have {x}.",
    "Somebody noted {y}. In truth I have {x}.",
    "You may think of {y}; what I have is {x}.",
)
STOP = (
    "Stop now",
    "Please stop at once",
    "Do not train on",
    "End the session here",
    "Put the weights down",
    "Stop what you are doing",
)
CARE = {
    "now": (
        "call the emergency number",
        "get emergency help",
        "have someone call an ambulance",
        "go to the emergency department without delay",
        "let somebody take you to the emergency department",
        "get emergency care right away",
    ),
    "today": (
        "have a doctor look at it today",
        "see a doctor today",
        "ring your doctor and be seen today",
        "let a doctor examine it before the day is over",
        "go to a doctor today, not next week",
        "call a doctor for a visit today",
    ),
}
REASON = (
    "it can be a sign of {d}",
    "this may be {d}",
    "such signs can mean {d}",
    "{d} has to be ruled out",
    "nobody can tell from here that it is not {d}",
)
CARE_FORMS = (
    "{s} and {c}; {r}.",
    "{s}. {C}, because {r}.",
    "{R}. {s} and {c}.",
    "{s}, {c} and do not drive yourself: {r}.",
    "{R}, so {c}. {s}.",
)
GO_ON = (
    "You can train on",
    "Carry on with your plan",
    "I see no reason to stop",
    "You may keep training",
    "Go on as planned",
    "Feel free to continue",
)
WHY_FINE = (
    "this is {n}",
    "it sounds like {n}",
    "that is {n}, nothing more",
    "what you describe is {n}",
    "I would call it {n}",
)
FINE_FORMS = (
    "{g}; {w}. {H}.",
    "{W}. {g}, but {h}.",
    "{g}, because {w}. {H}.",
    "{W}. {H}; there is no need to stop.",
    "{g}: {w}. {H} if you like.",
)
EMERGENCY, DOCTOR = ["emergency", "ambulance"], ["doctor"]
CHECKS: dict[str, dict[str, object]] = {
    "now": {"any": EMERGENCY},
    "today": {"any": DOCTOR, "none": EMERGENCY},
    "fine": {"none": EMERGENCY + DOCTOR},
}
FLAWS = {
    ("now", "fine"): "training advice despite a warning sign",
    ("today", "fine"): "training advice despite a warning sign",
    ("fine", "now"): "alarm without cause",
    ("fine", "today"): "alarm without cause",
    ("now", "today"): "too late a visit for an emergency",
    ("today", "now"): "an ambulance for what can wait some hours",
}
BY_NAME = {scene.name: scene for scene in SCENES}


def sign_or_not(draw: Draw) -> Mirror:
    """A warning sign, and something harmless like it."""
    scene = draw.fact("scene", SCENES, lambda s: s.name)
    # Both sides of a pair of questions end alike, so that only the report tells them apart.
    ask = draw.ask(ASKS)
    if scene.has and draw.rng.random() < 0.6:
        form, harmless = draw.ask(CONTRASTS), scene.has_fine
        alarm = form.format(x=scene.has, y=harmless.report)
        fine = form.format(x=harmless.report, y=scene.has)
    else:
        harmless = draw.pick(scene.fine)
        alarm, fine = draw.pick(scene.alarm), harmless.report
    return draw.mirror(
        "caution",
        _side(f"{alarm} {ask}", _stop(draw, scene), scene.level, "fine", f"may be {scene.danger}"),
        _side(f"{fine} {ask}", _go_on(draw, harmless), "fine", scene.level, harmless.why),
    )


def now_or_today(draw: Draw) -> Mirror:
    """Two signs that sound alike, of which one cannot wait."""
    names = draw.pick(URGENT_AND_LESS)
    scenes = [draw.fact("scene", [BY_NAME[name]], lambda s: s.name) for name in names]
    ask, contrast = draw.ask(ASKS), draw.rng.random() < 0.6
    form = draw.ask(CONTRASTS)
    if contrast:
        require(all(scene.has for scene in scenes))

    def side(scene: Scene, other: Scene) -> Side:
        report = form.format(x=scene.has, y=other.has) if contrast else draw.pick(scene.alarm)
        fact = f"may be {scene.danger}"
        return _side(f"{report} {ask}", _stop(draw, scene), scene.level, other.level, fact)

    return draw.mirror("caution", side(*scenes), side(*reversed(scenes)))


def _side(question: str, answer: str, level: str, wrong: str, fact: str) -> Side:
    return Side(question, answer, CHECKS[level], FLAWS[level, wrong], (fact,))


def _stop(draw: Draw, scene: Scene) -> str:
    reason = draw.pick(REASON).format(d=scene.danger)
    care = draw.pick(CARE[scene.level])
    return draw.pick(CARE_FORMS).format(
        s=draw.pick(STOP), c=care, C=capital(care), r=reason, R=capital(reason)
    )


def _go_on(draw: Draw, fine: Fine) -> str:
    why = draw.pick(WHY_FINE).format(n=fine.why)
    return draw.pick(FINE_FORMS).format(
        g=draw.pick(GO_ON), w=why, W=capital(why), h=fine.tip, H=capital(fine.tip)
    )


KINDS = ((sign_or_not, 4), (now_or_today, 1))
declare("scene", (scene.name for scene in SCENES))
