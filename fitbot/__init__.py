"""fitbot: direct preference optimisation of a LoRA adapter, measured honestly.

audit = fitbot.audit_pairs(["train.csv", "held_out.csv"])
run = fitbot.fit("dpo_v2", {"data.train_path": "train.csv", "data.val_path": "held_out.csv"})
bot = fitbot.load(run.adapter)
print(bot.answer("How much protein do I need?"))
evaluation = fitbot.evaluate([run.adapter], pairs="held_out.csv")
"""

from typing import TYPE_CHECKING, Any

from fitbot.version import __version__

__all__ = ["__version__", "audit_pairs", "evaluate", "fit", "load"]

if TYPE_CHECKING:
    from fitbot.api import audit_pairs, evaluate, fit, load
else:  # only when it is asked for, or the word `fitbot` would have to load it

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fitbot import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
