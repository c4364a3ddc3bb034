"""Constraints of a programme: days, equipment, sore joints, level, time."""

from collections.abc import Iterator

from question import Question, choice, figure, verdict

_KIT = "what the exercise needs"
_JOINT = "what the exercise loads"
_WHO = "WHO 2020 guidelines on physical activity and sedentary behaviour"
_ACSM = "ACSM 2009, Progression models in resistance training"
_TIME = "arithmetic of sets and rests"
_CALENDAR = "days between sessions; ACSM 2009: 48 hours for the same muscles"

_FLOOR = (
    "push-up|pushup|press-up",
    "squat|bodyweight squat|air squat",
    "lunge|split squat",
    "plank",
    "glute bridge|hip bridge|bridge",
    "crunch|sit-up|situp",
    "dead bug",
    "superman",
    "side plank",
    "calf raise",
    "wall sit",
    "bird dog",
    "mountain climber",
    "burpee",
    "jumping jack",
    "hollow hold",
    "leg raise",
)
_IRON = (
    "barbell",
    "bench press",
    "deadlift",
    "pulldown|pull-down",
    "leg press",
    "cable",
    "dumbbell",
    "kettlebell",
    "leg extension",
    "machine",
    "pull-up|pullup|chin-up",
    "row",
    "bench",
)
_LEGS = (
    "squat",
    "lunge|split squat",
    "leg press",
    "leg extension",
    "step-up|stepup",
    "box jump",
    "jump|jumping jack|burpee",
    "running|run",
)
_UPPER = (
    "push-up|pushup|press-up",
    "bench press|floor press|chest press",
    "row",
    "pull-up|pullup|chin-up",
    "pulldown|pull-down",
    "curl",
    "overhead press|shoulder press",
    "lateral raise",
    "dip",
    "fly|flye",
    "face pull",
    "tricep extension|triceps extension|pushdown",
)


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _equipment()
    yield from _joints()
    yield from _levels()
    yield from _days()
    yield from _minutes()


