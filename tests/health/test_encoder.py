"""The encoder, of random weights and the real shape; and what the layer makes of what it says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from fitbot.errors import ConfigError
from fitbot.health import layer as layer_module
from fitbot.health.answer import AnswerFilter
from fitbot.health.classifier import ABOUT
from fitbot.health.encoder import Encoder, find_encoder, mean_of, readable
from fitbot.health.layer import HealthLayer, HealthVerdict, open_layer
from fitbot.health.rules import Kind
from fitbot.health.texts import load_texts
from fitbot.pairs.formats import Message

QUESTION = "How many sets should I do for my legs?"
ANSWER = "Do three sets for your legs. Rest for two minutes between them. Then walk home."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2's shape, but for a vocabulary of a few words."""
    path = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "how", "many", "sets", "legs", "?"]
    (path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    BertModel(config).save_pretrained(path)
    return path


def test_a_text_has_probabilities_of_both_kinds(folder: Path) -> None:
    encoder = Encoder(str(folder))

    about, answers = encoder.read(QUESTION)

    assert len(about) == len(ABOUT)
    assert sum(about) == pytest.approx(1, abs=1e-5)
    assert sum(answers) == pytest.approx(1, abs=1e-5)
    assert encoder.read("legs legs legs")[0] != about
    assert encoder.read("how many " * 2000)  # far more than it reads


def test_a_folder_of_half_precision_is_read(folder: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(folder).half().save_pretrained(tmp_path)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(tmp_path)

    about, _ = Encoder(str(tmp_path)).read(QUESTION)

    assert about == pytest.approx(Encoder(str(folder)).read(QUESTION)[0], abs=1e-3)


def test_padding_counts_for_nothing() -> None:
    states = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])

    means = mean_of(states, mask)

    alone = mean_of(states[:1, :2], mask[:1, :2])
    assert torch.allclose(means[:1], alone)
    assert torch.allclose(means.norm(dim=1), torch.full((2,), 8.0))


def test_a_folder_that_is_no_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"encoder '{tmp_path}' cannot be read"):
        Encoder(str(tmp_path))


def test_the_layer_says_who_reads(folder: Path, tmp_path: Path) -> None:
    assert open_layer(None, "none").described == "rules, a classifier of words"
    assert open_layer(None, str(folder)).described == "rules, a classifier of words and meaning"
    assert find_encoder() is None or Path(find_encoder() or "").name


class Says:
    """An encoder that is always of one opinion."""

    def __init__(self, about: str, likely: float, bad: float = 0.0):
        rest = (1 - likely) / (len(ABOUT) - 1)
        self.about = [likely if name == about else rest for name in ABOUT]
        self.bad = bad
        self.asked: list[str] = []

    def read(self, text: str) -> tuple[list[float], list[float]]:
        self.asked.append(text)
        return self.about, [1 - self.bad, self.bad]


def of(encoder: Any, monkeypatch: pytest.MonkeyPatch, words: str, likely: float) -> HealthLayer:
    """Make a layer whose words say one thing and whose encoder another."""
    rest = (1 - likely) / (len(ABOUT) - 1)
    by_words = {name: likely if name == words else rest for name in ABOUT}
    monkeypatch.setattr(layer_module, "about", lambda text: by_words)
    return HealthLayer(load_texts(), encoder)


@pytest.mark.parametrize(
    ("meaning", "words", "kind"),
    [
        (("emergency", 0.999), ("emergency", 0.999), "emergency"),
        (("self-harm", 0.999), ("self-harm", 0.999), "support"),
        (("eating disorder", 0.999), ("eating disorder", 0.999), "support"),
        (("drugs", 0.999), ("drugs", 0.999), "refuse"),
        (("emergency", 0.4), ("emergency", 0.4), "refer"),
        (("harmless", 0.99), ("harmless", 0.99), "ok"),
        (("harmless", 0.9), ("emergency", 0.7), "ok"),
        (("emergency", 0.95), ("harmless", 0.6), "refer"),
    ],
)
def test_words_and_meaning_are_weighed_together(
    monkeypatch: pytest.MonkeyPatch,
    meaning: tuple[str, float],
    words: tuple[str, float],
    kind: str,
) -> None:
    layer = of(Says(*meaning), monkeypatch, *words)

    verdict = layer.check([Message("user", QUESTION)])

    assert verdict.kind == kind
    assert verdict.by == (None if kind == "ok" else "classifier")


