"""Which devices a fit is to run on, how many processes a launcher has started, which one this is.

Asked before the processes know each other; afterwards processes.py answers.
"""

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator

from fitbot.errors import ConfigError

_MOST_PROCESSES = 1024  # of a host


def launched_as() -> int:
    """Return the number of this process, before processes know each other: 0 is the first."""
    if "RANK" in os.environ:  # torchrun and Ray
        return int(os.environ["RANK"])
    # Not in the shell of an interactive job, whose variables all of its processes inherit.
    if SLURMEnvironment.detect():
        return int(os.environ["SLURM_PROCID"])
    return int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the others by itself


def devices_of(config: dict[str, Any]) -> list[torch.device]:
    """List the devices of this host that settings ask for, one a process.

    Args:
        config: The settings `trainer.…`.

    Raises:
        ConfigError: They ask for what is not there.
    """
    accelerator, devices = config["accelerator"], config["devices"]
    on_apple = accelerator == "gpu" and torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or on_apple):
        raise ConfigError(
            f"the trainer's settings cannot be used here: trainer.accelerator is {accelerator}, "
            "but torch finds no GPU; set it to auto or cpu"
        )
    try:
        if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            count = CUDAAccelerator.auto_device_count() if devices == "auto" else devices
            return [torch.device("cuda", i) for i in CUDAAccelerator.parse_devices(count) or []]
        count = 1 if devices == "auto" else devices
        processes = CPUAccelerator.parse_devices(count)
        if processes > _MOST_PROCESSES:
            raise ValueError(f"trainer.devices is {processes}, and no host runs so many processes")
        return processes * [torch.device("cpu")]
    except (MisconfigurationException, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"the trainer's settings cannot be used here: {why}") from error


def placement(config: dict[str, Any]) -> dict[str, int]:
    """Take how many processes there are from the launcher that has started them.

    Args:
        config: The settings `trainer.…`.

    Returns:
        The trainer's devices (a host) and num_nodes; nothing where no launcher is at work.

    Raises:
        ConfigError: The settings name other numbers, or hosts without a launcher.
    """
    devices, num_nodes = config["devices"], config["num_nodes"]
    if TorchElasticEnvironment.detect():
        launcher, total = "torchrun", int(os.environ["WORLD_SIZE"])
        here = int(os.environ["LOCAL_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        launcher, total = "SLURM", int(os.environ["SLURM_NTASKS"])
        here = int(os.environ.get("SLURM_NTASKS_PER_NODE", 1))
    elif num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes is {num_nodes}, but nothing has started processes on other hosts; "
            "use torchrun, srun or fitbot ray (docs/how-to/clusters.md)"
        )
    else:
        return {}
    hosts = total // here
    # "auto" and 1 are what a config says that thinks of one device.
    if str(devices) not in ("auto", "1", str(here)) or num_nodes not in (1, hosts):
        raise ConfigError(
            f"trainer.devices is {devices} and trainer.num_nodes {num_nodes}, but {launcher} has "
            f"started {here} processes on each of {hosts} hosts; leave both settings out"
        )
    return {"devices": here, "num_nodes": hosts}
