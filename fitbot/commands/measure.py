"""`fitbot validate`, `test` and `predict`: a checkpoint is measured with the settings of its fit.

The options are those of `fitbot fit`; listing them takes seconds, so help here is a page by hand.
"""

from fitbot.commands.command_line import say

_WHAT = {
    "validate": "Measure a checkpoint on the pairs of data.val_path, and print loss, accuracy and "
    "margin:\nexact averages over all pairs.",
    "test": "Measure a checkpoint on the pairs of data.test_path, and print loss, accuracy and "
    "margin:\nexact averages over all pairs.",
    "predict": "Write log-probs, rewards and margin of every pair of data.test_path, one line of "
    "JSON each,\nto predictions.jsonl beside the checkpoint.",
}
_VERBOSE = """\
  --verbose {true,false}
                        print the result; default: true
"""
_PAIRS = {"validate": "val", "test": "test", "predict": "test"}
_HELP = """\
usage: fitbot {name} --config FILE --ckpt_path CHECKPOINT [options of fitbot fit]

{what}

options:
  -h, --help            show this help
  -c FILE, --config FILE
                        settings of the fit: its YAML file, or config.yaml in its run's folder
  --ckpt_path CHECKPOINT
                        a .ckpt file; `last` or `best` of the latest run called run.name;
                        default: model.adapter, or else the base alone
  --weights_only {{true,false}}
                        read nothing but tensors from the file; default: Lightning's choice
{verbose}  --print_config        print all settings and exit

All other options are fit's: `fitbot fit --help`.

example:
  fitbot {name} --config configs/dpo.yaml --ckpt_path best --data.{pairs}_path PAIRS
"""


def main(args: list[str]) -> int:
    """Run one of the three, or show its help.

    Args:
        args: The command and its options, as typed.

    Returns:
        0; see `fitbot.commands.fit.main` for more.
    """
    name = args[0]
    if {"-h", "--help"} & set(args):
        verbose = "" if name == "predict" else _VERBOSE
        what, pairs = _WHAT[name], _PAIRS[name]
        say(_HELP.format(name=name, what=what, verbose=verbose, pairs=pairs).rstrip())
        return 0
    from fitbot.commands import fit

    return fit.main(args)
