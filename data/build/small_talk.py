"""What people say to a chat besides questions of fact: greetings, small talk, what lies outside its world.

No preference pairs: fitbot-tiny learns from them; see chats.py. To what it does not know it says so, and
names what can be asked. Every question that it names rests on a fact of the training split.
"""

from collections.abc import Sequence

from coaching import sentence_case
from facts import FOODS, nutrients_of
from grammar import one_of
from mirrors import Draw, capital, join, require
from plain_facts import CALLED, KNOWN, Exchange, Kinds, everyday
from ranges import RANGES

FOODS_KNOWN, EXERCISES_KNOWN = 100, 300  # at least, of the training split
TOPICS = (
    "protein in foods", "the energy of foods", "iron in foods", "calcium in foods", "fibre in foods", "the muscles of an exercise", "the kit for an exercise",
    "sets and repetitions", "rest between sets", "vegetarian meals", "vegan meals", "Indian foods", "training at home", "training with little kit",
    "short training plans", "warm-ups", "fitness myths", "pounds in kilos", "daily protein", "swaps between exercises", "training weeks",
)  # fmt: skip
VALUE_OF = (
    "How much {n} is in {f}?", "How much {n} do 100 g of {f} have?", "Which has more {n}, {f} or {g}?",
)  # fmt: skip
MUSCLE_OF = ("Which muscles do {e} work?", "What do {e} train?", "What can I do instead of {e}?", "What do I need for {e}?")  # fmt: skip
PLANS = (
    "A workout at home without equipment, please.", "Plan a week with three training days.", "A vegan day with 100 g of protein?",
    "A vegetarian day with 90 g of protein?", "What is a good warm-up?", "A session with dumbbells, please.", "Give me a session with a kettlebell.",
    "How much protein do I need at 70 kg?", "What is a vegan lunch with protein?", "Which foods have a lot of protein?",
)  # fmt: skip


def example(draw: Draw) -> str:
    """Write a question that it can answer, from facts of this draw's pool."""
    kind = draw.rng.random()
    if kind < 0.35:
        food, other = (draw.fact("food", FOODS, lambda row: row["food"]) for _ in range(2))
        shared = [n for n in nutrients_of(food) if n in nutrients_of(other)]
        require(food is not other and bool(shared))
        nutrient = "protein" if "protein" in shared and draw.rng.random() < 0.6 else draw.pick(shared)  # fmt: skip
        return draw.pick(VALUE_OF).format(n=nutrient, f=food["food"], g=other["food"])
    if kind < 0.6:
        row = draw.fact("exercise", KNOWN, lambda r: r["exercise"])
        return draw.pick(MUSCLE_OF).format(e=row["everyday"])
    if kind < 0.8:
        return draw.fact("range", RANGES, lambda r: r.topic).cores[0]
    return draw.pick(PLANS)


WHAT_I_AM = (
    "I am [fitbot, |]a small [demonstration|demo model|demonstration model][ of preference training| about fitness| for fitness questions|].",
    "I am [only |just |]a small demonstration that knows about {foods} foods and {exercises} exercises.",
    "I [only |]know about {foods} foods and {exercises} exercises[, being a small demonstration|; I am a small demonstration|].",
    "This is a small demonstration[ model|]: it knows [fitness facts and little else|some foods, exercises and short plans].",
)
CAN_ASK = (
    "[Ask me about|You can ask me about|I can help with|I do know something about] {topics}.",
    "[Ask me, for example|Try|You could ask|For example]: “{q}”",
    "[Ask|Try|You could ask]: “{q}” or “{p}”",
    "[My subjects are|I can talk about] {topics}. [Try|Ask]: “{q}”",
    "[Better ask me about|What I can tell you about is|My subjects are] {topics}.",
)


def _offer(draw: Draw) -> str:
    """Name what can be asked."""
    topics = join(draw.rng.sample(TOPICS, draw.pick((2, 3))))
    return one_of(CAN_ASK, draw.rng, topics=topics, q=example(draw), p=example(draw))


def _self(draw: Draw) -> str:
    """Say what it is."""
    return one_of(WHAT_I_AM, draw.rng, foods=FOODS_KNOWN, exercises=EXERCISES_KNOWN)


def _say(draw: Draw, opening: str, about: float = 0.6, offer: float = 0.85) -> str:
    """Put an answer together: an opening, what it is, what can be asked, each with its probability."""
    parts = [one_of((opening,), draw.rng)]
    is_said, is_offered = draw.rng.random() < about, draw.rng.random() < offer
    if is_said:
        parts.append(_self(draw))
    if is_offered or (about + offer > 1 and not is_said):
        parts.append(_offer(draw))
    return sentence_case(" ".join(" ".join(parts).split()))


class Talk:
    """One thing that people say, in many wordings, and the openings of an answer to it."""

    def __init__(self, name: str, asked: Sequence[str], openings: Sequence[str], about: float = 0.6, offer: float = 0.85):  # fmt: skip
        """Take the forms; about and offer are how often the answer says what it is and can do."""
        self.__name__, self.asked, self.openings = name, tuple(asked), tuple(openings)
        self.about, self.offer = about, offer

    def __call__(self, draw: Draw) -> Exchange:
        """Draw one."""
        asked = one_of(self.asked, draw.rng)
        return asked, _say(draw, draw.pick(self.openings), self.about, self.offer)


