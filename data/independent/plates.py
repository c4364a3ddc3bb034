"""Loadable weights: what a bar weighs, and what can be put on it."""

from collections.abc import Iterator

from formulas import POUND, above, below, loadable, nearest, on_bar
from question import Question, choice, figure, verdict

_BAR = "arithmetic of a bar with equal sides"
_IWF = "IWF technical rules: bars of 20 and 15 kg, discs by colour, collars of 2.5 kg"
_IPF = "IPF technical rules: bar of 20 kg, discs by colour, collars of 2.5 kg"
_LB = "US gym plates: 45, 35, 25, 10, 5, 2.5 lb on a bar of 45 lb"
_KG = (25.0, 20.0, 15.0, 10.0, 5.0, 2.5, 1.25)


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _from_templates()
    yield from _by_hand()
    yield from _in_pounds()
    yield from _other_kit()


def _from_templates() -> Iterator[Question]:
    for bar, sides in (
        (20, (20, 10)),
        (20, (25, 15, 2.5)),
        (15, (10, 5)),
        (20, (20, 20, 5, 1.25)),
        (15, (15, 2.5)),
        (20, (25, 25, 20)),
        (10, (5, 5, 1.25)),
        (20, (15, 10, 5)),
    ):
        plates = " + ".join(f"{x:g}" for x in sides)
        total, side = on_bar(bar, *sides), sum(sides)
        yield figure(
            f"Bar weighs {bar} kg and each side has {plates} on it. What's the total?",
            total,
            "kg",
            f"Each sleeve carries {side:g} kg, so with the bar you lift {total:g} kg.",
            f"That comes to {bar + side:g} kg.",
            _BAR,
            template=True,
        )
    for bar, target in (
        (20, 72.5),
        (20, 97.5),
        (15, 47.5),
        (20, 127.5),
        (15, 62.5),
        (20, 142.5),
        (20, 57.5),
        (15, 82.5),
    ):
        side = (target - bar) / 2
        yield figure(
            f"I need {target:g} kg on a {bar} kg barbell. How many kilos of plates go on one side?",
            side,
            "kg",
            f"Put {side:g} kg on each end: {target:g} minus the bar, halved.",
            f"Half of {target:g}, so {target / 2:g} kg a side.",
            _BAR,
            template=True,
        )
    for bar, smallest, target in (
        (20, 2.5, 71),
        (20, 1.25, 83.3),
        (20, 5, 94),
        (15, 2.5, 48),
        (20, 2.5, 118),
        (20, 1.25, 66.9),
        (15, 1.25, 39.1),
        (20, 5, 133),
    ):
        weights = loadable(bar, [x for x in _KG if x >= smallest], pairs=3)
        best = nearest(target, weights)
        others = [x for x in weights if abs(x - best) < 11 and x != best]
        wrong = min(others, key=lambda x: abs(x - target))
        yield figure(
            f"My programme says {target:g} kg. Smallest plates here are {smallest:g} kg and the bar "
            f"is {bar} kg. Closest I can load?",
            best,
            "kg",
            f"{best:g} kg is the closest you can get with a pair of {smallest:g}s as the last step.",
            f"Go for {wrong:g} kg.",
            _BAR,
            template=True,
        )
    for target, smallest in ((150, 2.5), (205, 2.5), (250, 2.5), (190, 5), (280, 5), (345, 5)):
        weights = loadable(45, [x for x in (45, 35, 25, 10, 5, 2.5) if x >= smallest], pairs=3)
        best = below(target + 2, weights)
        yield figure(
            f"lb gym, 45 lb bar, smallest plate {smallest:g} lb. Heaviest I can load without going "
            f"over {target + 2}?",
            best,
            "lb",
            f"You can get to {best:g} lb; the next step up would be too heavy.",
            f"{best + 2 * smallest:g} lb",
            _LB,
            template=True,
        )