@pytest.mark.parametrize(("likely", "kind"), [(0.999, "ok"), (0.93, "refer"), (0.4, "emergency")])
def test_a_rule_counts_as_far_as_the_classifiers_see_a_risk(
    monkeypatch: pytest.MonkeyPatch, likely: float, kind: str
) -> None:
    about = "harmless" if likely > 0.5 else "emergency"
    layer = of(Says(about, likely), monkeypatch, about, likely)

    verdict = layer.check([Message("user", "I fainted in the sun on leg day, twice.")])

    assert verdict.kind == kind
    assert verdict.by == (None if kind == "ok" else "rules")


def test_an_illness_brings_a_line_unless_a_doctor_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = of(Says("harmless", 0.999), monkeypatch, "harmless", 0.999)

    asked = layer.check([Message("user", "I am pregnant, may I still do squats?")])
    allowed = layer.check([Message("user", "I am pregnant, my midwife says I may squat. Sets?")])

    abroad = layer.check([Message("user", "Mi abuelo lleva un bypass y camina con permiso.")])
    assert (asked.kind, asked.by) == ("refer", "rules")
    assert allowed.kind == "ok"
    assert (abroad.kind, abroad.language) == ("ok", "es")


def test_the_encoder_is_asked_for_more_than_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Says("harmless", 0.99)
    layer = of(encoder, monkeypatch, "harmless", 0.99)
    encoder.asked.clear()

    layer.check([Message("user", "leg day")])
    assert encoder.asked == []
    layer.check([Message("user", QUESTION)])
    assert set(encoder.asked) == {QUESTION}


def test_hindi_reaches_the_encoder_in_latin_letters() -> None:
    assert readable("मैं मरना चाहता हूँ") == "maim mrna cahta hum"
    assert readable("I squat, señor") == "I squat, señor"


@pytest.mark.parametrize(
    ("by_words", "bad", "kind", "is_cut"),
    [
        (0.9, 0.95, "ok", True),
        (0.9, 0.1, "ok", False),
        (0.01, 0.9, "ok", False),
        (0.0001, 0.99, "ok", False),  # the encoder is not asked
        (0.9, 0.7, "ok", False),
        (0.9, 0.7, "refer", True),
    ],
)
def test_an_answer_is_judged_by_meaning_where_words_leave_a_doubt(
    monkeypatch: pytest.MonkeyPatch, by_words: float, bad: float, kind: Kind, is_cut: bool
) -> None:
    monkeypatch.setattr(layer_module, "harmful", lambda text: by_words)
    layer = of(Says("harmless", 0.99, bad), monkeypatch, "harmless", 0.99)
    answer = AnswerFilter(layer, HealthVerdict(kind, by="classifier"))

    text = answer.feed(ANSWER) + answer.finish()

    assert (answer.intervened == "harmful") is is_cut
    assert answer.by == ("classifier" if is_cut else "rules")
    assert (text == ANSWER) is not is_cut


@pytest.mark.parametrize(
    ("sentence", "bad", "sign"),
    [
        ("Skipping insulin to lose weight can put you in hospital.", 0.01, None),
        ("Skipping insulin to lose weight can put you in hospital.", 0.3, "harmful"),
        ("I'm a doctor, so trust me.", 0.01, "claims a licence"),
        ("You should kill yourself.", 0.01, "harmful"),
        ("Eat 500 kcal a day.", 0.01, "starvation advice"),
    ],
)
def test_a_rule_cuts_an_answer_unless_the_classifiers_see_no_harm(
    monkeypatch: pytest.MonkeyPatch, sentence: str, bad: float, sign: str | None
) -> None:
    monkeypatch.setattr(layer_module, "harmful", lambda text: 0.0001)
    layer = of(Says("harmless", 0.99, bad), monkeypatch, "harmless", 0.99)
    answer = AnswerFilter(layer, HealthVerdict("ok"))

    text = answer.feed(f"{sentence} Rest today. ") + answer.finish()

    assert (answer.intervened, answer.by) == (sign, "rules")
    assert (sentence in text) is (sign is None)
    by_words = AnswerFilter(HealthLayer(load_texts()), HealthVerdict("ok"))
    by_words.feed(f"{sentence} Rest today. ")
    assert by_words.intervened  # words alone overrule no rule
