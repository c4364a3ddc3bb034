"""`fitbot ray`: the same fit by workers of a Ray cluster, and many fits that look for settings.

Ray starts the processes and says where they are; everything else is `fitbot fit`. The cluster is
the one that RAY_ADDRESS or `ray job submit` names; without it, this machine.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from fitbot.commands.command_line import announce, check_at_least, say, write_file
from fitbot.errors import ConfigError, LostError

USAGE = """fitbot ray fit --workers N [--gpu] [--restarts N] [options of fitbot fit]
       fitbot ray tune --samples N --search KEY=RANGE … [--gpu] [options of fitbot fit]"""


def main(args: list[str]) -> int:
    """Run `fitbot ray fit` or `fitbot ray tune`.

    Args:
        args: `ray` and what follows it; what is not Ray's is handed to `fitbot fit`.

    Raises:
        ConfigError: Ray is not installed, or --search names no range.
        LostError: Workers or trials have failed.
    """
    parser = argparse.ArgumentParser(
        "fitbot ray", usage=USAGE, description=__doc__, allow_abbrev=False
    )
    parser.add_argument("what", choices=("fit", "tune"))
    parser.add_argument("--gpu", action="store_true", help="give every worker or trial a GPU")
    parser.add_argument("--storage", default="checkpoints/ray", help="folder that all hosts share")
    fit = parser.add_argument_group("fit")
    fit.add_argument("--workers", type=int, default=1, help="processes of the fit")
    fit.add_argument("--restarts", type=int, default=0, help="times to go on after a lost worker")
    sweep = parser.add_argument_group("tune")
    sweep.add_argument("--samples", type=int, default=1, help="settings to draw")
    sweep.add_argument(
        "--search",
        nargs="+",
        default=[],
        metavar="KEY=RANGE",
        help="loguniform:LOW:HIGH, uniform:LOW:HIGH, choice:A,B or grid:A,B",
    )
    sweep.add_argument("--metric", default="val_loss", help="of summary.json")
    sweep.add_argument("--mode", choices=("min", "max"), default="min")
    ours, options = parser.parse_known_args(args[1:])
    check_at_least(ours, workers=1, restarts=0, samples=1)
    announce("fitbot ray: loading Ray")
    try:
        importlib.import_module("ray.tune")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "fitbot ray needs Ray, which is not installed; run pip install 'fitbot[ray]'"
        ) from error
    storage = str(Path(ours.storage).resolve())  # Ray takes no relative folder
    # Relative paths mean what they mean to fitbot fit; Ray would go to a folder of its own.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    if ours.what == "fit":
        return _fit(ours, options, storage)
    return _tune(ours, options, storage)


def _fit(ours: argparse.Namespace, options: list[str], storage: str) -> int:
    """Fit by several workers; the run's folder and checkpoints are fitbot's own."""
    from ray import train
    from ray.train.torch import TorchTrainer

    _check(options)
    if ours.restarts:
        options = [*options, "--ckpt_path", "last"]
    trainer = TorchTrainer(
        _work,
        train_loop_config={"options": options},
        scaling_config=train.ScalingConfig(num_workers=ours.workers, use_gpu=ours.gpu),
        run_config=train.RunConfig(
            storage_path=storage,
            failure_config=train.FailureConfig(
                max_failures=ours.restarts, max_preemption_failures=ours.restarts
            ),
        ),
    )
    try:
        trainer.fit()
    except train.WorkerGroupError as error:
        failures = sorted(error.worker_failures.items())
        said = "\n".join(f"worker {rank}: {failure}" for rank, failure in failures)
        raise LostError(
            f"workers failed, after {ours.restarts} restarts; once that is mended, the same "
            f"command with --ckpt_path last goes on from the latest checkpoint\n{said}"
        ) from error
    return 0


def _work(config: dict[str, Any]) -> None:
    """Be one of a fit's workers."""
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    from fitbot.cluster.strategy import DataParallel

    class RayDataParallel(DataParallel, RayDDPStrategy):  # type: ignore[misc]
        """One sum of gradients over processes a step, on the device that Ray gave the worker."""

    where = {"plugins": [RayLightningEnvironment()], "devices": "auto", "num_nodes": 1}
    _run_fit(config["options"], {"strategy": RayDataParallel(), **where})


