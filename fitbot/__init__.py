"""fitbot: direct preference optimisation of a LoRA adapter, measured honestly."""

__version__ = "0.1.0"
