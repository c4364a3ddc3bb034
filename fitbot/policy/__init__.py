"""Batch → log-probs: the 4-bit base, its LoRA adapter, and the reference they are compared with."""