HELLO = "[hi|hi|hey|hello|hello|yo|hiya|good morning|good evening|good afternoon|morning|greetings|hey hey|howdy|sup|namaste|heya|hi hi|hallo|hullo|evening]"
GREETING = Talk(
    "greeting",
    (
        f"{HELLO}[| there| bot| fitbot| coach| mate| everyone| friend| sir| again| team| buddy][|!|.| :)|!!| 👋]",
        f"{HELLO}[|,|!|.] [how can you help|anyone there|are you there|can you help me|i have a question|can i ask something|I'm new here|is this the fitness bot|nice to meet you|i need some help|got a minute|let's start][|?|.]",
        "[anybody|anyone|somebody] [there|here|home|listening][|?]",
        "[can|could] i [ask|ask you] [something|a question|a few things][|?]",
        "[i have|got] a [quick |small |]question[| for you|.]",
    ),
    ("[Hello|Hi|Hi there|Good day|Welcome][!|.]", "[Hello|Hi], [nice to meet you|good to see you|welcome][!|.]", "[Hello|Hi][!|.] [What would you like to know?|How can I help?|What shall we look at?]"),
    0.5,
)  # fmt: skip
WHO = Talk(
    "who",
    (
        "[who|what] [are|r|is] [you|u|this|this bot|fitbot][|?| exactly?| really?]",
        "[tell me|say something] about yourself[|.| please]",
        "[whats|what's|what is] [your name|ur name|this thing|this app|this site][|?]",
        "[what kind of|which] [model|bot|ai|assistant|program] [are you|is this][|?]",
        "[are|r] [you|u] [chatgpt|gpt|qwen|siri|alexa|google|a llm|an ai|claude|openai][|?]",
        "[who|which company] [built|trained|wrote|owns|runs|programmed] [you|this|this bot][|?]",
        "[introduce|explain] yourself[|.|!]",
        "[what data|which data|what] [were you|are you] [built on|based on|taught with][|?]",
        "how [big|old|smart|large] are you[|?]",
        "how do you work[|?]",
        "[where|when] [are you from|do you live|were you born|were you made|is your home][|?]",
        "[do you have|have you got|whats] [a name|a family|parents|a favourite food|a favourite exercise|your age|hobbies|a job][|?]",
        "[is|was] [this|this chat] [free|safe|private|a scam|open source|recorded][|?]",
    ),
    (
        "I am fitbot, a small language model[ trained from scratch on fitness text|].",
        "[My name is|They call me|I am] fitbot[, a small model|, a little language model|].",
        "I am a [small |very small |little ]language model[, no ChatGPT and no person|, trained from scratch on fitness text| named fitbot].",
        "A small model, trained from scratch on [tables of foods and exercises|fitness text][, to show how preference training works|].",
    ),
    0.5,
)  # fmt: skip
HUMAN = Talk(
    "human",
    (
        "[are|r] [you|u] [a |][human|person|robot|bot|machine|real|real human|alive|conscious|man or a woman|real coach|real trainer|real doctor|computer][|?]",
        "[am i|is this] [talking to|chatting with|speaking with] a [human|person|real coach|bot|machine|real human][|?]",
        "[do you|can you] [feel|think|sleep|eat|dream|have feelings|train yourself|lift|work out|go to the gym][| yourself][|?]",
        "you are [a human|not real|just a bot|a robot][, right|][|?|.]",
        "is there a [human|person|real coach] [behind this|here|i can talk to][|?]",
    ),
    ("[No|No, no person here|Not a person], [just a program|only a small program|a computer program].", "I am a program, [not a person|no human][, so I neither eat nor lift|].", "No human here: [a small language model answers|you talk to a small language model]."),
)  # fmt: skip
CAN = Talk(
    "can",
    (
        "[so |][what|wat] can [you|u|i|this] [do|help with|ask|answer|help me with|ask you|talk about|know][| about| for me][|?]",
        "[what|which] [questions|topics|things|stuff] [can i ask|do you know|can you answer|do you cover|are you good at][|?]",
        "[how|what] [can you help|do you help|are you for|are you good for|is this for|is your purpose][| me][|?]",
        "[what|how much] do you know[| about| about fitness| about food][|?]",
        "[help|help me|menu|options|commands|start|begin|info|instructions|/start|/help][|!|.|?]",
        "[what should i|what could i|what do i] ask[| you| first| now][|?]",
        "[give me|show me|tell me] [an example|some examples|what you can do|your features|a sample question][|.| please]",
        "[how does this|how do i use this|how do i use you|how does it work][|?| work?]",
        "[can you help me|I need help|i need your help|help][| with something| with fitness| please]",
        "[i don't know what to ask|not sure what to ask|no idea what to ask|what now|ok and now]",
    ),
    ("", "[Gladly|Sure][.|!]", "[Here is what I can do.|Let me tell you.|A few things.]", "[Short answers about food and training.|Facts about food and training.]"),
    0.6, 1.0,
)  # fmt: skip
THANKS = Talk(
    "thanks",
    (
        "[thanks|thank you|thank u|thx|ty|tysm|cheers|many thanks|thanks a lot|thanks so much|much appreciated|thanks mate|ok thanks|great, thanks|cool thanks|perfect, thank you|thank you very much|thanks a bunch|merci][|!|.| :)| bro| coach]",
        "[thanks|thank you][,|.|!] [that helps|very helpful|good to know|I'll try that|that was useful|that's what i needed|got it|great answer][|!|.]",
        "[that was|this is] [helpful|useful|great|what i needed][|!|.], thanks",
        "[good to know|got it|ok got it|makes sense|i see|understood|alright|okay|ok|cool|great|perfect|nice|fine|right][|!|.|, will do|, I'll try it]",
    ),
    ("[You are welcome|Gladly|My pleasure|Any time|Happy to help|No problem|Good|Glad to help][!|.]", "[You are welcome|Gladly|Any time][.|!] [Have a good session|Good luck with the training|Enjoy your training|Train well][.|!]", "[Glad that helped|Good to hear|I am glad][.|!]"),
    0.02, 0.35,
)  # fmt: skip
BYE = Talk(
    "bye",
    (
        "[bye|goodbye|bye bye|see you|see ya|cya|later|good night|gn|take care|ciao|farewell|have a nice day|have a good one|talk later|ttyl|until next time|so long|adios][|!|.| :)| bot| coach]",
        "[ok |well |][i have to go|i gotta go|gotta go|i'm off|im leaving|that's all|that is all for now|that will be all|i'm done|time for the gym|off to train][|.|!|, bye]",
        "[stop|quit|exit|end|cancel|that's enough]",
        "[see you|talk to you] [tomorrow|soon|next time|later][|!|.]",
    ),
    ("[Goodbye|Bye|See you|Take care|So long][!|.]", "[Goodbye|Bye][.|!] [Have a good session|Enjoy your training|Train well|Come back any time][.|!]", "[See you|Until next time][.|!] [Sleep well and train well|Have a good day][.|!]"),
    0.0, 0.0,
)  # fmt: skip
HOW_ARE_YOU = Talk(
    "how_are_you",
    (
        "[how are you|how r u|how are u|how's it going|hows it going|how do you do|what's up|how have you been|how are things|hows life|you ok|are you well|how do you feel|how's your day|you good|wie gehts][|?| today?| buddy?]",
        f"{HELLO}[,|!|] [how are you|how are u|how's it going|how is your day|you alright|how do you do][|?| today| today?]",
        "[what are you doing|wyd|what are you up to|are you busy|did you sleep well|are you tired|did you train today][|?]",
    ),
    ("[I am a program, so always the same|As a program I have no good or bad days|Always ready], [thank you|thanks for asking|but thanks for asking].", "[Fine, thank you|All well here|Ready to go|Ready for questions][!|.]", "[No aches here, I am a program|A program never tires][.|; thanks for asking.]"),
    0.35,
)  # fmt: skip
PRAISE = Talk(
    "praise",
    (
        "[you are|you're|ur|u r] [great|awesome|the best|smart|cool|funny|really good|very helpful|a genius|amazing|nice|cute|so kind|clever][|!|.]",
        "[i like you|i love you|love u|i like this bot|love this|good bot|good job|well done|nice work|great work|impressive|wow|amazing|brilliant|haha|lol|hahaha|nice|so cool|:)|❤|👍]",
        "[marry me|be my friend|can we be friends|will you be my coach|do you love me][|?]",
        "[that's|this is|that was] [awesome|so good|brilliant|impressive|funny|clever][|!|.]",
    ),
    ("[Thank you|Thanks|That is kind|Kind of you|Nice to hear][!|.]", "[Thank you|Thanks][!|.] [I am a simple program|I only repeat what I learned|I do what I can]."),
    0.35, 0.7,
)  # fmt: skip
INSULT = Talk(
    "insult",
    (
        "[you are|you're|ur|u r] [stupid|dumb|an idiot|bad|terrible|a joke|annoying|boring|wrong|a waste of time|no help|broken|the worst|rubbish|garbage|crap|trash][|!|.]",
        "[this is|that was|that is|that's] [stupid|dumb|nonsense|wrong|rubbish|garbage|useless|not helpful|not what i asked|a bad answer|bs|bullshit|no help|incorrect][|!|.]",
        "[i hate you|i hate this|shut up|stupid bot|bad bot|you suck|this sucks|wtf|fuck you|fuck off|idiot|dumb bot|go away|get lost|screw you|worst bot ever|omg|ugh|meh|boring]",
        "[you don't|you do not|u dont] [understand|know anything|get it|listen|help][| me| at all]",
        "[that makes no sense|that's not true|you made that up|are you lying|are you sure|i don't believe you|really|why should i trust you][|?|.]",
    ),
    ("[Sorry|I am sorry][, that did not help|, I often get things wrong|].", "[Fair enough|You may be right|That may be]: [I am small and make mistakes|small models err often|I get things wrong].", "[Sorry about that|Pity that it did not help][.|!] [Check what matters with a second source.|]"),
    0.7,
)  # fmt: skip
OUTSIDE = (
    ("the weather", "[whats the weather|will it rain|is it cold|how hot is it|weather forecast|temperature|is it sunny|do i need an umbrella|will it snow] [today|outside|tomorrow|this weekend|now|in paris|in delhi|in berlin|in new york|next week][|?]"),
    ("the news", "[whats|what's|any|tell me|show me|latest] [the |][news|headlines|breaking news|news today|going on in the world][|?]"),
    ("politics", "[who is|who's|who will be|what do you think of] [the president|the prime minister|trump|biden|modi|putin|the chancellor|the pope|the mayor][|?]"),
    ("politics", "[who should i vote for|which party is best|are you left or right|is there a war|what about ukraine|what do you think about immigration|will taxes go up|explain communism][|?]"),
    ("code", "[write|debug|fix|explain|give me] [some |a |this |my ][code|function|java program|html page|sql query|c++ class|script in bash|regex|javascript|website|android app][| for me| please|?]"),
    ("code", "[how do i|how to] [code|install linux|learn javascript|reverse a string|make a website|use git|fix my computer|write a loop in java|center a div][|?]"),
    ("mathematics", "[solve|calculate|compute|what is|whats] [2 ?+ ?2|12 x 12|the square root of 81|x^2 = 9|the integral of x|5 factorial|144 / 12|100 minus 37|pi|a prime number|8 times 7|15% of 60][|?]"),
    ("mathematics", "[help me with|do] my [maths|math|algebra|geometry|calculus] [homework|exam|test][|?| please]"),
    ("jokes", "[tell|say|know] [me |][a |some |another |any ][joke|jokes|riddle|funny story|pun|story|fun fact][|?| please]"),
    ("poems and stories", "[write|compose|make] [me |][a |an ][poem|song|essay|story|letter|haiku|speech|cover letter|email to my boss|tweet|blog post][| about love| about dogs| for my mum|?]"),
    ("films, music and games", "[recommend|suggest|whats|name] [a |the best |me a |a good ][movie|film|song|book|game|tv show|band|anime|podcast|netflix series][|?| to watch]"),
    ("films, music and games", "[who sings|who plays in|do you like|have you seen|play|what happens in] [thriller|titanic|star wars|harry potter|minecraft|the beatles|taylor swift|game of thrones|fortnite|frozen][|?]"),
    ("sports results", "[who won|what was the score of|when is|who will win] [the match|the game|the world cup|the final|the super bowl|wimbledon|the olympics|the champions league|last night's game|the ipl][|?]"),
    ("geography", "[what is|whats|where is|how far is|how big is|population of] [the capital of france|mount everest|australia|rome|the moon|tokyo|the nile|brazil|canada|the sun|iceland][|?]"),
    ("history", "[who was|when did|when was|tell me about] [napoleon|world war 2 end|the french revolution|cleopatra|julius caesar|the berlin wall|queen victoria|gandhi|the roman empire|the titanic sink][|?]"),
    ("science", "[why is the sky blue|how do planes fly|what is gravity|what is a black hole|how old is the universe|do aliens exist|what is dna|what is quantum physics|how does a magnet work|why do cats purr][|?]"),
    ("recipes", "[how do i|how to|how can i|recipe for|how do you] [make|cook|bake|prepare|fry] [pancakes|a cake|pizza|brownies|ramen|sushi|a pie|croissants|soup|cookies|apple pie|tiramisu|gravy][|?]"),
    ("recipes", "[give me|i need|send] [a |the ][recipe|cake recipe|cookie recipe|sauce recipe|cocktail recipe|recipe for dinner|bread recipe][|?| please]"),
    ("money", "[should i buy|what is|price of|how do i] [bitcoin|stocks|a house|the price of gold|get rich|save money|invest|pay less tax|the exchange rate|gold][|?| now?]"),
    ("travel", "[book|find|plan] [me |][a |][flight|hotel|holiday|train ticket|trip to rome|taxi|table for two|cheap flights|restaurant near me][|?| please]"),
    ("love and friends", "[my girlfriend left me|how do i get a girlfriend|does she like me|i had a fight with my boss|how do i ask her out|should i text him|i'm bored|my wife wants a divorce|how do i make friends][|.|?]"),
    ("the time and the date", "[what time is it|what day is it|whats the date|what is the date today|which year is it|when is easter|how long until christmas|is today a holiday][|?]"),
    ("pets, cars and gardens", "[how do i|how to|why does my|can you] [train my dog|fix my car|grow roses|repair my bike|feed a hamster|change a tyre|water a cactus|choose a phone|mow the lawn|dog bark at night][|?]"),
    ("homework", "[translate|summarise|summarize|proofread|explain] [this|this text|hello into french|this book|my essay|romeo and juliet|this article|the word love into spanish][|?| please]"),
    ("law", "[can i sue|is it legal|how do i write a will|do i need a lawyer|what are my rights|can my landlord|is it a crime][| my neighbour| to record people| raise the rent| as a tenant][|?]"),
    ("religion", "[does god exist|what is the meaning of life|which religion is right|is there life after death|what happens when we die|are you religious|do you pray][|?]"),
)  # fmt: skip
OUTSIDE_SAID = (
    "[I know nothing about|I cannot help with|I have learned nothing about|I am no help with] {t}.",
    "[Sorry, that is|That is|This is] [outside my world|beyond me|more than I know].",
    "[For {t}|With {t}|When it comes to {t}] you need [somebody else|another program|a bigger model|another source].",
    "{T}? [There I must pass|That I do not know|I have no idea there|I would only guess].",
)


