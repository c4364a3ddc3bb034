"""Start scripts that serve an exported adapter on many machines: vLLM, Ray Serve LLM.

fitbot stays in front, for keys, limits and the health layer: `fitbot serve --remote URL`.
"""

import json
import logging
import shlex
from pathlib import Path

from fitbot.base_model.adapter_files import check_options
from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import absolute_base, resolve_base_model
from fitbot.base_model.provenance import provenance_of
from fitbot.errors import ConfigError
from fitbot.generation.messages import BASE, TUNED

logger = logging.getLogger(__name__)

TARGETS = {"vllm": "serve_vllm.sh", "ray": "serve_ray.py"}
_PORT = 8001  # fitbot's own server has 8000
_CONTEXT = 2048
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM takes no other --max-lora-rank


def write_deployment(adapter: Path, target: str) -> Path:
    """Write a script that starts an engine with this adapter into the adapter's folder.

    Args:
        adapter: Folder that `fitbot export` wrote.
        target: "vllm" or "ray".

    Returns:
        The file.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or its base was changed since.
        ConfigError: Its base is the embedded model or not there, or its rank is more than vLLM
            takes.
    """
    provenance = provenance_of(adapter, "base_model")
    base_model = absolute_base(provenance["base_model"])
    if base_model == "embedded":
        raise ConfigError(
            f"{adapter} is on the embedded model, which no other engine knows; train on a hub model"
        )
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    check_options(config, adapter)
    if Path(resolve_base_model(base_model)).is_dir():  # a hub id's weights need not be here
        check_base(base_model, provenance.get("base_sha256"), str(adapter))
    rank = next((rank for rank in _RANKS if rank >= config["r"]), None)
    if rank is None:  # for Ray, too: its engine is vLLM
        raise ConfigError(f"{adapter}: rank {config['r']}; vLLM takes adapters up to {_RANKS[-1]}")
    day = provenance.get("data", {}).get("date")
    if target == "ray" and day:
        logger.warning(
            "the base's template writes the day, and Ray's replicas will write the current one, "
            "where the run had %s; --target vllm takes the template of the export, which keeps it",
            day,
        )
    file = adapter / TARGETS[target]
    write = _vllm if target == "vllm" else _ray
    # With slashes, which Windows takes too: in a script a backslash is an escape.
    text = write(base_model, adapter.resolve().as_posix(), rank)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file


def _vllm(base_model: str, adapter: str, rank: int) -> str:
    # The tokenizer has the chat template of training, and its day; defaults of requests are not the
    # base's.
    folder = shlex.quote(adapter)
    return f"""\
#!/bin/sh
# Then, on this machine or another that reaches it:
#   fitbot serve --adapter {folder} --remote http://127.0.0.1:{_PORT}/v1
exec vllm serve {shlex.quote(base_model)} \\
  --served-model-name {BASE} \\
  --tokenizer {folder} \\
  --enable-lora \\
  --lora-modules {shlex.quote(f"{TUNED}={adapter}")} \\
  --max-lora-rank {rank} \\
  --default-chat-template-kwargs '{{"enable_thinking": false}}' \\
  --generation-config vllm \\
  --max-model-len {_CONTEXT} \\
  --host 127.0.0.1 \\
  --port {_PORT}
"""


def _ray(base_model: str, adapter: str, rank: int) -> str:
    return f'''"""Serve with Ray: `serve run serve_ray:app`.

Every replica holds the base and takes adapters from ADAPTERS, a bucket (s3:// or gs://) that holds
this folder as {TUNED}/. In front of it, from a checkout of fitbot:

    fitbot serve --adapter {adapter} --remote http://HOST:8000/v1 \\
      --remote_model {base_model}:{TUNED} \\
      --remote_fields '{{"chat_template_kwargs": {{"enable_thinking": false}}}}'
"""

import os

from ray.serve.llm import LLMConfig, build_openai_app

ADAPTERS = os.environ["ADAPTERS"]  # such as s3://bucket/adapters

config = LLMConfig(
    model_loading_config={{"model_id": {base_model!r}, "model_source": {base_model!r}}},
    lora_config={{"dynamic_lora_loading_path": ADAPTERS, "max_num_adapters_per_replica": 8}},
    engine_kwargs={{
        "enable_lora": True,
        "max_lora_rank": {rank},
        "max_model_len": {_CONTEXT},
        "generation_config": "vllm",
    }},
    deployment_config={{
        "autoscaling_config": {{
            "min_replicas": 1,
            "max_replicas": 8,
            "target_ongoing_requests": 64,
        }}
    }},
)
app = build_openai_app({{"llm_configs": [config]}})
'''
