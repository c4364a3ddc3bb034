"""Ranges to train and eat by: our own table, every line with its source."""

from typing import NamedTuple

from frames import framed

ISSN_PROTEIN = "ISSN position stand on protein, Jäger et al. 2017, doi 10.1186/s12970-017-0177-8"
ISSN_CREATINE = (
    "ISSN position stand on creatine, Kreider et al. 2017, doi 10.1186/s12970-017-0173-z"
)
ISSN_CAFFEINE = "ISSN position stand on caffeine, Guest et al. 2021, doi 10.1186/s12970-020-00383-4"
MORTON = "Morton et al. 2018, doi 10.1136/bjsports-2017-097608"
WHO_ACTIVITY = "WHO guidelines on physical activity 2020"
WHO_DIET = "WHO fact sheet on a healthy diet"
EFSA = "EFSA dietary reference values"
EFSA_CAFFEINE = "EFSA opinion on caffeine 2015"
ACSM = "ACSM position stand on resistance training 2009, doi 10.1249/MSS.0b013e3181915670"
ACSM_FLUID = "ACSM position stand on fluid replacement 2007, doi 10.1249/mss.0b013e31802ca597"
ACSM_ENDURANCE = (
    "ACSM position stand on nutrition and performance 2016, doi 10.1249/MSS.0000000000000852"
)
AASM = "AASM and SRS consensus on sleep 2015, doi 10.5665/sleep.4716"
SCHOENFELD = "Schoenfeld et al. 2017 on weekly sets, doi 10.1080/02640414.2016.1210197"
HELMS = "Helms et al. 2014 on contest preparation, doi 10.1186/1550-2783-11-20"
ACSM_STRETCH = "ACSM position stand on exercise prescription 2011, doi 10.1249/MSS.0b013e318213fefb"


class Range(NamedTuple):
    """A range, the questions that ask for it, and who says so."""

    topic: str
    cores: tuple[str, ...]
    low: float
    high: float
    unit: str
    answer: str
    source: str

    @property
    def questions(self) -> tuple[str, ...]:
        """All wordings."""
        return framed(self.cores)


def _per_kg(low: str, high: str, of: str = "") -> str:
    return f"{low} to {high} g {of}per kg of body weight a day"


