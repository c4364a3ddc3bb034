"""Log-probs and drift against plain PEFT; answers against transformers' own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from fitbot.errors import AdapterError
from fitbot.evaluation.answering import GREEDY, PLAIN, SAMPLED, LineupEngine, ModelAnswer
from fitbot.evaluation.measure import Measurements, drift_of, encode_answer, neutral_texts
from fitbot.evaluation.models import Lineup, Overrides, resolve_models
from fitbot.evaluation.scoring import Scorer
from fitbot.generation.messages import Sampling
from fitbot.pairs.chat import Chat, EncodedPair
from tests.conftest import SYSTEM
from tests.evaluation.exported import write_adapter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def adapters(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_adapter(folder / name, base, seed=i) for i, name in enumerate(("one", "other"))]


@pytest.fixture(scope="module")
def lineup(adapters: list[Path]) -> Lineup:
    return resolve_models([str(folder) for folder in adapters], Overrides())


@pytest.fixture(scope="module")
def networks(base: str, adapters: list[Path]) -> list[Any]:
    """Base and adapters as anybody would load them; the base's own modules are in all of them."""
    loaded = [AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(3)]
    return [loaded[0], *map(PeftModel.from_pretrained, loaded[1:], adapters)]


@torch.no_grad()
def log_softmax_after(network: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """(S, V) float64 log-probs at every position of a completion."""
    logits = network(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    found: Tensor = logits.double().log_softmax(-1)
    return found


def logp(network: Any, prompt: list[int], completion: list[int]) -> float:
    found = log_softmax_after(network, prompt, completion)
    return float(found.gather(-1, torch.tensor(completion)[:, None]).sum())


def test_log_probs_are_those_of_plain_peft_and_the_references_those_of_the_base(
    lineup: Lineup, networks: list[Any], pairs: list[EncodedPair]
) -> None:
    for model, network in zip(lineup.models, networks, strict=True):
        logps, reference = Scorer(lineup, model, device=CPU).logps(pairs)
        for i, pair in enumerate(pairs):
            for side, answer in enumerate((pair.chosen, pair.rejected)):
                expected = logp(network, pair.prompt, answer)
                assert logps[i, side].item() == pytest.approx(expected, abs=2e-3)
                expected = logp(networks[0], pair.prompt, answer)
                assert reference[i, side].item() == pytest.approx(expected, abs=2e-3)


def test_an_adapter_that_went_on_from_another_has_that_one_as_reference(
    base: str, adapters: list[Path], networks: list[Any], pairs: list[EncodedPair], tmp_path: Path
) -> None:
    on = write_adapter(tmp_path, base, seed=7, adapter=str(adapters[0]))
    lineup = resolve_models([str(on)], Overrides())

    _, reference = Scorer(lineup, lineup.adapters[0], device=CPU).logps(pairs[:2])

    expected = [logp(networks[1], pair.prompt, pair.chosen) for pair in pairs[:2]]
    assert reference[:, 0].tolist() == pytest.approx(expected, abs=2e-3)


def test_plain_text_is_scored_from_its_second_token(
    lineup: Lineup, networks: list[Any], chat: Chat
) -> None:
    texts = [chat.encode_text(text) for text in ("A ferry left.", "Snow fell in the night.")]

    found = Scorer(lineup, lineup.models[1], device=CPU).text_logps(texts)

    expected = [logp(networks[1], ids[:1], ids[1:]) for ids in texts]
    assert found.tolist() == pytest.approx(expected, abs=2e-3)
    # Two tokens with a log-prob of -1 nat each.
    none = torch.empty(0, 2)
    measured = Measurements(lineup.models[0], none, none, [-1.5, -0.5], 2, {}, [])
    assert drift_of(measured, []).perplexity == pytest.approx(2.718281828)


def test_divergence_and_entropy_are_their_definitions_over_the_whole_vocabulary(
    lineup: Lineup, networks: list[Any], pairs: list[EncodedPair]
) -> None:
    prompts, answers = [p.prompt for p in pairs[:3]], [p.chosen for p in pairs[:3]]

    found = Scorer(lineup, lineup.models[2], device=CPU).positions(prompts, answers)

    for prompt, answer, one in zip(prompts, answers, found, strict=True):
        ours, theirs = (log_softmax_after(n, prompt, answer) for n in (networks[2], networks[0]))
        divergence = (ours.exp() * (ours - theirs)).sum(-1)
        assert one.divergence == pytest.approx(divergence.tolist(), abs=1e-3)
        assert one.entropy == pytest.approx((-ours.exp() * ours).sum(-1).tolist(), abs=1e-3)
        assert len(one.entropy) == len(answer)
        assert divergence.mean() > 0.01  # the adapter does something


def test_an_adapter_of_other_layers_is_refused(
    lineup: Lineup, adapters: list[Path], tmp_path: Path
) -> None:
    weights = load_file(adapters[0] / "adapter_model.safetensors")
    few = {name: value for name, value in weights.items() if "layers.0" in name}
    (tmp_path / "adapter_config.json").write_text((adapters[0] / "adapter_config.json").read_text())
    save_file(few, tmp_path / "adapter_model.safetensors")
    model = replace(lineup.adapters[0], adapter=str(tmp_path))

    with pytest.raises(AdapterError, match=r"does not fit its base: 14 layers differ, such as"):
        Scorer(lineup, model, device=CPU)


def test_every_model_answers_as_transformers_makes_it(
    lineup: Lineup, networks: list[Any], chat: Chat, pairs: list[EncodedPair]
) -> None:
    prompts = [pair.prompt for pair in pairs[:3]]
    with LineupEngine(lineup, chat, device=CPU, max_new_tokens=8) as engine:
        said = [
            engine.ask(model.name, GREEDY, prompts, Sampling(), seed=0) for model in lineup.models
        ]
        seeds = [engine.ask("one", SAMPLED, prompts, Sampling(), seed=s) for s in (1, 1, 2)]
        plain = engine.ask("one", PLAIN, prompts, Sampling(), seed=1)

    for network, answers in zip(networks, said, strict=True):
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = network.generate(
                input_ids=torch.tensor([prompt]), max_new_tokens=8, do_sample=False, use_cache=True
            )[0, len(prompt) :]
            text = chat.tokenizer.decode(ids, skip_special_tokens=True)
            assert answer.text == text.partition("<think>")[0]
            assert answer.tokens == len(ids)
    assert said[0] != said[1] != said[2]
    assert seeds[0] == seeds[1] != seeds[2]
    assert plain != seeds[0]


@pytest.mark.gpu
def test_a_gpu_finds_nearly_the_same_in_16_bits_and_the_same_twice(
    lineup: Lineup, chat: Chat, pairs: list[EncodedPair]
) -> None:
    model, cuda = lineup.adapters[0], torch.device("cuda")
    prompts, answers = [p.prompt for p in pairs], [p.chosen for p in pairs]
    expected, found = (Scorer(lineup, model, device=device) for device in (CPU, cuda))

    for ours, theirs in zip(found.logps(pairs), expected.logps(pairs), strict=True):
        assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()
    for one, other in zip(*(s.positions(prompts, answers) for s in (found, expected)), strict=True):
        assert one.divergence == pytest.approx(other.divergence, abs=0.1)
        assert one.entropy == pytest.approx(other.entropy, abs=0.1)
    with LineupEngine(lineup, chat, device=cuda, max_new_tokens=32) as engine:
        said = [engine.ask("one", SAMPLED, prompts, Sampling(), seed=1) for _ in range(2)]
    assert said[0] == said[1]


def test_nobody_gets_fewer_tokens_because_others_wait(lineup: Lineup, chat: Chat) -> None:
    prompt = chat.encode_text("Hi!")
    with LineupEngine(lineup, chat, device=CPU, max_new_tokens=300) as engine:
        answers = engine.ask("base", PLAIN, [prompt] * 18, Sampling(), seed=0)

    assert {answer.tokens for answer in answers if not answer.finished} == {300}


def test_an_answer_is_encoded_as_it_is_shown_with_its_end_if_it_came_to_one(chat: Chat) -> None:
    rest, end = chat.encode_text("Rest."), [chat.end_of_turn_id]

    assert encode_answer(ModelAnswer("Rest.", "", 6, finished=True), chat) == rest + end
    assert encode_answer(ModelAnswer("Rest.", "Hm.", 9, finished=True), chat) == rest + end
    assert encode_answer(ModelAnswer("Rest.", "", 5, finished=False), chat) == rest
    assert encode_answer(ModelAnswer("", "", 1, finished=False), chat) == end


def test_neutral_texts_are_a_few_hundred_words_of_anything_but_fitness() -> None:
    texts = neutral_texts()
    said = " ".join(texts).lower().split()

    assert len(texts) == 12
    assert 500 < len(said) < 1000
    assert not {"exercise", "protein", "muscle", "training", "diet", "squat"} & set(said)
    assert SYSTEM.lower() not in " ".join(said)
