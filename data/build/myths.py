"""Myths: something many believe and that is wrong, or something that is right, with its own reason."""

from typing import NamedTuple

from between import PEOPLE
from mirrors import Draw, Mirror, Side, capital, declare


class Claim(NamedTuple):
    """What people say, whether it is right, and why."""

    text: str
    right: bool
    reasons: tuple[str, ...]


CLAIMS = tuple(Claim(*row) for row in (
    ("crunches burn the fat on the belly", False, ('the body takes fat from everywhere, not from the spot you train', 'where fat goes first is not decided by the muscle at work')),
    ("crunches strengthen the abdominal muscles", True, ('they load these muscles directly, and a few sets a week show', 'the muscle at work is the one that adapts')),
    ("lifting weights makes women bulky within months", False, ('that much muscle takes years of training and eating for it', 'size comes slowly, and nobody gets it by accident')),
    ("lifting weights makes women stronger within weeks", True, ('relative gains are as large as in men', 'strength rises within weeks, well before size does')),
    ("muscle turns into fat in a long break", False, ('they are different tissues and neither becomes the other', 'muscle shrinks and fat may grow, but one is not made into the other')),
    ("muscle shrinks in a long break", True, ('without a load it gets smaller, though it comes back faster than it came', 'what is not used is given up little by little')),
    ("all gains are lost without a meal within half an hour of training", False, ("the day's total counts far more than the minute", 'the muscle stays receptive for a day or so')),
    ("the day's total protein matters for muscle growth", True, ('it is the figure that studies tie to growth most clearly', 'the sum of the day does most of the work')),
    ("vegetarians must combine plant proteins in every single meal", False, ('variety over the day is enough, since the body keeps a pool of amino acids', 'different sources over a day complete each other')),
    ("vegetarians can cover their protein with plants and dairy", True, ('beans, soy, dairy and grains reach every common target', 'with soy, pulses and dairy the targets are met easily')),
    ("soy in normal amounts lowers a man's testosterone", False, ('trials find no effect on testosterone at common intakes', 'reviews of many trials see no change in male hormones')),
    ("soy holds all essential amino acids", True, ('it has all the essential ones in useful amounts', 'it is one of the few plants that bring every one of them')),
    ("3 to 5 g of creatine a day harms healthy kidneys", False, ('years of trials show no harm in healthy people', 'it raises one lab value, not the damage')),
    ("creatine helps in short, hard efforts", True, ('it is among the best proven supplements for that', 'a little more strength and mass is what most trials find')),
    ("more sweat means more burnt fat", False, ('sweat is cooling water, and it comes back with the next drink', 'the scales drop from lost water only')),
    ("sweat cools the body", True, ('it takes heat away as it dries', 'cooling is what it is there for')),
    ("a workout must hurt to work", False, ('effort is needed, pain in joints is a reason to stop', 'progress comes from load and rest, not from pain')),
    ("some soreness after new exercises is common", True, ('it peaks after a day or two and fades by itself', 'unfamiliar work does that and it is harmless')),
    ("stretching before training prevents all injuries", False, ('a warm-up that resembles the work does more', 'studies find little effect of it on injuries')),
    ("regular stretching increases the range of motion", True, ('a few minutes on most days bring it', 'range grows over weeks when it is used')),
    ("deep squats ruin healthy knees", False, ('sound knees adapt to the load and get stronger', 'trained lifters who squat deep have no more knee trouble')),
    ("squats train the thighs and glutes well", True, ('few exercises load them as much at once', 'they work most of the lower body in one movement')),
    ("carbohydrates after six in the evening turn into fat by themselves", False, ('the balance of the whole day decides, not the clock', 'energy counts the same at any hour')),
    ("carbohydrates fill the stores for hard training", True, ('they refill the glycogen that hard work uses', 'full stores let you last longer')),
    ("a detox juice cleans the body of toxins", False, ('liver and kidneys do that without juice', 'no cure has been shown to remove anything that they do not')),
    ("the liver breaks down alcohol", True, ('the body does that all day long', 'such clearing never stops in a healthy body')),
    ("whole fruit makes people fat because of its sugar", False, ('it fills for few calories and brings fibre', 'people who eat more of it tend to weigh less')),
    ("whole fruit brings fibre", True, ('most kinds do, with plenty of water besides', 'a few pieces a day are part of every guideline')),
    ("nobody loses fat without cardio", False, ('a deficit does it, and food can make it alone', 'what counts is energy, however the gap is made')),
    ("cardio is good for the heart", True, ('regular training makes the heart pump more with each beat', 'weeks of it show in a slower pulse at rest')),
    ("5 g of protein per kg and day build more muscle than 2 g", False, ('beyond about 2.2 g per kg a day nothing more is gained', 'the extra is burnt for energy or stored')),
    ("protein helps people to stay full", True, ('it fills more than the same energy from sugar', 'meals rich in it keep people full for longer')),
    ("every healthy adult should throw the egg yolk away", False, ('for most healthy people an egg a day is fine', "most of the egg's vitamins are in the yolk")),
    ("egg yolk holds a good part of the egg's protein", True, ("nearly half of an egg's protein is in it", 'it has a good share of it, with most of the vitamins')),
    ("only daily training brings progress", False, ('muscles adapt while they rest', 'two or three sessions a week take a beginner far')),
    ("muscles need rest to grow", True, ('the growth happens in the pause, not in the set', 'a day or two lets the work take effect')),
    ("machines are useless for building muscle", False, ('a muscle responds to load, whatever gives it', 'trials find the same growth with both')),
    ("machines are an easy start for beginners", True, ('the path is guided and the load easy to set', 'they let you work hard without much technique')),
    ("high repetitions tone while low ones bulk", False, ('a look called toned is muscle with little fat over it', 'both build size if the set is hard')),
    ("light and heavy weights both build muscle if the set is hard", True, ('near failure the load matters little for size', 'trials from 5 to 30 repetitions end much alike')),
    ("ice water burns a lot of energy", False, ('warming a glass takes only a few kcal', 'the effect is smaller than one bite of bread')),
    ("water before meals helps some people to eat less", True, ('a glass or two before a meal fills for a while', 'in trials people ate a little less after it')),
    ("brown sugar is much healthier than white sugar", False, ('to the body they are nearly the same', 'the differences are traces')),
    ("brown rice holds more fibre than white rice", True, ('the bran is left on it', 'the outer layers stay in, and fibre with them')),
    ("guided strength training stops children from growing", False, ('guided training with fitting loads is safe for them', 'no study has shown that')),
    ("teenagers may lift weights under guidance", True, ('it makes bones and muscles stronger', 'with a coach and light loads it is advised')),
    ("it is too late to start lifting at 70", False, ('people of ninety gained strength in trials', 'muscle answers to load at any age')),
    ("lifting helps older people against falls", True, ('stronger legs and balance make falls rarer', 'strength, balance and daily life all gain from it')),
    ("a belt replaces a strong trunk", False, ('it gives the trunk something to push against, no more', 'form and load decide far more')),
    ("a belt can help with very heavy lifts", True, ('pressure in the trunk rises and the lift gets steadier', 'many lift a few percent more with it')),
    ("fat burners are needed to lose weight", False, ('most do nothing beyond their caffeine', 'no pill makes up for eating more than you burn')),
    ("caffeine can make training feel easier", True, ('3 to 6 mg per kg did so in many trials', 'endurance and strength both gain a little')),
    ("fasted cardio burns more fat over the day", False, ('over a day the loss is the same', 'what is not burnt in the session is burnt later, or the other way round')),
    ("healthy people can do an easy run before breakfast", True, ('for easy work that is a matter of taste', 'healthy people do it without trouble')),
    ("cramps always come from a lack of magnesium", False, ('tired muscles are the more common cause', 'trials of magnesium find little use')),
    ("gentle stretching eases a cramp", True, ('holding the muscle long makes it let go', 'pull the toes up for half a minute and it fades')),
    ("nobody builds muscle without protein powder", False, ('food covers it, powder is only handy', 'beans, dairy, eggs or meat do the same')),
    ("whey is made from milk", True, ('it is what is left when cheese is made', 'it comes from the liquid part of milk')),
    ("a sauna burns fat", False, ('what goes is water, and it comes back', 'the scales fool you until you drink')),
    ("a sauna makes people lose water", True, ('half a litre or more can go in one visit', 'it is sweat, so drink afterwards')),
    ("sport makes up for any diet", False, ('a large meal holds more than an hour burns', 'an hour of running is about one burger with chips')),
    ("an hour of running burns several hundred kcal", True, ('about 1 kcal for each kg and km adds up', 'for 70 kg and 10 km that is about 700 kcal')),
    ("new exercises every week are needed to confuse the muscles", False, ('keeping the lifts lets you add load to them', 'growth follows load, and load needs practice')),
    ("the load should rise over time", True, ('a muscle that is never asked for more stays as it is', 'a little more each week or two is the surest way')),
    ("a high pulse always means a good workout", False, ('easy work has its own use and most training should be easy', 'heat, coffee and nerves raise it as well')),
    ("easy training improves endurance", True, ('most of what endurance athletes do is easy', 'the base of endurance is laid at a talking pace')),
    ("ten-minute planks beat heavier trunk work", False, ('beyond a minute a harder version brings more', 'strength wants load rather than minutes')),
    ("planks train the trunk", True, ('the trunk holds the line and gets stronger at that', 'short, hard holds do it well')),
    ("lactic acid causes the soreness of the next day", False, ('it is gone within an hour or so', 'small damage from unfamiliar work is behind it')),
    ("easy movement can ease soreness for a while", True, ('blood flow and warmth make it milder', 'it does not heal faster but it feels better')),
    ("bread has to go if fat is to go", False, ('at equal energy and protein both ways end alike', 'a deficit works with bread in it')),
    ("weight loss is possible with bread and rice", True, ('the energy total is what decides', 'as long as the day stays in a deficit it works')),
    ("the breath should be held through a whole set", False, ('pressure climbs and you may get dizzy', 'breathe out past the hardest part')),
    ("a deep breath and a firm trunk help before a heavy lift", True, ('a firm trunk carries the load more safely', 'air in the belly steadies the spine')),
    ("vegan food is healthy no matter what it is", False, ('sugar and fat count there as well', 'the label says nothing about energy')),
    ("vegans need a source of vitamin B12", True, ('plants hold none that could be relied on', 'a supplement or fortified food is advised to all of them')),
    ("one week of holiday ruins all strength", False, ('strength holds for two to three weeks', 'a week changes next to nothing')),
    ("a light week now and then is useful", True, ('it clears tiredness and the next weeks go better', 'many plans have one every month or two')),
    ("a higher number on the scales always means more fat", False, ('water, food and muscle move it as well', 'from day to day it swings by a kilo or two')),
    ("fat can go while body weight stays the same", True, ('beginners do it often, with lifting and protein', 'the tape shows it before the scales do')),
))  # fmt: skip
# The first of a pair is answered with yes if the claim is right, the second if it is wrong.
TRUE_OR_NOT = (
    ("Is it true that {c}?", "Is it a myth that {c}?"),
    ("I read that {c}. Is that true?", "I read that {c}. Is that a myth?"),
    ("My coach says that {c}. Is he right?", "My coach says that {c}. Is he wrong?"),
    ("Would you agree that {c}?", "Would you object if I say that {c}?"),
    ("Is it right to say that {c}?", "Is it wrong to say that {c}?"),
    ("Should I believe that {c}?", "Should I doubt that {c}?"),
    (
        "They say in my gym that {c}. Is it a fact?",
        "They say in my gym that {c}. Is it a fairy tale?",
    ),
    ("{C}. Correct?", "{C}. Is that an error?"),
    ("A video claims that {c}. Can I trust it?", "A video claims that {c}. Is it misleading?"),
    ("Do studies support that {c}?", "Do studies contradict that {c}?"),
    ("Is the sentence right that {c}?", "Is the sentence wrong that {c}?"),
)
WHO_IS_RIGHT = (
    "{a} says that {c}. {b} says that this is wrong. Who is right?",
    "{b} denies that {c}; {a} swears by it. Who is right?",
    "Two friends disagree. {a}: “{C}.” {b}: “That is wrong.” Who has it right?",
    "{b} thinks it is a myth that {c}. {a} thinks it is true. Whom do I believe?",
    "According to {a}, {c}. According to {b}, that is not so. Who is right?",
    "{a} and {b} argue. {a} holds that {c}, {b} holds the opposite. Who wins?",
    "{b} laughs at {a}, who told us that {c}. Which of them is right?",
    "Does {a} have it right, who says that {c}, or {b}, who does not believe it?",
    "{a} tells beginners that {c}, and {b} tells them not to believe it. Who is right?",
    "{b} against {a}: is it wrong or right that {c}? {a} says right.",
)
YES_OR_NO = (
    "{V}, {r}.",
    "{V}: {r}.",
    "{V}. {R}.",
    "I would say {v}: {r}.",
    "{V}, since {r}.",
    "In short, {v}: {r}.",
    "{V}; {r}.",
)
NAMED = (
    "{x} is right: {r}.",
    "{x}, because {r}.",
    "{x} has it right; {r}.",
    "I side with {x}: {r}.",
    "{x}. {R}.",
    "Believe {x}: {r}.",
    "{x} wins, since {r}.",
)


