"""What computes a run's log-probs: the network's own modules (eager), or the compiled engine."""

import logging
from typing import Literal

from fitbot.base_model.gpu import why_no_kernels
from fitbot.errors import ConfigError
from fitbot.pairs.batch import Layout
from fitbot.policy.agreement import made_up_batch, relative_difference, same_within
from fitbot.policy.compiled.graphs import Passes
from fitbot.policy.compiled.passes import CompiledEngine, unsupported
from fitbot.policy.policy import Policy

logger = logging.getLogger(__name__)

EngineSetting = Literal["auto", "eager", "compiled"]

# Compiling takes seven seconds on 16 cores, once on a machine; by the network's own modules a step
# of the recipe takes 0.2 s longer there, one of a larger base or of longer pairs up to seconds.
COMPILED_FROM_STEPS = 30


def use_engine(policy: Policy, setting: EngineSetting, *, layout: Layout, num_steps: int) -> None:
    """Choose what computes the log-probs from now on, and say so.

    Args:
        policy: Whose log-probs.
        setting: eager (the network's own modules), compiled (the engine), or auto: compiled where
            it can run and the run is long enough to pay for it.
        layout: Of the batches; the engine takes shared ones.
        num_steps: Optimizer steps of the run.

    Raises:
        ConfigError: compiled is asked for and cannot be.
    """
    if setting == "eager":
        logger.info("engine: eager")
        return
    reason = why_not_compiled(policy, layout)
    if setting == "auto" and not reason and num_steps < COMPILED_FROM_STEPS:
        reason = f"{num_steps} steps are over before compiling pays"
    if not reason:
        try:
            accelerate(policy, capture=True)
        except ValueError as error:
            reason = str(error)
    if reason and setting == "compiled":
        raise ConfigError(f"model.engine compiled cannot run here: {reason}; set it to auto")
    if reason:
        logger.info("engine: eager (%s)", reason)
    elif policy.is_sharded:
        logger.info("engine: compiled, kernel by kernel, each layer gathered when its turn comes")
    else:
        logger.info("engine: compiled, a CUDA graph for each size of batch that comes twice")


def why_not_compiled(policy: Policy, layout: Layout) -> str | None:
    """Return the reason why the engine cannot run this policy here; None if it can."""
    if reason := why_no_kernels(policy.device):
        return reason
    if layout != "shared":
        return "it takes data.layout shared"
    return unsupported(policy.network.get_base_model())


def accelerate(policy: Policy, *, capture: bool) -> None:
    """Compute with the engine from now on, wherever a batch is in the shared layout.

    Args:
        policy: Whose log-probs.
        capture: Replay training passes from CUDA graphs; of a sharded base they are launched
            kernel by kernel, for its layers are gathered in between.

    Raises:
        ValueError: With the reason why the engine cannot run this network.
    """
    causal_lm = policy.network.get_base_model()
    engine = CompiledEngine(causal_lm, policy.weights, dtype=policy.compute_dtype)
    batch = made_up_batch(policy, "shared")
    if policy.device.type == "cuda":
        engine.compile_kernels(batch)
    by_network = policy.logps_without_gradient(batch)
    policy.compiled = Passes(engine, capture=capture and not policy.is_sharded)
    by_engine = policy.logps_without_gradient(batch)
    difference = relative_difference(by_engine, by_network)
    if not difference < same_within(policy.compute_dtype):
        policy.compiled = None
        raise ValueError(f"its log-probs differ from the network's by {difference:.2%}")