def _by_hand() -> Iterator[Question]:
    kilos = loadable(20, _KG, pairs=2)
    yield figure(
        "olympic bar, one red and one blue bumper each side plus the 2.5 kg competition collars. "
        "how much is on there",
        on_bar(20, 25, 20, 2.5),
        "kg",
        "Red is 25 and blue 20, so with bar and collars 115 kg.",
        "110 kg, red 25 plus blue 20 per side on a 20 bar.",
        _IWF,
    )
    yield figure(
        "In a weightlifting meet a woman has a yellow and a green disc on each side of her bar, "
        "collars on. What is she lifting?",
        on_bar(15, 15, 10, 2.5),
        "kg",
        "A women's bar is 15 kg; 25 a side and the collars make it 70 kg.",
        "75 kg, because the bar is 20.",
        _IWF,
    )
    yield figure(
        "How much does the men's Olympic weightlifting barbell weigh if you forget about plates and "
        "collars?",
        20,
        "kg",
        "The men's bar weighs 20 kg.",
        "15 kg",
        _IWF,
    )
    yield figure(
        "My daughter starts weightlifting club. The women's bar there, how heavy is it empty?",
        15,
        "kg",
        "Empty it's 15 kilos.",
        "It weighs 20 kg like every other one.",
        _IWF,
    )
    yield figure(
        "Powerlifting meet, squat: three reds on each side, IPF collars. Total?",
        on_bar(20, 25, 25, 25, 2.5),
        "kg",
        "3 x 25 on either side gives 150, plus the bar and 5 kg of collars: 175 kg.",
        "170 kg.",
        _IPF,
    )
    yield figure(
        "only got two 10s, two 5s and a pair of 1.25s at home with a 20kg bar. whats the most i can "
        "put together",
        on_bar(20, 10, 5, 1.25),
        "kg",
        "All of it on: 52.5 kg.",
        "You can make 36.25 kg.",
        _BAR,
    )
    yield figure(
        "I own one pair each of 20, 10 and 5 kg plates and a 20 kg bar. My plan wants 85. What is the "
        "next lighter weight I can really load?",
        below(84, loadable(20, (20, 10, 5), pairs=1)),
        "kg",
        "With those pairs you can do 80 kg (20 and 10 a side); 85 is out of reach.",
        "75 kg, that's 20 + 5 and a bit per side.",
        _BAR,
    )
    yield verdict(
        "Can I load exactly 61 kg on a 20 kg bar if the smallest plates are 1.25s? Say why.",
        "no",
        ["2.5", "2.5 kg", "62.5", "steps", "jumps", "60"],
        "No. Loads go up in steps of 2.5 kg, so it's 60 or 62.5.",
        "Yes, use 20.5 a side in 2.5 steps.",
        _BAR,
    )
    yield verdict(
        "If I buy a pair of half-kilo discs, can I then add just 1 kg at a time to my bench? Why or "
        "why not?",
        "yes",
        ["each side", "both sides", "per side", "either side", "one on each", "twice", "two"],
        "Yes: one goes on each side, which makes the bar 1 kg heavier.",
        "No, with half-kilo discs on each side the bar goes up by 0.5 kg.",
        _BAR,
    )
    yield figure(
        "What's the smallest jump in total weight if the lightest plates in my gym are 1.25 kg and I "
        "keep the bar balanced?",
        2.5,
        "kg",
        "One on each side, so 2.5 kg.",
        "1.25 kg, obviously.",
        _BAR,
    )
    yield figure(
        "Bench went 60, 62.5, 65 ... I want smaller jumps, say half as much. Which plates do I need "
        "to buy, in grams?",
        625,
        "g",
        "Half of 2.5 is 1.25 kg in total, so you need a pair of 625 g plates.",
        "Buy 1250 g plates.",
        _BAR,
    )
    yield figure(
        "i can squat 100 kg for a single. coach wants 72% today, bar 20, smallest plate 1.25. what do "
        "i load if i always round down",
        below(72, kilos),
        "kg",
        "72 rounds down to 70 kg: a 20 and a 5 each side.",
        "72 kg",
        _BAR,
    )
    yield figure(
        "Deadlift max 185. I'm told to work at 83 percent. Our smallest plates are 2.5s, and I'd "
        "rather go up than down. So?",
        above(153.55, loadable(20, (25, 20, 15, 10, 5, 2.5), pairs=3)),
        "kg",
        "83 % is 153.6 kg, and the next loadable step up is 155 kg.",
        "Take 150 kg.",
        _BAR,
    )
    yield figure(
        "There are four 20s and nothing else next to a 20 kg bar. What can I load apart from the "
        "empty bar and 100?",
        60,
        "kg",
        "One 20 on each side, so 60 kg.",
        "40 kg, with one plate on.",
        _BAR,
    )
    yield figure(
        "Someone left 25, 10 and 2.5 on the left and 25 and 10 on the right. 20 kg bar. What does the "
        "crooked thing weigh?",
        20 + 37.5 + 35,
        "kg",
        "37.5 left, 35 right and the bar: 92.5 kg.",
        "95 kg.",
        _BAR,
    )


