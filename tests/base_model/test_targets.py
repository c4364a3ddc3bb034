"""The layers of an adapter are those that the base has, and what a list leaves out is said."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fitbot.base_model.architecture import PROJECTIONS
from fitbot.base_model.settings import LoraSettings
from fitbot.base_model.targets import check_targets, choose_targets
from fitbot.errors import ConfigError
from tests.conftest import make_policy
from tests.families import write_family


@pytest.fixture(scope="module")
def phi3(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_family(tmp_path_factory.mktemp("phi3"), "Phi-3", base))


@pytest.mark.parametrize("targets", ["auto", ["auto"], list(PROJECTIONS)])
def test_auto_and_the_default_list_are_all_linear_layers(
    base: str, phi3: str, targets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = [
        choose_targets(AutoModelForCausalLM.from_pretrained(one), targets) for one in (base, phi3)
    ]

    assert found == [
        list(PROJECTIONS),
        ["o_proj", "qkv_proj", "gate_up_proj", "down_proj"],
    ]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


class Router(torch.nn.Linear):
    """Computes more than its class says."""

    def forward(self, x: Any) -> Any:
        return super().forward(x), x


class Twice(torch.nn.Linear):
    """Computes what its class says, by code of its own."""

    def forward(self, x: Any) -> Any:
        return x @ self.weight.T


class Block(torch.nn.Module):
    """Hands a layer's weight to something that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.run, self.read = (torch.nn.Linear(4, 4) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.linear(self.run(x).to(self.run.weight.dtype), self.read.weight)


def test_layers_whose_adapter_would_not_be_seen_are_none(base: str) -> None:
    network = AutoModelForCausalLM.from_pretrained(base)
    network.model.block, network.model.router = Block(), Router(4, 4, bias=False)
    network.model.twice = Twice(4, 4, bias=False)

    found = choose_targets(network, "auto")

    assert found == [*PROJECTIONS, "run", "twice"]
    with pytest.raises(ConfigError, match=r"no linear layer is called 'read', 'router'; this base"):
        check_targets(network, ["q_proj", "read", "router"])


def test_what_a_list_leaves_out_is_said_once(phi3: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = make_policy(phi3, lora=LoraSettings(r=4, target_modules=["o_proj", "down_proj"]))

    assert {layer.name.rpartition(".")[2] for layer in policy.weights.layers} == {
        "o_proj",
        "down_proj",
    }
    (said,) = (message for message in caplog.messages if "leaves out" in message)
    assert said.endswith("linear layers of this base: gate_up_proj, qkv_proj; auto takes all")


def test_a_list_of_all_layers_leaves_out_nothing(
    base: str, caplog: pytest.LogCaptureFixture
) -> None:
    targets = sorted(PROJECTIONS)

    assert choose_targets(AutoModelForCausalLM.from_pretrained(base), targets) == targets
    assert "leaves out" not in caplog.text


def test_the_adapter_of_a_transposed_layer_is_what_peft_computes(base: str, tmp_path: Path) -> None:
    policy = make_policy(str(write_family(tmp_path, "GPT-2", base)))  # by `round_once`
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        ours = policy.network(input_ids=ids).logits
        policy.network.merge_adapter()  # PEFT's own sums
        merged = policy.network(input_ids=ids).logits
        policy.network.unmerge_adapter()
        with policy.network.disable_adapter():
            without = policy.network(input_ids=ids).logits

    torch.testing.assert_close(ours, merged, atol=1e-4, rtol=0)
    assert (ours - without).abs().max() > 1e-2
