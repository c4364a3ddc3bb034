"""Answers in Latin letters → those in another language than the file's.

A language is known by its function words. They are a third to a half of any text, a few dozen make
up most of them, and names, foods and borrowed words are not among them (Grefenstette 1995,
"Comparing two language identification schemes"). Words that two of these languages share count for
both; single letters, which also name vitamins, are left out. An answer must speak for the other
language several times, and hardly for the file's.
"""

import re
from collections import Counter
from collections.abc import Sequence

from fitbot.audit.text import words

_FUNCTION_WORDS = {
    "English": (
        "the and of to is in you your that it for are with on this be as or not can have "
        "from if but by at what when they which there will more than should do"
    ),
    "Spanish": (
        "el la los las de que en un una es por con para del se lo no su al como más pero "
        "si está son tu te muy hay cada puede cuando sin sobre también ser entre"
    ),
    "Portuguese": (
        "os as de que em um uma por com para do da dos das no na se não seu sua ao como "
        "mais mas você está são muito pode cada quando sem sobre também ou"
    ),
    "French": (
        "le la les de des du et en un une est que qui dans pour par sur pas ne vous votre "
        "il elle au aux avec plus ce cette mais ou sont peut vos je nous très "
        "chaque sans"
    ),
    "German": (
        "der die das und zu in den von ist nicht mit ein eine einen für auf dem des sich "
        "es auch als oder sie wie aber bei nach nur noch wenn kann sind werden ihr du "
        "dein über mehr"
    ),
    "Italian": (
        "il la lo gli le di che un una per con del della dei nel nella non si sono più ma "
        "come anche se al alla da tuo tua ogni può puoi molto senza quando"
    ),
    "Dutch": (
        "de het een en van is dat op te met voor niet zijn je aan er om als maar ook bij "
        "naar uit door over dan nog wel of kan kunt meer deze dit wordt"
    ),
    "Swedish": (
        "och att det som en är av på för med till den har inte om ett du din kan eller "
        "men från ska så efter när mer detta under dina varje"
    ),
    "Danish": (
        "og at det som en er af på for med til den har ikke om et du din kan eller men "
        "fra skal så efter når mere dette under dine hver"
    ),
    "Polish": (
        "na do nie jest się że to jak po od za co dla jako czy ale tak przez oraz może "
        "przed pod lub twoje można które"
    ),
    "Czech": (
        "na je se do že to pro jako by nebo ale tak od po při jsou může které pokud pod "
        "vaše není také před"
    ),
    "Romanian": (
        "și de la în cu pe nu este un pentru care din mai sau că să ca sunt dar prin dacă "
        "foarte poate la fiecare"
    ),
    "Turkish": (
        "ve bir bu için de da ile çok daha gibi en ne kadar sonra veya olarak ama her iyi "
        "olan gün var değil"
    ),
    "Indonesian": (
        "yang dan di untuk dengan dari ini itu tidak pada adalah anda akan atau dalam "
        "bisa juga ke lebih dapat agar setiap seperti karena"
    ),
    "Finnish": (
        "ja on ei että se kun tai myös ovat sen voi mutta ole kuin jos joka niin sekä tämä enemmän"
    ),
    "Hungarian": (
        "az és nem hogy is egy meg ez ha de van vagy csak mint már el kell minden nagyon lehet"
    ),
    "Vietnamese": ("và của là có cho không trong với bạn để những một được các khi này từ hoặc"),
}
_SETS = {name: frozenset(listed.split()) for name, listed in _FUNCTION_WORDS.items()}
_SPOKEN = {
    word: [name for name, known in _SETS.items() if word in known]
    for word in frozenset[str]().union(*_SETS.values())
}

_FEWEST = 5  # words of an answer whose language can be told
_DISTINCT = 3  # function words that must speak for a language
_SHARE = 0.25  # of an answer's words that must
_OWN_SHARE = 0.25  # of those that may speak for the file's own language, too
_LEAST = 0.1  # share of a file's words that are function words of its own language
_COMMON = 0.1  # share of its answers from which on another language is its own, too
_LOOKED_AT = 1000  # answers that say which language a file is in

# A prompt that asks for another language names one, or says "translate".
_ASKS = re.compile(
    r"translat|übersetz|tradu[cz]|languag|sprache|idioma|langue|lingua"
    r"|english|spanish|español|castellano|portugu|french|français|german|deutsch|itali|dutch"
    r"|nederlands|swedish|svenska|danish|dansk|norwegian|norsk|polish|polski|czech|romanian|turkish"
    r"|türkçe|indonesian|malay|finnish|suomi|hungarian|magyar|vietnamese",
    re.IGNORECASE,
)


def in_another_language(prompts: Sequence[str], answers: Sequence[str]) -> dict[int, str]:
    """Find answers in another language than their file's and their prompt's.

    A prompt that names a language may ask for it, and its answer is left alone.

    Args:
        prompts: One an answer.
        answers: Of one file.

    Returns:
        The language of each such answer, by its index.
    """
    own = _main_language(answers[:: 1 + len(answers) // _LOOKED_AT])
    if own is None:
        return {}
    found = {
        i: language
        for i, answer in enumerate(answers)
        if (language := _other_language(words(answer), own)) is not None
    }
    shares = Counter(found.values())
    return {
        i: language
        for i, language in found.items()
        if shares[language] < _COMMON * len(answers)
        and not _ASKS.search(prompts[i])
        and not _speaks(words(prompts[i]), language, own)
    }


def _main_language(answers: Sequence[str]) -> str | None:
    """Name the language of most answers; None if none of those that are known is."""
    said = [word for answer in answers for word in words(answer)]
    counts = _count(said)
    own = max(counts, key=lambda name: counts[name], default=None)
    return own if own is not None and counts[own] >= _LEAST * len(said) else None


def _other_language(said: Sequence[str], own: str) -> str | None:
    """Name the language that an answer's words are of, if that is not the file's own."""
    ours = sum(word in _SETS[own] for word in said)
    if len(said) < _FEWEST or ours > _OWN_SHARE * len(said):
        return None
    counts = _count(said)
    best = max(counts, key=lambda name: counts[name], default=own)
    is_other = (
        best != own
        and counts[best] >= _SHARE * len(said)
        and len(_SETS[best].intersection(said)) >= _DISTINCT
        and ours <= _OWN_SHARE * counts[best]
    )
    return best if is_other else None


def _speaks(said: Sequence[str], language: str, own: str) -> bool:
    """Say whether a prompt's words are rather of a language than of the file's own."""
    counts = _count(said)
    return counts[language] > counts[own]


def _count(said: Sequence[str]) -> Counter[str]:
    """Count the words that speak for each language."""
    return Counter(name for word in said for name in _SPOKEN.get(word, ()))