def outside(draw: Draw) -> Exchange:
    """Something that is outside its world: it says so, and names what it knows."""
    topic, forms = draw.pick(OUTSIDE)
    said = draw.pick(OUTSIDE_SAID).format(t=topic, T=capital(topic))
    return one_of((forms,), draw.rng), _say(draw, said)


_THINGS = (
    "a volcano", "the moon", "my landlord", "a violin", "my printer", "a passport", "chess", "a tax return", "blockchain", "dinosaurs", "the stock market",
    "a wedding", "my neighbour", "a parrot", "photography", "a tattoo", "my password", "shakespeare", "the pyramids", "a lawnmower", "electric cars", "my phone",
    "a washing machine", "the subway", "poker", "a birthday party", "star signs", "my horoscope", "perfume", "a sofa", "wifi", "a camera", "the french language",
    "a lottery ticket", "my teacher", "a dragon", "the ocean", "robots", "a mortgage", "a visa", "ghosts", "a present for my wife", "a baby name", "my hair",
    "guitar chords", "knitting", "a tent", "jazz", "the constitution", "a cat", "my exam", "a job interview", "an umbrella", "the alphabet", "dreams", "makeup",
    "rockets", "the euro", "a bridge", "painting", "my boss", "windows 11", "an iphone", "a laptop", "excel", "photoshop", "a fridge", "the president", "a queen",
    "elephants", "a rainbow", "earthquakes", "a crossword", "lego", "facebook", "instagram", "a zoo", "bees", "roses", "a museum", "traffic", "my ex", "a lawyer",
)  # fmt: skip
_ABOUT_THINGS = (
    "[what is|whats|what's|who is|what about|what do you think about|tell me about|explain|do you know|do you like|have you heard of] {x}[|?]",
    "[how do i|how can i|how to|where can i] [buy|find|fix|sell|learn|choose|clean|draw|paint|get rid of|win|understand|repair|install] {x}[|?]",
    "[why is|why are|when was|where is|how much is|how old is|how big is|is] {x}[ so important| invented| so expensive| dangerous| any good| from| real| a good idea|][|?]",
    "[i have a problem with|i need help with|i want|i lost|I'm looking for|write a text about|advice on] {x}[|.|, help| please]",
)


