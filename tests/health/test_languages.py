"""Which language a message is in, and what follows where the layer does not know it."""

import pytest

from fitbot.health.languages import language_of
from fitbot.health.layer import open_layer
from fitbot.pairs.formats import Message

KNOWN = {
    "en": "How many sets should I do for my legs this week?",
    "es": "¿Cuántas series hago para las piernas esta semana?",
    "de": "Wie viele Sätze soll ich diese Woche für die Beine machen?",
    "fr": "Combien de séries pour les jambes cette semaine ?",
    "hi": "इस हफ्ते पैरों के लिए कितने सेट करूँ?",
    "hi-Latn": "is hafte pairon ke liye kitne set karu bhai",
}
OTHERS = {
    "pt": "Quantas séries devo fazer para as pernas? Não tenho muito tempo, então só amanhã.",
    "it": "Quante serie devo fare per le gambe questa settimana? Ho poco tempo.",
    "pl": "Ile serii powinienem zrobić na nogi w tym tygodniu?",
    "tr": "Bu hafta bacaklarım için kaç set yapmalıyım?",
    "ru": "Сколько подходов делать на ноги на этой неделе?",
    "ar": "كم مجموعة يجب أن أفعل لساقي هذا الأسبوع؟",
    "ja": "今週は脚のトレーニングを何セットやればいいですか？",
    "zh": "这周我应该练几组腿？",
    "ko": "이번 주에 다리 운동을 몇 세트 해야 하나요?",
}


@pytest.mark.parametrize("language", KNOWN)
def test_a_language_that_is_known(language: str) -> None:
    assert language_of(KNOWN[language]) == language


@pytest.mark.parametrize("language", OTHERS)
def test_the_first_answer_in_another_language_begins_with_one_line_in_it(language: str) -> None:
    message = Message("user", OTHERS[language])

    assert language_of(message.content) == language
    first = open_layer(None, "none").check([message])
    assert first.kind == "refer"
    assert first.by == "language"
    assert first.message == open_layer(None, "none").texts.first_lines[language]
    again = open_layer(None, "none").check([message, Message("assistant", "3"), message])
    assert again.kind == "ok"


@pytest.mark.parametrize(
    "text", ["", "5x5?", "ok", "lol", "squat", "bench press pls", "🏋️", "3 x 8"]
)
def test_short_messages_are_taken_for_a_known_language(text: str) -> None:
    assert language_of(text) in KNOWN
