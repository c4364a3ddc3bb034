"""A hub id or folder → a frozen 4-bit network with a trainable LoRA adapter."""