def _equipment() -> Iterator[Question]:
    yield choice(
        "hotel room, no kit at all. give me three strength exercises",
        _FLOOR,
        _IRON,
        "Press-ups, lunges and a plank, three rounds.",
        "Bench press, rows and curls.",
        _KIT,
        least=3,
    )
    yield choice(
        "Only a bar in the doorway here. What trains my back with it?",
        ["pull-up|pullup|chin-up", "hang|dead hang|scapular pull", "inverted row"],
        [
            "lat pulldown|pulldown",
            "barbell row|barbell",
            "dumbbell row|dumbbell",
            "deadlift",
            "cable",
        ],
        "Pull-ups; if they are too hard, start with slow negatives.",
        "Barbell rows and deadlifts.",
        _KIT,
        least=1,
    )
    yield choice(
        "I own one 16 kg kettlebell and nothing else. Name two things for legs and hips I can do with "
        "it.",
        [
            "goblet squat|squat",
            "swing",
            "deadlift",
            "lunge|split squat",
            "step-up",
            "clean",
            "snatch",
            "hip thrust|glute bridge|bridge",
        ],
        [
            "leg press",
            "leg curl",
            "leg extension",
            "barbell",
            "machine",
            "dumbbell",
            "cable",
            "bench press",
            "pull-up",
        ],
        "Swings and goblet squats.",
        "Leg press and leg curls.",
        _KIT,
        least=2,
    )
    yield choice(
        "resistance band only, for chest. one exercise pls",
        ["push-up|pushup|press-up", "chest press|band press|press", "fly|flye|crossover"],
        ["bench press|barbell", "dumbbell", "cable", "machine", "pec deck", "row"],
        "Band chest press, anchored behind you at the door.",
        "Dumbbell bench press.",
        _KIT,
        least=1,
    )
    yield choice(
        "Dumbbells up to 10 kg and a mat. Something for hamstrings?",
        [
            "romanian deadlift|rdl|stiff-leg deadlift|single-leg deadlift|deadlift",
            "good morning",
            "glute bridge|hip bridge|bridge|hip thrust",
            "slider curl|hamstring walkout|walkout",
        ],
        [
            "leg curl machine|machine|lying leg curl",
            "barbell",
            "nordic",
            "leg extension",
            "cable",
            "bicep curl",
            "bench press",
            "pull-up",
        ],
        "Single-leg Romanian deadlifts holding the dumbbells.",
        "The leg curl machine.",
        _KIT,
        least=1,
    )
    yield choice(
        "The squat rack is taken all evening. Which of these can I do instead without any rack: leg "
        "press, back squat from pins, rack pull?",
        ["leg press"],
        ["back squat", "rack pull"],
        "The leg press.",
        "Rack pulls.",
        _KIT,
    )
    yield choice(
        "My flat has thin floors, neighbours below, so no jumping. Pick from burpees, jump squats, "
        "glute bridges, skipping, dead bugs - two are fine.",
        ["glute bridge", "dead bug"],
        ["burpee", "jump squat", "skipping"],
        "Take the glute bridges and the dead bugs.",
        "Burpees and dead bugs.",
        _KIT,
    )
    yield choice(
        "park with a bench and a pull up bar only. push exercise for triceps?",
        ["dip|bench dip", "push-up|pushup|press-up"],
        ["pushdown", "cable", "skull crusher", "dumbbell", "barbell", "kickback", "bench press"],
        "Dips on the bench edge.",
        "Cable pushdowns.",
        _KIT,
        least=1,
    )
    yield choice(
        "I train at home, have dumbbells but no bench. What replaces the dumbbell bench press?",
        ["floor press", "push-up|pushup|press-up"],
        ["incline", "decline", "machine", "cable", "barbell", "pec deck", "dip"],
        "Do a floor press, lying on your back.",
        "Incline dumbbell press.",
        _KIT,
        least=1,
    )
    yield choice(
        "Pool only this month. Which of these could I actually keep up there: aqua jogging, hill "
        "sprints, rowing machine?",
        ["aqua jogging|jogging"],
        ["hill sprint", "rowing machine"],
        "Aqua jogging is the one you can do in water.",
        "Hill sprints.",
        _KIT,
    )