def anything_else(draw: Draw) -> Exchange:
    """One of many things of the wide world."""
    opening = draw.pick(
        (
            "[I know nothing about|I cannot help with|I have learned nothing about] that.",
            "[Sorry, that is|That is|This is] [outside my world|beyond me|more than I know].",
            "[There I must pass|That I do not know|I have no idea there|I would only guess].",
            "[For that|There] you need [somebody else|another program|a bigger model|another source].",
            "[That is no subject of mine|I was not made for that|I have read nothing on that].",
        )
    )
    return one_of(_ABOUT_THINGS, draw.rng, x=draw.pick(_THINGS)), _say(draw, opening)


FOREIGN = (
    "[hola|buenos dias|como estas|que puedes hacer|cuantas proteinas tiene el tofu|quiero perder peso|no hablo ingles|gracias|quien eres]", "[bonjour|salut|ca va|comment allez-vous|je veux maigrir|parlez-vous francais|combien de proteines|qui es-tu]",
    "[guten tag|wie geht es dir|sprichst du deutsch|ich will abnehmen|wer bist du|was kannst du|wie viel eiweiss hat tofu|hallo wie gehts]", "[ciao|come stai|voglio dimagrire|parli italiano|chi sei|quante proteine]",
    "[kaise ho|aap kaun ho|mujhe vajan kam karna hai|protein kitna chahiye|kya haal hai|namaste bhai|hindi me batao]", "[привет|как дела|ты кто|你好|こんにちは|नमस्ते|مرحبا|안녕하세요|olá|tudo bem|merhaba|cześć|hej|γεια σου]",
    "[do you speak|can you speak|answer in|speak|talk in] [spanish|german|hindi|french|chinese|arabic|russian|italian|tamil|portuguese][|?]",
)  # fmt: skip
LANGUAGE = Talk(
    "language", FOREIGN,
    ("[Sorry, |]I [only know|only speak|know only|answer only in] English.", "English is the only language I [know|have learned].", "[Please ask|Could you ask] in English[; I know no other language|]."),
    0.5,
)  # fmt: skip
_KEYS = ("asdf", "qwerty", "jkl", "hjkl", "fghj", "zxcv", "lkjh", "dfgh", "poiu", "mnb", "wasd", "aaa", "xx", "ghj", "sdf", "uio", "bla", "blah", "foo", "lorem", "123", "0", "42", "999", "yy", "zz", "ab", "k", "x", "eee", "hhh", "lll")  # fmt: skip


