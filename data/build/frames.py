"""Ways to put a question around its core, for categories whose cores are written one by one.

Some frames claim something: the asker's level, age, health or schedule, or that opinions differ. Such
a frame does not go around a core that says something of the kind itself.
"""

import re
from functools import cache

FRAMES = (
    ("", "{q}"),
    ("level", "I am new to this. {q}"),
    ("", "{q} I could not find a clear answer."),
    ("dispute", "My friends disagree about it. {q}"),
    ("", "{q} Please keep it simple."),
    ("dispute", "Something I have wondered about for a while. {q}"),
    ("schedule", "{q} I ask because I start a new plan on Monday."),
    ("schedule", "A question before my next session. {q}"),
    ("schedule", "{q} My coach is away this week."),
    ("", "Can you help me with this? {q}"),
    ("", "{q} Thanks in advance."),
    ("dispute", "I read two different things. {q}"),
    ("", "Hello! {q}"),
    ("age, health", "{q} I am in my thirties and otherwise well."),
    ("schedule", "Short question from the changing room. {q}"),
    ("", "{q} I would like to get this right."),
    ("", "For my training diary. {q}"),
    ("level", "{q} I have trained for about a year."),
    ("schedule", "I have this on my list for today. {q}"),
    ("", "{q} What would you say?"),
)
# Words of a core that speak of the same thing as a frame of that kind.
SPEAKS_OF = {
    "level": r"beginner|newcomer|advanced|expert|veteran|years?\b|first|never trained|untrained|new to"
    r"|old hand|day one|just starting|basics|professionals?|athletes?|no sport|sits all day|long past"
    r"|well trained|strong and|I want to do handstands",
    "age": r"old|elderly|age|teenagers?|child|grandmother|young|years?\b|seventy|70|pregnan",
    "health": r"hurts?|sore|sprain|pain|pinch|touchy|sound|healthy|fine and|cramps?|kidneys?|injur"
    r"|wrist|pregnan|\bwell\b",
    "schedule": r"today|tonight|tomorrow|week|month|monday|minutes|daily|a day|every day|night|morning"
    r"|evening|before|after|break|session|closed|at home|travel|race|event|event|holiday",
    # A dispute is about the world, not about what somebody should do with their own body or kit.
    "dispute": r"\b(?:I|me|my|mine|we|our)\b|name one|give me|plan |suggest|pick an|please|what fits|would you",
}


@cache
def framed(cores: tuple[str, ...]) -> tuple[str, ...]:
    """Put every core into every frame that fits it, frame by frame: the last are held out."""
    return tuple(
        frame.format(q=core) for claims, frame in FRAMES for core in cores if fits(claims, core)
    )


def fits(claims: str, core: str) -> bool:
    """Say whether a core says nothing of what a frame claims."""
    kinds = [kind for kind in claims.split(", ") if kind]
    return not any(re.search(SPEAKS_OF[kind], core, re.IGNORECASE) for kind in kinds)