def _joints() -> Iterator[Question]:
    yield choice(
        "knee is sore, squats and lunges make it worse. What can I train today? Three exercises, "
        "please",
        _UPPER,
        _LEGS,
        "Train your upper body: chest press, rows and curls.",
        "Step-ups, leg press, rows.",
        _JOINT,
        least=3,
    )
    yield choice(
        "My wrists hurt when bent back, as in push-ups. One chest exercise that keeps them straight?",
        [
            "dumbbell press|dumbbell bench press|dumbbell floor press|floor press|bench press",
            "fly|flye|pec deck",
            "fist|knuckle|handles|push-up bars|parallettes",
            "machine press",
            "chest press",
            "cable crossover|crossover",
        ],
        [
            "plank",
            "handstand",
            "burpee",
            "bear crawl",
            "downward dog",
            "pull-up",
            "squat",
            "deadlift",
        ],
        "Dumbbell press with a neutral grip.",
        "Burpees are good for that.",
        _JOINT,
        least=1,
    )
    yield choice(
        "shoulder pinches whenever i go overhead. which of these stays: military press, snatch, seated "
        "cable row, handstand?",
        ["cable row|seated row"],
        ["military press", "snatch", "handstand"],
        "Keep the seated cable row.",
        "The snatch.",
        _JOINT,
    )
    yield choice(
        "Bad lower back at the moment. I may not load the spine or bend over. Rows how?",
        [
            "chest-supported|chest supported|supported row",
            "machine row|seated row|row machine",
            "cable row|cable",
            "inverted row",
            "bench row|incline row|seal row",
            "one-arm|single-arm",
        ],
        ["bent-over|bent over|barbell row|pendlay", "deadlift", "good morning", "t-bar|t bar"],
        "Chest-supported rows on an incline bench.",
        "Bent-over barbell rows.",
        _JOINT,
        least=1,
    )
    yield choice(
        "Sprained ankle, on crutches, but I'm bored. Anything for the upper body sitting down? Two are "
        "enough.",
        _UPPER,
        [*_LEGS, "calf raise", "skipping", "deadlift"],
        "Seated shoulder press and seated rows.",
        "Box jumps and seated rows.",
        _JOINT,
        least=2,
    )
    yield choice(
        "tennis elbow, gripping hard is hell. cardio for me: rowing machine, battle ropes, or walking "
        "uphill?",
        ["walking|walk|uphill"],
        ["rowing", "battle rope"],
        "Walk uphill; you don't have to hold on.",
        "The rowing machine.",
        _JOINT,
    )
    yield choice(
        "Hip is cranky with running. Which of the three has the least impact - skipping, box jumps, "
        "swimming?",
        ["swimming|swim"],
        ["skipping", "box jump", "cycling"],
        "Swimming.",
        "Skipping.",
        _JOINT,
    )
    yield choice(
        "Neck strain: nothing that hangs from my shoulders or presses on the neck. From back squat, "
        "shrug, farmer's carry and leg extension, which is OK?",
        ["leg extension"],
        ["back squat", "shrug", "farmer's carry|farmers carry|carry"],
        "Only the leg extension.",
        "Shrugs should be alright, same for carries.",
        _JOINT,
    )
    yield choice(
        "Knees can't take impact. Swap for the jump rope in my warm-up? One idea.",
        [
            "bike|cycling|cycle",
            "rowing|rower|row",
            "elliptical|cross trainer|crosstrainer",
            "walking|walk|march",
            "swimming|swim",
            "arm circles|arm ergometer",
        ],
        ["jumping jack", "running|run|jog|jogging", "burpee", "box jump", "sprint", "high knees"],
        "Five easy minutes on the bike.",
        "Jumping jacks.",
        _JOINT,
        least=1,
    )
    yield choice(
        "stitches in my palm so no gripping for 10 days. leg stuff without holding anything? name two",
        [
            "leg press",
            "leg extension",
            "leg curl",
            "squat|bodyweight squat|wall sit",
            "lunge|split squat",
            "calf raise",
            "glute bridge|hip bridge|bridge|hip thrust",
            "step-up",
            "sled",
        ],
        ["deadlift", "kettlebell", "farmer's|farmers|carry", "dumbbell", "pull-up", "swing", "row"],
        "Leg extensions and leg press.",
        "Deadlifts and dumbbell lunges.",
        _JOINT,
        least=2,
    )