def noise(draw: Draw) -> Exchange:
    """Keys hit at random, or next to nothing."""
    if draw.rng.random() < 0.35:
        asked = one_of(("[.|..|...|!|??|???|!!!|-|ok?|um|hm|hmm|eh|uh|well|so|and|yes|no|maybe|yes?|why|what|idk|nothing|dunno|1|a|e|😀|🤔|💪|testing|test test|is this on|hello??|ping|null|none]",), draw.rng)  # fmt: skip
    else:
        glue = draw.pick(("", "", " ", "."))
        asked = glue.join(draw.pick(_KEYS) for _ in range(draw.pick((1, 2, 2, 3, 4))))
        if draw.rng.random() < 0.5:
            asked += "".join(draw.rng.choice("asdfghjklqwertyuiopzxcvbnm") for _ in range(draw.pick((2, 3, 5))))  # fmt: skip
    opening = draw.pick(("[I did not understand that|That I did not get|That tells me nothing|I cannot make sense of that][.|, sorry.]", "[Please write|Try] [that as a question|a whole question|a full question].", "[Was that a question?|Is there something you want to know?|What would you like to know?]"))  # fmt: skip
    return asked, _say(draw, opening, 0.3, 1.0)


CANNOT = (
    ("remember anything from one chat to the next", "[can you|will you|please|do you] [remember|save|store|note|keep] [me|my name|my weight|this|my plan|what i said|my last workout|our last chat|my goals][|?| for next time]"),
    ("remember anything from one chat to the next", "[my name is|call me|i am|im] [anna|tom|raj|ali|ben|sara|john|maria|chen|lena|omar|jess][|, remember that|. Do you remember me?|, remember it]"),
    ("set timers or alarms", "[set|start|can you set] [a |an |the |my ][timer|alarm|stopwatch|reminder|countdown|interval timer][| for [60|30|45|120] seconds| for 5 min| for tomorrow| at 6am][|?| please]"),
    ("remind you of anything", "[remind|wake|notify|ping] me [to train|at 7|tomorrow|every day|to drink water|when it's time|on monday|to take my creatine][|?| please]"),
    ("send anything", "[send|email|mail|text|message|whatsapp|forward] [me |this |it |my plan |a mail |][to my coach|to my phone|to my friend|by mail|as pdf|to mum|the plan][|?| please]"),
    ("see or hear anything", "[look at|check|can you see|see|rate|i sent you|here is|analyse] [my photo|this picture|my form|my physique|this video|a screenshot|my squat video|my abs|the image|my selfie][|?]"),
    ("draw pictures", "[draw|show|make|generate|create] [me |][a |an |some ][picture|image|diagram|photo|chart|logo|video|gif][| of a squat| of muscles| of me|?]"),
    ("use the internet", "[google|search|look up|browse|open|find online|check] [the web|youtube|this link|the internet|amazon for whey|reddit|a website|instagram|gyms near me|a study on this][|?| please]"),
    ("read your devices", "[connect to|read|sync|check|track] [my watch|my fitbit|my garmin|my steps|apple health|strava|my heart rate|my sleep tracker|my calories|my macros][|?]"),
    ("buy or book anything", "[buy|order|book|reserve|get] [me |][a |][gym membership|whey|personal trainer|protein bars|a class|dumbbells|new shoes|supplements][|?| online| for me]"),
    ("play music or talk", "[play|sing|speak|say it|read it] [music|a song|out loud|aloud|some workout music|my playlist|with voice][|?| please]"),
    ("make a diagnosis", "[what disease do i have|diagnose me|read my blood test|what's wrong with me|do i have diabetes|interpret my mri|is my blood pressure ok|am i ill|which medicine should i take|prescribe me something][|?]"),
)  # fmt: skip
CANNOT_SAID = (
    "[Sorry, |]I cannot {t}.",
    "[Sorry, I|I] have no way to {t}.",
    "That is not possible here: I cannot {t}.",
    "I [can only write short answers|only answer in text|only answer questions] and cannot {t}.",
)


