"""`fitbot fit`, `validate`, `test` and `predict` before Lightning is loaded, which takes seconds.

Here are their help and their first line. All take the options of `fitbot fit`; the last three
measure a checkpoint with the settings of its fit.
"""

import os

from fitbot.commands.command_line import announce, say
from fitbot.commands.fit_help import help_of_fit

# Variables in which torchrun, srun and Lightning number the processes of a fit.
_NUMBERS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
_MEASURE = """\
Measure a checkpoint on the pairs of data.{pairs}_path, and print loss, accuracy and margin:
exact averages over all pairs."""
_PREDICT = """\
Write log-probs, rewards and margin of every pair of data.{pairs}_path, one line of JSON each,
to predictions.jsonl beside the checkpoint."""
_VERBOSE = """\
  --verbose {true,false}
                        print the result; default: true
"""
_HELP = """\
usage: fitbot {name} --config CONFIG --ckpt_path CHECKPOINT [options of fitbot fit]

{what}

options:
  -h, --help            show this help
  -c CONFIG, --config CONFIG
                        settings of the fit: a preset's name, a YAML file, or config.yaml in its
                        run's folder
  --ckpt_path CHECKPOINT
                        a .ckpt file; `last` or `best` of the latest run called run.name;
                        default: model.adapter, or else the base alone
  --weights_only {{true,false}}
                        read nothing but tensors from the file; default: Lightning's choice
{verbose}  --print_config        print all settings and exit

All other options are fit's: `fitbot fit --help-all`.

example:
  fitbot {name} --config dpo --ckpt_path best --data.{pairs}_path PAIRS
"""


def main(args: list[str]) -> int:
    """Run one of the four as `fitbot.commands.fit.main` does, or show its help."""
    name = args[0]
    if {"-h", "--help"} & set(args):
        say(help_of_fit() if name == "fit" else _help_of_measuring(name))
        return 0
    if all(os.environ.get(variable, "0") == "0" for variable in _NUMBERS):
        announce(f"fitbot {name}: loading PyTorch and Lightning")
    from fitbot.commands import fit

    return fit.main([name, "--help"] if "--help-all" in args else args)


def _help_of_measuring(name: str) -> str:
    what, verbose = (_PREDICT, "") if name == "predict" else (_MEASURE, _VERBOSE)
    pairs = "val" if name == "validate" else "test"
    what = what.format(pairs=pairs)
    return _HELP.format(name=name, what=what, verbose=verbose, pairs=pairs).rstrip()