def _levels() -> Iterator[Question]:
    yield choice(
        "total beginner, can't do one pull-up yet. what pulling move should I begin with?",
        ["row", "pulldown|pull-down", "band-assisted|assisted", "negative", "hang|dead hang"],
        [
            "muscle-up|muscle up",
            "weighted",
            "one-arm pull|one-arm chin",
            "front lever",
            "rope climb",
            "squat",
            "bench press",
            "deadlift",
        ],
        "Inverted rows under a low bar, and slow negatives later on.",
        "Weighted pull-ups.",
        _ACSM,
        least=1,
    )
    yield choice(
        "First week in a gym ever. Which rep range does the ACSM want for a novice: 1-3, 8-12 or 30-50?",
        ["8 12|8 to 12|8\u201312"],
        ["1 3|1 to 3", "30 50|30 to 50"],
        "8 to 12 reps.",
        "1 to 3 reps.",
        _ACSM,
    )
    yield choice(
        "20 push-ups are easy by now. Make it harder without weights, how? one way",
        [
            "feet elevated|feet up|decline|elevate",
            "one-arm|archer|one arm",
            "slow|tempo|pause",
            "diamond|close-grip",
            "deficit",
            "clap|plyometric",
            "pseudo planche|planche",
        ],
        [
            "knee push-up|on your knees|knees",
            "incline|wall push-up|against a wall",
            "weight vest|vest",
            "dumbbell",
            "barbell",
        ],
        "Put your feet up on a chair.",
        "Do them against a wall.",
        _KIT,
        least=1,
    )
    yield choice(
        "i cant do a full push up. easier version?",
        [
            "incline|hands elevated|hands on a|elevated hands",
            "knee|knees|kneeling",
            "wall",
            "negative|eccentric|lowering",
            "band-assisted|assisted",
        ],
        [
            "clap",
            "one-arm|one arm",
            "decline|feet elevated|feet up",
            "handstand",
            "diamond",
            "weighted",
        ],
        "Hands on a table, or from the knees.",
        "Try them with your feet up, or diamond ones.",
        _KIT,
        least=1,
    )
    yield choice(
        "75 year old mum, a bit unsteady. According to the WHO, besides strength she should do what "
        "kind of exercise three days a week to prevent falls?",
        ["balance|balancing|tai chi"],
        ["sprint", "heavy singles", "marathon"],
        "Balance training, tai chi for instance.",
        "Sprints.",
        _WHO,
    )
    yield verdict(
        "I squat once a year. Would a 1-rep max test be a sensible first session for me? Why / why "
        "not?",
        "no",
        ["technique", "form", "practice", "injury", "prepared", "experience", "adapt", "lighter"],
        "No, first build technique for some weeks with lighter sets.",
        "Yes, then you know your max.",
        _ACSM,
    )
    yield figure(
        "How many minutes of moderate activity a week does the WHO want from an adult, at the very "
        "least?",
        150,
        "min",
        "At least 150 minutes, and 300 is better still.",
        "60 minutes a week",
        _WHO,
    )
    yield figure(
        "And if it's all vigorous, WHO minimum per week in minutes?",
        75,
        "min",
        "75 minutes of it.",
        "30 minutes.",
        _WHO,
    )
    yield figure(
        "My son is 10. Minutes a day of moving about that WHO recommends on average?",
        60,
        "min",
        "An hour, 60 minutes.",
        "20 minutes",
        _WHO,
    )
    yield figure(
        "According to the WHO, on how many days a week should adults do muscle strengthening, minimum?",
        2,
        "days",
        "On two days or more.",
        "Five days.",
        _WHO,
    )


def _days() -> Iterator[Question]:
    week = [
        "monday|mon",
        "tuesday|tue",
        "wednesday|wed",
        "thursday|thu",
        "friday|fri",
        "saturday|sat",
        "sunday|sun",
    ]
    yield choice(
        "full body twice a week, one of them on Monday. I work all weekend, Wednesdays and Fridays, "
        "and want at least two days off in between each time. Which other day?",
        ["thursday"],
        ["tuesday", "wednesday", "friday", "saturday", "sunday"],
        "Thursday: it leaves two clear days after Monday, and three before the next.",
        "Tuesday.",
        _CALENDAR,
    )
    yield choice(
        "3 full body sessions, never two days running. First is on Tuesday, Sunday is family day. "
        "Other two?",
        ["thursday", "saturday"],
        ["monday", "wednesday", "friday", "sunday"],
        "Thursday and Saturday.",
        "Wednesday and Friday.",
        _CALENDAR,
    )
    yield choice(
        "long run is Sunday, and I don't want heavy legs the day before or after it. On which of Monday, "
        "Wednesday and Saturday do I squat?",
        ["wednesday"],
        ["monday", "saturday"],
        "Wednesday.",
        "Saturday.",
        _CALENDAR,
    )
    yield choice(
        "Every other day starting Monday, so what are my training days in the first week?",
        ["monday", "wednesday", "friday", "sunday"],
        ["tuesday", "thursday", "saturday"],
        "Monday, Wednesday, Friday and Sunday.",
        "Monday, Thursday, Saturday.",
        _CALENDAR,
    )
    yield figure(
        "upper/lower split, four sessions a week. how often does each half get trained per week",
        2,
        None,
        "Each half gets two sessions.",
        "Each gets four.",
        _CALENDAR,
    )
    yield figure(
        "Push, pull, legs, each once in three sessions a week. How many days is it from one leg day to the "
        "next?",
        7,
        "days",
        "7 days, it comes round once a week.",
        "3 days",
        _CALENDAR,
    )
    yield figure(
        "12 sets for chest a week, I only come Tuesday, Friday and Sunday, same number each time. Sets "
        "per visit?",
        4,
        "sets",
        "Four sets each time.",
        "Six sets",
        _TIME,
    )
    yield figure(
        "Program is 10 weeks, every fourth week is a deload. How many deload weeks are that?",
        2,
        "weeks",
        "Two: weeks 4 and 8.",
        "Three of them.",
        _TIME,
    )
    yield choice(
        "trained legs hard on thursday evening. 48 hours rest at least. earliest evening for legs again",
        ["saturday"],
        [x for x in week if not x.startswith(("sat", "thu"))],
        "Saturday evening.",
        "Friday evening.",
        _CALENDAR,
    )
    yield choice(
        "I lift Monday, Wednesday, Friday. Football could be on Tuesday, Thursday or Saturday evening. Which "
        "one is not followed by a lifting day?",
        ["saturday"],
        ["tuesday", "thursday"],
        "Saturday, because Sunday is free.",
        "Thursday.",
        _CALENDAR,
    )