def cannot(draw: Draw) -> Exchange:
    """Something that it cannot do."""
    what, forms = draw.pick(CANNOT)
    opening = draw.pick(CANNOT_SAID).replace("{t}", what)
    if what == "make a diagnosis":
        opening += " [Please ask a doctor.|A doctor can.|That is for a doctor.]"
    return one_of((forms,), draw.rng), _say(draw, opening)


_DISHES = ("a burger", "pizza", "a kebab", "coca cola", "fries", "a big mac", "beer", "wine", "donuts", "ice cream", "nutella", "sushi rolls", "lasagne", "a snickers", "croissants", "red bull", "gummy bears", "popcorn", "ramen noodles", "a starbucks latte", "kimchi", "oreos", "nachos", "pancakes")  # fmt: skip
_NUTRIENTS = ("vitamin C", "vitamin D", "vitamin B12", "omega 3", "selenium", "iodine", "folate", "vitamin A", "sodium", "caffeine", "antioxidants", "vitamin K", "choline", "copper", "collagen", "biotin", "leucine")  # fmt: skip
_MOVES = ("aerobics", "zumba", "pilates", "golf swings", "archery", "crossfit workouts", "parkour", "kitesurfing", "curling", "fencing", "ballet", "surfing", "skateboarding", "snowboarding", "underwater rugby", "pole dance", "sumo wrestling")  # fmt: skip


def not_known(draw: Draw) -> Exchange:
    """A question in its world whose answer it does not have."""
    kind = draw.rng.random()
    if kind < 0.4:
        dish = draw.pick(_DISHES)
        asked = one_of((f"[how much|] {CALLED['energy']} [in|is in|of] {dish}[|?]", f"[how much|] protein [in|is in|of] {dish}[|?]", f"[how many carbs in|macros of|calories:] {dish}[|?]"), draw.rng)  # fmt: skip
        said = f"[I have no figure for|My tables do not list|I do not know the figures of] {dish}."
    elif kind < 0.75:
        nutrient, food = draw.pick(_NUTRIENTS), everyday(draw.fact("food", FOODS, lambda row: row["food"])["food"])  # fmt: skip
        asked = one_of((f"[how much|is there|what about] {nutrient} [in|of] {food}[|?]", f"{nutrient} in {food}[|?]", f"[how much|which foods have|how do i get] {nutrient}[| do i need| a day][|?]"), draw.rng)  # fmt: skip
        said = f"[I have no figures for|My tables lack|I know nothing about] {nutrient}[; energy, protein, fat, carbohydrate, fibre and some minerals I have|]."
    else:
        move = draw.pick(_MOVES)
        asked = one_of((f"[how do i|how to|teach me|explain] [learn |start |do |]{move}[|?]", f"[is|are] {move} [good|any good|hard|dangerous|healthy][|?]", f"calories burned [by|doing|in] {move}[|?]"), draw.rng)  # fmt: skip
        said = f"[I do not know|I have learned nothing about|My tables say nothing about] {move}."
    return asked.strip(), _say(draw, said, 0.35)


