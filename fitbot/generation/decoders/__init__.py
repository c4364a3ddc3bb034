"""Token ids → logits of many requests at once: in PyTorch, or by CUDA graphs."""