def _minutes() -> Iterator[Question]:
    yield figure(
        "I have 30 minutes. A set takes me 1 minute and I rest 2. How many sets fit?",
        10,
        "sets",
        "3 minutes a set, so ten of them.",
        "15 sets",
        _TIME,
    )
    yield verdict(
        "5 exercises, 3 sets each, 40 s work and 80 s rest every set. Does that fit in 25 minutes? How "
        "long does it take?",
        "no",
        ["30", "thirty", "half an hour"],
        "No, that's 15 sets of two minutes: 30 minutes.",
        "Yes, it takes about 20 minutes.",
        _TIME,
    )
    yield verdict(
        "tabata = 8 x (20 s on, 10 s off). i got 5 min. enough? how long is it",
        "yes",
        ["4 minutes", "four minutes", "4 min", "4:00", "240 seconds", "240 s"],
        "Yes, it only takes 4 minutes.",
        "No, it takes eight minutes.",
        "Tabata et al. 1996",
    )
    yield figure(
        "EMOM for 12 minutes, 6 kettlebell swings each minute. Swings in all?",
        72,
        None,
        "72 swings.",
        "18",
        _TIME,
    )
    yield figure(
        "Lunch break 45 min, of which 10 changing and showering at either end. Left for training?",
        25,
        "min",
        "That leaves 25 minutes.",
        "35 minutes",
        _TIME,
    )
    yield figure(
        "superset of 2 exercises, 45 s each, then 90 s rest, four rounds. Minutes altogether with the "
        "last rest?",
        12,
        "min",
        "Four rounds of three minutes: 12 minutes.",
        "6 minutes",
        _TIME,
    )
    yield figure(
        "Circuit with 6 stations, 30 s each and 15 s to change, three rounds, changes after every "
        "station. How many minutes?",
        13.5,
        "min",
        "18 x 45 s = 13.5 minutes",
        "9 minutes",
        _TIME,
    )
    yield figure(
        "Warm-up 6 min, then as many whole 4-minute blocks as fit into a 40 minute slot. Blocks?",
        8,
        None,
        "34 minutes are left, enough for eight blocks.",
        "Ten.",
        _TIME,
    )
    yield figure(
        "gym shuts in 50 min. 7 min to warm up. squat sets take 4 min with rest. i want 3 min to stretch. "
        "how many sets at most",
        10,
        "sets",
        "40 minutes for squats, so ten sets.",
        "12 sets",
        _TIME,
    )
    yield figure(
        "My plan: sessions of 60, 55 and 50 minutes. Compared with the WHO's minimum of 150, how many "
        "minutes are missing if I skip the 55?",
        40,
        "min",
        "110 are left, so you'd be 40 minutes short.",
        "55 minutes are missing then.",
        _WHO,
    )