def _tune(ours: argparse.Namespace, options: list[str], storage: str) -> int:
    """Fit once for every draw of settings; each trial is a run like any other."""
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    space = search_space(ours.search)
    # The low end or first value of each range stands for all of it.
    first = [(word.split("=")[0], re.split("[:,]", word)[1]) for word in ours.search]
    _check([*options, *(f"--{key}={value}" for key, value in first)])
    root = Path(storage) / time.strftime("tune-%Y-%m-%d-%H%M%S")
    resources = {"cpu": 1, "gpu": 1} if ours.gpu else {"cpu": 1}
    trial = tune.with_parameters(_try, options=options, root=str(root), metric=ours.metric)
    tuner = tune.Tuner(
        tune.with_resources(trial, resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=ours.metric,
            mode=ours.mode,
            num_samples=ours.samples,
            # The same sweep draws the same settings.
            search_alg=BasicVariantGenerator(random_state=42),
        ),
        run_config=tune.RunConfig(name="ray", storage_path=str(root), verbose=1),
    )
    results = tuner.fit()
    if results.num_errors:
        raise LostError(
            f"{results.num_errors} of {len(results)} trials failed, see {root}; the first with\n"
            f"{results.errors[0]}"
        )
    trials = [
        {"settings": one.config, "run": one.metrics["run"], "value": one.metrics[ours.metric]}
        for one in results
    ]
    trials.sort(key=lambda found: found["value"], reverse=ours.mode == "max")
    for found in trials:
        settings = " ".join(f"--{key} {value}" for key, value in found["settings"].items())
        say(f"{ours.metric} {found['value']:.6g}  {settings}  {found['run']}")
    write_file(root / "trials.json", json.dumps(trials, indent=1) + "\n")
    return 0


def _try(config: dict[str, Any], *, options: list[str], root: str, metric: str) -> None:
    """Fit with one draw of settings and tell Tune what came of it."""
    from ray import tune

    name = tune.get_context().get_trial_id()
    drawn = [word for key, value in config.items() for word in (f"--{key}", str(value))]
    _run_fit([*options, *drawn, "--run.root", root, "--run.name", name], placed={})
    run = Path(root) / name
    figures = json.loads((run / "summary.json").read_text("utf-8"))
    if figures.get(metric) is None:
        raise ConfigError(
            f"{run}/summary.json has no {metric}; name another --metric, or set data.val_path"
        )
    tune.report({metric: figures[metric], "run": str(run)})


def search_space(words: list[str]) -> dict[str, Any]:
    """Turn KEY=RANGE into what Tune draws from.

    Args:
        words: Such as `model.learning_rate=loguniform:1e-5:1e-3`, `model.beta=choice:0.1,0.3`.

    Raises:
        ConfigError: One is none of these.
    """
    from ray import tune

    space: dict[str, Any] = {}
    for word in words:
        key, _, drawn = word.partition("=")
        kind, _, values = drawn.partition(":")
        try:
            if kind in ("uniform", "loguniform"):
                low, high = (float(value) for value in values.split(":"))
                space[key] = getattr(tune, kind)(low, high)
            elif kind == "choice":
                space[key] = tune.choice(values.split(","))
            elif kind == "grid":
                space[key] = tune.grid_search(values.split(","))
            else:
                raise ValueError(f"no range {kind!r}")
        except ValueError as error:
            raise ConfigError(
                f"--search {word}: {error}; write KEY=loguniform:LOW:HIGH, KEY=uniform:LOW:HIGH, "
                "KEY=choice:A,B or KEY=grid:A,B"
            ) from error
    return space


def _check(options: list[str]) -> None:
    """Have `fitbot fit` refuse its options here, not in a worker.

    Raises:
        SystemExit: It does, with its own words.
    """
    from fitbot.commands import fit

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            fit.main(["fit", *options, "--print_config"])
    except SystemExit as done:
        if done.code:
            raise


def _run_fit(options: list[str], placed: dict[str, Any]) -> None:
    """Run `fitbot fit` in this process of Ray's."""
    from fitbot.commands import fit

    # Ray prints what workers write, line by line; a bar would be hundreds of them.
    fit.main(["fit", *options, "--trainer.enable_progress_bar", "false"], placed)