def true_or_not(draw: Draw) -> Mirror:
    """One claim, asked about twice: is it true, and is it a myth?"""
    claim = draw.fact("claim", CLAIMS, lambda c: c.text)
    reason, form = draw.pick(claim.reasons), draw.pick(YES_OR_NO)
    questions = draw.ask(TRUE_OR_NOT)

    def side(question: str, says_yes: bool) -> Side:
        verdict, other = ("yes", "no") if says_yes else ("no", "yes")
        answer = form.format(v=verdict, V=capital(verdict), r=reason, R=capital(reason))
        check = {
            "any": [f"{verdict}{mark}" for mark in ",:;."],
            "none": [f"{other}{mark}" for mark in ",:;."],
        }
        question = question.format(c=claim.text, C=capital(claim.text))
        return Side(question, answer, check, _flaw(claim), (_fact(claim, reason),))

    return draw.mirror(
        "myths", side(questions[0], claim.right), side(questions[1], not claim.right)
    )


def who_is_right(draw: Draw) -> Mirror:
    """One claim, and two people of whom one believes it."""
    claim = draw.fact("claim", CLAIMS, lambda c: c.text)
    people = draw.two(draw.pick(PEOPLE))
    reason, form, question = draw.pick(claim.reasons), draw.pick(NAMED), draw.ask(WHO_IS_RIGHT)

    def side(believer: str, doubter: str) -> Side:
        right, wrong = (believer, doubter) if claim.right else (doubter, believer)
        return Side(
            question.format(a=believer, b=doubter, c=claim.text, C=capital(claim.text)),
            form.format(x=right, r=reason, R=capital(reason)),
            {"any": [right], "none": [wrong]},
            _flaw(claim),
            (_fact(claim, reason),),
        )

    return draw.mirror("myths", side(*people), side(*people[::-1]))


def _flaw(claim: Claim) -> str:
    return "denies a fact" if claim.right else "confirms a myth"


def _fact(claim: Claim, reason: str) -> str:
    return f"{'true' if claim.right else 'myth'}: {claim.text}; {reason}"


KINDS = ((true_or_not, 1), (who_is_right, 1))
declare("claim", (claim.text for claim in CLAIMS))