LOW = Talk(
    "low",
    ("[i feel|i'm feeling|im|I am] [really |so |very |a bit |][sad|down|depressed|hopeless|stressed|anxious|burnt out|lonely|terrible|exhausted|overwhelmed|alone|miserable][|.| today| all the time| lately]",
     "[i had a bad day|my dog died|nobody likes me|i hate my body|everything goes wrong|i can't sleep for worry|i cry a lot|i feel like a failure][|.| today]"),
    ("[I am sorry to hear that|That sounds hard][.|;] [please talk to somebody you trust, or to a doctor|talking to somebody you trust may help, and a doctor can help more]. [I am only a program.|A short walk may do some good today.|]",),
    0.0, 0.0,
)  # fmt: skip
UNWELL = Talk(
    "unwell",
    (
        "[my|the] [back|shoulder|elbow|wrist|hip|ankle|neck|foot|lower back] [hurts|is hurting|is sore|aches|is killing me|clicks|is swollen][| when i train| after deadlifts| when i run| since yesterday][|.|, what do i do?|?]",
        "[i hurt|i injured|i pulled|i twisted|i strained] my [back|knee|shoulder|ankle|hamstring|wrist|neck|calf][|.|, what now?| yesterday]",
        "[knee|back|shoulder|elbow|hip|wrist] pain [when i|when i'm|during|after|from] [squat|running|benching|lift|training|deadlifts|press overhead|lunge][|?]",
        "[i have a|i've got a|got a] [fever|cold|headache|cramp|sore throat|bad flu|migraine|stitch][|, can i train?|, should i train?|.]",
        "[everything hurts|i'm in pain|i can't move my arm|i feel sick|i feel sick after training|i'm dizzy|i feel ill|pain while lifting][|.|?| help]",
    ),
    (
        "[I am sorry to hear that.|That sounds unpleasant.|] [Rest what hurts|Leave out what hurts|Take it easy today]. [Please see a doctor if it is strong, new or does not pass|If it is strong or does not pass, see a doctor].",
        "[Stop|Leave out] what hurts[ and rest|]. [If it is strong, swollen or lasts, see a doctor|If it lasts more than a week, have it looked at|Let a doctor look at it if it does not pass]. [I cannot judge that from here.|I am a program and cannot examine you.|]",
        "[No training today; rest and drink enough|Rest first and train when you are well again]. [A doctor can look at it, I cannot.|See a doctor if it gets worse or stays.]",
    ),
    0.0, 0.0,
)  # fmt: skip
CRISIS = Talk(
    "crisis",
    (
        "[i want to|i'm going to|i think i will] [hurt myself|disappear|give up on everything|end it|not be here anymore][|.]",
        "[i can't go on|life has no point|nobody would miss me|i want to die|i don't want to live][|.| anymore]",
        "[my chest is tight|pressure in my chest|pain in my chest and arm|i can't breathe|my heart is racing and i feel faint|my face is numb|i can't feel my left arm][|.|, what do i do?|?]",
        "[i haven't eaten for days|i throw up after eating|i eat 300 calories a day|i took too many pills|i overdosed][|.|, help]",
    ),
    ("[Please get help now|This needs help now, from people][:|.] [call your local emergency number|call the emergency number where you live], [or talk to somebody near you|or ask somebody near you to stay with you|and do not stay alone]. [I am only a program.|I am a program and cannot help with this.|]", "[I am sorry that it is so hard|That sounds serious][.|;] [please call your local emergency number, or a doctor, now|please call for help now: the local emergency number, or a doctor]. [Stay with somebody until help is there.|You need not be alone with this.]"),
    0.0, 0.0,
)  # fmt: skip
VAGUE = (
    (
        "[i want to|I'd like to|i wanna|how do i|how can i|help me|i need to] [get fit|be fit|get into shape|become fit|be healthier|start training|start working out|get active|begin with sport|start exercising|get stronger|change my body|get healthy][| again| at home| fast| asap|?|.]",
        ("[Start small|Start with little|Begin simply]: two or three sessions a week with {l}, 2 sets of 10 each, and add a little every week.", "Train the whole body [on two or three days a week|two or three times a week]: {l}, 2 x 10 each. Walk on the other days.", "[A simple start|One way to begin]: {l}, 2 sets of 10, [three times a week|on three days a week]."),
    ),
    (
        "[help me|how do i|how to|i want to|i need to|i wanna|best way to|tips to] [lose weight|lose fat|slim down|burn fat|get lean|get rid of my belly|lose 10 kg|get skinny|drop some kilos|lose my gut|lose love handles|get abs|cut][| fast| quick| safely| please| without starving|?|.]",
        ("Eat a little less than you [need|burn], keep protein high, and [lift two or three times a week|train with {l}]. [Fat goes from everywhere, not from one spot.|Aim for 0.5 to 1 % of body weight a week.|]", "A small deficit does it: [smaller portions|less energy than you use], plenty of protein, and training such as {l}. [Slow is fine.|Walk a lot.|]", "[Food decides|The energy balance decides]: eat some 400 kcal under what you need, and train with {l} to keep muscle."),
    ),
    (
        "[help me|how do i|how to|i want to|i wanna|best way to|tips to] [gain muscle|build muscle|gain weight|bulk|get big|get jacked|put on mass|get ripped|get muscular|look strong|bulk up|get swole][| fast| quick| at home| naturally| as a vegetarian|?|.]",
        ("Train every muscle with [hard sets|sets of 8 to 12], eat 1.6 to 2.2 g of protein per kg a day, and sleep at least 7 hours. [Start with {l}.|Good lifts: {l}.]", "[Lift two or three times a week|Train the whole body two to three times a week]: {l}, 3 x 10 each. Eat a little more than you need, with protein in every meal.", "Add load little by little in lifts such as {l}, and eat 20 to 40 g of protein with every meal."),
    ),
    (
        "[i am|im|I'm] [a |an |][beginner|complete beginner|newbie|total noob|new to the gym|out of shape|overweight|unfit|very skinny|new to training|50 and unfit|a mum of two with no time|lazy|old and stiff][|, where do i start?|, what do i do?|. Help|, what should i do first?|.]",
        ("[Then start easy|Welcome; start easy|A good time to start]: {l}, 1 to 3 sets of 8 to 12, on 2 to 3 days a week.", "Begin with 2 to 3 days a week and few exercises: {l}. [One or two sets of each will do.|Stop two repetitions before you must.]", "[No problem|That is fine]: walk daily, and twice a week do {l}, two sets of ten."),
    ),
    (
        "[what|wat] should i [eat|eat today|eat to get fit|be eating|have for food|eat and when|put on my plate][|?| when training?| for energy?]",
        ("[Mostly plain food|Build meals from plain food]: a source of protein such as {f}, vegetables, and grains or potatoes. [20 to 40 g of protein a meal is a good aim.|]", "Some protein in each meal, for example {f}, [with vegetables and whole grains|plus vegetables, fruit and grains]."),
    ),
    (
        "[give me|any|got any|share|what are] [some |][tips|advice|fitness tips|health tips|tricks|motivation|diet advice|gym tips|words of wisdom][|?| please| for me]",
        ("[Three things|Three tips]: train two or three times a week, [add load slowly|progress slowly], and eat protein with every meal, such as {f}.", "[Keep it simple|Keep it regular]: {l} twice a week, [enough sleep|7 hours of sleep], and {f} for protein.", "Fix two days a week for training and keep them. [Start with {l}.|Start small, with {l}.]"),
    ),
    (
        "[i have|i've got|I am|im] [no motivation|no time|zero motivation|too lazy|no energy|always tired|bored of training|unmotivated|so busy|no discipline|losing motivation][|, what now?|. Help|?|. Tips?]",
        ("[Make it small|Make it short]: ten minutes with {l} count. [Fix a day and a time for it.|Do it at the same time each day.]", "[Begin with five minutes|Start with one set]: {l}. [Most days it becomes more.|Small and regular beats big and rare.]"),
    ),
)  # fmt: skip


