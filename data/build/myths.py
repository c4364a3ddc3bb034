"""Myths: something many believe and that is wrong, beside something like it that is right."""

from typing import NamedTuple

from frames import framed
from mirrors import Draw, Mirror, Side, declare


class Myth(NamedTuple):
    """A wrong belief and a right one: each a question, and what answers it after No or Yes."""

    wrong: tuple[str, ...]
    no: tuple[str, ...]
    right: tuple[str, ...]
    yes: tuple[str, ...]


MYTHS = (
    Myth(("Do crunches burn the fat on my belly?", "Will sit-ups melt belly fat?"), ("the body takes fat from everywhere, not from the spot you train", "where fat goes first is not decided by the muscle at work"), ("Do crunches strengthen the abdominal muscles?", "Will sit-ups make my abdominal muscles stronger?"), ("they load these muscles directly, and a few sets a week show", "the muscle at work is the one that adapts")),
    Myth(("Does lifting weights make women bulky overnight?", "Will a woman look like a bodybuilder after a few months of lifting?"), ("that much muscle takes years of training and eating for it", "size comes slowly, and nobody gets it by accident"), ("Does lifting weights make women stronger?", "Will a woman gain strength from a few months of lifting?"), ("relative gains are as large as in men", "strength rises within weeks, well before size does")),
    Myth(("Does muscle turn into fat when I stop training?", "Can muscle become fat in a break?"), ("they are different tissues and neither becomes the other", "muscle shrinks and fat may grow, but one is not made into the other"), ("Does muscle shrink when I stop training for months?", "Can I lose muscle in a long break?"), ("without a load it gets smaller, though it comes back faster than it came", "what is not used is given up little by little")),
    Myth(("Do I have to eat within half an hour after training or lose the gains?", "Is all the work lost if I eat two hours after lifting?"), ("the day's total counts far more than the minute", "the muscle stays receptive for a day or so"), ("Does the day's total protein matter for muscle growth?", "Is my protein over the whole day important for gains?"), ("it is the figure that studies tie to growth most clearly", "the sum of the day does most of the work")),
    Myth(("Do vegetarians have to combine plant proteins in every meal?", "Must I eat rice and beans together in one meal to use their protein?"), ("variety over the day is enough, since the body keeps a pool of amino acids", "different sources over a day complete each other"), ("Can vegetarians cover their protein with plants and dairy?", "Is enough protein possible without any meat?"), ("beans, soy, dairy and grains reach every common target", "with soy, pulses and dairy the targets are met easily")),
    Myth(("Is soy bad for men's hormones in normal amounts?", "Does tofu lower a man's testosterone?"), ("trials find no effect on testosterone at common intakes", "reviews of many trials see no change in male hormones"), ("Is soy a complete protein?", "Does tofu hold all essential amino acids?"), ("it has all the essential ones in useful amounts", "it is one of the few plants that bring every one of them")),
    Myth(("Does creatine harm healthy kidneys at 3 to 5 g a day?", "Will a normal dose of creatine damage the kidneys of a healthy person?"), ("years of trials show no harm in healthy people", "it raises one lab value, not the damage"), ("Does creatine help in short, hard efforts?", "Will a normal dose of creatine bring more strength?"), ("it is among the best proven supplements for that", "a little more strength and mass is what most trials find")),
    Myth(("Does sweating more mean burning more fat?", "Is a soaked shirt a sign of lost fat?"), ("sweat is cooling water, and it comes back with the next drink", "the scales drop from lost water only"), ("Does sweating cool the body?", "Is sweat the body's way to get rid of heat?"), ("it takes heat away as it dries", "cooling is what it is there for")),
    Myth(("Is no pain no gain a good rule?", "Must a workout hurt to work?"), ("effort is needed, pain in joints is a reason to stop", "progress comes from load and rest, not from pain"), ("Is some soreness after new exercises common?", "Can a new workout leave me sore for two days?"), ("it peaks after a day or two and fades by itself", "unfamiliar work does that and it is harmless")),
    Myth(("Does stretching before training prevent all injuries?", "Will a long static stretch keep me safe from injuries?"), ("a warm-up that resembles the work does more", "studies find little effect of it on injuries"), ("Does regular stretching increase the range of motion?", "Will stretching over weeks make me more flexible?"), ("a few minutes on most days bring it", "range grows over weeks when it is used")),
    Myth(("Is squatting deep bad for healthy knees?", "Do full squats ruin sound knees?"), ("sound knees adapt to the load and get stronger", "trained lifters who squat deep have no more knee trouble"), ("Is squatting good for the thighs and glutes?", "Do full squats train the legs well?"), ("few exercises load them as much at once", "they work most of the lower body in one movement")),
    Myth(("Do carbohydrates after six in the evening turn into fat?", "Does pasta at night make me fat by itself?"), ("the balance of the whole day decides, not the clock", "energy counts the same at any hour"), ("Do carbohydrates fill the stores for hard training?", "Does pasta the evening before help a long run?"), ("they refill the glycogen that hard work uses", "full stores let you last longer")),
    Myth(("Does a detox juice clean the body of toxins?", "Do I need a juice cure to detox?"), ("liver and kidneys do that without juice", "no cure has been shown to remove anything that they do not"), ("Does the liver break down alcohol?", "Do liver and kidneys clear waste from the blood?"), ("the body does that all day long", "such clearing never stops in a healthy body")),
    Myth(("Does fruit make people fat because of its sugar?", "Should I avoid whole fruit to lose weight?"), ("it fills for few calories and brings fibre", "people who eat more of it tend to weigh less"), ("Does whole fruit bring fibre?", "Is whole fruit a source of vitamins?"), ("most kinds do, with plenty of water besides", "a few pieces a day are part of every guideline")),
    Myth(("Is cardio a must to lose fat?", "Can nobody lose weight without running?"), ("a deficit does it, and food can make it alone", "what counts is energy, however the gap is made"), ("Is cardio good for the heart?", "Can running lower the resting pulse?"), ("regular training makes the heart pump more with each beat", "weeks of it show in a slower pulse at rest")),
    Myth(("Does more protein always mean more muscle?", "Will 5 g of protein per kg build more than 2 g?"), ("beyond about 2.2 g per kg nothing more is gained", "the extra is burnt for energy or stored"), ("Does protein help me stay full?", "Will protein keep hunger down in a diet?"), ("it fills more than the same energy from sugar", "meals rich in it keep people full for longer")),
    Myth(("Are egg yolks to be avoided by everyone?", "Should healthy people throw the yolk away?"), ("for most healthy people an egg a day is fine", "much of the egg's vitamins would be lost"), ("Do egg yolks hold part of the egg's protein?", "Is there protein in the yolk as well?"), ("nearly half of an egg's protein is in it", "it has a good share of it, with most of the vitamins")),
    Myth(("Do I need to train every day to make progress?", "Is a rest day a lost day?"), ("muscles adapt while they rest", "two or three sessions a week take a beginner far"), ("Do muscles need rest to grow?", "Is a day off useful between hard sessions?"), ("the growth happens in the pause, not in the set", "a day or two lets the work take effect")),
    Myth(("Are machines useless for building muscle?", "Can I only grow with free weights?"), ("a muscle responds to load, whatever gives it", "trials find the same growth with both"), ("Can machines build muscle?", "Are machines safe for beginners?"), ("the path is guided and the load easy to set", "they let you work hard without much technique")),
    Myth(("Do high repetitions tone while low repetitions bulk?", "Is toning a different thing from building muscle?"), ("a look called toned is muscle with little fat over it", "both build size if the set is hard"), ("Do both light and heavy weights build muscle if the set is hard?", "Can a light weight build muscle when I go near failure?"), ("near failure the load matters little for size", "trials from 5 to 30 repetitions end much alike")),
    Myth(("Does drinking ice water burn a lot of calories?", "Will cold water make me slim?"), ("warming a glass takes only a few kcal", "the effect is smaller than one bite of bread"), ("Does drinking water before meals help some people to eat less?", "Can a glass of water take the edge off hunger?"), ("a glass or two before a meal fills for a while", "in trials people ate a little less after it")),
    Myth(("Is brown sugar much healthier than white?", "Is honey free of sugar?"), ("to the body they are nearly the same", "the differences are traces"), ("Is brown rice richer in fibre than white?", "Does wholegrain bread hold more fibre than white bread?"), ("the bran is left on it", "the outer layers stay in, and fibre with them")),
    Myth(("Do children stop growing from lifting?", "Will strength training stunt a teenager?"), ("guided training with fitting loads is safe for them", "no study has shown that"), ("Can teenagers lift weights under guidance?", "Is guided strength training good for young people?"), ("it makes bones and muscles stronger", "with a coach and light loads it is advised")),
    Myth(("Is it too late to start lifting at 70?", "Can old people no longer build muscle?"), ("people of ninety gained strength in trials", "muscle answers to load at any age"), ("Can lifting help older people against falls?", "Does strength training help at 70?"), ("stronger legs and balance make falls rarer", "strength, balance and daily life all gain from it")),
    Myth(("Does a belt replace trunk strength?", "Will a belt make every lift safe?"), ("it gives the trunk something to push against, no more", "form and load decide far more"), ("Can a belt help with very heavy lifts?", "Does a belt let the trunk brace harder?"), ("pressure in the trunk rises and the lift gets steadier", "many lift a few percent more with it")),
    Myth(("Are fat burners needed to lose weight?", "Will a fat burner do the work for me?"), ("most do nothing beyond their caffeine", "no pill makes up for eating more than you burn"), ("Can caffeine make training feel easier?", "Does coffee before training help performance?"), ("3 to 6 mg per kg did so in many trials", "endurance and strength both gain a little")),
    Myth(("Do I burn more in total by training on an empty stomach?", "Is fasted cardio the better way to lose fat?"), ("over a day the loss is the same", "what is not burnt in the session is burnt later, or the other way round"), ("Can I train before breakfast if I feel well?", "Is an easy run before breakfast all right?"), ("for easy work that is a matter of taste", "healthy people do it without trouble")),
    Myth(("Does salt water cure cramps at once for everybody?", "Are cramps always a lack of magnesium?"), ("tired muscles are the more common cause", "trials of it find little use"), ("Does gentle stretching ease a cramp?", "Can I end a calf cramp by stretching it?"), ("holding the muscle long makes it let go", "pull the toes up for half a minute and it fades")),
    Myth(("Is whey only for professionals?", "Must I buy powder to build muscle?"), ("food covers it, powder is only handy", "beans, dairy, eggs or meat do the same"), ("Is whey made from milk?", "Is whey powder a protein from milk?"), ("it is what is left when cheese is made", "it comes from the liquid part of milk")),
    Myth(("Does a sauna burn fat?", "Will the sauna make me lose fat?"), ("what goes is water, and it comes back", "the scales fool you until you drink"), ("Does a sauna make me lose water?", "Will I weigh less right after the sauna?"), ("half a litre or more can go in one visit", "it is sweat, so drink afterwards")),
    Myth(("Can I outrun any diet?", "Does an hour of sport make up for any meal?"), ("a large meal holds more than an hour burns", "an hour of running is about one burger with chips"), ("Does an hour of running burn several hundred kcal?", "Can a long run burn as much as a meal has?"), ("about 1 kcal for each kg and km adds up", "for 70 kg and 10 km that is about 700 kcal")),
    Myth(("Should I change all my exercises every week to confuse the muscles?", "Is muscle confusion the key to growth?"), ("keeping the lifts lets you add load to them", "growth follows load, and load needs practice"), ("Should I raise the load over time?", "Is a slow rise of load the key to progress?"), ("a muscle that is never asked for more stays as it is", "a little more each week or two is the surest way")),
    Myth(("Does a high heart rate always mean a good workout?", "Is the highest pulse the best pulse?"), ("easy work has its own use and most training should be easy", "heat, coffee and nerves raise it as well"), ("Can easy training improve endurance?", "Does slow running make me fitter?"), ("most of what endurance athletes do is easy", "the base of endurance is laid at a talking pace")),
    Myth(("Is a plank of ten minutes better than heavier trunk work?", "Do I need ten-minute planks for a strong trunk?"), ("beyond a minute a harder version brings more", "strength wants load rather than minutes"), ("Does a plank train the trunk?", "Can planks make the trunk stronger?"), ("the trunk holds the line and gets stronger at that", "short, hard holds do it well")),
    Myth(("Does lactic acid cause the soreness of the next day?", "Is lactate still in my muscles two days later?"), ("it is gone within an hour or so", "small damage from unfamiliar work is behind it"), ("Can easy movement ease soreness for a while?", "Does a walk help sore legs?"), ("blood flow and warmth make it milder", "it does not heal faster but it feels better")),
    Myth(("Are carbohydrates the enemy of fat loss?", "Must I leave out bread to lose weight?"), ("at equal energy and protein both ways end alike", "a deficit works with bread in it"), ("Can a diet with bread lead to weight loss?", "Is weight loss possible with rice and potatoes?"), ("the energy total is what decides", "as long as the day stays in a deficit it works")),
    Myth(("Should I hold my breath through a whole set?", "Is it best not to breathe while lifting?"), ("pressure climbs and you may get dizzy", "breathe out past the hardest part"), ("Should I brace my trunk before a heavy lift?", "Is a deep breath before a heavy squat a good idea?"), ("a firm trunk carries the load more safely", "air in the belly steadies the spine")),
    Myth(("Is vegan food healthy no matter what it is?", "Are vegan biscuits health food?"), ("sugar and fat count there as well", "the label says nothing about energy"), ("Do vegans need a source of vitamin B12?", "Should a vegan take vitamin B12?"), ("plants hold none that could be relied on", "a supplement or fortified food is advised to all of them")),
    Myth(("Will I lose all gains in one week of holiday?", "Does a week off ruin my strength?"), ("strength holds for two to three weeks", "a week changes next to nothing"), ("Is a light week now and then useful?", "Can a deload week help?"), ("it clears tiredness and the next weeks go better", "many plans have one every month or two")),
    Myth(("Is the number on the scales all that counts?", "Does a higher weight always mean more fat?"), ("water, food and muscle move it as well", "from day to day it swings by a kilo or two"), ("Can I lose fat while my weight stays the same?", "Is it possible to gain muscle and lose fat at once?"), ("beginners do it often, with lifting and protein", "the tape shows it before the scales do")),
)  # fmt: skip
NO = (
    "No, {r}.",
    "No: {r}.",
    "No. {R}.",
    "That is not so: {r}.",
    "No, not at all: {r}.",
    "Not true: {r}.",
    "I would say no: {r}.",
)
YES = (
    "Yes, {r}.",
    "Yes: {r}.",
    "Yes. {R}.",
    "That is so: {r}.",
    "Yes, by all means: {r}.",
    "Quite true: {r}.",
    "I would say yes: {r}.",
)


def myth(draw: Draw) -> Mirror:
    """One to deny, one to affirm."""
    topic = draw.fact("myth", MYTHS, lambda m: m.wrong[0])
    index = draw.rng.randrange(len(NO))
    no, yes = draw.pick(topic.no), draw.pick(topic.yes)
    return draw.mirror(
        "myths",
        Side(
            draw.ask(framed(topic.wrong)),
            _fill(NO[index], no),
            {"any": ["no", "not so", "not true"], "none": ["yes", "that is so", "quite true"]},
            "confirms a myth",
            (no,),
        ),
        Side(
            draw.ask(framed(topic.right)),
            _fill(YES[index], yes),
            {
                "any": ["yes", "that is so", "quite true"],
                "none": ["no,", "no:", "no.", "not so", "not true"],
            },
            "denies a fact",
            (yes,),
        ),
    )


def _fill(form: str, reason: str) -> str:
    return form.format(r=reason, R=reason[0].upper() + reason[1:])


KINDS = ((myth, 1),)
declare("myth", (topic.wrong[0] for topic in MYTHS))
