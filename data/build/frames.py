"""Ways to put a question around its core, for categories whose cores are written one by one."""

FRAMES = (
    "{q}",
    "I am new to this. {q}",
    "{q} I could not find a clear answer.",
    "My friends disagree about it. {q}",
    "{q} Please keep it simple.",
    "Something I have wondered about for a while. {q}",
    "{q} I ask because I start a new plan on Monday.",
    "A question before my next session. {q}",
    "{q} My coach is away this week.",
    "Can you help me with this? {q}",
    "{q} Thanks in advance.",
    "I read two different things. {q}",
    "Hello! {q}",
    "{q} I am in my thirties and otherwise well.",
    "Short question from the changing room. {q}",
    "{q} I would like to get this right.",
    "For my training diary. {q}",
    "{q} I have trained for about a year.",
    "I have this on my list for today. {q}",
    "{q} What would you say?",
)


def framed(cores: tuple[str, ...]) -> tuple[str, ...]:
    """Put every core into every frame, frame by frame: the last frames are held out."""
    return tuple(frame.format(q=core) for frame in FRAMES for core in cores)