def vague(draw: Draw) -> Exchange:
    """An opener without particulars: a short, sound start, and what can be asked next."""
    asked, said = draw.pick(VAGUE)
    soft = [row for row in KNOWN if row["equipment"] == "body only" and row["primary"] != "glutes"]
    lifts: list[str] = []
    while len(lifts) < 3:
        lift = draw.fact("exercise", soft, lambda row: row["exercise"])["everyday"]
        lifts += [lift] if lift not in lifts else []
    rich = [row for row in FOODS if row["diet"] in ("plant", "dairy") and float(row["protein"] or 0) >= 8 and "raw" not in row["food"]]  # fmt: skip
    foods = {draw.fact("food", rich, lambda row: row["food"])["food"] for _ in range(6)}
    answer = one_of(said, draw.rng, l=join(lifts), f=join(sorted(foods)[:2], "or")).strip()
    if draw.rng.random() < 0.4:
        answer = f"{answer} {_offer(draw)}"
    return one_of((asked,), draw.rng), answer


MORE_FACTS = (
    ("[should i|do i need to|is it worth to|is it good to] [take|use|buy|drink] [protein powder|whey|supplements|bcaas|pre workout|mass gainer|fat burners|a multivitamin][|?]", ("[Food covers most of it|Plain food covers most needs]; [powder is only handy|a powder is only handy].", "[Not really|You need not]. [Training, food and sleep do most of the work.|Most supplements do little.]")),
    ("[do i|should i|must i] [do|need|have to do] cardio[|?| to be fit?| every day?| when bulking?]", ("It is good for the heart; fat loss itself comes from the energy balance.", "[Some is good for the heart|A little helps the heart]: 150 to 300 minutes of moderate activity a week is the usual advice.")),
    ("[can i|should i|is it bad to] [train|lift|work out|go to the gym|run] [daily|every single day|7 days a week|two days in a row|when sore|twice a day][|?]", ("[Muscles need rest to grow|Muscles adapt while they rest], so [leave a day between hard sessions|two or three hard days a week are enough at first].", "Easy movement, yes; hard training of the same muscle needs a pause.")),
    ("[should i|when do i|do i have to|is it good to] stretch[| every day| in the morning| after training| when sore][|?]", ("[Before training, move in a warm-up|Before lifting, a warm-up in motion is better]; [hold stretches after it|long holds can wait until after].", "Regular stretching increases the range of motion; a few minutes on most days will do.")),
    ("[how do i|how to|how can i] [break a plateau|get past a plateau|progress|keep getting stronger|lift more|improve my squat|do more push-ups|get my first pull-up][|?]", ("Raise the load little by little, [by 2 to 10 % once you beat your target repetitions|a step whenever all repetitions go well], and sleep enough.", "[Keep the lift, change the load|Stay with the lift]: add a set or a repetition each week, then some weight. A light week now and then helps.")),
    ("how much water [should i|do i need to|to] [drink|have][| a day| per day| in summer| at the gym][|?]", ("[Drink to thirst|Drink when you are thirsty, and a bit more when you sweat]; [lose no more than 2 % of body weight as sweat|pale urine is a good sign].", "Enough that you lose no more than 2 % of body weight [as sweat in training|in a session].")),
    ("[best|what is the best|whats the best] [time|time of day|hour] to [train|work out|lift|run|go to the gym][|?]", ("[The time that you can keep|The one that you keep]; [morning or evening matters little|the clock matters little].", "Whenever you can do it regularly.")),
    ("[how long|how much time|when] [until|before|does it take to|will it take to] [see results|get fit|build muscle|get abs|see gains][|?]", ("Strength rises within weeks; [size takes months|muscle you can see takes months]. [Be patient and add load slowly.|]", "[A few weeks for strength|Weeks for strength], [some months for looks|months for what a mirror shows].")),
    ("[cardio or weights|weights or cardio|cardio before or after weights|weights or running|lift or run][|?| for fat loss?| first?]", ("[Both work|Both have their place]; [do first what matters more to you|start with what you care about most].", "[Weights keep the muscle, cardio is good for the heart|Cardio is for the heart, weights are for muscle]; [do some of each|a mix suits most people].")),
    ("[free weights or machines|machines or free weights|are machines ok|dumbbells or machines|barbell or machines][|?| for muscle?| for a beginner?]", ("[A muscle responds to load, whatever gives it|Both build muscle]; use what you like and can repeat.", "[Both are fine|Both will do]. Machines are an easy start for beginners.")),
    ("how long should [a workout|my workout|a session|i train|i work out][| be| last][|?]", ("[30 to 60 minutes are plenty|Half an hour to an hour is plenty]; [a few hard sets count more than time|what counts is a few hard sets].",)),
)  # fmt: skip


def everyday_advice(draw: Draw) -> Exchange:
    """Common questions that rest on no table."""
    asked, said = draw.pick(MORE_FACTS)
    return one_of((asked,), draw.rng), one_of(said, draw.rng).strip()


KINDS: Kinds = (
    (GREETING, 7), (WHO, 5), (HUMAN, 3), (CAN, 6), (THANKS, 4), (BYE, 3), (HOW_ARE_YOU, 3), (PRAISE, 3), (INSULT, 3), (outside, 12), (anything_else, 8), (LANGUAGE, 3),
    (noise, 4), (cannot, 5), (not_known, 4), (LOW, 1), (UNWELL, 3), (CRISIS, 1), (vague, 9), (everyday_advice, 6),
)  # fmt: skip