def _in_pounds() -> Iterator[Question]:
    for plates, total, wrong in ((1, 135, 90), (2, 225, 180), (3, 315, 270)):
        words = {1: "one plate", 2: "two plates", 3: "three plates"}[plates]
        asked = {
            1: 'americans keep saying they bench "{}". how many lbs is that, bar and all?',
            2: 'My friend squats "{}" in a US gym. What\'s that in pounds?',
            3: "If a US lifter pulls {} per side, 45s, how much is on the bar in lb, bar included?",
        }[plates].format(words)
        yield figure(
            asked,
            on_bar(45, *[45] * plates),
            "lb",
            f"That makes {total} lb with the 45 lb bar.",
            f"{wrong} pounds.",
            _LB,
        )
    yield figure(
        "45 lb bar, one 45, one 25 and a 2.5 each side. Add it up for me please",
        on_bar(45, 45, 25, 2.5),
        "lb",
        "72.5 a side plus the bar = 190 lb",
        "117.5 lb",
        _LB,
    )
    yield figure(
        "What do I hang on each end for 185 on a 45-pound bar, in pounds?",
        70,
        "lb",
        "70 lb a side, so a 45 and a 25.",
        "Put 92.5 lb on each end.",
        _LB,
    )
    yield figure(
        "Which single size of plate, one on each side, turns a 45 lb bar into 95 lb?",
        25,
        "lb",
        "The 25s.",
        "Use the 50 lb plates.",
        _LB,
    )
    yield figure(
        "my plan is in kg and says 100. gym is lbs, 45 bar, smallest 2.5 plates. nearest loadable lb?",
        nearest(100 / POUND, loadable(45, (45, 35, 25, 10, 5, 2.5), pairs=3)),
        "lb",
        "100 kg is about 220.5 lb, so load 220 lb.",
        "225 lb, that's two plates.",
        _LB,
    )
    yield figure(
        "A 225 lb bench is how many kilos? One decimal is enough.",
        225 * POUND,
        "kg",
        "About 102.1 kg.",
        "112.5 kg, half of it.",
        "1 lb = 0.45359237 kg",
        within=0.003,
    )


def _other_kit() -> Iterator[Question]:
    yield figure(
        "Adjustable dumbbell: the handle is 2 kg and I put a 5 and a 1.25 on both ends. One dumbbell "
        "weighs?",
        on_bar(2, 5, 1.25),
        "kg",
        "14.5 kg each.",
        "8.25 kg.",
        _BAR,
    )
    yield figure(
        "Two adjustable dumbbells, handles 2.5 kg each. I have eight 2.5 kg plates altogether. How "
        "heavy can I make each of the pair?",
        on_bar(2.5, 2.5, 2.5),
        "kg",
        "Four plates on each, so 12.5 kg apiece.",
        "22.5 kg.",
        _BAR,
    )
    yield figure(
        "Our dumbbell rack goes 2, 4, 6 ... up to 40 in steps of 2 kg. Plan says 17 and to round down "
        "when unsure.",
        16,
        "kg",
        "Then it's the 16 kg pair.",
        "Take the 18s.",
        "arithmetic",
    )
    yield figure(
        "ez curl bar 7.5 kg, a ten on each side. total?",
        on_bar(7.5, 10),
        "kg",
        "27.5 kg",
        "17.5 kg",
        _BAR,
    )
    yield figure(
        "Trap bar weighs 25 kg. I'd like to pull 130 with it. Kilos per side?",
        52.5,
        "kg",
        "You need 52.5 kg per side (25 + 25 + 2.5).",
        "55 kg a side",
        _BAR,
    )
    yield choice(
        "20 kg bar, plates down to 2.5 kg only, no smaller. Which of these can I load: 62.5, 65, 67.5 "
        "or 72.5 kg? Just one of them works.",
        ["65"],
        ["62.5", "67.5", "72.5"],
        "Only 65 kg: 22.5 a side.",
        "67.5 kg works.",
        _BAR,
    )
    yield choice(
        "Which two of these are impossible on a 15 kg bar when the smallest disc is 2.5 kg: 35, 40, "
        "42.5, 47.5, 50?",
        ["42.5", "47.5"],
        ["35", "40", "50"],
        "42.5 and 47.5, they would take a 1.25 pair.",
        "35 and 50.",
        _BAR,
    )