RANGES = (
    Range("protein to build muscle", ("How much protein a day do I need to build muscle?", "What protein intake suits someone who lifts to grow?"), 1.6, 2.2, "g/kg", _per_kg("1.6", "2.2"), MORTON),
    Range("protein of an inactive adult", ("How much protein a day covers the needs of an adult who does no sport?", "What is the official protein intake for someone who sits all day?"), 0.8, 0.83, "g/kg", "0.8 to 0.83 g per kg of body weight a day", EFSA),
    Range("protein of lean athletes in a diet", ("How much protein do lean, strong athletes take while dieting hard, per kg of lean mass?", "What protein intake is advised per kg of lean mass in a strict cut?"), 2.3, 3.1, "g/kg", "2.3 to 3.1 g per kg of lean mass a day", HELMS),
    Range("carbohydrate for hard endurance training", ("How much carbohydrate should I eat with one hour or more of hard endurance training a day?", "What carbohydrate intake goes with an hour or two of running a day?"), 6, 10, "g/kg", _per_kg("6", "10"), ACSM_ENDURANCE),
    Range("carbohydrate for light training", ("How much carbohydrate is enough on days of light, easy exercise?", "What carbohydrate intake fits light training days?"), 3, 5, "g/kg", _per_kg("3", "5"), ACSM_ENDURANCE),
    Range("carbohydrate before an event", ("How much carbohydrate should I have in the hours before a long race?", "What amount of carbohydrate goes into the meal one to four hours before a marathon?"), 1, 4, "g/kg", "1 to 4 g per kg of body weight, one to four hours before", ACSM_ENDURANCE),
    Range("protein per meal", ("How much protein should one meal have for muscle growth?", "What amount of protein per meal is advised to someone who lifts?"), 20, 40, "g", "20 to 40 g a meal", ISSN_PROTEIN),
    Range("creatine a day", ("How much creatine should I take every day?", "What is the daily dose of creatine once the stores are full?"), 3, 5, "g", "3 to 5 g a day", ISSN_CREATINE),
    Range("fibre a day", ("How much fibre should an adult eat in a day?", "What daily amount of fibre is advised?"), 24, 26, "g", "about 25 g a day", EFSA),
    Range("salt a day", ("How much salt is the limit for a day?", "What is the most salt an adult should eat daily?"), 4.5, 5, "g", "less than 5 g a day", WHO_DIET),
    Range("carbohydrate during long exercise", ("How much carbohydrate should I take in per hour of a two-hour ride?", "What should I eat in carbohydrate each hour of a long run?"), 30, 60, "g/h", "30 to 60 g an hour", ACSM_ENDURANCE),
    Range("carbohydrate in ultra events", ("How much carbohydrate per hour is advised in races of more than two and a half hours?", "What carbohydrate intake an hour suits an ultra run?"), 61, 90, "g/h", "up to 90 g an hour", ACSM_ENDURANCE),
    Range("caffeine before training", ("How much caffeine before training helps performance?", "What dose of caffeine per kg works before a race?"), 3, 6, "mg/kg", "3 to 6 mg per kg of body weight", ISSN_CAFFEINE),
    Range("caffeine as a single safe dose", ("What single dose of caffeine per kg raises no concern for a healthy adult?", "How much caffeine at once is seen as safe, per kg?"), 2.5, 2.99, "mg/kg", "up to about 3 mg per kg of body weight at a time", EFSA_CAFFEINE),
    Range("aerobic activity a week", ("How many minutes of moderate activity a week does health need?", "How long should I walk briskly in a week to meet the guidelines?"), 150, 300, "min/week", "150 to 300 minutes a week", WHO_ACTIVITY),
    Range("vigorous activity a week", ("How many minutes of vigorous exercise a week are enough?", "If I only run hard, how many minutes a week do the guidelines ask for?"), 75, 149, "min/week", "75 to 150 minutes a week", WHO_ACTIVITY),
    Range("rest between heavy sets", ("How long should I rest between heavy sets for strength?", "What rest goes between sets of heavy squats?"), 2, 3, "min", "2 to 3 minutes", ACSM),
    Range("rest in light muscle work", ("How long are rests between light sets of 10 to 15 repetitions for endurance?", "What rest suits a dozen light repetitions a set, for muscular endurance?"), 0.5, 0.9, "min", "less than 1 minute", ACSM),
    Range("repetitions for maximal strength", ("How many repetitions a set build maximal strength?", "What repetition range do advanced lifters use to get stronger?"), 1, 6, "reps", "1 to 6 repetitions", ACSM),
    Range("repetitions for muscle growth", ("How many repetitions a set are advised for a beginner's muscle growth?", "What repetition range is the classic one for size?"), 8, 12, "reps", "8 to 12 repetitions", ACSM),
    Range("repetitions for muscular endurance", ("How many repetitions a set train muscular endurance?", "What repetition range should I use to last longer with light weights?"), 15, 25, "reps", "15 to 25 repetitions", ACSM),
    Range("load for beginners", ("At what share of my one-repetition maximum should I start lifting?", "What load, as a share of the maximum, suits a beginner?"), 60, 70, "%", "60 to 70 % of the maximum", ACSM),
    Range("load for maximal strength", ("What share of the maximum do experienced lifters use for strength?", "How heavy, in percent of the maximum, is strength work for the advanced?"), 80, 100, "%", "80 to 100 % of the maximum", ACSM),
    Range("load for power", ("What load builds power in upper-body throws and presses, as a share of the maximum?", "How heavy should fast, explosive presses be in percent of the maximum?"), 30, 59, "%", "30 to 60 % of the maximum", ACSM),
    Range("fat in the diet", ("What share of daily energy may come from fat?", "How much of my energy can be fat?"), 20, 30, "% energy", "up to 30 % of daily energy", WHO_DIET),
    Range("free sugars", ("What share of daily energy may come from free sugars?", "How much of my energy can be added sugar?"), 5, 10, "% energy", "less than 10 % of daily energy, better 5 %", WHO_DIET),
    Range("trans fat", ("What share of daily energy may come from trans fat at most?", "How small should the share of trans fat be in my daily energy?"), 0, 1, "% energy", "less than 1 % of daily energy", WHO_DIET),
    Range("sleep of adults", ("How many hours of sleep does an adult need?", "How long should I sleep to recover well?"), 7, 9, "h", "at least 7 hours a night", AASM),
    Range("time between sessions of one muscle", ("How many hours should pass before I train the same muscle again?", "How long does a muscle rest between two hard sessions?"), 48, 72, "h", "at least 48 hours", ACSM),
    Range("meal before exercise", ("How long before a race should the last full meal be?", "How many hours lie between a main meal and hard training?"), 1, 4, "h", "1 to 4 hours", ACSM_ENDURANCE),
    Range("weekly sets a muscle", ("How many sets a week does a muscle need to grow well?", "What weekly number of sets per muscle is a good target for growth?"), 10, 20, "sets", "at least 10 sets a week", SCHOENFELD),
    Range("sets of one exercise for a beginner", ("How many sets of an exercise should a beginner do?", "What number of sets per exercise is enough in my first weeks?"), 1, 3, "sets", "1 to 3 sets", ACSM),
    Range("training days of beginners", ("On how many days a week should a beginner lift?", "How often a week does someone new to lifting train the whole body?"), 2, 3, "days", "2 to 3 days a week", ACSM),
    Range("training days of advanced lifters", ("On how many days a week do advanced lifters train?", "How often a week does someone with years of lifting go to the gym?"), 4, 5, "days", "4 to 5 days a week", ACSM),
    Range("weight loss a week", ("How much weight a week should a lean lifter lose at most to keep muscle?", "What weekly weight loss keeps muscle on?"), 0.5, 1, "% weight/week", "0.5 to 1 % of body weight a week", HELMS),
    Range("fluid loss", ("How much body weight may I lose as sweat before performance drops?", "What loss of water, as a share of body weight, is the limit in training?"), 1.9, 2, "% weight/week", "no more than 2 % of body weight", ACSM_FLUID),
    Range("raising the load", ("By how much do I raise the load once I beat my target repetitions?", "How big is the next step in weight, in percent?"), 2, 10, "%", "2 to 10 %", ACSM),
    Range("time to hold a stretch", ("How long do I hold a static stretch?", "For how many seconds should a stretch last?"), 10, 30, "s", "10 to 30 seconds", ACSM_STRETCH),
    Range("time to hold a stretch when older", ("How long should older adults hold a stretch?", "For how many seconds does my grandmother hold her stretches?"), 31, 60, "s", "30 to 60 seconds", ACSM_STRETCH),
)  # fmt: skip
