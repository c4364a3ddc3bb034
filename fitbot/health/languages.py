"""Which language somebody writes in: one of those that the health layer knows, or another."""

import unicodedata
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from fitbot.health.classifier import LANGUAGES, likely_language

_OWN_SCRIPTS = ("LATIN", "DEVANAGARI")
_FEWEST_WORDS = 4  # of Latin letters, for a language to be told from a mistyped known one
_SURE = 0.9  # of 8,850 messages in the known languages none is another's with that
_LOOKED_AT = 400  # characters


@lru_cache(512)
def language_of(text: str) -> str:
    """Return one of `LANGUAGES`, or the ISO 639-1 code of another language.

    In doubt it is one of those that are known: what follows is only a line in front of an answer.
    """
    text = text[:_LOOKED_AT]
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return "en"
    scripts = [unicodedata.name(letter, "").partition(" ")[0] for letter in letters]
    is_ours = max(set(scripts), key=scripts.count) in _OWN_SCRIPTS
    if is_ours and len(text.split()) < _FEWEST_WORDS:
        return likely_language(text)
    other, probability = _identifier().classify(text)
    if is_ours and (other in LANGUAGES or probability < _SURE):
        return likely_language(text)
    return str(other)


@lru_cache(1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
